//! A module, and the operations erased from it that handles may still name.

use std::cell::RefCell;

use melior::ir::operation::OperationLike;
use melior::ir::{Attribute, Location, Type};
use melior::pass::PassManager;

use super::Context;
use super::ffi::{self, At, Block, Erased, Op, Value};
use crate::{CompileError, Result};

/// An MLIR module.
pub struct Module<'c> {
    // Erased operations name nothing of the module any more; both go before the context, which is borrowed.
    erased: RefCell<Vec<Erased>>,
    inner: melior::ir::Module<'c>,
    context: &'c Context,
}

/// The parts of an operation to be created; see [`Module::create`].
#[derive(Default)]
pub struct New<'a> {
    pub operands: Vec<Value<'a>>,
    pub results: Vec<Type<'a>>,
    pub attributes: Vec<(&'static str, Attribute<'a>)>,
    /// For every region the types of its block's arguments.
    pub bodies: Vec<Vec<Type<'a>>>,
}

impl<'c> Module<'c> {
    /// An empty module.
    pub fn new(context: &'c Context) -> Self {
        let inner = melior::ir::Module::new(Location::unknown(context.melior()));
        Self { erased: RefCell::default(), inner, context }
    }

    /// Parses and verifies a module's text.
    pub fn parse(context: &'c Context, text: &str) -> Result<Self> {
        context.take_diagnostics();
        // The parser reads up to a NUL, and would take what precedes it for the whole.
        if text.contains('\0') {
            return Err(CompileError::Parse { diagnostics: vec!["it contains a NUL".into()] });
        }
        match melior::ir::Module::parse(context.melior(), text) {
            Some(inner) => Ok(Self { erased: RefCell::default(), inner, context }),
            None => Err(CompileError::Parse { diagnostics: context.take_diagnostics() }),
        }
    }

    pub fn context(&self) -> &'c Context {
        self.context
    }

    pub(crate) fn melior(&self) -> &'c melior::Context {
        self.context.melior()
    }

    pub(crate) fn inner(&self) -> &melior::ir::Module<'c> {
        &self.inner
    }

    /// The module's own operation, `builtin.module`.
    pub fn top(&self) -> Op<'_> {
        ffi::top(&self.inner)
    }

    /// The block all top-level operations stand in.
    pub fn block(&self) -> Block<'_> {
        self.top().body(0).expect("a module has a block")
    }

    /// The module's only `repops.program`.
    pub fn program(&self) -> Result<Op<'_>> {
        match self.block().ops()[..] {
            [op] if op.name() == super::ops::PROGRAM => Ok(op),
            _ => Err(CompileError::NotOneProgram),
        }
    }

    pub fn to_text(&self, locations: bool) -> String {
        let mut text = self.top().to_text(locations);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// Creates an operation at a place.
    ///
    /// # Panics
    /// If no operation of that name is registered, or an attribute has a kind it does not take.
    pub fn create<'a>(&'a self, at: At<'a>, name: &str, location: Location<'a>, new: &New<'a>) -> Op<'a> {
        ffi::insert(
            at,
            &ffi::OpParts {
                name,
                location,
                operands: &new.operands,
                results: &new.results,
                attributes: &new.attributes,
                bodies: &new.bodies,
            },
        )
    }

    /// Takes an unused operation out of the module. Handles to it stay valid, but name nothing of the module.
    ///
    /// # Panics
    /// If a result of the operation is used.
    pub fn erase<'a>(&'a self, op: Op<'a>) {
        assert!(!op.has_uses(), "{} is erased while it is used", op.name());
        self.erased.borrow_mut().push(ffi::detach(op));
    }

    /// Lets the results of `op` be replaced by `values` everywhere, and erases it.
    ///
    /// # Panics
    /// If there are not as many values as results.
    pub fn replace<'a>(&'a self, op: Op<'a>, values: &[Value<'a>]) {
        assert_eq!(op.result_count(), values.len(), "replacing {}", op.name());
        for (result, &value) in op.results().zip(values) {
            result.replace_all_uses_with(value);
        }
        self.erase(op);
    }

    /// Frees what was erased.
    pub(crate) fn purge(&mut self) {
        self.erased.get_mut().clear();
    }

    /// MLIR's verification: structure, dominance, and what `td/Repops.td` demands.
    pub fn verify(&self) -> std::result::Result<(), Vec<String>> {
        self.context.take_diagnostics();
        if self.inner.as_operation().verify() { Ok(()) } else { Err(self.context.take_diagnostics()) }
    }

    /// Runs builtin passes, given in MLIR's textual form such as `builtin.module(cse)`.
    pub fn run_pipeline(&mut self, pipeline: &str) -> std::result::Result<(), Vec<String>> {
        self.purge();
        let context = self.context;
        context.take_diagnostics();
        melior::utility::register_all_passes();
        let manager = PassManager::new(context.melior());
        melior::utility::parse_pass_pipeline(manager.as_operation_pass_manager(), pipeline)
            .map_err(|error| vec![error.to_string()])?;
        manager.run(&mut self.inner).map_err(|_| context.take_diagnostics())
    }
}

/// Calls `visit` for every operation inside of `block`, outer before inner, in order. `visit` may erase the
/// operation it is given, or insert others; those inserted into a block being walked are not visited.
pub fn walk<'a, E>(
    block: Block<'a>,
    visit: &mut impl FnMut(Op<'a>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    for op in block.ops() {
        visit(op)?;
        if op.block().is_some() {
            for body in op.bodies() {
                walk(body, visit)?;
            }
        }
    }
    Ok(())
}
