//! The edge to MLIR's C interface: handles to operations, values and blocks, and every `unsafe` of the façade.
//!
//! Invariant: a handle is never dangling. A handle borrows its [`Module`](super::Module); while handles live no
//! operation is freed ([`Module::erase`](super::Module::erase) only detaches), and whatever frees operations (a
//! builtin pass, the module's destruction) needs the module exclusively. Handles of one module must not be mixed
//! with those of another; MLIR's verifier reports a value used outside of its module.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;

use melior::StringRef;
use melior::dialect::DialectHandle;
use melior::ir::attribute::AttributeLike;
use melior::ir::{Attribute, Identifier, Location, Type, TypeLike};
use mlir_sys::*;

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

/// Attributes are uniqued: equal ones have equal keys.
pub fn attribute_key(attribute: Attribute<'_>) -> Key {
    Key(attribute.to_raw().ptr as usize)
}

/// Locations are uniqued: equal ones have equal keys.
pub(super) fn location_key(location: Location<'_>) -> Key {
    Key(location.to_raw().ptr as usize)
}

/// Types are uniqued: equal ones have equal keys.
pub fn type_key(ty: Type<'_>) -> Key {
    Key(ty.to_raw().ptr as usize)
}

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

/// A fused location without metadata.
pub(super) fn fused<'a>(context: &'a melior::Context, parts: &[Location<'a>]) -> Location<'a> {
    let raw: Vec<MlirLocation> = parts.iter().map(|part| part.to_raw()).collect();
    // SAFETY: the locations are live, the array is read during the call, and a null attribute means none.
    unsafe {
        let none = MlirAttribute { ptr: std::ptr::null() };
        Location::from_raw(mlirLocationFusedGet(context.to_raw(), raw.len() as isize, raw.as_ptr(), none))
    }
}

/// Where a new operation goes.
#[derive(Clone, Copy)]
pub enum At<'a> {
    End(Block<'a>),
    Before(Op<'a>),
    After(Op<'a>),
}

/// What a new operation is made of.
pub(super) struct OpParts<'a, 'p> {
    pub name: &'p str,
    pub location: Location<'a>,
    pub operands: &'p [Value<'a>],
    pub results: &'p [Type<'a>],
    pub attributes: &'p [(&'p str, Attribute<'a>)],
    /// For every region the types of its block's arguments.
    pub bodies: &'p [Vec<Type<'a>>],
}

/// Creates an operation and puts it where it belongs.
///
/// # Panics
/// If the operation is not registered or an attribute of it has the wrong kind: a mistake of the calling pass.
pub(super) fn insert<'a>(at: At<'a>, parts: &OpParts<'a, '_>) -> Op<'a> {
    let block = match at {
        At::End(block) => block,
        At::Before(op) | At::After(op) => op.block().expect("the insertion point stands in a block"),
    };
    let operands: Vec<MlirValue> = parts.operands.iter().map(|value| value.raw).collect();
    let results: Vec<MlirType> = parts.results.iter().map(TypeLike::to_raw).collect();
    // SAFETY: every handle is live and of one context; the arrays outlive the call that reads them; regions and
    // blocks created here are owned by the operation from `mlirOperationCreate` on, which takes them even if it
    // fails; the operation is owned by its block once inserted.
    unsafe {
        let context = mlirLocationGetContext(parts.location.to_raw());
        let attributes: Vec<MlirNamedAttribute> = parts
            .attributes
            .iter()
            .map(|(name, attribute)| {
                let name = mlirIdentifierGet(context, StringRef::new(name).to_raw());
                mlirNamedAttributeGet(name, attribute.to_raw())
            })
            .collect();
        let regions: Vec<MlirRegion> = parts
            .bodies
            .iter()
            .map(|arguments| {
                let types: Vec<MlirType> = arguments.iter().map(TypeLike::to_raw).collect();
                let locations = vec![parts.location.to_raw(); types.len()];
                let region = mlirRegionCreate();
                let block = mlirBlockCreate(types.len() as isize, types.as_ptr(), locations.as_ptr());
                mlirRegionAppendOwnedBlock(region, block);
                region
            })
            .collect();
        let mut state = mlirOperationStateGet(StringRef::new(parts.name).to_raw(), parts.location.to_raw());
        mlirOperationStateAddOperands(&mut state, operands.len() as isize, operands.as_ptr());
        mlirOperationStateAddResults(&mut state, results.len() as isize, results.as_ptr());
        mlirOperationStateAddAttributes(&mut state, attributes.len() as isize, attributes.as_ptr());
        mlirOperationStateAddOwnedRegions(&mut state, regions.len() as isize, regions.as_ptr());
        let raw = mlirOperationCreate(&mut state);
        assert!(!raw.ptr.is_null(), "{} cannot be created", parts.name);
        match at {
            At::End(block) => mlirBlockAppendOwnedOperation(block.raw, raw),
            At::Before(op) => mlirBlockInsertOwnedOperationBefore(block.raw, op.raw, raw),
            At::After(op) => mlirBlockInsertOwnedOperationAfter(block.raw, op.raw, raw),
        }
        Op::from_raw(raw)
    }
}

/// The text of an identifier; empty if it is no UTF-8.
pub(super) fn identifier_text<'a>(identifier: Identifier<'a>) -> &'a str {
    // SAFETY: identifiers are uniqued in the context, which outlives 'a.
    unsafe { std::str::from_utf8(bytes_of(mlirIdentifierStr(identifier.to_raw()))).unwrap_or("") }
}

/// The text of a string attribute; `None` for any other, and for what is no UTF-8.
pub fn string_text<'a>(attribute: Attribute<'a>) -> Option<&'a str> {
    // SAFETY: the attribute is live, asked for its text only if it has one; attributes are uniqued in the context.
    unsafe {
        mlirAttributeIsAString(attribute.to_raw())
            .then(|| std::str::from_utf8(bytes_of(mlirStringAttrGetValue(attribute.to_raw()))).ok())
            .flatten()
    }
}

/// An `array<f32: ...>`.
pub(super) fn dense_f32_array<'c>(context: &'c melior::Context, values: &[f32]) -> Attribute<'c> {
    // SAFETY: the array is read during the call.
    unsafe {
        Attribute::from_raw(mlirDenseF32ArrayGet(context.to_raw(), values.len() as isize, values.as_ptr()))
    }
}

/// The numbers of an `array<f32: ...>`.
pub(super) fn f32_array(attribute: Attribute<'_>) -> Option<Vec<f32>> {
    let raw = attribute.to_raw();
    // SAFETY: the attribute is live and asked for its elements only if it has them.
    unsafe {
        mlirAttributeIsADenseF32Array(raw).then(|| {
            (0..mlirDenseArrayGetNumElements(raw)).map(|i| mlirDenseF32ArrayGetElement(raw, i)).collect()
        })
    }
}

/// The extent of an axis of a ranked tensor; `None` where it is dynamic.
pub(super) fn extent(ty: Type<'_>, axis: usize) -> Option<i64> {
    let raw = ty.to_raw();
    // SAFETY: the type is live, and a ranked shaped one with that axis, or is not asked.
    unsafe {
        let fits = mlirTypeIsAShaped(raw)
            && mlirShapedTypeHasRank(raw)
            && (axis as i64) < mlirShapedTypeGetRank(raw);
        (fits && !mlirShapedTypeIsDynamicDim(raw, axis as isize))
            .then(|| mlirShapedTypeGetDimSize(raw, axis as isize))
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
