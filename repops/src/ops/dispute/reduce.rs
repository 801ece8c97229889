//! Reductions of axes, softmax, and pools over whole planes.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, TensorType, Term};
use crate::dtype::DType;
use crate::ops::float::Real;
use crate::ops::rows::axis_flags;
use crate::ops::window::unravel;
use crate::tensor::strides;

/// Where the rows of a tensor are; the plain form is `ops::rows::Rows`, which lists all of them.
pub(super) struct RowMap {
    shape: Vec<usize>,
    reduced: Vec<bool>,
}

impl RowMap {
    pub fn new(shape: &[usize], reduced: Vec<bool>) -> RowMap {
        RowMap { shape: shape.to_vec(), reduced }
    }

    fn extents(&self, which: bool) -> Vec<usize> {
        let axes = self.shape.iter().zip(&self.reduced).filter(|(_, r)| **r == which);
        axes.map(|(d, _)| *d).collect()
    }

    /// Elements of a row.
    pub fn len(&self) -> usize {
        self.extents(true).iter().product()
    }

    /// The position in the tensor of element `at` of row `row`.
    pub fn element(&self, row: usize, at: usize) -> usize {
        let (kept, reduced) = (unravel(row, &self.extents(false)), unravel(at, &self.extents(true)));
        let (mut kept, mut reduced) = (kept.into_iter(), reduced.into_iter());
        let own = strides(&self.shape);
        let position = |r: &bool| if *r { reduced.next() } else { kept.next() };
        self.reduced.iter().map(position).zip(own).map(|(p, stride)| p.unwrap_or(0) * stride).sum()
    }

    /// The row of an element of the tensor.
    pub fn row_of(&self, element: usize) -> usize {
        let position = unravel(element, &self.shape);
        let kept = position.iter().zip(&self.reduced).zip(&self.shape).filter(|((_, r), _)| !**r);
        kept.fold(0, |row, ((p, _), extent)| row * extent + p)
    }
}

/// What is summed or compared, and what becomes of it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Op {
    Sum,
    Mean,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
    Max,
    Min,
    /// Elements of the input's shape, along an axis.
    Softmax,
    LogSoftmax,
}

/// An operator of this family on floats.
pub(super) struct Reduction<'a> {
    op: Op,
    x: &'a TensorType,
    rows: RowMap,
    subject: &'a Subject<'a>,
}

/// The operator of a subject and the rows it takes.
pub(super) fn parts(subject: &Subject<'_>, inputs: &mut dyn Inputs) -> Result<(Op, RowMap), Stop> {
    let x = subject.input(0)?;
    let op = match subject.def.name {
        "ReduceSum" => Op::Sum,
        "ReduceMean" | "GlobalAveragePool" => Op::Mean,
        "ReduceL1" => Op::L1,
        "ReduceL2" => Op::L2,
        "ReduceLogSum" => Op::LogSum,
        "ReduceLogSumExp" => Op::LogSumExp,
        "ReduceSumSquare" => Op::SumSquare,
        "ReduceMax" | "GlobalMaxPool" => Op::Max,
        "ReduceMin" => Op::Min,
        "Softmax" => Op::Softmax,
        "LogSoftmax" => Op::LogSoftmax,
        _ => return Err(Stop::NoTerm),
    };
    let rank = x.shape.len();
    let reduced = match subject.def.name {
        "GlobalAveragePool" | "GlobalMaxPool" => (0..rank).map(|axis| axis >= 2).collect(),
        "Softmax" | "LogSoftmax" => axis_flags(&[subject.attrs.int("axis")], rank)?,
        _ => {
            let axes = subject.integers(inputs, 1)?.unwrap_or_default();
            match axes.as_slice() {
                [] => vec![subject.attrs.int("noop_with_empty_axes") == 0; rank],
                axes => axis_flags(axes, rank)?,
            }
        }
    };
    Ok((op, RowMap::new(&x.shape, reduced)))
}

/// Series 0 is the sum, or the largest or smallest; series 1 the maximum that exponents are relative to.
impl<'a> Reduction<'a> {
    pub fn new(subject: &'a Subject<'a>, op: Op, rows: RowMap) -> Result<Reduction<'a>, Stop> {
        Ok(Reduction { op, x: subject.input(0)?, rows, subject })
    }

    fn has_maximum(&self) -> bool {
        matches!(self.op, Op::LogSumExp | Op::Softmax | Op::LogSoftmax)
    }

    fn is_elementwise(&self) -> bool {
        matches!(self.op, Op::Softmax | Op::LogSoftmax)
    }

    fn row(&self, element: usize) -> usize {
        if self.is_elementwise() { self.rows.row_of(element) } else { element }
    }
}

/// The maximum that LogSumExp subtracts.
fn finite<W: Real>(max: W) -> W {
    if max.abs() == W::INFINITY { W::ZERO } else { max }
}

