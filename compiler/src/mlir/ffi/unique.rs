//! What MLIR keeps once per context: attributes, types, locations and identifiers.
//!
//! Invariant: nothing here is ever freed before its context, which `'a` and `'c` borrow.

use melior::ir::attribute::AttributeLike;
use melior::ir::{Attribute, Identifier, Location, Type, TypeLike};
use mlir_sys::*;

use super::{Key, bytes_of};

/// Attributes are uniqued: equal ones have equal keys.
pub fn attribute_key(attribute: Attribute<'_>) -> Key {
    Key(attribute.to_raw().ptr as usize)
}

/// Locations are uniqued: equal ones have equal keys.
pub(in crate::mlir) fn location_key(location: Location<'_>) -> Key {
    Key(location.to_raw().ptr as usize)
}

/// Types are uniqued: equal ones have equal keys.
pub fn type_key(ty: Type<'_>) -> Key {
    Key(ty.to_raw().ptr as usize)
}

/// A fused location without metadata.
pub(in crate::mlir) fn fused<'a>(context: &'a melior::Context, parts: &[Location<'a>]) -> Location<'a> {
    let raw: Vec<MlirLocation> = parts.iter().map(|part| part.to_raw()).collect();
    // SAFETY: the locations are live, the array is read during the call, and a null attribute means none.
    unsafe {
        let none = MlirAttribute { ptr: std::ptr::null() };
        Location::from_raw(mlirLocationFusedGet(context.to_raw(), raw.len() as isize, raw.as_ptr(), none))
    }
}

/// The parts of a fused location, all at once: to be asked for one of them, MLIR copies all.
pub(in crate::mlir) fn fused_parts(location: Location<'_>) -> Vec<Location<'_>> {
    if !location.is_fused() {
        return Vec::new();
    }
    let mut raw = vec![location.to_raw(); location.fused_num_locations()];
    // SAFETY: the location is a live fused one, and the array has room for as many parts as it has; the context, which
    // keeps locations for good, outlives them.
    unsafe {
        mlirLocationFusedGetLocations(location.to_raw(), raw.as_mut_ptr());
        raw.into_iter().map(|part| Location::from_raw(part)).collect()
    }
}

/// The text of an identifier; empty if it is no UTF-8.
pub(in crate::mlir) fn identifier_text<'a>(identifier: Identifier<'a>) -> &'a str {
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
pub(in crate::mlir) fn dense_f32_array<'c>(context: &'c melior::Context, values: &[f32]) -> Attribute<'c> {
    // SAFETY: the array is read during the call.
    unsafe {
        Attribute::from_raw(mlirDenseF32ArrayGet(context.to_raw(), values.len() as isize, values.as_ptr()))
    }
}

/// The numbers of an `array<f32: ...>`.
pub(in crate::mlir) fn f32_array(attribute: Attribute<'_>) -> Option<Vec<f32>> {
    let raw = attribute.to_raw();
    // SAFETY: the attribute is live and asked for its elements only if it has them.
    unsafe {
        mlirAttributeIsADenseF32Array(raw).then(|| {
            (0..mlirDenseArrayGetNumElements(raw)).map(|i| mlirDenseF32ArrayGetElement(raw, i)).collect()
        })
    }
}

/// The extent of an axis of a ranked tensor; `None` where it is dynamic.
pub(in crate::mlir) fn extent(ty: Type<'_>, axis: usize) -> Option<i64> {
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
