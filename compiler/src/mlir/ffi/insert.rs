//! New operations.
//!
//! Invariant: an operation that was made stands in a block, which owns it.

use melior::StringRef;
use melior::ir::attribute::AttributeLike;
use melior::ir::{Attribute, Location, Type, TypeLike};
use mlir_sys::*;

use super::{Block, Op, Value};

/// Where a new operation goes.
#[derive(Clone, Copy)]
pub enum At<'a> {
    End(Block<'a>),
    Before(Op<'a>),
    After(Op<'a>),
}

/// What a new operation is made of.
pub(in crate::mlir) struct OpParts<'a, 'p> {
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
pub(in crate::mlir) fn insert<'a>(at: At<'a>, parts: &OpParts<'a, '_>) -> Op<'a> {
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
