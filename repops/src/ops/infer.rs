//! What inference sees and says: symbolic types, and integer values where shapes need them.
//!
//! The same functions serve the compiler (symbolic dimensions) and the runtime (constants only), so
//! that the two cannot disagree.

use std::cell::Cell;

use super::OpError;
use crate::attrs::Attrs;
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::{RANK_MAX, TensorView};

/// An element type and a symbolic shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymType {
    pub dtype: DType,
    pub shape: Vec<DimExpr>,
}

impl SymType {
    pub fn new(dtype: DType, shape: Vec<DimExpr>) -> SymType {
        SymType { dtype, shape }
    }

    pub fn of(dtype: DType, shape: &[usize]) -> SymType {
        SymType { dtype, shape: shape.iter().map(|&d| DimExpr::from(d)).collect() }
    }

    /// The shape, when every dimension is a constant that is an extent.
    pub fn extents(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(DimExpr::as_extent).collect()
    }
}

/// `f32[batch, 128]`
impl std::fmt::Display for SymType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dims: Vec<String> = self.shape.iter().map(|d| d.to_string()).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(", "))
    }
}

/// The most elements whose symbolic values are followed through shape computations.
pub const SYM_ELEMENTS_MAX: usize = 64;

/// A small i64 or i32 tensor whose elements are expressions over sizes. At most one axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SymTensor {
    /// `None`: a scalar; `Some(n)`: one axis of n elements.
    pub len: Option<usize>,
    pub elements: Vec<DimExpr>,
}

impl SymTensor {
    pub fn scalar(value: DimExpr) -> SymTensor {
        SymTensor { len: None, elements: vec![value] }
    }

    pub fn vector(elements: Vec<DimExpr>) -> SymTensor {
        SymTensor { len: Some(elements.len()), elements }
    }
}

/// What is known of an input.
#[derive(Clone, Copy)]
pub struct InferInput<'a> {
    pub ty: &'a SymType,
    /// The whole value: a constant, or at run time the tensor itself.
    pub tensor: Option<TensorView<'a>>,
    /// A value known in terms of sizes.
    pub sym: Option<&'a SymTensor>,
}

/// What is known of an output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inferred {
    pub ty: SymType,
    pub sym: Option<SymTensor>,
}

impl Inferred {
    pub fn new(dtype: DType, shape: Vec<DimExpr>) -> Inferred {
        Inferred { ty: SymType::new(dtype, shape), sym: None }
    }

    /// An i64 output whose value is known in terms of sizes.
    pub fn with_sym(dtype: DType, value: SymTensor) -> Inferred {
        let shape = value.len.iter().map(|&n| DimExpr::from(n)).collect();
        let keep = value.elements.len() <= SYM_ELEMENTS_MAX && matches!(dtype, DType::I64 | DType::I32);
        Inferred { ty: SymType::new(dtype, shape), sym: keep.then_some(value) }
    }
}

/// What inference of one step sees.
pub struct InferCtx<'a> {
    pub attrs: &'a Attrs,
    pub inputs: &'a [Option<InferInput<'a>>],
    /// The number of outputs that the step declares.
    pub outputs: usize,
    /// The next number for a size that depends on data.
    pub fresh: &'a Cell<u32>,
}

