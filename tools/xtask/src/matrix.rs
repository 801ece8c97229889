//! `cargo xtask matrix`: the same programs and inputs on every path there is, and one trace root demanded.
//!
//! The paths: instruction sets, thread counts, fused regions as native code, tile by tile or operator by operator,
//! and aarch64 under qemu; and the same model compiled without fusing, which must give the same outputs. Invariant: a run that fails, or that gives another root or another output
//! digest than the first, fails the matrix and is named; no path is left out silently.

use crate::command::{self, Error, Result};
use crate::repops::{Profile, Repops, Run};
use crate::{aarch64, generations, magika, npy};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Fewer combinations: every value of every axis, but not every pair; what `cargo xtask test` runs.
    #[arg(long)]
    pub fast: bool,
    /// Build with optimization, for large models.
    #[arg(long)]
    pub release: bool,
    /// Leave out aarch64.
    #[arg(long)]
    pub no_aarch64: bool,
    /// Another folder of cases besides the built-in ones: in each subfolder `model.onnx` and `inputs/NAME.npy`.
    #[arg(long, value_name = "FOLDER")]
    pub cases: Option<PathBuf>,
}

/// Where the repository keeps small models made for this matrix.
const CASES: &str = "conformance/matrix";
const THREADS: [u32; 3] = [1, 2, 7];
/// Fused steps as native code, tile by tile, or operator by operator.
const REGIONS: [&str; 3] = ["native", "tiles", "steps"];

/// A compiled program with the inputs to run it on.
struct Case {
    name: String,
    program: PathBuf,
    /// The same model compiled with `--no-fuse`: another program with the same outputs.
    unfused: PathBuf,
    inputs: Vec<(String, PathBuf)>,
}

/// One path through the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    machine: &'static str,
    isa: &'static str,
    threads: u32,
    regions: &'static str,
}

pub fn check(options: &Options) -> Result<()> {
    let profile = if options.release { Profile::Release } else { Profile::Dev };
    let host = Repops::build(profile)?;
    let folder = command::target_dir().join("matrix");
    command::fresh_dir(&folder)?;
    let mut cases = vec![magika_case(&host, &folder)?];
    let further = options.cases.clone().into_iter().chain([command::root().join(CASES)]);
    for dir in further.filter(|dir| dir.is_dir()) {
        cases.extend(cases_in(&host, &dir, &folder)?);
    }
    let foreign = if options.no_aarch64 || std::env::consts::ARCH == "aarch64" {
        None
    } else {
        Some(Repops::for_aarch64(&aarch64::build()?.repops))
    };
    let ways = ways(options.fast, foreign.is_some());
    let mut failures = Vec::new();
    for case in &cases {
        failures.extend(check_case(case, &ways, &host, foreign.as_ref(), &folder)?);
    }
    println!("\ngenerations");
    failures.extend(generations::check(&host, foreign.as_ref(), &folder)?);
    println!("matrix: {} programs, {} ways each, {} disagreements", cases.len(), ways.len(), failures.len());
    if failures.is_empty() { Ok(()) } else { Err(Error::Failed(failures.join("\n"))) }
}

/// Runs the case on every way, printing one line each; gives what disagrees with the first.
fn check_case(
    case: &Case,
    ways: &[Way],
    host: &Repops,
    foreign: Option<&Repops>,
    folder: &Path,
) -> Result<Vec<String>> {
    println!("\n{}", case.name);
    println!("  {:<8} {:<9} {:>7}  {:<8} {:>10}  trace root", "machine", "isa", "threads", "regions", "ms");
    let mut first: Option<Run> = None;
    let mut failures = Vec::new();
    let output = folder.join(&case.name).join("outputs");
    for way in ways {
        let repops = if way.machine == "aarch64" { foreign.unwrap_or(host) } else { host };
        let found = repops.run(&case.program, &case.inputs, &way.arguments(), &output);
        let verdict = match (&found, &first) {
            (Err(_), _) => "FAILED",
            (Ok(run), Some(first)) if run.trace_root != first.trace_root => "DIFFERS",
            (Ok(run), Some(first)) if run.outputs != first.outputs => "OUTPUTS DIFFER",
            (Ok(_), _) => "",
        };
        let shown = found.as_ref().ok();
        println!(
            "  {:<8} {:<9} {:>7}  {:<8} {:>10}  {} {verdict}",
            way.machine,
            way.isa,
            way.threads,
            way.regions,
            shown.map_or("", |run| run.elapsed_ms.split('.').next().unwrap_or("")),
            shown.map_or("", |run| run.trace_root.as_str()),
        );
        match found {
            Err(error) => failures.push(format!("{}: {way:?}: {error}", case.name)),
            Ok(_) if !verdict.is_empty() => failures.push(format!("{}: {way:?}: {verdict}", case.name)),
            Ok(run) => {
                first.get_or_insert(run);
            }
        }
    }
    if let Some(first) = first {
        let found = host.run(&case.unfused, &case.inputs, &[], &output)?;
        let is_same = found.outputs == first.outputs;
        println!(
            "  compiled with --no-fuse: {}",
            if is_same { "the same outputs" } else { "OUTPUTS DIFFER" }
        );
        if !is_same {
            failures.push(format!("{}: compiled with --no-fuse, the outputs differ", case.name));
        }
    }
    Ok(failures)
}

