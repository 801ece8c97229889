//! The edge to MLIR's C interface: handles to operations, values and blocks, and every `unsafe` of the façade.
//! What MLIR keeps once per context is in [`unique`], the making of operations in [`insert`](mod@insert).
//!
//! Invariant: a handle is never dangling. A handle borrows its [`Module`](super::Module); while handles live no
//! operation is freed ([`Module::erase`](super::Module::erase) only detaches), and whatever frees operations (a
//! builtin pass, the module's destruction) needs the module exclusively. Handles of one module must not be mixed
//! with those of another; MLIR's verifier reports a value used outside of its module.
#![allow(unsafe_code)]

mod insert;
mod unique;

use std::ffi::c_void;
use std::marker::PhantomData;

use melior::StringRef;
use melior::dialect::DialectHandle;
use melior::ir::attribute::AttributeLike;
use melior::ir::{Attribute, Location, Type, TypeLike};
use mlir_sys::*;

pub use insert::At;
pub(super) use insert::{OpParts, insert};
pub use unique::{attribute_key, string_text, type_key};
pub(super) use unique::{
    dense_f32_array, extent, f32_array, fused, fused_parts, identifier_text, location_key,
};

unsafe extern "C" {
    fn mlirGetDialectHandle__repops__() -> MlirDialectHandle;
    fn repopsOperationDetach(operation: MlirOperation);
    fn repopsValueHasUses(value: MlirValue) -> bool;
}

/// The dialect compiled from `td/Repops.td`.
pub(super) fn repops_dialect() -> DialectHandle {
    // SAFETY: the function returns a handle to statics of the dialect's library.
    unsafe { DialectHandle::from_raw(mlirGetDialectHandle__repops__()) }
}

macro_rules! dialect_handles {
    ($($function:ident = $raw:ident;)*) => {$(
        pub(crate) fn $function() -> DialectHandle {
            // SAFETY: the function returns a handle to statics of MLIR.
            unsafe { DialectHandle::from_raw($raw()) }
        }
    )*};
}

dialect_handles! {
    math_dialect = mlirGetDialectHandle__math__;
    vector_dialect = mlirGetDialectHandle__vector__;
}

/// An operation of a module.
#[derive(Clone, Copy)]
pub struct Op<'a> {
    raw: MlirOperation,
    _module: PhantomData<&'a ()>,
}

/// A result of an operation or an argument of a block.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    raw: MlirValue,
    _module: PhantomData<&'a ()>,
}

/// A block; every body in the `repops` dialect is exactly one.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    raw: MlirBlock,
    _module: PhantomData<&'a ()>,
}

/// Identifies a value or an operation as a key of a map. The order is that of addresses, which differs from run to
/// run: never iterate such a map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(usize);

impl<'a> Op<'a> {
    /// # Safety
    /// `raw` lives as long as `'a`.
    pub(super) unsafe fn from_raw(raw: MlirOperation) -> Self {
        Self { raw, _module: PhantomData }
    }

    unsafe fn from_option_raw(raw: MlirOperation) -> Option<Self> {
        // SAFETY: passed on to the caller.
        (!raw.ptr.is_null()).then(|| unsafe { Self::from_raw(raw) })
    }

    pub fn key(self) -> Key {
        Key(self.raw.ptr as usize)
    }

