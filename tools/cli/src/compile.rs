//! `repops compile`.

use crate::arguments::Compile;
use crate::{Answer, Failure, Result};

/// A build without LLVM runs, verifies and inspects.
#[cfg(not(feature = "compile"))]
pub fn compile(arguments: &Compile) -> Result<Answer> {
    Err(Failure(format!("{}: the compiler is not part of this build", arguments.model.display())))
}
