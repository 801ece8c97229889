//! Pools over windows, and norms of whole planes.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::ops::float::Real;
use crate::ops::pool::padded_count;
use crate::ops::window::{Window, WindowAxis, unravel};
use crate::tensor::element_count;

/// The elements of X that an output element's window covers, ascending in the window's index.
pub(super) struct Windows {
    /// `None`: all of a plane.
    axes: Option<Vec<WindowAxis>>,
    image: Vec<usize>,
    out: Vec<usize>,
}

/// The elements inside the image along one axis: where the first is, how far the next, how many.
fn along(window: &WindowAxis, out: usize, extent: usize) -> (i64, i64, usize) {
    let start = out as i64 * window.stride - window.pad_begin;
    let first = if start < 0 { (-start + window.dilation - 1) / window.dilation } else { 0 };
    let end = (extent as i64 - start + window.dilation - 1).div_euclid(window.dilation).min(window.kernel);
    (start + first * window.dilation, window.dilation, usize::try_from(end - first).unwrap_or(0))
}

impl Windows {
    pub fn of(subject: &Subject<'_>) -> Result<Windows, Stop> {
        let image = subject.input(0)?.shape.get(2..).ok_or(Stop::NoTerm)?.to_vec();
        if subject.def.name == "GlobalLpPool" {
            return Ok(Windows { axes: None, out: vec![1; image.len()], image });
        }
        let (axes, out) = Window::new(subject.attrs, subject.attrs.ints("kernel_shape"))?.placed(&image)?;
        Ok(Windows { axes: Some(axes), image, out })
    }

    fn runs(&self, element: usize) -> Vec<(i64, i64, usize)> {
        let position = unravel(element % element_count(&self.out).max(1), &self.out);
        match &self.axes {
            None => self.image.iter().map(|&extent| (0, 1, extent)).collect(),
            Some(axes) => (0..axes.len()).map(|a| along(&axes[a], position[a], self.image[a])).collect(),
        }
    }

    pub fn len(&self, element: usize) -> usize {
        self.runs(element).iter().fold(1, |n, run| n.saturating_mul(run.2))
    }

    /// The position in X's plane of element `at` of the window.
    pub fn within_plane(&self, element: usize, at: usize) -> usize {
        let runs = self.runs(element);
        let place = unravel(at, &runs.iter().map(|run| run.2).collect::<Vec<_>>());
        let axes = runs.iter().zip(&place).zip(&self.image);
        axes.fold(0, |offset, ((run, &p), &extent)| {
            offset * extent + usize::try_from(run.0 + p as i64 * run.1).unwrap_or(0)
        })
    }

    /// The position in X.
    pub fn at(&self, element: usize, at: usize) -> usize {
        self.plane(element) + self.within_plane(element, at)
    }

    /// Where X's plane begins.
    pub fn plane(&self, element: usize) -> usize {
        element / element_count(&self.out).max(1) * element_count(&self.image)
    }

    /// The number of a MaxPool's index output for element `at` of the window.
    pub fn index(&self, element: usize, at: usize, column_major: bool) -> usize {
        let within = self.within_plane(element, at);
        let within = match column_major {
            false => within,
            true => {
                let place = unravel(within, &self.image);
                (0..place.len()).rev().fold(0, |sum, axis| sum * self.image[axis] + place[axis])
            }
        };
        self.plane(element) + within
    }

    /// How many positions of the window lie inside of the image and its pads.
    fn padded_count(&self, element: usize) -> usize {
        let position = unravel(element % element_count(&self.out).max(1), &self.out);
        self.axes.as_ref().map_or(0, |axes| padded_count(axes, &self.image, &position))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Max,
    Average { include_pad: bool },
    Norm { p: i64 },
}

/// AveragePool, LpPool, GlobalLpPool, and the first output of MaxPool. Series 0 of a row is the window of the
/// output element with that number.
pub(super) struct Pool<'a> {
    op: Op,
    x: &'a TensorType,
    windows: Windows,
    subject: &'a Subject<'a>,
}

impl<'a> Pool<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Pool<'a>, Stop> {
        let op = match subject.def.name {
            "MaxPool" => Op::Max,
            "AveragePool" => Op::Average { include_pad: subject.attrs.int("count_include_pad") != 0 },
            "LpPool" | "GlobalLpPool" => Op::Norm { p: subject.attrs.int("p") },
            _ => return Err(Stop::NoTerm),
        };
        Ok(Pool { op, x: subject.input(0)?, windows: Windows::of(subject)?, subject })
    }

    fn kind(&self) -> Kind {
        if self.op == Op::Max { Kind::Maximum } else { Kind::Sum }
    }

    fn element<W: Wide>(&self, row: usize, at: usize, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        Ok(W::widen(self.x.dtype, inputs.element(0, self.windows.at(row, at) as u64)?))
    }
}

impl<W: Wide + Real> Formula<W> for Pool<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<W>> {
        let start = if self.op == Op::Max { -W::INFINITY } else { W::ZERO };
        (series == 0).then(|| Series { kind: self.kind(), len: self.windows.len(row), start })
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let x: W = self.element(row, at, inputs)?;
        let element = match self.op {
            Op::Max | Op::Average { .. } => x,
            Op::Norm { p: 1 } => Real::abs(x),
            Op::Norm { p: 2 } => x * x,
            Op::Norm { p } => Real::abs(x).pow(W::from_f64(p as f64)),
        };
        Ok(Some((element, W::ONE)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        Ok(vec![Formula::<W>::series(self, 0, element).ok_or(Stop::NoTerm)?.top(0, element)])
    }

    fn output(&self, output: u32, element: usize, claims: &[W], _: &mut dyn Inputs) -> Result<u64, Stop> {
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let y = match self.op {
            Op::Max | Op::Norm { p: 1 } => sum,
            Op::Average { include_pad: true } => sum / W::count(self.windows.padded_count(element)),
            Op::Average { include_pad: false } => sum / W::count(self.windows.len(element)),
            Op::Norm { p: 2 } => Real::sqrt(sum),
            Op::Norm { p } => sum.pow(W::ONE / W::from_f64(p as f64)),
        };
        Ok(y.narrow(self.subject.output(output)?.dtype))
    }
}

/// MaxPool of integers.
pub(super) struct Integers<'a>(pub Pool<'a>);

impl Formula<i64> for Integers<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<i64>> {
        let start = super::reduce::extremes(self.0.x.dtype).0 as i64;
        (series == 0).then(|| Series { kind: Kind::Maximum, len: self.0.windows.len(row), start })
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[i64],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(i64, i64)>, Stop> {
        Ok(Some((self.0.element(row, at, inputs)?, 0)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        Ok(vec![self.series(0, element).ok_or(Stop::NoTerm)?.top(0, element)])
    }

    fn output(&self, output: u32, _element: usize, claims: &[i64], _: &mut dyn Inputs) -> Result<u64, Stop> {
        let best = *claims.first().ok_or(Stop::NoTerm)?;
        Ok(best.narrow(self.0.subject.output(output)?.dtype))
    }
}
