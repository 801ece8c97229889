//! Walks over tensors: for each position of an index space, in row-major order, an element's offset.
//!
//! Invariant: a walk allocates for its axes alone, never for its elements.

use super::infer::normalize_axis;
use super::{EvalCtx, Fault, OpDef, OpError, infer_known};
use crate::dim::DimExpr;
use crate::tensor::{Tensor, TensorView, element_count, strides};

/// Offsets of the elements at consecutive positions of an index space.
pub(super) struct Walk {
    extents: Vec<usize>,
    strides: Vec<isize>,
    position: Vec<usize>,
    at: isize,
    left: usize,
}

impl Walk {
    /// Position `p` is at `start + sum over axes of p[axis] * strides[axis]`.
    pub fn new(extents: &[usize], strides: Vec<isize>, start: isize) -> Walk {
        debug_assert_eq!(extents.len(), strides.len());
        // Whoever makes a tensor of these extents has the overflow refused.
        let count = extents.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let left = if extents.contains(&0) { 0 } else { count.unwrap_or(usize::MAX) };
        Walk { extents: extents.to_vec(), strides, position: vec![0; extents.len()], at: start, left }
    }

    /// An operand of shape `own` read over `shape`, to which it broadcasts.
    pub fn broadcast(own: &[usize], shape: &[usize]) -> Walk {
        let skip = shape.len() - own.len();
        let mut steps = vec![0; shape.len()];
        for (axis, stride) in strides(own).into_iter().enumerate() {
            steps[axis + skip] = if own[axis] == 1 { 0 } else { stride as isize };
        }
        Walk::new(shape, steps, 0)
    }
}

impl Iterator for Walk {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let found = self.at as usize;
        for axis in (0..self.extents.len()).rev() {
            self.position[axis] += 1;
            self.at += self.strides[axis];
            if self.position[axis] < self.extents[axis] {
                break;
            }
            self.at -= self.strides[axis] * self.extents[axis] as isize;
            self.position[axis] = 0;
        }
        Some(found)
    }
}

/// A tensor of `shape` whose elements are `x`'s at `offsets`, in order.
pub(super) fn pick(
    x: TensorView<'_>,
    shape: &[usize],
    offsets: impl Iterator<Item = usize>,
) -> Result<Tensor, OpError> {
    let mut y = Tensor::zeros(x.dtype, shape)?;
    let size = x.dtype.size();
    for (element, from) in y.bytes_mut().chunks_exact_mut(size).zip(offsets) {
        element.copy_from_slice(&x.bytes[from * size..][..size]);
    }
    Ok(y)
}

/// The elements before, at and after an axis: a tensor is `outer * extent * inner`.
pub(super) fn split_at_axis(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (element_count(&shape[..axis]), shape[axis], element_count(&shape[axis + 1..]))
}

/// The position that an index names: negative ones count from the end.
pub(super) fn position(index: i64, extent: usize) -> Result<usize, Fault> {
    let at = if index < 0 { i128::from(index) + extent as i128 } else { i128::from(index) };
    usize::try_from(at).ok().filter(|&at| at < extent).ok_or(Fault::IndexOutOfRange)
}

/// The shape of output 0 that inference finds with all inputs known.
pub(super) fn known_shape(def: &OpDef, ctx: &EvalCtx<'_>) -> Result<Vec<usize>, OpError> {
    let inferred = infer_known(def, ctx.attrs, ctx.inputs, ctx.outputs)?;
    inferred[0].ty.extents().ok_or(OpError::Fault(Fault::BadShape))
}

/// The axes in a list, each once, in ascending order.
pub(super) fn axes_of(list: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let axes: Result<Vec<usize>, String> = list.iter().map(|&axis| normalize_axis(axis, rank)).collect();
    let mut axes = axes.map_err(OpError::Shape)?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(OpError::shape(format!("an axis is named twice in {list:?}")));
    }
    Ok(axes)
}

/// Sizes, none of which is a negative constant.
pub(super) fn checked_sizes(sizes: Vec<DimExpr>) -> Result<Vec<DimExpr>, OpError> {
    match sizes.iter().find(|d| d.as_const().is_some_and(|d| d < 0)) {
        Some(size) => Err(OpError::shape(format!("a size is {size}"))),
        None => Ok(sizes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks() {
        let transposed: Vec<usize> = Walk::new(&[3, 2], vec![1, 3], 0).collect();
        assert_eq!(transposed, [0, 3, 1, 4, 2, 5]);
        let repeated: Vec<usize> = Walk::broadcast(&[2, 1], &[2, 2, 3]).collect();
        assert_eq!(repeated, [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
        let backwards: Vec<usize> = Walk::new(&[3], vec![-2], 5).collect();
        assert_eq!(backwards, [5, 3, 1]);
        assert_eq!(Walk::new(&[], vec![], 0).collect::<Vec<_>>(), [0]);
        assert_eq!(Walk::new(&[2, 0], vec![1, 1], 0).count(), 0);
    }
}
