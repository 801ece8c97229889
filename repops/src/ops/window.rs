//! Windows: how kernels of convolutions and poolings slide over an image.
//!
//! Invariant: every attribute is bounded by [`LIMIT`] before it is used, so that no sum or product of a
//! few of them overflows 64 bits.

use super::OpError;
use crate::attrs::Attrs;
use crate::dim::DimExpr;

/// No kernel extent, stride, dilation or pad is larger.
pub const LIMIT: i64 = 1 << 28;

/// Where padding comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AutoPad {
    NotSet,
    Valid,
    SameUpper,
    SameLower,
}

/// The window along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowAxis {
    pub kernel: i64,
    pub stride: i64,
    pub dilation: i64,
    pub pad_begin: i64,
    pub pad_end: i64,
}

impl WindowAxis {
    /// Extent of the dilated kernel.
    pub fn reach(&self) -> i64 {
        (self.kernel - 1) * self.dilation + 1
    }

    /// The positions of the image that the window at output `out` covers, with the kernel's index.
    /// Work and length are bounded by the image's extent.
    pub fn taps(&self, out: usize, extent: usize) -> Vec<(usize, usize)> {
        let start = out as i64 * self.stride - self.pad_begin;
        let first = if start < 0 { (-start + self.dilation - 1) / self.dilation } else { 0 };
        (first..self.kernel)
            .map(|k| (k as usize, start + k * self.dilation))
            .take_while(|(_, at)| *at < extent as i64)
            .map(|(k, at)| (k, at as usize))
            .collect()
    }
}

/// A window over all spatial axes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Window {
    pub axes: Vec<WindowAxis>,
    auto: AutoPad,
    ceil: bool,
}

impl Window {
    /// The window of attributes `strides`, `pads`, `dilations`, `auto_pad` and `ceil_mode` (those the
    /// operator has), for a kernel of these extents.
    pub fn new(attrs: &Attrs, kernel: &[i64]) -> Result<Window, OpError> {
        let rank = kernel.len();
        let list = |name: &str, count: usize, default: i64, least: i64| -> Result<Vec<i64>, OpError> {
            let Some(values) = attrs.opt_ints(name) else { return Ok(vec![default; count]) };
            if values.len() != count {
                return Err(OpError::attr(name, format!("has {} entries, not {count}", values.len())));
            }
            match values.iter().find(|v| **v < least || **v > LIMIT) {
                Some(bad) => Err(OpError::attr(name, format!("{bad} is not in {least} ..= {LIMIT}"))),
                None => Ok(values.to_vec()),
            }
        };
        if let Some(bad) = kernel.iter().find(|k| **k < 1 || **k > LIMIT) {
            return Err(OpError::shape(format!("a kernel extent of {bad} is not in 1 ..= {LIMIT}")));
        }
        let (strides, dilations) = (list("strides", rank, 1, 1)?, list("dilations", rank, 1, 1)?);
        let auto = match attrs.get("auto_pad").map(|_| attrs.str("auto_pad")) {
            None | Some("NOTSET") => AutoPad::NotSet,
            Some("VALID") => AutoPad::Valid,
            Some("SAME_UPPER") => AutoPad::SameUpper,
            Some("SAME_LOWER") => AutoPad::SameLower,
            Some(other) => return Err(OpError::attr("auto_pad", format!("{other:?} is none of ONNX's"))),
        };
        let pads = match auto {
            AutoPad::NotSet => list("pads", 2 * rank, 0, 0)?,
            _ => vec![0; 2 * rank],
        };
        let axes = (0..rank)
            .map(|axis| WindowAxis {
                kernel: kernel[axis],
                stride: strides[axis],
                dilation: dilations[axis],
                pad_begin: pads[axis],
                pad_end: pads[axis + rank],
            })
            .collect();
        let ceil = attrs.get("ceil_mode").is_some() && attrs.int("ceil_mode") != 0;
        Ok(Window { axes, auto, ceil })
    }

    /// `floor((in + pads - ((kernel - 1) * dilation + 1)) / stride) + 1`, or with ceil_mode the ceiling,
    /// less the windows that would start past the image and its begin pad; SAME: `ceil(in / stride)`.
    pub fn output_dims(&self, spatial: &[DimExpr]) -> Result<Vec<DimExpr>, OpError> {
        self.axes.iter().zip(spatial).map(|(axis, extent)| self.output_dim(axis, extent)).collect()
    }

    fn output_dim(&self, axis: &WindowAxis, extent: &DimExpr) -> Result<DimExpr, OpError> {
        let (stride, one) = (DimExpr::Const(axis.stride), DimExpr::Const(1));
        if matches!(self.auto, AutoPad::SameUpper | AutoPad::SameLower) {
            return Ok(extent.ceil_div(&stride));
        }
        let room = extent.add(&DimExpr::Const(axis.pad_begin + axis.pad_end - axis.reach()));
        if room.as_const().is_some_and(|room| room < 0) {
            return Err(OpError::shape(format!(
                "a kernel that reaches over {} does not fit an extent of {extent} with its pads",
                axis.reach()
            )));
        }
        if !self.ceil {
            return Ok(room.floor_div(&stride).add(&one));
        }
        let last_start = extent.add(&DimExpr::Const(axis.pad_begin - 1));
        Ok(room.ceil_div(&stride).minimum(&last_start.floor_div(&stride)).add(&one))
    }

