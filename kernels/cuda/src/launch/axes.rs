//! Index spaces: how a kernel finds the elements of several operands from one number.
//!
//! Invariant: merging axes changes no offset; every element of the space is visited once.

use crate::{Argument, Error, View};

/// The axes that kernels take; more, after merging, have no kernel.
pub const AXES_MAX: usize = 6;

/// Axes of an index space and the strides of `N` operands along them, in elements.
#[derive(Debug, PartialEq)]
pub struct Axes<const N: usize> {
    extents: Vec<u32>,
    strides: Vec<[i64; N]>,
    /// Elements of the space.
    pub len: u32,
}

impl<const N: usize> Axes<N> {
    /// Axes are merged where one step of the outer is as many steps of the inner as that has, for all operands.
    pub fn new(shape: &[usize], strides: [Vec<i64>; N]) -> Result<Self, Error> {
        let (extents, strides, len) =
            merged(shape, |axis| std::array::from_fn(|operand| strides[operand][axis]))?;
        Ok(Axes { extents, strides, len })
    }

    /// Over the shape that all operands broadcast to.
    pub fn broadcast(shape: &[usize], operands: [&[usize]; N]) -> Result<Self, Error> {
        Self::new(shape, operands.map(|own| broadcast_strides(own, shape)))
    }

    /// Extents and strides after merging.
    pub fn axes(&self) -> impl Iterator<Item = (u32, [i64; N])> {
        self.extents.iter().copied().zip(self.strides.iter().copied())
    }

    /// The kernels' parameters `EXTENTS` and, for each operand, `STRIDES`.
    pub fn push<B>(&self, arguments: &mut Vec<Argument<'_, B>>) {
        self.push_extents(arguments);
        let skipped = AXES_MAX - self.extents.len();
        for operand in 0..N {
            arguments.extend((0..skipped).map(|_| Argument::U64(0)));
            arguments.extend(self.strides.iter().map(|strides| Argument::U64(strides[operand] as u64)));
        }
    }

    /// The kernels' parameters `EXTENTS`.
    pub fn push_extents<B>(&self, arguments: &mut Vec<Argument<'_, B>>) {
        let skipped = AXES_MAX - self.extents.len();
        arguments.push(Argument::U32(self.extents.len() as u32));
        arguments.extend((0..skipped).map(|_| Argument::U32(1)));
        arguments.extend(self.extents.iter().map(|&extent| Argument::U32(extent)));
    }

    /// Whether operand `k` is read from beginning to end.
    pub fn is_dense(&self, k: usize) -> bool {
        self.strides.len() <= 1 && self.strides.iter().all(|strides| strides[k] == 1)
    }
}

/// [`Axes`] of any number of operands.
pub struct ManyAxes {
    pub extents: Vec<u32>,
    /// By axis, then operand.
    pub strides: Vec<Vec<i64>>,
    pub len: u32,
}

impl ManyAxes {
    pub fn new(shape: &[usize], strides: Vec<Vec<i64>>) -> Result<Self, Error> {
        let (extents, strides, len) =
            merged(shape, |axis| strides.iter().map(|operand| operand[axis]).collect::<Vec<i64>>())?;
        Ok(ManyAxes { extents, strides, len })
    }
}

/// Extents and strides after merging, and the number of elements; `own` gives the operands' strides along an axis.
fn merged<S: AsRef<[i64]>>(
    shape: &[usize],
    own: impl Fn(usize) -> S,
) -> Result<(Vec<u32>, Vec<S>, u32), Error> {
    let too_large = || Error::unsupported(format!("an index space of {shape:?}"));
    let len = shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent)).ok_or_else(too_large)?;
    let len = u32::try_from(len).map_err(|_| too_large())?;
    let mut axes: Vec<(usize, S)> = Vec::new();
    for (axis, &extent) in shape.iter().enumerate().filter(|(_, extent)| **extent != 1) {
        let own = own(axis);
        let goes_on = |steps: &S| {
            steps.as_ref().iter().zip(own.as_ref()).all(|(step, own)| *step == own * extent as i64)
        };
        match axes.last_mut() {
            Some((outer, steps)) if goes_on(steps) => {
                *outer *= extent;
                *steps = own;
            }
            _ => axes.push((extent, own)),
        }
    }
    if axes.len() > AXES_MAX {
        return Err(Error::unsupported(format!("{} axes that cannot be merged", axes.len())));
    }
    let extents = axes.iter().map(|(extent, _)| u32::try_from(*extent).map_err(|_| too_large()));
    let extents = extents.collect::<Result<_, _>>()?;
    Ok((extents, axes.into_iter().map(|(_, strides)| strides).collect(), len))
}

/// Row-major strides.
pub fn strides(shape: &[usize]) -> Vec<i64> {
    repops::tensor::strides(shape).into_iter().map(|stride| stride as i64).collect()
}

/// The strides of a tensor along the axes of the shape that it broadcasts to.
pub fn broadcast_strides(own: &[usize], to: &[usize]) -> Vec<i64> {
    let mut out = vec![0; to.len() - own.len().min(to.len())];
    out.extend(own.iter().zip(strides(own)).map(|(&extent, stride)| if extent == 1 { 0 } else { stride }));
    out
}

/// An axis, counted from the back if it is negative.
pub fn normalized(axis: i64, rank: usize) -> Result<usize, Error> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|at| *at < rank).ok_or_else(|| Error::unsupported(format!("axis {axis}")))
}

/// Threads of a block of the kernels that take one element after the other.
pub const BLOCK: u32 = 256;

/// Blocks for `len` elements, so many a thread; kernels loop over what is left.
pub fn blocks(len: u32, each: u32) -> [u32; 3] {
    [len.div_ceil(BLOCK * each).clamp(1, 1 << 20), 1, 1]
}

/// The number of elements of a view, as kernels count them.
pub fn len<B>(view: &View<'_, B>) -> Result<u32, Error> {
    u32::try_from(view.len()).map_err(|_| Error::unsupported(format!("{} elements", view.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes<const N: usize>(shape: &[usize], operands: [&[usize]; N]) -> (Vec<u32>, Vec<[i64; N]>) {
        let axes = Axes::broadcast(shape, operands).unwrap();
        (axes.extents, axes.strides)
    }

    #[test]
    fn axes_merge_where_all_operands_let_them() {
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[2, 3, 4]]), (vec![24], vec![[1, 1]]));
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[]]), (vec![24], vec![[1, 0]]));
        assert_eq!(axes(&[2, 3, 4], [&[2, 3, 4], &[3, 1]]), (vec![2, 3, 4], vec![[12, 0], [4, 1], [1, 0]]));
        assert_eq!(axes(&[2, 3, 4], [&[4], &[2, 1, 4]]), (vec![2, 3, 4], vec![[0, 4], [0, 0], [1, 1]]));
        assert_eq!(axes(&[1, 1], [&[1, 1]]), (vec![], vec![]));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let many = [2; 8];
        let strides = (0..8).map(|axis| 1 << (2 * axis)).collect();
        assert!(Axes::new(&many, [strides]).is_err());
        assert!(Axes::<1>::broadcast(&[1 << 20, 1 << 20], [&[]]).is_err());
    }
}
