//! `cargo xtask cuda`: compiles the CUDA kernels to PTX by clang alone, or checks that what is committed is that.
//!
//! Sources are `kernels/cuda/*.cu`. One whose first lines say `// targets: 75 80` gives `generated/NAME.ptx` for
//! compute_75 and `generated/NAME.80.ptx` for compute_80; without such a line it is for 75 alone. `90a` is for sm_90a, with what only
//! chips of compute capability 9.0 have, and PTX 8.0, which drivers for CUDA 12.0 read; the others are PTX 7.0.
//! Invariant: what is written depends on the sources and on clang's version alone, and names both.

mod audit;
mod chains;
mod cubins;
mod sass;

use crate::command::{self, Error, Result, capture, command};
use crate::setup;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Clone)]
enum Action {
    /// Compile the kernels and write their PTX.
    Compile {
        /// Only the sources of these names.
        names: Vec<String>,
    },
    /// Compile the kernels again and compare with the PTX that is there.
    Check,
    /// Assemble the PTX for every architecture and check the machine code (opt-in; fetches the assembler).
    Audit {
        /// Only the modules of these names; their rows are printed, and the table is left as it is.
        names: Vec<String>,
        /// Instead of the kernels, the code of fused steps in this file, as `repops region-code` writes it.
        #[arg(long, value_name = "FILE", conflicts_with = "names")]
        regions: Option<PathBuf>,
    },
    /// Assemble the PTX for every architecture and write the archive that the feature `cubins` embeds.
    Cubins,
}

pub fn run(options: &Options) -> Result<()> {
    match &options.action {
        Action::Compile { names } => compile(names),
        Action::Check => check(),
        Action::Audit { regions: Some(file), .. } => audit::audit_regions(file),
        Action::Audit { names, regions: None } => audit::audit(names),
        Action::Cubins => cubins::write(),
    }
}

/// One PTX file to be.
struct Target {
    source: PathBuf,
    output: PathBuf,
    /// The virtual architecture: `75` for compute_75, `90a` for what runs on 9.0 alone.
    architecture: String,
}

fn folder() -> PathBuf {
    command::root().join("kernels/cuda")
}

fn generated() -> PathBuf {
    folder().join("generated")
}

fn compile(names: &[String]) -> Result<()> {
    let clang = Clang::find()?;
    let targets = targets()?;
    if let Some(unknown) = names.iter().find(|name| !targets.iter().any(|target| target.is_of(name))) {
        return Err(Error::Environment(format!("there is no kernels/cuda/{unknown}.cu")));
    }
    let wanted: Vec<Target> = targets
        .into_iter()
        .filter(|target| names.is_empty() || names.iter().any(|name| target.is_of(name)))
        .collect();
    for (target, text) in wanted.iter().zip(clang.compile_all(&wanted)) {
        let text = text?;
        command::write(&target.output, text.as_bytes())?;
        println!("wrote {} ({} bytes)", shown(&target.output), text.len());
    }
    Ok(())
}

pub fn check() -> Result<()> {
    let clang = Clang::find()?;
    let targets = targets()?;
    let mut findings = stray(&targets)?;
    let mut skipped = 0usize;
    for (target, text) in targets.iter().zip(clang.compile_all(&targets)) {
        let text = text?;
        let name = shown(&target.output);
        let Ok(present) = std::fs::read_to_string(&target.output) else {
            findings.push(format!("{name} is missing"));
            continue;
        };
        match present.lines().next().and_then(version_of) {
            Some(version) if version != clang.version => {
                println!("note: {name} was written by clang {version}; clang {} is here", clang.version);
                skipped += 1;
            }
            _ if present != text => findings.push(format!("{name} is not what its source gives")),
            _ => {}
        }
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    if !findings.is_empty() {
        return Err(Error::Failed(format!(
            "cuda: {} findings; `cargo xtask cuda compile` writes the PTX again",
            findings.len()
        )));
    }
    println!(
        "cuda: {} PTX files as their sources give them, {skipped} not compared",
        targets.len() - skipped
    );
    Ok(())
}

/// PTX that no source gives.
fn stray(targets: &[Target]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for path in files(&generated(), "ptx")? {
        if !targets.iter().any(|target| target.output == path) {
            findings.push(format!("{} comes from no source", shown(&path)));
        }
    }
    Ok(findings)
}

impl Target {
    fn is_of(&self, name: &str) -> bool {
        self.source.file_stem().is_some_and(|stem| stem == name)
    }
}

fn targets() -> Result<Vec<Target>> {
    let mut found = Vec::new();
    for source in files(&folder(), "cu")? {
        let text = command::read_text(&source)?;
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for architecture in architectures(&text) {
            let file = if architecture == "75" {
                format!("{name}.ptx")
            } else {
                format!("{name}.{architecture}.ptx")
            };
            found.push(Target { source: source.clone(), output: generated().join(file), architecture });
        }
    }
    Ok(found)
}

fn architectures(source: &str) -> Vec<String> {
    let line = source.lines().take(3).find_map(|line| line.strip_prefix("// targets:"));
    line.unwrap_or("75").split_whitespace().map(str::to_owned).collect()
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|source| Error::file("listing", folder, source))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    Ok(found)
}