    /// The window with the pads of SAME filled in, and the output's extents, for an image at hand.
    pub fn placed(&self, spatial: &[usize]) -> Result<(Vec<WindowAxis>, Vec<usize>), OpError> {
        let mut axes = self.axes.clone();
        let mut out = Vec::new();
        for (axis, &extent) in axes.iter_mut().zip(spatial) {
            let count = self.output_dim(axis, &DimExpr::from(extent))?;
            let count = count.as_extent().ok_or_else(|| OpError::shape("an extent is out of range"))?;
            if matches!(self.auto, AutoPad::SameUpper | AutoPad::SameLower) {
                let span = (count as i64 - 1).saturating_mul(axis.stride).saturating_add(axis.reach());
                let total = span.saturating_sub(extent as i64).max(0);
                let half = total / 2;
                axis.pad_begin = if self.auto == AutoPad::SameUpper { half } else { total - half };
                axis.pad_end = total - axis.pad_begin;
            }
            out.push(count);
        }
        Ok((axes, out))
    }

    /// `Some(true)` when `auto_pad` is SAME_UPPER, `Some(false)` when SAME_LOWER.
    pub fn same(&self) -> Option<bool> {
        match self.auto {
            AutoPad::SameUpper => Some(true),
            AutoPad::SameLower => Some(false),
            _ => None,
        }
    }
}

/// Splits a position in row-major order into one per axis.
pub fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut position = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        position[axis] = at % shape[axis];
        at /= shape[axis];
    }
    position
}

/// The offsets in the image of the taps that a window covers, in ascending order of the kernel's index;
/// `taps` holds one list per axis as [`WindowAxis::taps`] gives it.
pub fn covered(taps: &[Vec<(usize, usize)>], image: &[usize]) -> Vec<usize> {
    taps.iter().zip(image).fold(vec![0], |offsets, (axis, extent)| {
        offsets.iter().flat_map(|base| axis.iter().map(move |(_, at)| base * extent + at)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(attrs: Attrs, kernel: i64) -> Window {
        Window::new(&attrs, &[kernel]).unwrap()
    }

    #[test]
    fn extents_follow_the_formula() {
        let dims = |w: &Window, n: usize| w.placed(&[n]).map(|(_, out)| out[0]).ok();
        let plain = window(Attrs::new().with_ints("strides", &[2]).with_ints("pads", &[1, 0]), 3);
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(|n| dims(&plain, n)),
            [None, Some(1), Some(1), Some(2), Some(2), Some(3)]
        );
        let ceil = window(Attrs::new().with_ints("strides", &[2]).with_int("ceil_mode", 1), 2);
        assert_eq!([2, 3, 4, 5].map(|n| dims(&ceil, n)), [Some(1), Some(2), Some(2), Some(3)]);
        // The last window would start past the image: dropped.
        let attrs =
            Attrs::new().with_ints("strides", &[3]).with_ints("pads", &[0, 1]).with_int("ceil_mode", 1);
        assert_eq!(dims(&window(attrs, 1), 3), Some(1));
        let same = window(Attrs::new().with_ints("strides", &[2]).with_str("auto_pad", "SAME_LOWER"), 4);
        let (axes, out) = same.placed(&[5]).unwrap();
        assert_eq!((axes[0].pad_begin, axes[0].pad_end, out[0]), (2, 1, 3));
    }

    #[test]
    fn symbolic_extents_bind_to_the_same_numbers() {
        let n = DimExpr::sym("n");
        for ceil in [0, 1] {
            let attrs = Attrs::new().with_ints("strides", &[3]).with_ints("pads", &[1, 2]);
            let w = window(attrs.with_int("ceil_mode", ceil).with_ints("dilations", &[2]), 3);
            let symbolic = w.output_dims(std::slice::from_ref(&n)).unwrap();
            for extent in 2..40usize {
                let bound = symbolic[0].bind(&|_| Some(extent as i64)).as_extent();
                assert_eq!(bound, Some(w.placed(&[extent]).unwrap().1[0]), "{extent}");
            }
        }
    }

    #[test]
    fn hostile_attributes_are_errors() {
        for bad in [0, -1, i64::MIN, i64::MAX] {
            assert!(Window::new(&Attrs::new().with_ints("strides", &[bad]), &[1]).is_err());
            assert!(Window::new(&Attrs::new().with_ints("dilations", &[bad]), &[1]).is_err());
            assert!(Window::new(&Attrs::new(), &[bad]).is_err());
        }
        assert!(Window::new(&Attrs::new().with_ints("pads", &[-1, 0]), &[1]).is_err());
        assert!(Window::new(&Attrs::new().with_ints("pads", &[1]), &[1]).is_err());
        assert!(Window::new(&Attrs::new().with_str("auto_pad", "same"), &[1]).is_err());
    }

    #[test]
    fn taps_are_those_inside() {
        let axis = WindowAxis { kernel: 3, stride: 2, dilation: 2, pad_begin: 3, pad_end: 0 };
        assert_eq!(axis.taps(0, 5), [(2, 1)]);
        assert_eq!(axis.taps(1, 5), [(1, 1), (2, 3)]);
        assert_eq!(axis.taps(9, 5), []);
        let huge = WindowAxis { kernel: LIMIT, stride: 1, dilation: 1, pad_begin: LIMIT, pad_end: 0 };
        assert_eq!(huge.taps(1, 2), [(LIMIT as usize - 1, 0)]);
    }
}
