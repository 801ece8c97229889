//! Normalizations by a row's mean and variance, root mean square, or norm.

use super::contract::broadcast_at;
use super::reduce::RowMap;
use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::dtype::DType;
use crate::ops::float::Real;
use crate::ops::infer::normalize_axis;
use crate::ops::rows::axis_flags;
use crate::ops::{OpError, layer_normalization::Moments};

#[derive(Clone, Copy, PartialEq)]
enum Op {
    /// By mean and variance of the centred row; outputs 1 and 2 of LayerNormalization are those.
    Layer,
    /// The same, with a scale and bias for each channel.
    Channels,
    Rms,
    Lp1,
    Lp2,
    MeanVariance,
}

/// An operator of this family. Series 0 is the sum (of elements, squares or magnitudes), series 1 the sum
/// of squares that it needs besides.
pub(super) struct Normalization<'a> {
    op: Op,
    x: &'a TensorType,
    rows: RowMap,
    subject: &'a Subject<'a>,
}

impl<'a> Normalization<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Normalization<'a>, Stop> {
        let x = subject.input(0)?;
        let rank = x.shape.len();
        let from = |axis: usize| RowMap::new(&x.shape, (0..rank).map(|a| a >= axis).collect());
        let axis = || normalize_axis(subject.attrs.int("axis"), rank).map_err(OpError::shape);
        let (op, rows) = match subject.def.name {
            "LayerNormalization" => (Op::Layer, from(axis()?)),
            "RMSNormalization" => (Op::Rms, from(axis()?)),
            "InstanceNormalization" => (Op::Channels, from(2)),
            "GroupNormalization" => {
                // A row is a run of channels: one axis of groups, one of what a group holds.
                let groups = usize::try_from(subject.attrs.int("num_groups")).unwrap_or(0).max(1);
                let rows = x.shape.first().copied().unwrap_or(0) * groups;
                let shape = [rows, x.len() / rows.max(1)];
                (Op::Channels, RowMap::new(&shape, vec![false, true]))
            }
            "LpNormalization" => {
                let op = if subject.attrs.int("p") == 1 { Op::Lp1 } else { Op::Lp2 };
                (op, RowMap::new(&x.shape, axis_flags(&[subject.attrs.int("axis")], rank)?))
            }
            "MeanVarianceNormalization" => {
                (Op::MeanVariance, RowMap::new(&x.shape, axis_flags(subject.attrs.ints("axes"), rank)?))
            }
            _ => return Err(Stop::NoTerm),
        };
        Ok(Normalization { op, x, rows, subject })
    }

    fn has_second(&self) -> bool {
        matches!(self.op, Op::Layer | Op::Channels | Op::MeanVariance)
    }

    /// A parameter that broadcasts to X, at X's position.
    fn parameter<W: Wide>(
        &self,
        index: usize,
        element: usize,
        inputs: &mut dyn Inputs,
    ) -> Result<Option<W>, Stop> {
        let Some(ty) = self.subject.optional(index) else { return Ok(None) };
        let at = match self.op {
            Op::Channels => {
                let plane: usize = self.x.shape[2..].iter().product();
                element / plane.max(1) % self.x.shape[1].max(1)
            }
            _ => broadcast_at(&ty.shape, &self.x.shape, element),
        };
        Ok(Some(W::widen(ty.dtype, inputs.element(index, at as u64)?)))
    }
}

impl<W: Wide + Real> Formula<W> for Normalization<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        let there = series == 0 || (series == 1 && self.has_second());
        there.then(|| Series::new(Kind::Sum, self.rows.len()))
    }

    fn needs(&self, series: u8, row: usize, _at: usize) -> Vec<Term> {
        // The squares are those of what is left when the mean is taken away.
        match (series, self.op, Formula::<W>::series(self, 0, row)) {
            (1, Op::Layer | Op::Channels, Some(sum)) => vec![sum.top(0, row)],
            _ => Vec::new(),
        }
    }

    fn factors(
        &self,
        series: u8,
        row: usize,
        at: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let x = W::widen(self.x.dtype, inputs.element(0, self.rows.element(row, at) as u64)?);
        let element = match (series, self.op) {
            (0, Op::Layer | Op::Channels | Op::MeanVariance) => x,
            (0, Op::Lp1) => Real::abs(x),
            (0, _) | (_, Op::MeanVariance) => x * x,
            _ => {
                let mean = *claims.first().ok_or(Stop::NoTerm)? / W::count(self.rows.len());
                let d = x - mean;
                d * d
            }
        };
        Ok(Some((element, W::ONE)))
    }

    fn output_needs(&self, output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let row = if output == 0 { self.rows.row_of(element) } else { element };
        let top = |number| Formula::<W>::series(self, number, row).map(|s: Series<W>| s.top(number, row));
        Ok([0, 1].into_iter().filter_map(top).collect())
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let n = W::count(self.rows.len());
        let dtype = self.subject.output(output)?.dtype;
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let second = *claims.last().ok_or(Stop::NoTerm)?;
        let epsilon = || W::from_f64(f64::from(self.subject.attrs.float("epsilon")));
        let moments = || Moments { mean: sum / n, inv: W::ONE / Real::sqrt(second / n + epsilon()) };
        match output {
            1 => return Ok(stash(moments().mean)),
            2 => return Ok(stash(moments().inv)),
            _ => {}
        }
        let x = W::widen(self.x.dtype, inputs.element(0, element as u64)?);
        let y = match self.op {
            Op::Layer | Op::Channels => {
                let scale = self.parameter(1, element, inputs)?;
                let bias = self.parameter(2, element, inputs)?;
                moments().normalize(x, scale, bias)
            }
            Op::Rms => {
                let normalized = x / Real::sqrt(sum / n + epsilon());
                self.parameter(1, element, inputs)?.map_or(normalized, |s: W| normalized * s)
            }
            Op::Lp1 | Op::Lp2 => {
                let norm = if self.op == Op::Lp1 { sum } else { Real::sqrt(sum) };
                if norm == W::ZERO { W::ZERO } else { x / norm }
            }
            Op::MeanVariance => {
                let mean = sum / n;
                let variance = second / n - mean * mean;
                (x - mean) / (Real::sqrt(variance) + W::from_f64(1e-9))
            }
        };
        Ok(y.narrow(dtype))
    }
}

/// Mean and InvStdDev are stored as f32.
fn stash<W: Real>(value: W) -> u64 {
    Wide::narrow(value.to_f64() as f32, DType::F32)
}