    /// The full name, such as `repops.apply`.
    pub fn name(self) -> &'a str {
        // SAFETY: identifiers are uniqued in the context, which outlives 'a.
        unsafe { str_of(mlirIdentifierStr(mlirOperationGetName(self.raw))) }
    }

    pub fn location(self) -> Location<'a> {
        // SAFETY: `self` is live; locations are uniqued in the context.
        unsafe { Location::from_raw(mlirOperationGetLocation(self.raw)) }
    }

    pub fn set_location(self, location: Location<'a>) {
        // SAFETY: both are live.
        unsafe { mlirOperationSetLocation(self.raw, location.to_raw()) }
    }

    pub fn operand_count(self) -> usize {
        // SAFETY: `self` is live.
        unsafe { mlirOperationGetNumOperands(self.raw) as usize }
    }

    /// # Panics
    /// If there is no such operand.
    pub fn operand(self, index: usize) -> Value<'a> {
        assert!(index < self.operand_count(), "operand {index} of {}", self.name());
        // SAFETY: `self` is live and the index in range.
        unsafe { Value::from_raw(mlirOperationGetOperand(self.raw, index as isize)) }
    }

    pub fn operands(self) -> impl ExactSizeIterator<Item = Value<'a>> + DoubleEndedIterator {
        (0..self.operand_count()).map(move |index| self.operand(index))
    }

    /// # Panics
    /// If there is no such operand.
    pub fn set_operand(self, index: usize, value: Value<'a>) {
        assert!(index < self.operand_count(), "operand {index} of {}", self.name());
        // SAFETY: both are live and the index in range.
        unsafe { mlirOperationSetOperand(self.raw, index as isize, value.raw) }
    }

    pub fn set_operands(self, values: &[Value<'a>]) {
        let raw: Vec<MlirValue> = values.iter().map(|value| value.raw).collect();
        // SAFETY: all are live; the array is read during the call only.
        unsafe { mlirOperationSetOperands(self.raw, raw.len() as isize, raw.as_ptr()) }
    }

    pub fn result_count(self) -> usize {
        // SAFETY: `self` is live.
        unsafe { mlirOperationGetNumResults(self.raw) as usize }
    }

    /// # Panics
    /// If there is no such result.
    pub fn result(self, index: usize) -> Value<'a> {
        assert!(index < self.result_count(), "result {index} of {}", self.name());
        // SAFETY: `self` is live and the index in range.
        unsafe { Value::from_raw(mlirOperationGetResult(self.raw, index as isize)) }
    }

    pub fn results(self) -> impl ExactSizeIterator<Item = Value<'a>> + DoubleEndedIterator {
        (0..self.result_count()).map(move |index| self.result(index))
    }

    pub fn attribute(self, name: &str) -> Option<Attribute<'a>> {
        // SAFETY: `self` is live; attributes are uniqued in the context.
        unsafe {
            Attribute::from_option_raw(mlirOperationGetAttributeByName(
                self.raw,
                StringRef::new(name).to_raw(),
            ))
        }
    }

    /// Every attribute, sorted by name.
    pub fn attributes(self) -> Vec<(&'a str, Attribute<'a>)> {
        // SAFETY: `self` is live, the indices in range; attributes and names are uniqued in the context.
        unsafe {
            (0..mlirOperationGetNumAttributes(self.raw))
                .map(|index| {
                    let named = mlirOperationGetAttribute(self.raw, index);
                    (str_of(mlirIdentifierStr(named.name)), Attribute::from_raw(named.attribute))
                })
                .collect()
        }
    }

    pub fn set_attribute(self, name: &str, attribute: Attribute<'a>) {
        // SAFETY: both are live.
        unsafe {
            mlirOperationSetAttributeByName(self.raw, StringRef::new(name).to_raw(), attribute.to_raw())
        }
    }

    pub fn remove_attribute(self, name: &str) {
        // SAFETY: `self` is live.
        unsafe { mlirOperationRemoveAttributeByName(self.raw, StringRef::new(name).to_raw()) };
    }

    pub fn body_count(self) -> usize {
        // SAFETY: `self` is live.
        unsafe { mlirOperationGetNumRegions(self.raw) as usize }
    }

    /// The only block of the region `index`; `None` where the region is empty.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn body(self, index: usize) -> Option<Block<'a>> {
        assert!(index < self.body_count(), "region {index} of {}", self.name());
        // SAFETY: `self` is live and the index in range.
        unsafe {
            Block::from_option_raw(mlirRegionGetFirstBlock(mlirOperationGetRegion(self.raw, index as isize)))
        }
    }

    pub fn bodies(self) -> impl Iterator<Item = Block<'a>> {
        (0..self.body_count()).filter_map(move |index| self.body(index))
    }

    /// The block this operation stands in; `None` for the module itself and for erased operations.
    pub fn block(self) -> Option<Block<'a>> {
        // SAFETY: `self` is live.
        unsafe { Block::from_option_raw(mlirOperationGetBlock(self.raw)) }
    }

    pub fn parent(self) -> Option<Op<'a>> {
        // SAFETY: `self` is live.
        unsafe { Op::from_option_raw(mlirOperationGetParentOperation(self.raw)) }
    }

    pub fn next(self) -> Option<Op<'a>> {
        self.block()?;
        // SAFETY: `self` is live and in a block.
        unsafe { Op::from_option_raw(mlirOperationGetNextInBlock(self.raw)) }
    }

    pub fn has_uses(self) -> bool {
        self.results().any(Value::has_uses)
    }

    pub fn move_before(self, other: Op<'a>) {
        // SAFETY: both are live.
        unsafe { mlirOperationMoveBefore(self.raw, other.raw) }
    }

    /// Whether `self` stands before `other`, both being in the same block.
    pub fn is_before(self, other: Op<'a>) -> bool {
        // SAFETY: both are live.
        unsafe { mlirOperationIsBeforeInBlock(self.raw, other.raw) }
    }

    /// The operation as text, with locations where asked.
    pub fn to_text(self, locations: bool) -> String {
        unsafe extern "C" fn append(part: MlirStringRef, text: *mut c_void) {
            // SAFETY: `text` is the buffer passed below, `part` is valid during the call.
            unsafe {
                let text = &mut *text.cast::<Vec<u8>>();
                text.extend_from_slice(bytes_of(part));
            }
        }
        let mut text: Vec<u8> = Vec::new();
        // SAFETY: `self` is live; the flags are created and destroyed here; the callback sees `text` alone.
        unsafe {
            let flags = mlirOpPrintingFlagsCreate();
            mlirOpPrintingFlagsEnableDebugInfo(flags, locations, false);
            // Locations where they belong, not as a list below.
            mlirOpPrintingFlagsUseLocalScope(flags);
            mlirOperationPrintWithFlags(self.raw, flags, Some(append), (&raw mut text).cast());
            mlirOpPrintingFlagsDestroy(flags);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl PartialEq for Op<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw.ptr == other.raw.ptr
    }
}
impl Eq for Op<'_> {}

