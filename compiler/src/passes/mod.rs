//! The passes, in their order, and what runs them.
//!
//! Invariant: after every pass the module is verified, every operation that applies an operator names a row of the
//! operator table, and every operation that remains has kept its origins. A pass never changes the bits a model
//! computes.

mod bias;
mod canonicalize;
mod cse;
mod fold;
mod fuse;
mod infer;
mod layout;
mod plan;
mod products;
mod prune;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::sync::Arc;

use repops::program::Source;

use crate::mlir::module::walk;
use crate::mlir::{Block, Context, Module, Op, ops, origin};
use crate::weights::{Weight, WeightId, Weights};
use crate::{CompileError, Result};

pub use plan::SLOTS;
pub(crate) use plan::is_step;

/// One compilation: the module being transformed, and what it refers to.
pub struct Session<'c> {
    pub module: Module<'c>,
    pub weights: RefCell<Weights>,
    /// The files the model came from.
    pub sources: Vec<Source>,
    /// Constants that no operation names; the program's last.
    pub attached: Vec<Arc<Weight>>,
    /// The next number for a size that depends on data.
    fresh: Cell<u32>,
}

impl<'c> Session<'c> {
    pub fn new(module: Module<'c>) -> Self {
        Self {
            module,
            weights: RefCell::default(),
            sources: Vec::new(),
            attached: Vec::new(),
            fresh: Cell::new(0),
        }
    }

    pub fn context(&self) -> &'c Context {
        self.module.context()
    }

    /// The block of the program.
    pub fn body(&self) -> Result<Block<'_>> {
        self.module.program()?.body(0).ok_or(CompileError::NotOneProgram)
    }

    /// The constant that a `repops.constant` names; `None` for any other operation.
    fn weight_of(&self, op: Op<'_>) -> Result<Option<Arc<Weight>>> {
        let Some(id) = ops::constant_id(op) else { return Ok(None) };
        self.weights.borrow().get(WeightId(id)).map(Some).ok_or(CompileError::UnknownConstant { id })
    }
}

/// A named step of the pipeline.
pub struct Pass {
    pub name: &'static str,
    pub summary: &'static str,
    /// Left out with `--no-fuse` or `--no-layout`.
    pub optional: Option<Choice>,
    pub run: for<'c> fn(&mut Session<'c>) -> Result<()>,
}

/// What a user can leave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    Fuse,
    Layout,
}

impl Pass {
    const fn new(
        name: &'static str,
        summary: &'static str,
        run: for<'c> fn(&mut Session<'c>) -> Result<()>,
    ) -> Self {
        Pass { name, summary, optional: None, run }
    }

    const fn optional(self, choice: Choice) -> Self {
        Pass { optional: Some(choice), ..self }
    }
}

/// The pipeline. The names are what `--emit` and the file tests know.
pub const PASSES: &[Pass] = &[
    Pass::new("infer", "Find every value's type.", infer::run),
    Pass::new("fold", "Compute what depends on constants alone, by the reference evaluation.", fold::run),
    Pass::new("canonicalize", "Remove operations that change nothing.", canonicalize::run),
    Pass::new("cse", "Let equal operations be computed once.", cse::run),
    Pass::new("prune", "Remove what no output needs.", prune::run),
    Pass::new(
        "bias",
        "Let convolutions add what is added to their channels, and Gemm what is added to it.",
        bias::run,
    )
    .optional(Choice::Fuse),
    Pass::new("layout", "Store matrices as contractions read them.", layout::run).optional(Choice::Layout),
    Pass::new("fuse", "Join element-wise neighbours into regions.", fuse::run).optional(Choice::Fuse),
    Pass::new("products", "Let element-wise steps compute the products that they alone read.", products::run)
        .optional(Choice::Fuse),
    Pass::new("plan", "Give values memory that they can share.", plan::run),
];

pub fn find(name: &str) -> Result<&'static Pass> {
    PASSES
        .iter()
        .find(|pass| pass.name == name)
        .ok_or_else(|| CompileError::UnknownPass { name: name.to_owned() })
}

/// Runs one pass and verifies what it leaves.
pub fn run_one(session: &mut Session<'_>, pass: &Pass) -> Result<()> {
    (pass.run)(session)?;
    session.module.purge();
    verify(session, pass.name)
}

/// MLIR's verification, and that every applied operator is in the table.
pub fn verify(session: &Session<'_>, after: &str) -> Result<()> {
    let module = &session.module;
    module.verify().map_err(|diagnostics| CompileError::Invalid { pass: after.to_owned(), diagnostics })?;
    walk(module.block(), &mut |op| match ops::applied(op) {
        Some(applied) if applied.def().is_none() => Err(CompileError::UnknownOperator {
            origin: origin::describe(op),
            op: applied.op.to_owned(),
            version: applied.version,
        }),
        _ => Ok(()),
    })
}

/// Runs the pipeline without the passes left out. `emit` is called after every pass, for `--emit`.
pub fn run_all(
    session: &mut Session<'_>,
    left_out: &[Choice],
    emit: &mut dyn FnMut(&Pass, &Module<'_>),
) -> Result<()> {
    for pass in PASSES.iter().filter(|pass| pass.optional.is_none_or(|choice| !left_out.contains(&choice))) {
        run_one(session, pass)?;
        emit(pass, &session.module);
    }
    Ok(())
}

/// Every operation inside of `block`, outer before inner, in order.
fn all_ops(block: Block<'_>) -> Vec<Op<'_>> {
    let mut found = Vec::new();
    let done: std::result::Result<(), Infallible> = walk(block, &mut |op| {
        found.push(op);
        Ok(())
    });
    let Ok(()) = done;
    found
}
