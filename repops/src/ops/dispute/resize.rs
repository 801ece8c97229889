//! Resize: interpolation along one axis after another, the last first.
//!
//! Stage `n` is what interpolation along the `n`-th changed axis gives; stage 0 is the output. Series `n` of a row is the
//! element of stage `n` with that number.

use std::cell::RefCell;
use std::rc::Rc;

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term, bits_at};
use crate::ops::float::Real;
use crate::ops::resize::{AxisScale, Sampling, Stencil, extrapolation, scales};
use crate::ops::{EvalCtx, OpError};
use crate::tensor::{Tensor, TensorView, strides};

/// Filters with more taps are not computed.
const TAPS_MAX: usize = 1 << 16;

pub(super) struct Resized<'a> {
    subject: &'a Subject<'a>,
    sampling: Sampling,
    axes: Vec<AxisScale>,
    /// The last stencil: stage, position along its axis.
    last: RefCell<Option<(usize, usize, Rc<Stencil>)>>,
}

impl<'a> Resized<'a> {
    pub fn new(subject: &'a Subject<'a>, inputs: &mut dyn Inputs) -> Result<Resized<'a>, Stop> {
        let sampling = Sampling::new(subject.attrs)?;
        let mut parameters: Vec<Option<Tensor>> = vec![None];
        for index in 1..subject.inputs.len() {
            let is_read = subject.optional(index).is_some() && (index > 1 || sampling.crops());
            parameters.push(if is_read { Some(inputs.whole(index)?) } else { None });
        }
        let x = subject.input(0)?;
        let mut views: Vec<_> = parameters.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        views[0] = Some(TensorView { dtype: x.dtype, shape: &x.shape, bytes: &[] });
        let context = EvalCtx { attrs: subject.attrs, inputs: &views, outputs: 1 };
        let axes = scales(&context, &subject.output(0)?.shape)?;
        if axes.iter().any(|axis| sampling.taps_max(axis) > TAPS_MAX) {
            return Err(OpError::shape("a filter of too many taps").into());
        }
        Ok(Resized { subject, sampling, axes, last: RefCell::new(None) })
    }

    pub fn is_nearest(&self) -> bool {
        self.sampling.is_nearest()
    }

    /// The shape of a stage; after the last one it is X's.
    fn shape(&self, stage: usize) -> Vec<usize> {
        let mut shape = self.subject.inputs[0].as_ref().map_or(Vec::new(), |x| x.shape.clone());
        for axis in self.axes.get(stage..).unwrap_or_default() {
            shape[axis.axis] = axis.to;
        }
        shape
    }

    fn stencil(&self, stage: usize, position: usize) -> Rc<Stencil> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((s, p, stencil)) if (*s, *p) == (stage, position) => stencil.clone(),
            _ => {
                let stencil = Rc::new(self.sampling.stencil(&self.axes[stage], position));
                *last = Some((stage, position, stencil.clone()));
                stencil
            }
        }
    }

    /// The stencil of an element of a stage, and where in the next stage the first element of its line is and how far
    /// the next.
    fn line(&self, stage: usize, row: usize) -> Option<(Rc<Stencil>, usize, usize)> {
        let axis = self.axes.get(stage)?;
        let (own, next) = (self.shape(stage), self.shape(stage + 1));
        let inner: usize = own[axis.axis + 1..].iter().product::<usize>().max(1);
        let (position, column) = (row / inner % own[axis.axis].max(1), row % inner);
        let block = row / (inner * own[axis.axis].max(1));
        Some((self.stencil(stage, position), block * next[axis.axis] * inner + column, inner))
    }

    fn is_outside(&self, element: usize) -> bool {
        let shape = self.shape(0);
        let full = strides(&shape);
        let at = |axis: &AxisScale| element / full[axis.axis].max(1) % shape[axis.axis].max(1);
        self.axes.iter().any(|axis| self.sampling.stencil(axis, at(axis)) == Stencil::Outside)
    }

    fn outside(&self) -> Result<u64, Stop> {
        let dtype = self.subject.input(0)?.dtype;
        let bytes = extrapolation(dtype, self.subject.attrs.float("extrapolation_value"));
        bits_at(dtype, &bytes, 0).ok_or(Stop::NoTerm)
    }

    /// An element in mode nearest.
    pub fn nearest(&self, element: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
        let mut row = element;
        for stage in 0..self.axes.len() {
            let (stencil, first, step) = self.line(stage, row).ok_or(Stop::NoTerm)?;
            match stencil.nearest() {
                Some(i) => row = first + i * step,
                None => return self.outside(),
            }
        }
        inputs.element(0, row as u64)
    }

    /// The elements of a line that a stencil takes, in its order, where there are few.
    fn taken(stencil: &Stencil) -> Vec<usize> {
        match stencil {
            Stencil::Outside | Stencil::Many(_) => Vec::new(),
            Stencil::One(i) => vec![*i],
            Stencil::Two(i, _) => vec![*i, i + 1],
        }
    }
}

impl<W: Wide + Real> Formula<W> for Resized<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<W>> {
        Some(match &*self.line(usize::from(series), row)?.0 {
            Stencil::Many(taps) => Series::new(Kind::Contraction, taps.len()),
            _ => Series::value(),
        })
    }

    fn needs(&self, series: u8, row: usize, at: usize) -> Vec<Term> {
        let stage = usize::from(series);
        let Some((stencil, first, step)) = self.line(stage, row) else { return Vec::new() };
        let taken = match &*stencil {
            Stencil::Many(taps) => taps.get(at).map(|tap| tap.0).into_iter().collect(),
            other => Resized::taken(other),
        };
        let next = |i: usize| {
            let row = first + i * step;
            // The elements after the last stage are X's, which are opened.
            Formula::<W>::series(self, series + 1, row).map(|s: Series<W>| s.top(series + 1, row))
        };
        taken.into_iter().filter_map(next).collect()
    }

    fn factors(
        &self,
        series: u8,
        row: usize,
        at: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let stage = usize::from(series);
        let (stencil, first, step) = self.line(stage, row).ok_or(Stop::NoTerm)?;
        let dtype = self.subject.input(0)?.dtype;
        let mut value = |claim: usize, i: usize| -> Result<W, Stop> {
            match stage + 1 == self.axes.len() {
                true => Ok(W::widen(dtype, inputs.element(0, (first + i * step) as u64)?)),
                false => claims.get(claim).copied().ok_or(Stop::NoTerm),
            }
        };
        Ok(Some(match &*stencil {
            Stencil::Outside => (W::ZERO, W::ONE),
            Stencil::One(i) => (value(0, *i)?, W::ONE),
            Stencil::Two(i, w) => {
                let (a, b) = (value(0, *i)?, value(1, i + 1)?);
                (W::from_f64(f64::from(*w)).fma(b - a, a), W::ONE)
            }
            Stencil::Many(taps) => {
                let (i, weight) = *taps.get(at).ok_or(Stop::NoTerm)?;
                (value(0, i)?, W::from_f64(f64::from(weight)))
            }
        }))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        if self.is_outside(element) {
            return Ok(Vec::new());
        }
        let series = Formula::<W>::series(self, 0, element);
        Ok(series.map(|s: Series<W>| s.top(0, element)).into_iter().collect())
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        if self.is_outside(element) {
            return self.outside();
        }
        match claims.first() {
            Some(value) => Ok(value.narrow(self.subject.output(output)?.dtype)),
            // No axis changes.
            None => inputs.element(0, element as u64),
        }
    }
}
