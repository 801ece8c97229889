//! DeformConv: a contraction of weights and of values between the image's elements.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::ops::float::Real;
use crate::ops::window::{Window, WindowAxis, unravel};
use crate::reduce::contract;
use crate::tensor::{element_count, strides};

/// One series an element: its contraction.
const SUM: u8 = 0;
const BIAS: usize = 3;
const MASK: usize = 4;

pub(super) struct Deformed<'a> {
    subject: &'a Subject<'a>,
    x: &'a TensorType,
    w: &'a TensorType,
    axes: Vec<WindowAxis>,
    group: usize,
    offset_group: usize,
}

impl<'a> Deformed<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Deformed<'a>, Stop> {
        let (x, w) = (subject.input(0)?, subject.input(1)?);
        let (Some(image), Some(kernel)) = (x.shape.get(2..), w.shape.get(2..)) else {
            return Err(Stop::NoTerm);
        };
        let kernel: Vec<i64> = kernel.iter().map(|&k| k as i64).collect();
        let (axes, _) = Window::new(subject.attrs, &kernel)?.placed(image)?;
        let groups = |name: &str| usize::try_from(subject.attrs.int(name)).unwrap_or(0).max(1);
        Ok(Deformed { subject, x, w, axes, group: groups("group"), offset_group: groups("offset_group") })
    }

    /// Sample, map and place of an element of the output.
    fn place(&self, element: usize) -> (usize, usize, usize) {
        let y = &self.subject.outputs[0].shape;
        let (maps, outputs) = (y[1].max(1), element_count(&y[2..]).max(1));
        (element / (maps * outputs), element / outputs % maps, element % outputs)
    }

    /// The value between the image's elements that a term multiplies.
    fn sample<W: Wide + Real>(&self, element: usize, at: usize, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        let (n, map, o) = self.place(element);
        let (channels, spatial) = (self.x.shape[1], self.axes.len());
        let y = &self.subject.outputs[0].shape;
        let (elements, outputs) = (element_count(&self.w.shape[2..]).max(1), element_count(&y[2..]));
        let c = map / (y[1] / self.group).max(1) * self.w.shape[1] + at / elements;
        let (k, g) = (at % elements, c / (channels / self.offset_group).max(1));
        let (place, tap) = (unravel(o, &y[2..]), unravel(k, &self.w.shape[2..]));
        let row = (n * self.offset_group + g) * elements + k;
        let mut position = Vec::with_capacity(spatial);
        for axis in 0..spatial {
            let window = &self.axes[axis];
            let start =
                place[axis] as i64 * window.stride - window.pad_begin + tap[axis] as i64 * window.dilation;
            let moved = inputs.element(2, ((row * spatial + axis) * outputs + o) as u64)?;
            position.push(W::from_f64(start as f64) + W::widen(self.x.dtype, moved));
        }
        let value = self.between(n * channels + c, &position, inputs)?;
        if self.subject.optional(MASK).is_none() {
            return Ok(value);
        }
        Ok(value * W::widen(self.x.dtype, inputs.element(MASK, (row * outputs + o) as u64)?))
    }

    fn between<W: Wide + Real>(
        &self,
        plane: usize,
        position: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        if position.iter().any(|p| p.is_nan()) {
            return Ok(W::NAN);
        }
        let shape = &self.x.shape[2..];
        let (own, first) = (strides(shape), plane * element_count(shape));
        let mut corners = Vec::new();
        for corner in 0..1usize << shape.len() {
            let (mut at, mut weight, mut is_within) = (first, W::ONE, true);
            for (axis, &p) in position.iter().enumerate() {
                let upper = corner >> (shape.len() - 1 - axis) & 1;
                let low = p.floor();
                let index = (low.to_f64() as i64).saturating_add(upper as i64);
                match usize::try_from(index).ok().filter(|i| *i < shape[axis]) {
                    Some(index) => at += index * own[axis],
                    None => is_within = false,
                }
                let share = p - low;
                weight = weight * if upper == 1 { share } else { W::ONE - share };
            }
            corners.push(match is_within {
                true => Some((W::widen(self.x.dtype, inputs.element(0, at as u64)?), weight)),
                false => None,
            });
        }
        Ok(contract(corners.len(), |corner| corners[corner]))
    }
}

impl<W: Wide + Real> Formula<W> for Deformed<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        (series == SUM).then(|| Series::new(Kind::Contraction, element_count(&self.w.shape[1..])))
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let (_, map, _) = self.place(row);
        let terms = element_count(&self.w.shape[1..]);
        let weight = W::widen(self.w.dtype, inputs.element(1, (map * terms + at) as u64)?);
        Ok(Some((weight, self.sample(row, at, inputs)?)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let series = Formula::<W>::series(self, SUM, element).ok_or(Stop::NoTerm)?;
        Ok(vec![series.top(SUM, element)])
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let dtype = self.subject.output(output)?.dtype;
        let sum = match self.subject.optional(BIAS) {
            Some(_) => sum + W::widen(dtype, inputs.element(BIAS, self.place(element).1 as u64)?),
            None => sum,
        };
        Ok(sum.narrow(dtype))
    }
}
