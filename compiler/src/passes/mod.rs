//! The passes, in their order, and what runs them.
//!
//! Invariant: after every pass the module is verified, and every operation that remains has kept its origins. A pass
//! never changes the bits a model computes.

mod cse;
mod prune;

use crate::mlir::{Context, Module};
use crate::{Error, Result};

/// One compilation: the module being transformed.
pub struct Session<'c> {
    pub module: Module<'c>,
}

impl<'c> Session<'c> {
    pub fn new(module: Module<'c>) -> Self {
        Self { module }
    }

    pub fn context(&self) -> &'c Context {
        self.module.context()
    }
}

/// A named step of the pipeline.
pub struct Pass {
    pub name: &'static str,
    pub summary: &'static str,
    pub run: for<'c> fn(&mut Session<'c>) -> Result<()>,
}

/// The pipeline. The names are what `--emit` and the file tests know.
pub const PASSES: &[Pass] = &[
    Pass { name: "cse", summary: "Let equal operations be computed once.", run: cse::run },
    Pass { name: "prune", summary: "Remove what no output needs.", run: prune::run },
];

pub fn find(name: &str) -> Result<&'static Pass> {
    PASSES.iter().find(|pass| pass.name == name).ok_or_else(|| Error::UnknownPass { name: name.to_owned() })
}

/// Runs one pass and verifies what it leaves.
pub fn run_one(session: &mut Session<'_>, pass: &Pass) -> Result<()> {
    (pass.run)(session)?;
    session.module.purge();
    session.module.verify().map_err(|diagnostics| Error::Invalid { pass: pass.name.to_owned(), diagnostics })
}

/// Runs the whole pipeline. `emit` is called after every pass, for `--emit`.
pub fn run_all(session: &mut Session<'_>, emit: &mut dyn FnMut(&Pass, &Module<'_>)) -> Result<()> {
    for pass in PASSES {
        run_one(session, pass)?;
        emit(pass, &session.module);
    }
    Ok(())
}
