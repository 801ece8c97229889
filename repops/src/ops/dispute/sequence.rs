//! SequenceAttention: as `attention.rs`, one request with all its positions.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term};
use crate::lane_op::UnaryOp;
use crate::ops::float::Real;

/// Contraction of weights and values for an element of Y.
const Y: u8 = 0;
/// Contraction of a query and a key, then what is made of it.
const SCORE: u8 = 1;
const SCALED: u8 = 2;
/// Maximum and sum of exponentials of a row and head.
const MAXIMUM: u8 = 3;
const SUM: u8 = 4;
const WEIGHT: u8 = 5;

/// Series of `Y` are numbered as Y's elements; rows as `position * heads + head`, and single products as that times the number of
/// positions, plus the key's.
pub(super) struct SequenceAttention<'a> {
    subject: &'a Subject<'a>,
    positions: usize,
    heads: usize,
    /// Query heads of each key head.
    group: usize,
    /// Elements of a key and of a value.
    key: usize,
    value: usize,
    window: usize,
}

impl<'a> SequenceAttention<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<SequenceAttention<'a>, Stop> {
        let columns = |input: usize| -> Result<usize, Stop> {
            subject.input(input)?.shape.get(1).copied().ok_or(Stop::NoTerm)
        };
        let attr = |name: &str| usize::try_from(subject.attrs.int(name)).unwrap_or(0);
        let (heads, kv_heads) = (attr("heads").max(1), attr("kv_heads").max(1));
        let positions = subject.input(0)?.shape[0];
        let count = positions.checked_mul(heads).and_then(|rows| rows.checked_mul(positions));
        if count.is_none() || heads < kv_heads {
            return Err(Stop::TooLarge { bytes: usize::MAX });
        }
        Ok(SequenceAttention {
            subject,
            positions,
            heads,
            group: heads / kv_heads,
            key: columns(0)? / heads,
            value: columns(2)? / kv_heads,
            window: attr("window"),
        })
    }

    /// The row, and the column within the head, of an element of Y.
    fn place(&self, element: usize) -> (usize, usize) {
        (element / self.value.max(1), element % self.value.max(1))
    }

    /// Whether a row sees a key that is not after it.
    fn sees(&self, row: usize, j: usize) -> bool {
        self.window == 0 || j + self.window > row / self.heads
    }

    fn element(&self, input: usize, at: usize, inputs: &mut dyn Inputs) -> Result<f32, Stop> {
        Ok(f32::from_bits(inputs.element(input, at as u64)? as u32))
    }

    fn term(&self, series: u8, row: usize, j: usize) -> Term {
        Term::Part { series, row: (row * self.positions + j) as u64, level: 0, index: 0 }
    }

    fn top(&self, series: u8, row: usize) -> Option<Term> {
        self.series(series, row).map(|s| s.top(series, row))
    }
}

impl Formula<f32> for SequenceAttention<'_> {
    fn series(&self, series: u8, row: usize) -> Option<Series<f32>> {
        Some(match series {
            Y => Series::new(Kind::Contraction, self.place(row).0 / self.heads + 1),
            SCORE => Series::new(Kind::Contraction, self.key),
            MAXIMUM => Series { kind: Kind::Maximum, len: row / self.heads + 1, start: f32::NEG_INFINITY },
            SUM => Series::new(Kind::Sum, row / self.heads + 1),
            SCALED | WEIGHT => Series::value(),
            _ => return None,
        })
    }

    fn needs(&self, series: u8, row: usize, at: usize) -> Vec<Term> {
        let (own, j) = (row / self.positions.max(1), row % self.positions.max(1));
        match series {
            Y if self.sees(self.place(row).0, at) => vec![self.term(WEIGHT, self.place(row).0, at)],
            SCALED => self.top(SCORE, row).into_iter().collect(),
            MAXIMUM if self.sees(row, at) => vec![self.term(SCALED, row, at)],
            SUM if self.sees(row, at) => {
                self.top(MAXIMUM, row).into_iter().chain([self.term(SCALED, row, at)]).collect()
            }
            WEIGHT => {
                let sums = [self.top(MAXIMUM, own), self.top(SUM, own)];
                sums.into_iter().flatten().chain([self.term(SCALED, own, j)]).collect()
            }
            _ => Vec::new(),
        }
    }

    fn factors(
        &self,
        series: u8,
        row: usize,
        at: usize,
        claims: &[f32],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(f32, f32)>, Stop> {
        let claim = |at: usize| claims.get(at).copied().ok_or(Stop::NoTerm);
        let kv_columns = |size: usize| self.heads / self.group.max(1) * size;
        Ok(Some(match series {
            Y => {
                let (place, column) = self.place(row);
                if !self.sees(place, at) {
                    return Ok(None);
                }
                let head = place % self.heads / self.group.max(1);
                let v = self.element(2, at * kv_columns(self.value) + head * self.value + column, inputs)?;
                (claim(0)?, v)
            }
            SCORE => {
                let (own, j) = (row / self.positions.max(1), row % self.positions.max(1));
                let head = own % self.heads / self.group.max(1);
                let q = self.element(0, own * self.key + at, inputs)?;
                (q, self.element(1, j * kv_columns(self.key) + head * self.key + at, inputs)?)
            }
            SCALED => {
                let (scale, cap) = (self.subject.attrs.float("scale"), self.subject.attrs.float("softcap"));
                let s = claim(0)? * scale;
                (if cap > 0.0 { UnaryOp::Tanh.apply(s / cap) * cap } else { s }, f32::ONE)
            }
            MAXIMUM if !self.sees(row, at) => return Ok(None),
            MAXIMUM => (claim(0)?, f32::ONE),
            SUM if !self.sees(row, at) => (0.0, f32::ONE),
            SUM => (Real::softmax_exp(claim(1)? - claim(0)?), f32::ONE),
            WEIGHT => (Real::softmax_exp(claim(2)? - claim(0)?) * (1.0 / claim(1)?), f32::ONE),
            _ => return Err(Stop::NoTerm),
        }))
    }

    fn output_needs(&self, _output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        Ok(vec![self.top(Y, element).ok_or(Stop::NoTerm)?])
    }

    fn output(&self, output: u32, _element: usize, claims: &[f32], _: &mut dyn Inputs) -> Result<u64, Stop> {
        Ok(claims.first().ok_or(Stop::NoTerm)?.narrow(self.subject.output(output)?.dtype))
    }
}