impl<W: Wide + Real> Formula<W> for Reduction<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        let len = self.rows.len();
        let extreme = |kind, start| Series { kind, len, start };
        Some(match (series, self.op) {
            (0, Op::Max) => extreme(Kind::Maximum, -W::INFINITY),
            (0, Op::Min) => extreme(Kind::Minimum, W::INFINITY),
            (0, _) => Series::new(Kind::Sum, len),
            (1, _) if self.has_maximum() => extreme(Kind::Maximum, -W::INFINITY),
            _ => return None,
        })
    }

    fn needs(&self, series: u8, row: usize, _at: usize) -> Vec<Term> {
        match Formula::<W>::series(self, 1, row) {
            Some(maximum) if series == 0 => vec![maximum.top(1, row)],
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
        let max = || claims.first().copied().ok_or(Stop::NoTerm);
        let element = match (series, self.op) {
            (1, _) => x,
            (_, Op::L1) => Real::abs(x),
            (_, Op::L2 | Op::SumSquare) => x * x,
            (_, Op::LogSumExp) => Real::exp(x - finite(max()?)),
            (_, Op::Softmax | Op::LogSoftmax) => Real::softmax_exp(x - max()?),
            _ => x,
        };
        Ok(Some((element, W::ONE)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let row = self.row(element);
        let top = |number| Formula::<W>::series(self, number, row).map(|s: Series<W>| s.top(number, row));
        Ok([1, 0].into_iter().filter_map(top).collect())
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let sum = *claims.last().ok_or(Stop::NoTerm)?;
        let max = claims[0];
        let y = match self.op {
            Op::Sum | Op::L1 | Op::SumSquare | Op::Max | Op::Min => sum,
            Op::Mean => sum / W::count(self.rows.len()),
            Op::L2 => Real::sqrt(sum),
            Op::LogSum => Real::log(sum),
            Op::LogSumExp => Real::log(sum) + finite(max),
            Op::Softmax | Op::LogSoftmax => {
                let x = W::widen(self.x.dtype, inputs.element(0, element as u64)?);
                if self.op == Op::Softmax {
                    Real::softmax_exp(x - max) * (W::ONE / sum)
                } else {
                    (x - max) - Real::log(sum)
                }
            }
        };
        Ok(y.narrow(self.subject.output(output)?.dtype))
    }
}

/// The same on integers, in which nothing rounds.
pub(super) struct Integers<'a>(pub Reduction<'a>);

impl<W: Wide> Formula<W> for Integers<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        let len = self.0.rows.len();
        let (lowest, highest) = extremes(self.0.x.dtype);
        let extreme = |kind, start| Series { kind, len, start: W::widen(DType::I64, start) };
        match (series, self.0.op) {
            (0, Op::Max) => Some(extreme(Kind::Maximum, lowest)),
            (0, Op::Min) => Some(extreme(Kind::Minimum, highest)),
            (0, _) => Some(Series::new(Kind::Sum, len)),
            _ => None,
        }
    }

    fn factors(
        &self,
        _series: u8,
        row: usize,
        at: usize,
        _claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        let at = self.0.rows.element(row, at) as u64;
        let x = W::widen(self.0.x.dtype, inputs.element(0, at)?);
        let negated = || W::from_bits((x.to_bits() as i64).wrapping_neg() as u64);
        let element = match self.0.op {
            Op::L1 if x < W::ZERO => negated(),
            Op::SumSquare => x.fma(x, W::ZERO),
            _ => x,
        };
        Ok(Some((element, W::ZERO)))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        Ok(vec![Formula::<W>::series(self, 0, element).ok_or(Stop::NoTerm)?.top(0, element)])
    }

    fn output(&self, output: u32, _element: usize, claims: &[W], _: &mut dyn Inputs) -> Result<u64, Stop> {
        let sum = *claims.first().ok_or(Stop::NoTerm)?;
        let dtype = self.0.subject.output(output)?.dtype;
        if self.0.op != Op::Mean {
            return Ok(sum.narrow(dtype));
        }
        let n = self.0.rows.len() as i128;
        if n == 0 {
            return Err(crate::ops::Fault::DivisionByZero.into());
        }
        let mean = super::wide::integer(dtype, sum.to_bits()) / n;
        Ok(W::widen(DType::I64, mean as i64 as u64).narrow(dtype))
    }
}

/// The least and greatest value of an integer type, as the bits of the wide type.
pub(super) fn extremes(dtype: DType) -> (u64, u64) {
    match dtype {
        DType::I8 => (i64::from(i8::MIN) as u64, i8::MAX as u64),
        DType::I16 => (i64::from(i16::MIN) as u64, i16::MAX as u64),
        DType::I32 => (i64::from(i32::MIN) as u64, i32::MAX as u64),
        DType::I64 => (i64::MIN as u64, i64::MAX as u64),
        DType::Bool => (0, 1),
        DType::U8 => (0, u64::from(u8::MAX)),
        DType::U16 => (0, u64::from(u16::MAX)),
        DType::U32 => (0, u64::from(u32::MAX)),
        _ => (0, u64::MAX),
    }
}
