//! What an executable adds to the library: compiling, suites of cases, native code.
//!
//! It belongs to `repops-compiler`, and to `repops` in builds without the compiler.

mod compile;
mod conformance;

use repops_cli::arguments::{Compile, ConformanceCommand};
use repops_cli::{Answer, Extension, Failure, Result};

pub struct Own;

impl Extension for Own {
    fn compile(&self, arguments: &Compile) -> Result<Answer> {
        compile::compile(arguments)
    }

    fn conformance(&self, command: &ConformanceCommand) -> Result<Answer> {
        match command {
            ConformanceCommand::Run(arguments) => conformance::run(arguments),
            ConformanceCommand::Compare(arguments) => conformance::compare(arguments),
            ConformanceCommand::Pack(arguments) => conformance::pack(arguments),
            ConformanceCommand::Page(arguments) => conformance::page(arguments),
            ConformanceCommand::Replay(_) | ConformanceCommand::Exhaustive(_) => {
                Err(Failure::new("this is the library's"))
            }
        }
    }

    #[cfg(feature = "compile")]
    fn native_regions(&self) -> Result<repops_runtime::Regions> {
        let backend = repops_compiler::native::regions::NativeRegions::new()?;
        Ok(repops_runtime::Regions::Backend(std::sync::Arc::new(backend)))
    }

    #[cfg(not(feature = "compile"))]
    fn native_regions(&self) -> Result<repops_runtime::Regions> {
        Err(Failure::new(
            "--regions native: the compiler is not part of this build; there are tiles and steps",
        ))
    }
}
