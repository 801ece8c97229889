//! Rows: which elements of a tensor a reduction takes together, and in which order.
//!
//! Invariant: the elements of a row are in row-major order of the reduced axes, whatever order the axes
//! were named in; rows are in row-major order of the kept axes. Rows of normalizations over one axis are
//! the same thing with one reduced axis.

use super::infer::normalize_axis;
use super::{InferCtx, OpError};
use crate::dim::DimExpr;
use crate::tensor::strides;

/// The rows of a tensor for a set of reduced axes.
pub(crate) struct Rows {
    /// Offset of each row's first element.
    pub bases: Vec<usize>,
    /// Offset of each element of a row from its first.
    pub offsets: Vec<usize>,
}

impl Rows {
    pub fn new(shape: &[usize], reduced: &[bool]) -> Rows {
        Rows { bases: offsets(shape, reduced, false), offsets: offsets(shape, reduced, true) }
    }

    /// The rows along one axis.
    pub fn along(shape: &[usize], axis: usize) -> Rows {
        let reduced: Vec<bool> = (0..shape.len()).map(|a| a == axis).collect();
        Rows::new(shape, &reduced)
    }

    /// Elements in a row.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }
}

/// Offsets of all positions in the axes whose flag is `which`, in row-major order.
fn offsets(shape: &[usize], flags: &[bool], which: bool) -> Vec<usize> {
    let own = strides(shape);
    let mut out = vec![0];
    for axis in (0..shape.len()).filter(|&a| flags[a] == which) {
        let stride = own[axis];
        let positions = 0..shape[axis];
        out = out.iter().flat_map(|&base| positions.clone().map(move |i| base + i * stride)).collect();
    }
    out
}

/// Which axes a list of axes names: negative ones count from the back, naming one twice is an error.
pub(crate) fn axis_flags(axes: &[i64], rank: usize) -> Result<Vec<bool>, OpError> {
    let mut flags = vec![false; rank];
    for &axis in axes {
        let axis = normalize_axis(axis, rank).map_err(OpError::shape)?;
        if std::mem::replace(&mut flags[axis], true) {
            return Err(OpError::shape(format!("axis {axis} is named twice")));
        }
    }
    Ok(flags)
}

/// The reduced axes of ONNX's reductions: the i64 input 1; absent or empty means all axes, or with
/// `noop_with_empty_axes` none.
pub(crate) fn reduced_axes(ctx: &InferCtx<'_>, rank: usize) -> Result<Vec<bool>, OpError> {
    let axes = if ctx.optional(1).is_some() { ctx.ints(1)? } else { Vec::new() };
    if axes.is_empty() {
        return Ok(vec![ctx.attrs.int("noop_with_empty_axes") == 0; rank]);
    }
    axis_flags(&axes, rank)
}

/// How a tensor that broadcasts to a larger shape is read there.
pub(crate) struct BroadcastTo {
    /// For each axis of the smaller tensor: stride and extent in the larger, stride in the smaller (0
    /// where it repeats).
    axes: Vec<(usize, usize, usize)>,
}

impl BroadcastTo {
    /// The shapes have passed [`check_broadcast`].
    pub fn new(own: &[usize], to: &[usize]) -> BroadcastTo {
        let skip = to.len() - own.len();
        let (full, strides) = (strides(to), strides(own));
        let axes = (0..own.len())
            .map(|a| (full[a + skip], to[a + skip], if own[a] == 1 { 0 } else { strides[a] }))
            .collect();
        BroadcastTo { axes }
    }

    /// The offset in the smaller tensor of the element at offset `at` of the larger.
    pub fn offset(&self, at: usize) -> usize {
        self.axes.iter().fold(0, |offset, (stride, extent, own)| offset + at / stride % extent * own)
    }
}

/// Checks that input `index` of shape `own` broadcasts to `to` without growing it.
pub(crate) fn check_broadcast(index: usize, own: &[DimExpr], to: &[DimExpr]) -> Result<(), OpError> {
    let skip = to.len().checked_sub(own.len());
    let skip = skip.ok_or_else(|| {
        OpError::shape(format!("input {index} has {} axes, at most {}", own.len(), to.len()))
    })?;
    for (dim, own) in to[skip..].iter().zip(own) {
        if let (Some(x), Some(s)) = (dim.as_const(), own.as_const())
            && s != 1
            && s != x
        {
            return Err(OpError::shape(format!("input {index}: {s} does not broadcast to {x}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_row_major_order_of_the_reduced_axes() {
        let rows = Rows::new(&[2, 3, 4], &[true, false, true]);
        assert_eq!(rows.bases, [0, 4, 8]);
        assert_eq!(rows.offsets, [0, 1, 2, 3, 12, 13, 14, 15]);
        let whole = Rows::new(&[], &[]);
        assert_eq!((whole.bases.len(), whole.len()), (1, 1));
        assert_eq!(Rows::new(&[2, 0], &[false, true]).len(), 0);
        assert_eq!(Rows::new(&[2, 0], &[false, true]).bases, [0, 0]);
    }

    #[test]
    fn axes_are_checked() {
        assert_eq!(axis_flags(&[-1, 0], 3).unwrap(), [true, false, true]);
        assert!(axis_flags(&[0, -3], 3).is_err());
        assert!(axis_flags(&[3], 3).is_err());
        assert!(axis_flags(&[i64::MIN], 3).is_err());
    }
}
