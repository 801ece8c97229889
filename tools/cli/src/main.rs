//! The executable `repops`; see the library.
//!
//! Invariant: with the compiler in the build, this one names nothing of it, so that it is not linked with LLVM.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

#[cfg(not(feature = "compile"))]
mod extension;

fn main() -> std::process::ExitCode {
    #[cfg(feature = "compile")]
    return repops_cli::main(None);
    #[cfg(not(feature = "compile"))]
    return repops_cli::main(Some(&extension::Own));
}
