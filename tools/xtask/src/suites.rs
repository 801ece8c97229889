//! `cargo xtask suites`: ONNX's suites and ours on every instruction set of this machine and on aarch64.
//!
//! The widest instruction set is compared with the reference and with the model node by node; the others run by kernels
//! alone, and the committed goldens say whether their bits are right. Invariant: a suite that cannot be made or run is a failure,
//! never left out.

use crate::command::{self, Error, Result, capture, command, run};
use crate::repops::{Profile, Repops};
use crate::{aarch64, matrix, setup};
use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Where the suites are, a folder for each; without it they are made.
    #[arg(long, value_name = "FOLDER")]
    pub cases: Option<PathBuf>,
    /// Only suites whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    /// Leave out aarch64.
    #[arg(long)]
    pub no_aarch64: bool,
    /// Write the goldens and the lists of known cases anew, from the widest instruction set.
    #[arg(long)]
    pub bless: bool,
}

/// What makes them.
const SCRIPTS: &str = "conformance";
/// Of the node cases; the models come from the version of the requirements, the last whose wheel holds them.
const ONNX: &str = "onnx==1.23.2";
/// Its operators and their versions, with which the import table is compared.
const VERSIONS: &str = "compiler/tests/onnx/versions.txt";

struct Suite {
    name: &'static str,
    /// Large models take the reference a quarter of an hour, and an emulator longer.
    large: bool,
}

const SUITES: [Suite; 9] = [
    Suite { name: "node", large: false },
    Suite { name: "simple", large: false },
    Suite { name: "pytorch-operator", large: false },
    Suite { name: "pytorch-converted", large: false },
    Suite { name: "microsoft", large: false },
    Suite { name: "narrow", large: false },
    Suite { name: "types", large: false },
    Suite { name: "versions", large: false },
    Suite { name: "light", large: true },
];

pub fn check(options: &Options) -> Result<()> {
    let with_aarch64 = !options.no_aarch64;
    setup::provide_all(&setup::Options { python: true, aarch64: with_aarch64, check: false })?;
    let host = Repops::build(Profile::Release)?;
    let folder = command::target_dir().join("suites");
    let cases = match &options.cases {
        Some(cases) => cases.clone(),
        None => make(&folder)?,
    };
    let foreign = if with_aarch64 { Some(Repops::for_aarch64(&aarch64::build_release()?)) } else { None };
    let reports = folder.join("reports");
    command::fresh_dir(&reports)?;
    let mut failures = Vec::new();
    for suite in SUITES.iter().filter(|suite| suite.name.contains(&options.only)) {
        let at = cases.join(suite.name);
        let mut note = |result: Result<()>| failures.extend(result.err().map(|error| error.to_string()));
        for (index, isa) in matrix::host_isas().into_iter().rev().enumerate() {
            let quick = index > 0 || suite.large;
            note(run_suite(&host, suite, &at, isa, quick, options.bless && index == 0, &reports));
        }
        if let Some(foreign) = foreign.as_ref().filter(|_| !suite.large) {
            let packed = folder.join("packed").join(suite.name);
            command::fresh_dir(&packed)?;
            let pack = ["conformance", "pack", "--with-data", "--suite"];
            capture(host.command()?.args(pack).arg(&at).arg("-o").arg(&packed))?;
            for isa in ["neon", "portable"] {
                note(run_suite(foreign, suite, &packed, isa, true, false, &reports));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Failed(failures.join("\n"))) }
}

/// One suite on one way.
fn run_suite(
    repops: &Repops,
    suite: &Suite,
    at: &Path,
    isa: &str,
    quick: bool,
    bless: bool,
    reports: &Path,
) -> Result<()> {
    let committed =
        |folder: &str| command::root().join(SCRIPTS).join(folder).join(format!("{}.txt", suite.name));
    let mut command = repops.command()?;
    command.args(["conformance", "run", "--isa", isa, "--threads", "2", "--suite"]).arg(at);
    command.arg("--goldens").arg(committed("goldens"));
    if committed("known").is_file() {
        command.arg("--expect").arg(committed("known"));
    }
    if quick {
        command.arg("--no-reference");
    }
    if bless {
        command.arg("--bless");
    }
    let machine = if repops.is_aarch64() { "aarch64" } else { std::env::consts::ARCH };
    command.arg("-o").arg(reports.join(format!("{}.{machine}.{isa}.json", suite.name)));
    run(&mut command)
}

/// Makes the suites; gives the folder that holds them.
fn make(folder: &Path) -> Result<PathBuf> {
    let (cases, onnx) = (folder.join("cases"), folder.join("onnx"));
    command::fresh_dir(&cases)?;
    let here = |name: &str| command::root().join(SCRIPTS).join(name);
    if !onnx.join("onnx").is_dir() {
        let mut install = setup::pip();
        install
            .args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--target"])
            .arg(&onnx)
            .arg(ONNX);
        run(&mut install)?;
    }
    let python = |script: &str| {
        let mut python = command(setup::python_path());
        python.arg(here(script));
        python
    };
    run(python("node_cases.py").arg(&cases).env("PYTHONPATH", &onnx))?;
    run(python("narrow_cases.py").arg(cases.join("narrow")).env("PYTHONPATH", &onnx))?;
    let types = [cases.join("node"), cases.join("types")];
    run(python("type_cases.py").args(types).env("PYTHONPATH", &onnx))?;
    run(python("node_cases.py").arg(&cases).arg("--models"))?;
    let versions = || {
        let mut python = python("version_cases.py");
        python.env("PYTHONPATH", &onnx);
        python
    };
    run(versions().arg(&cases).arg(cases.join("versions")))?;
    let found = capture(versions().arg("--versions"))?;
    let listed = command::root().join(VERSIONS);
    let text = std::fs::read_to_string(&listed).map_err(|source| Error::File {
        action: "reading",
        path: listed,
        source,
    })?;
    let listed: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    if found.lines().collect::<Vec<_>>() != listed {
        return Err(Error::Failed(format!("{VERSIONS} is not what {ONNX} has:\n{found}")));
    }
    run(python("microsoft_cases.py").arg(cases.join("microsoft")))?;
    Ok(cases)
}