impl std::fmt::Display for Op<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_text(false))
    }
}

impl std::fmt::Debug for Op<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_text(true))
    }
}

impl<'a> Value<'a> {
    unsafe fn from_raw(raw: MlirValue) -> Self {
        Self { raw, _module: PhantomData }
    }

    pub fn key(self) -> Key {
        Key(self.raw.ptr as usize)
    }

    pub fn ty(self) -> Type<'a> {
        // SAFETY: `self` is live; types are uniqued in the context.
        unsafe { Type::from_raw(mlirValueGetType(self.raw)) }
    }

    pub fn set_type(self, ty: Type<'a>) {
        // SAFETY: both are live.
        unsafe { mlirValueSetType(self.raw, ty.to_raw()) }
    }

    /// The operation this is a result of; `None` for a block's argument.
    pub fn defining_op(self) -> Option<Op<'a>> {
        // SAFETY: `self` is live, and asked for its owner only if it has one.
        unsafe { mlirValueIsAOpResult(self.raw).then(|| Op::from_raw(mlirOpResultGetOwner(self.raw))) }
    }

    /// The number of the result among its operation's, or of the argument among its block's.
    pub fn number(self) -> usize {
        // SAFETY: `self` is live and is one of the two.
        unsafe {
            if mlirValueIsAOpResult(self.raw) {
                mlirOpResultGetResultNumber(self.raw) as usize
            } else {
                mlirBlockArgumentGetArgNumber(self.raw) as usize
            }
        }
    }

    /// The block this value is defined in (an argument's own, a result's operation's).
    pub fn block(self) -> Option<Block<'a>> {
        match self.defining_op() {
            Some(op) => op.block(),
            // SAFETY: a value that no operation defines is a block's argument.
            None => unsafe { Block::from_option_raw(mlirBlockArgumentGetOwner(self.raw)) },
        }
    }

    pub fn has_uses(self) -> bool {
        // SAFETY: `self` is live.
        unsafe { repopsValueHasUses(self.raw) }
    }

    /// Every use, as (operation, operand number), in no order that means anything.
    pub fn uses(self) -> Vec<(Op<'a>, usize)> {
        self.uses_up_to(usize::MAX).unwrap_or_default()
    }

    /// [`Value::uses`]; `None` if there are more than `most`.
    pub fn uses_up_to(self, most: usize) -> Option<Vec<(Op<'a>, usize)>> {
        let mut uses = Vec::new();
        // SAFETY: `self` is live, and the chain of uses is not changed while it is followed.
        unsafe {
            let mut current = mlirValueGetFirstUse(self.raw);
            while !mlirOpOperandIsNull(current) {
                if uses.len() == most {
                    return None;
                }
                let owner = Op::from_raw(mlirOpOperandGetOwner(current));
                uses.push((owner, mlirOpOperandGetOperandNumber(current) as usize));
                current = mlirOpOperandGetNextUse(current);
            }
        }
        Some(uses)
    }

    pub fn replace_all_uses_with(self, other: Value<'a>) {
        // SAFETY: both are live.
        unsafe { mlirValueReplaceAllUsesOfWith(self.raw, other.raw) }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw.ptr == other.raw.ptr
    }
}
impl Eq for Value<'_> {}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "value of type {}", self.ty())
    }
}

