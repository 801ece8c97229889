//! DFT and STFT: each part of an output is a contraction of the signal and factors that follow from its place.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term};
use crate::ops::float::Real;
use crate::ops::infer::normalize_axis;
use crate::scalar::f64_;

/// One series an element: its contraction.
const SUM: u8 = 0;

/// Where the elements of a signal are, and what is made of them.
pub(super) struct Transform<'a> {
    subject: &'a Subject<'a>,
    /// Length of a transform, parts of the signal's elements.
    n: usize,
    parts: usize,
    place: Place,
    inverse: bool,
}

enum Place {
    /// Along an axis of that extent, with that many elements behind each; the second half mirrors the first.
    Axis { extent: usize, inner: usize, outputs: usize, mirrored: bool },
    /// In frames that begin every `step` elements.
    Frames { length: usize, step: usize, frames: usize, bins: usize },
}

impl<'a> Transform<'a> {
    pub fn new(subject: &'a Subject<'a>, inputs: &mut dyn Inputs) -> Result<Transform<'a>, Stop> {
        let (x, y) = (subject.input(0)?, subject.output(0)?);
        let mut number = |index: usize| -> Result<Option<i64>, Stop> {
            let list = subject.integers(inputs, index)?;
            list.map(|list| list.first().copied().ok_or(Stop::NoTerm)).transpose()
        };
        let (Some(&parts), rank) = (x.shape.last(), x.shape.len()) else { return Err(Stop::NoTerm) };
        let length = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0).ok_or(Stop::NoTerm);
        if subject.def.name == "STFT" {
            let ([_, extent, _], [_, frames, bins, _]) = (x.shape.as_slice(), y.shape.as_slice()) else {
                return Err(Stop::NoTerm);
            };
            let step = length(number(1)?.ok_or(Stop::NoTerm)?)?;
            let window = subject.optional(2).map(|window| window.len());
            let n = match number(3)? {
                Some(n) => length(n)?,
                None => window.unwrap_or(*extent),
            };
            let place = Place::Frames { length: *extent, step, frames: *frames, bins: *bins };
            return Ok(Transform { subject, n, parts, place, inverse: false });
        }
        let axis = normalize_axis(number(2)?.unwrap_or(-2), rank).map_err(|_| Stop::NoTerm)?;
        let (inverse, one_sided) = (subject.attrs.int("inverse") != 0, subject.attrs.int("onesided") != 0);
        let (extent, outputs) = (x.shape[axis], y.shape[axis]);
        let inner = x.shape.get(axis + 1..rank - 1).ok_or(Stop::NoTerm)?.iter().product();
        let mirrored = inverse && one_sided;
        let n = match number(1)? {
            Some(n) => length(n)?,
            None if mirrored => outputs,
            None => extent,
        };
        let place = Place::Axis { extent, inner, outputs, mirrored };
        Ok(Transform { subject, n, parts, place, inverse })
    }

    /// Number of the transform, of its output, and the part, of an element of the output.
    fn parts_of(&self, element: usize) -> (usize, usize, bool) {
        let out_parts = self.subject.outputs[0].shape.last().copied().unwrap_or(1).max(1);
        let (number, part) = (element / out_parts, element % out_parts == 1);
        match self.place {
            Place::Axis { inner, outputs, .. } => {
                let (inner, outputs) = (inner.max(1), outputs.max(1));
                let (row, k) =
                    (number / (outputs * inner) * inner + number % inner, number / inner % outputs);
                (row, k, part)
            }
            Place::Frames { bins, .. } => (number / bins.max(1), number % bins.max(1), part),
        }
    }

    /// A part of element `j` of a signal.
    fn signal<W: Wide + Real>(
        &self,
        row: usize,
        j: usize,
        second: bool,
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        let dtype = self.subject.input(0)?.dtype;
        let part = usize::from(second);
        match self.place {
            Place::Axis { extent, inner, mirrored, .. } => {
                let is_mirror = mirrored && j > self.n / 2;
                let j = if is_mirror { self.n - j } else { j };
                if j >= extent {
                    // A mirrored one has its sign turned all the same.
                    return Ok(if is_mirror && second { -W::ZERO } else { W::ZERO });
                }
                let at = ((row / inner * extent + j) * inner + row % inner) * self.parts + part;
                let value = W::widen(dtype, inputs.element(0, at as u64)?);
                Ok(if is_mirror && second { -value } else { value })
            }
            Place::Frames { length, step, frames, .. } => {
                let at = (row / frames * length + row % frames * step + j) * self.parts + part;
                let value = W::widen(dtype, inputs.element(0, at as u64)?);
                if self.subject.optional(2).is_none() {
                    return Ok(value);
                }
                Ok(value * W::widen(dtype, inputs.element(2, j as u64)?))
            }
        }
    }
}

impl<W: Wide + Real> Formula<W> for Transform<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        (series == SUM).then(|| Series::new(Kind::Contraction, self.parts * self.n))
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let (signal, k, is_imaginary) = self.parts_of(row);
        let (j, second) = (at / self.parts, at % self.parts == 1);
        let m = (j as u128 * k as u128 % self.n as u128) as usize;
        let angle = (std::f64::consts::TAU * m as f64) / self.n as f64;
        let (c, s) = (W::from_f64(f64_::cos(angle)), W::from_f64(f64_::sin(angle)));
        let s = if self.inverse { -s } else { s };
        let factor = match (is_imaginary, second) {
            (false, false) | (true, true) => c,
            (false, true) => s,
            (true, false) => -s,
        };
        Ok(Some((self.signal(signal, j, second, inputs)?, factor)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let series = Formula::<W>::series(self, SUM, element).ok_or(Stop::NoTerm)?;
        Ok(vec![series.top(SUM, element)])
    }

    fn output(&self, output: u32, _element: usize, claims: &[W], _: &mut dyn Inputs) -> Result<u64, Stop> {
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let sum = if self.inverse { sum / W::count(self.n) } else { sum };
        Ok(sum.narrow(self.subject.output(output)?.dtype))
    }
}
