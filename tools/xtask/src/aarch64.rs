//! `cargo xtask aarch64`: builds the small command line and the kernels' tests for aarch64, and runs them.
//!
//! On another machine they run under qemu's user mode. Invariant: what is run is exactly what was built here for
//! [`AARCH64`](setup::AARCH64), in a target folder of its own, so that no build for this machine is disturbed.

use crate::command::{self, Error, Result, capture, command, run};
use crate::setup::{self, AARCH64, Aarch64Rustc};
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args, Clone, Default)]
pub struct Options {
    /// Run the kernels' tests whose name contains this; all that are not marked slow by default.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only build.
    #[arg(long)]
    pub build_only: bool,
}

/// What is built and run.
pub struct Built {
    /// The command line without the compiler.
    pub repops: PathBuf,
    /// The kernels' test program.
    kernel_tests: PathBuf,
}

pub fn run_all(options: &Options) -> Result<()> {
    let built = build()?;
    println!("built    {}", built.repops.display());
    if options.build_only {
        return Ok(());
    }
    run(start(&built.repops)?.arg("--version"))?;
    let mut tests = start(&built.kernel_tests)?;
    tests.arg("--quiet");
    if let Some(filter) = &options.filter {
        tests.arg(filter);
    }
    run(&mut tests)
}

pub fn build() -> Result<Built> {
    run(cargo()?.args(["build", "--quiet", "-p", "repops-cli", "--no-default-features"]))?;
    let message_lines = capture(cargo()?.args([
        "test",
        "--no-run",
        "--quiet",
        "-p",
        "repops-kernels",
        "--lib",
        "--message-format",
        "json",
    ]))?;
    let kernel_tests = test_program(&message_lines)
        .ok_or_else(|| Error::Failed("cargo named no test program of repops-kernels".to_owned()))?;
    Ok(Built { repops: target_dir().join(AARCH64).join("debug/repops"), kernel_tests })
}

/// The command line alone, optimized: under an emulator that saves more than it costs.
pub fn build_release() -> Result<PathBuf> {
    run(cargo()?.args(["build", "--quiet", "--release", "-p", "repops-cli", "--no-default-features"]))?;
    Ok(target_dir().join(AARCH64).join("release/repops"))
}

/// Starts a program that was built here: as it is on an aarch64 machine, else under qemu.
pub fn start(program: &std::path::Path) -> Result<Command> {
    if std::env::consts::ARCH == "aarch64" {
        return Ok(command(program));
    }
    let qemu = setup::find_program("qemu-aarch64")
        .or_else(|| setup::find_program("qemu-aarch64-static"))
        .ok_or_else(|| lacking("qemu-aarch64"))?;
    let mut qemu = command(qemu);
    // Tests read this and take a share of their samples.
    qemu.env("REPOPS_EMULATED", "1").arg("-L").arg(sysroot()?).arg(program);
    Ok(qemu)
}

/// Where aarch64's C library is.
///
/// This system's own arm64 libraries come before the cross compiler's: where both are installed, a loader of the
/// one picks up the other's libc through this system's ld.so.cache, and creating a thread then never returns.
fn sysroot() -> Result<PathBuf> {
    let places = [PathBuf::from("/"), PathBuf::from("/usr/aarch64-linux-gnu")];
    let found = places.into_iter().find(|place| place.join("lib/ld-linux-aarch64.so.1").exists());
    found.ok_or_else(|| lacking("the C library for aarch64"))
}

fn lacking(what: &str) -> Error {
    Error::Environment(format!("{what} was not found: `cargo xtask setup --aarch64`"))
}

fn target_dir() -> PathBuf {
    command::target_dir().join("aarch64")
}

fn cargo() -> Result<Command> {
    let mut cargo = match setup::aarch64_rustc().ok_or_else(|| lacking("Rust's library for aarch64"))? {
        Aarch64Rustc::Current => command::cargo(),
        Aarch64Rustc::Debian { cargo, rustc } => {
            let mut command = command(cargo);
            // rustup's variables would lead its proxies back to the toolchain without the target.
            command.env("RUSTC", rustc).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
            command
        }
    };
    cargo
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
        .env("CC_aarch64_unknown_linux_gnu", "aarch64-linux-gnu-gcc")
        .env("CARGO_TARGET_DIR", target_dir())
        .env("CARGO_BUILD_TARGET", AARCH64);
    Ok(cargo)
}

/// The test program among cargo's JSON messages.
fn test_program(message_lines: &str) -> Option<PathBuf> {
    let messages =
        message_lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter_map(|message| {
        let is_test = message.get("profile")?.get("test")?.as_bool()?;
        let program = message.get("executable")?.as_str()?;
        is_test.then(|| PathBuf::from(program))
    });
    programs.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_the_messages() {
        let lines = concat!(
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/repops"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/kernels-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#
        );
        assert_eq!(test_program(lines), Some(PathBuf::from("/t/kernels-1")));
        assert_eq!(test_program(""), None);
    }
}