fn shown(path: &Path) -> String {
    path.strip_prefix(command::root()).unwrap_or(path).display().to_string()
}

struct Clang {
    program: PathBuf,
    version: String,
}

impl Clang {
    fn find() -> Result<Clang> {
        let in_prefix =
            setup::llvm_prefix().map(|prefix| prefix.join("bin/clang")).filter(|path| path.is_file());
        let program = in_prefix.unwrap_or_else(|| format!("clang-{}", setup::LLVM_MAJOR).into());
        let said = capture(command(&program).arg("--version")).map_err(|_| {
            Error::Environment(format!("clang {} is not here: `cargo xtask setup`", setup::LLVM_MAJOR))
        })?;
        let version = said.split_whitespace().skip_while(|word| *word != "version").nth(1);
        Ok(Clang { program, version: version.unwrap_or("unknown").to_owned() })
    }

    /// The PTX of each target, in their order; two at a time.
    fn compile_all(&self, targets: &[Target]) -> Vec<Result<String>> {
        let half = targets.len().div_ceil(2);
        let (first, second) = targets.split_at(half);
        std::thread::scope(|scope| {
            let rest = scope.spawn(|| second.iter().map(|target| self.compile(target)).collect::<Vec<_>>());
            let mut all: Vec<Result<String>> = first.iter().map(|target| self.compile(target)).collect();
            all.extend(rest.join().unwrap_or_default());
            all
        })
    }

    fn compile(&self, target: &Target) -> Result<String> {
        let mut clang = command(&self.program);
        clang.args(["-x", "cuda", "--cuda-device-only", "-S", "-std=c++20", "-nocudainc", "-nocudalib"]);
        let version = if target.architecture.ends_with('a') { "ptx80" } else { "ptx70" };
        clang.arg(format!("--cuda-gpu-arch=sm_{}", target.architecture));
        clang.arg(format!("--cuda-feature=+{version}"));
        // No contraction and no flushing: the bits are the specification's.
        clang.args(["-O3", "-ffp-contract=off", "-fno-gpu-flush-denormals-to-zero", "-fno-exceptions"]);
        clang.args(["-Wall", "-Werror", "-Wno-unknown-cuda-version", "-Wno-unused-function"]);
        // The path would otherwise stand in the text.
        let name = target.source.file_name().unwrap_or_default();
        clang.current_dir(folder()).arg(name).args(["-o", "-"]);
        let ptx = capture(&mut clang)?;
        Ok(format!(
            "// Written by `cargo xtask cuda compile` with clang {} from kernels/cuda/{}.\n{}",
            self.version,
            name.to_string_lossy(),
            ptx.trim_start(),
        ))
    }
}

/// The compiler's version that the first line of a generated file names.
fn version_of(line: &str) -> Option<&str> {
    line.strip_prefix("// Written by `cargo xtask cuda compile` with clang ")?.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_says_its_targets() {
        assert_eq!(architectures("// targets: 75 80\n"), ["75", "80"]);
        assert_eq!(architectures("// targets: 90a\n"), ["90a"]);
        assert_eq!(architectures("// Adds.\n"), ["75"]);
    }

    #[test]
    fn generated_files_name_their_compiler() {
        let line = "// Written by `cargo xtask cuda compile` with clang 22.1.8 from kernels/cuda/gemv.cu.";
        assert_eq!(version_of(line), Some("22.1.8"));
        assert_eq!(version_of("//"), None);
    }

    #[test]
    fn every_generated_file_has_a_source_and_every_source_its_file() {
        let targets = targets().unwrap();
        assert!(!targets.is_empty());
        assert_eq!(stray(&targets).unwrap(), Vec::<String>::new());
        for target in targets {
            assert!(target.output.is_file(), "{}", shown(&target.output));
        }
    }
}