impl<'a> InferCtx<'a> {
    pub fn input(&self, index: usize) -> Result<InferInput<'a>, OpError> {
        self.optional(index).ok_or(OpError::MissingInput { index })
    }

    pub fn optional(&self, index: usize) -> Option<InferInput<'a>> {
        self.inputs.get(index).copied().flatten()
    }

    pub fn dtype(&self, index: usize) -> Result<DType, OpError> {
        Ok(self.input(index)?.ty.dtype)
    }

    pub fn shape(&self, index: usize) -> Result<&'a [DimExpr], OpError> {
        Ok(&self.input(index)?.ty.shape)
    }

    /// A dimension that is known only when the step has run.
    pub fn fresh_dim(&self) -> DimExpr {
        let number = self.fresh.get();
        self.fresh.set(number.wrapping_add(1));
        DimExpr::unknown(number)
    }

    /// The input's dtype, which must satisfy `accept`.
    pub fn require(
        &self,
        index: usize,
        expected: &'static str,
        accept: impl Fn(DType) -> bool,
    ) -> Result<DType, OpError> {
        let found = self.dtype(index)?;
        if accept(found) { Ok(found) } else { Err(OpError::DType { index, found, expected }) }
    }

    /// The input's dtype, which must be `dtype`.
    pub fn require_same(&self, index: usize, dtype: DType) -> Result<(), OpError> {
        self.require(index, dtype.name(), |d| d == dtype).map(|_| ())
    }

    /// The elements of an integer input of at most one axis, in terms of sizes.
    pub fn dims(&self, index: usize) -> Result<Vec<DimExpr>, OpError> {
        let input = self.input(index)?;
        self.require(index, "i64 or i32", |d| matches!(d, DType::I64 | DType::I32))?;
        if let Some(values) = input.tensor.and_then(|t| t.to_i64s()) {
            return Ok(values.into_iter().map(DimExpr::Const).collect());
        }
        if let Some(sym) = input.sym {
            return Ok(sym.elements.clone());
        }
        Err(OpError::ValueUnknown { index })
    }

    /// The elements of an integer input, which must be constant.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, OpError> {
        self.dims(index)?.iter().map(|d| d.as_const().ok_or(OpError::ValueUnknown { index })).collect()
    }

    /// The symbolic value of an input if there is any, also when the tensor itself is known and small.
    pub fn sym(&self, index: usize) -> Option<SymTensor> {
        let input = self.optional(index)?;
        if let Some(sym) = input.sym {
            return Some(sym.clone());
        }
        let tensor = input.tensor?;
        if tensor.shape.len() > 1 || tensor.len() > SYM_ELEMENTS_MAX {
            return None;
        }
        let elements = tensor.to_i64s()?.into_iter().map(DimExpr::Const).collect();
        Some(SymTensor { len: tensor.shape.first().copied(), elements })
    }

    /// The attribute `name` as an axis of `rank` axes: negative counts from the back.
    pub fn axis_attr(&self, name: &str, rank: usize) -> Result<usize, OpError> {
        normalize_axis(self.attrs.int(name), rank).map_err(|problem| OpError::attr(name, problem))
    }
}

/// An axis in `-rank .. rank` as an index.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = rank as i64;
    if axis < -signed || axis >= signed {
        return Err(format!("axis {axis} is outside of a rank-{rank} tensor"));
    }
    Ok(if axis < 0 { (axis + signed) as usize } else { axis as usize })
}

/// Whether a shape may be that of a single element: none of its sizes is known to be another than 1. Those that are not
/// known are looked at again when they are.
pub fn may_be_single(shape: &[DimExpr]) -> bool {
    shape.iter().all(|extent| extent.as_const().is_none_or(|n| n == 1))
}

/// The broadcast of shapes by ONNX's (numpy's) rule: aligned at the right, equal or 1. A symbolic
/// dimension meeting another that is not provably equal: if one is a constant above 1 the result is
/// that constant; otherwise their maximum.
pub fn broadcast(shapes: &[&[DimExpr]]) -> Result<Vec<DimExpr>, OpError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    if rank > RANK_MAX {
        return Err(OpError::shape(format!("rank {rank} is above {RANK_MAX}")));
    }
    let mut out = vec![DimExpr::Const(1); rank];
    for shape in shapes {
        for (slot, dim) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            *slot = match (&*slot, dim) {
                (DimExpr::Const(1), d) => d.clone(),
                (s, DimExpr::Const(1)) => s.clone(),
                (s, d) if s.provably_equals(d) => s.clone(),
                (DimExpr::Const(a), DimExpr::Const(b)) => {
                    return Err(OpError::shape(format!("{a} does not broadcast with {b}")));
                }
                (DimExpr::Const(a), _) => DimExpr::Const(*a),
                (_, DimExpr::Const(b)) => DimExpr::Const(*b),
                (s, d) => s.maximum(d),
            };
        }
    }
    Ok(out)
}

/// The broadcast of known shapes, by the rule of [`broadcast`].
pub fn broadcast_extents(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    if rank > RANK_MAX {
        return Err(OpError::shape(format!("rank {rank} is above {RANK_MAX}")));
    }
    let mut out = vec![1; rank];
    for shape in shapes {
        for (slot, &extent) in out[rank - shape.len()..].iter_mut().zip(*shape) {
            match (*slot, extent) {
                (1, e) => *slot = e,
                (_, 1) => {}
                (s, e) if s == e => {}
                (s, e) => return Err(OpError::shape(format!("{s} does not broadcast with {e}"))),
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes_broadcast_as_symbolic_ones_do() {
        let shapes: [&[usize]; 7] = [&[], &[1], &[3], &[0], &[2, 1], &[2, 3], &[1, 1, 3]];
        for a in shapes {
            for b in shapes {
                let symbolic = [a, b].map(|s| SymType::of(DType::F32, s));
                let expected = broadcast(&[&symbolic[0].shape, &symbolic[1].shape])
                    .map(|shape| SymType::new(DType::F32, shape).extents().expect("constants"));
                let found = broadcast_extents(&[a, b]);
                assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{a:?} with {b:?}");
            }
        }
        assert!(broadcast_extents(&[&[1; RANK_MAX + 1]]).is_err());
    }
}
