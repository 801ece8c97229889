//! Running other programs, and the one error type of this crate.
//!
//! Invariant: a program that cannot be started or ends badly becomes an [`Error`] that names it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Why a task did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A check looked at the repository, or at results, and says no.
    #[error("{0}")]
    Failed(String),
    /// The machine lacks something, or a file cannot be read or written.
    #[error("{0}")]
    Environment(String),
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("`{program}` could not be started: {source}")]
    Start { program: String, source: std::io::Error },
    #[error("`{line}` ended with {status}")]
    Status { line: String, status: String },
    /// A check failed and has said so itself.
    #[error("a check failed")]
    Reported,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// 1: a check failed; 2: the environment is at fault.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Failed(_) | Error::Status { .. } | Error::Reported => 1,
            Error::Environment(_) | Error::File { .. } | Error::Start { .. } => 2,
        }
    }

    pub fn file(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Error::File { action, path: path.to_owned(), source }
    }
}

/// The repository's root: the folder two above this crate.
pub fn root() -> PathBuf {
    // The variable of the run that started us wins, so that a moved checkout with an old binary still works.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().and_then(Path::parent).map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Where everything that is made goes: `CARGO_TARGET_DIR`, else `target` in the root.
pub fn target_dir() -> PathBuf {
    let root = root();
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// A command that runs in the repository's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The `cargo` that started us.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Prints the command, runs it with our own output, and demands success.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.status().map_err(|source| start_error(command, source))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Status { line: line(command), status: status.to_string() })
    }
}

/// Runs silently; gives standard output, or what standard error said.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|source| start_error(command, source))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Status { line: line(command), status: format!("{}: {}", output.status, said.trim()) })
}

/// Whether the program runs and says yes; a program that is not there says no.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Tries again after a pause, for commands that depend on a network.
pub fn run_with_retries(mut build: impl FnMut() -> Command, pauses_s: &[u64]) -> Result<()> {
    let mut pauses = pauses_s.iter();
    loop {
        match (run(&mut build()), pauses.next()) {
            (Ok(()), _) => return Ok(()),
            (Err(error), None) => return Err(error),
            (Err(error), Some(&pause_s)) => {
                println!("{error}; trying again in {pause_s} s");
                std::thread::sleep(Duration::from_secs(pause_s));
            }
        }
    }
}

pub fn start_error(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::file("reading", path, source))
}

pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::file("reading", path, source))
}

/// Writes the whole file or none of it: a neighbour first, then a rename.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    let partial = path.with_added_extension("partial");
    std::fs::write(&partial, bytes).map_err(|source| Error::file("writing", &partial, source))?;
    std::fs::rename(&partial, path).map_err(|source| Error::file("writing", path, source))
}

pub fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::file("creating", path, source))
}

/// Empties the folder, making it when it is not there.
pub fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_dir_all(path).map_err(|source| Error::file("removing", path, source))?;
    }
    make_dir(path)
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    sha2::Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_the_empty_string() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn a_missing_program_is_an_environment_error() {
        let error = run(&mut command("a-program-that-does-not-exist")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("a-program-that-does-not-exist"), "{error}");
    }

    #[test]
    fn a_failing_program_is_a_failure() {
        let error = capture(command("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(error.to_string().contains("why"), "{error}");
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("Cargo.toml").is_file());
        assert!(root().join("tools/xtask").is_dir());
    }
}