/// Compiles the model twice: as it is, and without fusing.
fn case(
    repops: &Repops,
    name: String,
    model: &Path,
    folder: &Path,
    inputs: Vec<(String, PathBuf)>,
) -> Result<Case> {
    let folder = folder.join(&name);
    command::make_dir(&folder)?;
    let (program, unfused) = (folder.join("model.rep"), folder.join("unfused.rep"));
    repops.compile(model, &program, &[])?;
    repops.compile(model, &unfused, &["--no-fuse"])?;
    Ok(Case { name, program, unfused, inputs })
}

impl Way {
    fn arguments(&self) -> Vec<&'static str> {
        let threads = match self.threads {
            1 => "1",
            2 => "2",
            _ => "7",
        };
        vec!["--isa", self.isa, "--threads", threads, "--regions", self.regions]
    }
}

/// Every combination; in the fast form, of each axis every value against the defaults of the others, and the corner
/// where all differ.
fn ways(is_fast: bool, with_aarch64: bool) -> Vec<Way> {
    let isas = host_isas();
    let mut ways = Vec::new();
    for (isa_index, &isa) in isas.iter().enumerate() {
        for (thread_index, &threads) in THREADS.iter().enumerate() {
            for (regions_index, regions) in REGIONS.into_iter().enumerate() {
                let away = [isa_index, thread_index, regions_index];
                let axes_changed = away.iter().filter(|&&index| index > 0).count();
                if !is_fast || axes_changed <= 1 || axes_changed == away.len() {
                    ways.push(Way { machine: std::env::consts::ARCH, isa, threads, regions });
                }
            }
        }
    }
    if with_aarch64 {
        // Without LLVM there is no native code for regions.
        let way = |isa, threads, regions| Way { machine: "aarch64", isa, threads, regions };
        ways.extend([way("neon", 2, "tiles"), way("portable", 1, "tiles")]);
        if !is_fast {
            ways.extend([way("neon", 1, "tiles"), way("neon", 7, "steps"), way("portable", 7, "steps")]);
        }
    }
    ways
}

/// What this CPU can be asked for, the simplest first.
pub fn host_isas() -> Vec<&'static str> {
    let mut isas = vec!["portable"];
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            isas.push("avx2");
        }
        if ["avx512f", "avx512bw", "avx512dq", "avx512vl"].iter().all(|name| has_x86_feature(name)) {
            isas.push("avx512");
        }
    }
    #[cfg(target_arch = "aarch64")]
    isas.push("neon");
    isas
}

#[cfg(target_arch = "x86_64")]
fn has_x86_feature(name: &str) -> bool {
    match name {
        "avx512f" => std::is_x86_feature_detected!("avx512f"),
        "avx512bw" => std::is_x86_feature_detected!("avx512bw"),
        "avx512dq" => std::is_x86_feature_detected!("avx512dq"),
        "avx512vl" => std::is_x86_feature_detected!("avx512vl"),
        _ => false,
    }
}

/// The shipped model on a file of this repository.
fn magika_case(repops: &Repops, folder: &Path) -> Result<Case> {
    let content = command::read(&command::root().join("LICENSE"))?;
    let tokens = magika::input(&content)
        .ok_or_else(|| Error::Failed("LICENSE is too short to be magika's input".to_owned()))?;
    let input = folder.join("magika").join("bytes.npy");
    command::write(&input, &npy::int32(&[1, magika::INPUT_LEN], &tokens))?;
    let inputs = vec![("bytes".to_owned(), input)];
    case(repops, "magika".to_owned(), &command::root().join(magika::MODEL), folder, inputs)
}

/// Each subfolder is a case. A model whose compilation fails is an error: it was put there to be run.
fn cases_in(repops: &Repops, dir: &Path, folder: &Path) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for case_dir in case_folders(dir)? {
        let name = case_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        cases.push(case(repops, name, &case_dir.join("model.onnx"), folder, inputs_of(&case_dir)?)?);
    }
    Ok(cases)
}

/// What lies in the case's `inputs`: the file's name is the input's.
pub fn inputs_of(case_dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let name =
        |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(sorted_entries(&case_dir.join("inputs"))?.into_iter().map(|path| (name(&path), path)).collect())
}

/// The subfolders that hold a model.
pub fn case_folders(dir: &Path) -> Result<Vec<PathBuf>> {
    Ok(sorted_entries(dir)?.into_iter().filter(|path| path.join("model.onnx").is_file()).collect())
}

fn sorted_entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|source| Error::file("listing", dir, source))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_matrix_has_every_combination_once() {
        let ways = ways(false, true);
        let host = ways.iter().filter(|way| way.machine != "aarch64" || std::env::consts::ARCH == "aarch64");
        assert!(host.count() >= host_isas().len() * 3 * 3);
        for (index, way) in ways.iter().enumerate() {
            assert!(!ways[..index].contains(way), "{way:?} twice");
        }
    }

    #[test]
    fn the_fast_matrix_has_every_value_of_every_axis() {
        let fast = ways(true, true);
        assert!(fast.len() < ways(false, true).len());
        for isa in host_isas() {
            assert!(fast.iter().any(|way| way.isa == isa));
        }
        for threads in THREADS {
            assert!(fast.iter().any(|way| way.threads == threads));
        }
        for regions in REGIONS {
            assert!(fast.iter().any(|way| way.regions == regions));
        }
        assert!(fast.iter().any(|way| way.machine == "aarch64" && way.isa == "neon"));
    }
}