impl<'a> Block<'a> {
    unsafe fn from_option_raw(raw: MlirBlock) -> Option<Self> {
        (!raw.ptr.is_null()).then_some(Self { raw, _module: PhantomData })
    }

    pub fn argument_count(self) -> usize {
        // SAFETY: `self` is live.
        unsafe { mlirBlockGetNumArguments(self.raw) as usize }
    }

    /// # Panics
    /// If there is no such argument.
    pub fn argument(self, index: usize) -> Value<'a> {
        assert!(index < self.argument_count(), "argument {index} of a block");
        // SAFETY: `self` is live and the index in range.
        unsafe { Value::from_raw(mlirBlockGetArgument(self.raw, index as isize)) }
    }

    pub fn arguments(self) -> impl ExactSizeIterator<Item = Value<'a>> + DoubleEndedIterator {
        (0..self.argument_count()).map(move |index| self.argument(index))
    }

    pub fn add_argument(self, ty: Type<'a>, location: Location<'a>) -> Value<'a> {
        // SAFETY: all are live.
        unsafe { Value::from_raw(mlirBlockAddArgument(self.raw, ty.to_raw(), location.to_raw())) }
    }

    pub fn parent(self) -> Option<Op<'a>> {
        // SAFETY: `self` is live.
        unsafe { Op::from_option_raw(mlirBlockGetParentOperation(self.raw)) }
    }

    pub fn first(self) -> Option<Op<'a>> {
        // SAFETY: `self` is live.
        unsafe { Op::from_option_raw(mlirBlockGetFirstOperation(self.raw)) }
    }

    pub fn terminator(self) -> Option<Op<'a>> {
        // SAFETY: `self` is live.
        unsafe { Op::from_option_raw(mlirBlockGetTerminator(self.raw)) }
    }

    /// The block's operations as they stand now, in order; the caller may change the block while it walks them.
    pub fn ops(self) -> Vec<Op<'a>> {
        std::iter::successors(self.first(), |op| op.next()).collect()
    }
}

impl PartialEq for Block<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.raw.ptr == other.raw.ptr
    }
}
impl Eq for Block<'_> {}

/// The operation of a module.
pub(super) fn top<'a>(module: &'a melior::ir::Module<'_>) -> Op<'a> {
    // SAFETY: the operation lives as long as the module, which is borrowed for 'a.
    unsafe { Op::from_raw(mlirModuleGetOperation(module.to_raw())) }
}

/// An operation that was taken out of its module, alive until this is dropped. Its owner drops it before the context.
pub(super) struct Erased(#[allow(dead_code, reason = "held to be dropped")] melior::ir::Operation<'static>);

/// Takes an operation out of its block and drops its operands, those of what it holds too.
pub(super) fn detach(op: Op<'_>) -> Erased {
    // SAFETY: the operation is live and, being detached, owned by nobody else. `Erased` says for how long it lives,
    // and hands out no reference with the lifetime named here.
    unsafe {
        repopsOperationDetach(op.raw);
        Erased(melior::ir::Operation::from_raw(op.raw))
    }
}

unsafe fn bytes_of<'a>(string: MlirStringRef) -> &'a [u8] {
    if string.length == 0 {
        return &[];
    }
    // SAFETY: the caller vouches that the string lives for 'a.
    unsafe { std::slice::from_raw_parts(string.data.cast::<u8>(), string.length) }
}

unsafe fn str_of<'a>(string: MlirStringRef) -> &'a str {
    // SAFETY: passed on; names of operations are ASCII.
    std::str::from_utf8(unsafe { bytes_of(string) }).expect("a name in UTF-8")
}
