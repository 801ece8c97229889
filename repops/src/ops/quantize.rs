//! What QuantizeLinear and DequantizeLinear share: which scale an element has.
//!
//! Invariant: scale and zero point have one shape, and it is one of the three that ONNX knows.

use super::infer::{may_be_single, normalize_axis};
use super::{InferCtx, OpError};
use crate::attrs::Attrs;
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::element_count;

/// Which element of the scale belongs to an element of X.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Granularity {
    Tensor,
    Axis { extent: usize, inner: usize },
    Blocked { extent: usize, inner: usize, block: usize, blocks: usize },
}

impl Granularity {
    /// For checked shapes.
    pub fn of(attrs: &Attrs, x: &[usize], scale: &[usize]) -> Result<Granularity, OpError> {
        if element_count(scale) == 1 && scale.len() <= 1 {
            return Ok(Granularity::Tensor);
        }
        let axis =
            normalize_axis(attrs.int("axis"), x.len()).map_err(|problem| OpError::attr("axis", problem))?;
        let (extent, inner) = (x[axis], element_count(&x[axis + 1..]));
        match usize::try_from(attrs.int("block_size")) {
            Ok(0) => Ok(Granularity::Axis { extent, inner }),
            Ok(block) => Ok(Granularity::Blocked { extent, inner, block, blocks: extent.div_ceil(block) }),
            Err(_) => Err(OpError::attr("block_size", "is negative")),
        }
    }

    /// The position in the scale of X's element `at`.
    pub fn scale_of(self, at: usize) -> usize {
        match self {
            Granularity::Tensor => 0,
            Granularity::Axis { extent, inner } => at / inner % extent,
            Granularity::Blocked { extent, inner, block, blocks } => {
                let (outer, along, within) = (at / (extent * inner), at / inner % extent, at % inner);
                (outer * blocks + along / block) * inner + within
            }
        }
    }
}

/// Checks the shapes of X (input 0), scale (1) and zero point (2).
pub(super) fn check_shapes(ctx: &InferCtx<'_>) -> Result<(), OpError> {
    let (x, scale) = (ctx.shape(0)?, ctx.shape(1)?);
    let differ = |a: &DimExpr, b: &DimExpr| a.as_const().zip(b.as_const()).is_some_and(|(a, b)| a != b);
    let bad = |what: &str| {
        let tys = [0, 1].map(|i| ctx.input(i).map(|x| x.ty.to_string()).unwrap_or_default());
        Err(OpError::shape(format!("{what}: X is {}, scale {}", tys[0], tys[1])))
    };
    let single = |shape: &[DimExpr]| shape.len() <= 1 && may_be_single(shape);
    if let Some(zero) = ctx.optional(2) {
        let zero = &zero.ty.shape;
        // One element may have an axis or none, each for itself.
        if single(zero) && single(scale) {
        } else if zero.len() != scale.len() || zero.iter().zip(scale).any(|(a, b)| differ(a, b)) {
            return bad("the zero point has another shape than the scale");
        }
    }
    let block = ctx.attrs.int("block_size");
    if block < 0 {
        return Err(OpError::attr("block_size", "is negative"));
    }
    if single(scale) {
        return Ok(());
    }
    let axis = ctx.axis_attr("axis", x.len())?;
    if block == 0 {
        return if scale.len() == 1 && !differ(&scale[0], &x[axis]) {
            Ok(())
        } else {
            bad("one scale per axis position")
        };
    }
    let blocks = x[axis].ceil_div(&DimExpr::Const(block));
    let fits = scale.len() == x.len()
        && scale
            .iter()
            .zip(x)
            .enumerate()
            .all(|(at, (s, d))| !differ(s, if at == axis { &blocks } else { d }));
    if fits { Ok(()) } else { bad("one scale per block") }
}

/// A type given by an attribute as ONNX's number; 0 is none.
pub(super) fn dtype_attr(attrs: &Attrs, name: &str) -> Result<Option<DType>, OpError> {
    match attrs.int(name) {
        0 => Ok(None),
        code => match u32::try_from(code).ok().and_then(DType::from_code) {
            Some(dtype) => Ok(Some(dtype)),
            None => Err(OpError::attr(name, format!("{code} is no supported type"))),
        },
    }
}
