//! Driving the `repops` command line, as a script would: its arguments, exit codes and `--json`.

use crate::command::{self, Error, Result};
use crate::{aarch64, setup};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A built command line, for this machine or for aarch64.
pub struct Repops {
    program: PathBuf,
    is_aarch64: bool,
}

/// What `repops run --json` prints.
#[derive(Debug)]
pub struct Run {
    pub trace_root: String,
    pub program: String,
    /// Name to digest.
    pub outputs: BTreeMap<String, String>,
    /// Name to path.
    pub files: BTreeMap<String, PathBuf>,
    pub elapsed_ms: String,
}

/// The profile to build with: `release` takes long to build and little to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Dev,
    Release,
}

impl Repops {
    /// Builds the full command line for this machine; `REPOPS_BIN` names one that is built already.
    pub fn build(profile: Profile) -> Result<Self> {
        if let Some(program) = std::env::var_os("REPOPS_BIN") {
            println!("using    {}", program.display());
            return Ok(Self { program: program.into(), is_aarch64: false });
        }
        let mut cargo = setup::cargo_with_llvm();
        cargo.args(["build", "-p", "repops-cli"]);
        let folder = match profile {
            Profile::Dev => "debug",
            Profile::Release => {
                cargo.arg("--release");
                "release"
            }
        };
        command::run(&mut cargo)?;
        Ok(Self { program: command::target_dir().join(folder).join("repops"), is_aarch64: false })
    }

    /// What was built for aarch64.
    pub fn for_aarch64(program: &Path) -> Self {
        Self { program: program.to_owned(), is_aarch64: true }
    }

    pub fn is_aarch64(&self) -> bool {
        self.is_aarch64
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn command(&self) -> Result<Command> {
        if self.is_aarch64 { aarch64::start(&self.program) } else { Ok(command::command(&self.program)) }
    }

    pub fn compile(&self, model: &Path, program: &Path, arguments: &[&str]) -> Result<()> {
        command::run(self.command()?.arg("compile").arg(model).arg("-o").arg(program).args(arguments))
    }

    /// `repops run --json`, with these further arguments.
    pub fn run(
        &self,
        program: &Path,
        inputs: &[(String, PathBuf)],
        arguments: &[&str],
        output: &Path,
    ) -> Result<Run> {
        let mut command = self.command()?;
        command.arg("run").arg(program).args(input_arguments(inputs)).arg("--output").arg(output);
        command.args(arguments).arg("--json");
        let text = command::capture(&mut command)?;
        Run::parse(&text).ok_or_else(|| {
            Error::Failed(format!("`{}` printed no object as documented: {text}", command::line(&command)))
        })
    }
}

/// `--input NAME=FILE` for each.
pub fn input_arguments(inputs: &[(String, PathBuf)]) -> Vec<String> {
    inputs
        .iter()
        .flat_map(|(name, path)| ["--input".to_owned(), format!("{name}={}", path.display())])
        .collect()
}

/// Runs the command, shows what it prints, and gives its exit code.
pub fn exit_code(command: &mut Command) -> Result<i32> {
    println!("$ {}", command::line(command));
    let status =
        command.stdin(Stdio::null()).status().map_err(|source| command::start_error(command, source))?;
    status.code().ok_or_else(|| Error::Status { line: command::line(command), status: status.to_string() })
}

impl Run {
    fn parse(text: &str) -> Option<Self> {
        let object: Value = serde_json::from_str(text.trim()).ok()?;
        let text = |key: &str| Some(object.get(key)?.as_str()?.to_owned());
        let map = |key: &str| -> Option<BTreeMap<String, String>> {
            let entries = object.get(key)?.as_object()?.iter();
            entries.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
        };
        Some(Self {
            trace_root: text("trace_root")?,
            program: text("program")?,
            outputs: map("outputs")?,
            files: map("files")?.into_iter().map(|(name, path)| (name, PathBuf::from(path))).collect(),
            elapsed_ms: object.get("elapsed_ms")?.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_object_is_read() {
        let text = r#"{"program":"p","inputs":{"x":"d"},"outputs":{"y":"e"},"files":{"y":"out/y.npy"},
            "trace_root":"r","elapsed_ms":1.5}"#;
        let run = Run::parse(text).unwrap();
        assert_eq!(
            (run.trace_root.as_str(), run.program.as_str(), run.elapsed_ms.as_str()),
            ("r", "p", "1.5")
        );
        assert_eq!(run.outputs["y"], "e");
        assert_eq!(run.files["y"], PathBuf::from("out/y.npy"));
        assert!(Run::parse("{}").is_none());
        assert!(Run::parse("error").is_none());
    }

    #[test]
    fn inputs_become_arguments() {
        let inputs = [("x".to_owned(), PathBuf::from("a.npy")), ("y".to_owned(), PathBuf::from("b.npy"))];
        assert_eq!(input_arguments(&inputs), ["--input", "x=a.npy", "--input", "y=b.npy"]);
    }
}
