//! The executable `repops-compiler`: `repops` with LLVM. `repops` becomes this one where a command needs it.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod extension;

fn main() -> std::process::ExitCode {
    repops_cli::main(Some(&extension::Own))
}
