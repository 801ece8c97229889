//! Walks over tensors: for each position of an index space, in row-major order, an element's offset.
//!
//! Invariant: a walk allocates for its axes alone, never for its elements.

use super::OpError;
use super::infer::broadcast;
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
        let left = element_count(extents);
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

/// The broadcast of constant shapes.
pub(super) fn broadcast_extents(shapes: &[&[usize]]) -> Result<Vec<usize>, OpError> {
    let dims: Vec<Vec<DimExpr>> =
        shapes.iter().map(|s| s.iter().map(|&d| DimExpr::from(d)).collect()).collect();
    let dims: Vec<&[DimExpr]> = dims.iter().map(Vec::as_slice).collect();
    Ok(broadcast(&dims)?.iter().filter_map(DimExpr::as_extent).collect())
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
