//! The MLIR context: which dialects exist, and where diagnostics go.

use std::cell::RefCell;
use std::rc::Rc;

use melior::dialect::{DialectHandle, DialectRegistry};

use super::ffi;

/// Owns every type, attribute and location. Single-threaded: the passes are too short to gain from MLIR's threads,
/// and diagnostics come in one order.
pub struct Context {
    inner: melior::Context,
    diagnostics: Rc<RefCell<Vec<String>>>,
}

impl Context {
    /// A context for modules of the `repops` dialect.
    pub fn new() -> Self {
        Self::with_dialects(&[ffi::repops_dialect()])
    }

    /// A context for native code: what regions are lowered to.
    pub fn for_native_code() -> Self {
        let context = Self::with_dialects(&[
            DialectHandle::arith(),
            DialectHandle::cf(),
            DialectHandle::func(),
            DialectHandle::llvm(),
            DialectHandle::scf(),
            ffi::math_dialect(),
            ffi::vector_dialect(),
        ]);
        melior::utility::register_all_llvm_translations(&context.inner);
        context
    }

    fn with_dialects(dialects: &[DialectHandle]) -> Self {
        let registry = DialectRegistry::new();
        for dialect in dialects {
            dialect.insert_dialect(&registry);
        }
        let inner = melior::Context::new_with_registry(&registry, false);
        inner.load_all_available_dialects();

        let diagnostics = Rc::new(RefCell::new(Vec::new()));
        let sink = Rc::clone(&diagnostics);
        inner.attach_diagnostic_handler(move |diagnostic| {
            sink.borrow_mut().push(format!("{}: {diagnostic}", diagnostic.location()));
            true
        });
        Self { inner, diagnostics }
    }

    pub(crate) fn melior(&self) -> &melior::Context {
        &self.inner
    }

    /// The diagnostics since the last call.
    pub(crate) fn take_diagnostics(&self) -> Vec<String> {
        self.diagnostics.take()
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}
