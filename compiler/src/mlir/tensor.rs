//! Tensor types with symbolic dimensions.
//!
//! `tensor<?x128xf32, ["batch", "128"]>`: the encoding holds every dimension's expression in canonical text. A type
//! whose dimensions are all extents has no encoding; `!repops.unknown` stands where nothing is known. Signed integers
//! are signless in MLIR, unsigned ones `ui`, bool is `i1`, and the bytes of packed values are `si8`.

use std::collections::BTreeMap;
use std::rc::Rc;

use melior::ir::attribute::{ArrayAttribute, StringAttribute};
use melior::ir::r#type::{IntegerType, RankedTensorType, TypeLike};
use melior::ir::{Attribute, ShapedTypeLike, Type};
use repops::dim::DimExpr;
use repops::dtype::DType;
use repops::ops::SymType;

use super::{Context, Key, attr, ffi, type_key};

/// MLIR's mark of an extent that is not constant.
const DYNAMIC: u64 = i64::MIN as u64;

/// The type of a value that is not known yet.
pub fn unknown(context: &Context) -> Type<'_> {
    Type::parse(context.melior(), "!repops.unknown").expect("a type of our dialect")
}

/// The type of a tensor, or the unknown one.
pub fn of<'c>(context: &'c Context, ty: Option<&SymType>) -> Type<'c> {
    let Some(SymType { dtype, shape }) = ty else { return unknown(context) };
    let extents: Vec<u64> =
        shape.iter().map(|dim| dim.as_extent().map_or(DYNAMIC, |extent| extent as u64)).collect();
    let encoding = extents.contains(&DYNAMIC).then(|| {
        let dims: Vec<Attribute<'c>> =
            shape.iter().map(|dim| StringAttribute::new(context.melior(), &dim.to_string()).into()).collect();
        ArrayAttribute::new(context.melior(), &dims).into()
    });
    RankedTensorType::new(&extents, scalar(context, *dtype), encoding).into()
}

/// The type of one element.
pub fn scalar(context: &Context, dtype: DType) -> Type<'_> {
    let melior = context.melior();
    match dtype {
        DType::F16 => Type::float16(melior),
        DType::BF16 => Type::bfloat16(melior),
        DType::F32 => Type::float32(melior),
        DType::F64 => Type::float64(melior),
        DType::Bool => IntegerType::new(melior, 1).into(),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            IntegerType::new(melior, 8 * dtype.size() as u32).into()
        }
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => {
            IntegerType::unsigned(melior, 8 * dtype.size() as u32).into()
        }
        DType::Packed => IntegerType::signed(melior, 8).into(),
        DType::I4 => IntegerType::new(melior, 4).into(),
        DType::I2 => IntegerType::new(melior, 2).into(),
        DType::U4 => IntegerType::unsigned(melior, 4).into(),
        DType::U2 => IntegerType::unsigned(melior, 2).into(),
        DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F4E2M1
        | DType::F8E8M0 => Type::parse(melior, narrow_float(dtype)).expect("a type of MLIR's"),
    }
}

/// MLIR's name of a float of 8 bits or less.
fn narrow_float(dtype: DType) -> &'static str {
    match dtype {
        DType::F8E4M3FN => "f8E4M3FN",
        DType::F8E4M3FNUZ => "f8E4M3FNUZ",
        DType::F8E5M2 => "f8E5M2",
        DType::F8E5M2FNUZ => "f8E5M2FNUZ",
        DType::F4E2M1 => "f4E2M1FN",
        _ => "f8E8M0FNU",
    }
}

/// The inverse of [`scalar`].
pub fn dtype(ty: Type<'_>) -> Option<DType> {
    if ty.is_f32() {
        return Some(DType::F32);
    } else if ty.is_f64() {
        return Some(DType::F64);
    } else if ty.is_f16() {
        return Some(DType::F16);
    } else if ty.is_bf16() {
        return Some(DType::BF16);
    }
    let Ok(integer) = IntegerType::try_from(ty) else {
        let name = ty.to_string();
        return DType::ALL.into_iter().find(|d| d.is_narrow_float() && narrow_float(*d) == name);
    };
    if integer.is_signed() {
        return (integer.width() == 8).then_some(DType::Packed);
    }
    Some(match (integer.width(), integer.is_unsigned()) {
        (1, false) => DType::Bool,
        (8, false) => DType::I8,
        (16, false) => DType::I16,
        (32, false) => DType::I32,
        (64, false) => DType::I64,
        (2, false) => DType::I2,
        (4, false) => DType::I4,
        (2, true) => DType::U2,
        (4, true) => DType::U4,
        (8, true) => DType::U8,
        (16, true) => DType::U16,
        (32, true) => DType::U32,
        (64, true) => DType::U64,
        _ => return None,
    })
}

/// Reads a tensor type; `None` for an unknown type and for what is no tensor.
pub fn sym_type(ty: Type<'_>) -> Option<SymType> {
    let tensor = RankedTensorType::try_from(ty).ok()?;
    let dtype = dtype(tensor.element())?;
    let texts = tensor.encoding().and_then(attr::strings);
    let shape = (0..tensor.rank())
        .map(|axis| match ffi::extent(ty, axis) {
            Some(extent) => Some(DimExpr::Const(extent)),
            None => DimExpr::parse(texts.as_ref()?.get(axis)?),
        })
        .collect::<Option<Vec<DimExpr>>>()?;
    Some(SymType { dtype, shape })
}

/// Types that were read before. Types are uniqued, and a model has few different ones.
#[derive(Default)]
pub struct SymTypes(BTreeMap<Key, Option<Rc<SymType>>>);

impl SymTypes {
    /// [`sym_type`], remembered.
    pub fn get(&mut self, ty: Type<'_>) -> Option<Rc<SymType>> {
        self.0.entry(type_key(ty)).or_insert_with(|| sym_type(ty).map(Rc::new)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_survive_the_way_there_and_back() {
        let context = Context::new();
        for dtype in DType::ALL.into_iter().chain([DType::Packed]) {
            let shapes = [
                vec![],
                vec![DimExpr::Const(0), DimExpr::Const(3)],
                vec![DimExpr::sym("batch"), DimExpr::Const(128)],
                vec![
                    DimExpr::sym("odd 'name'").mul(&DimExpr::Const(2)),
                    DimExpr::unknown(3),
                    DimExpr::Opaque,
                ],
            ];
            for shape in shapes {
                let ty = SymType { dtype, shape };
                let there = of(&context, Some(&ty));
                assert_eq!(sym_type(there), Some(ty.clone()), "{there}");
                let parsed = Type::parse(context.melior(), &there.to_string()).unwrap();
                assert_eq!(sym_type(parsed), Some(ty), "{there}");
            }
        }
        assert_eq!(sym_type(of(&context, None)), None);
    }
}
