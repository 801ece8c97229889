//! Attention: products of queries and keys, weights, and products of weights and values.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term};
use crate::dtype::DType;
use crate::ops::attention::{Heads, Sight, mask_at};
use crate::ops::float::Real;

/// Contraction of weights and values for an element of Y.
const Y: u8 = 0;
/// Contraction of a query and a key.
const SCORE: u8 = 1;
/// That product with softcap and masks.
const MASKED: u8 = 2;
/// Maximum, then sum of exponentials of a query's masked products.
const MAXIMUM: u8 = 3;
const SUM: u8 = 4;
/// A weight.
const WEIGHT: u8 = 5;

/// Series of `Y` are numbered as Y's elements; of `SCORE`, `MASKED` and `WEIGHT` as the elements of output 3; the others
/// as its rows.
pub(super) struct Attention<'a> {
    subject: &'a Subject<'a>,
    q: Heads,
    k: Heads,
    v: Heads,
    sight: Sight,
    /// Keys before the new ones.
    past: usize,
    total: usize,
}

/// A batch, head, query.
#[derive(Clone, Copy)]
struct Row {
    batch: usize,
    head: usize,
    query: usize,
}

impl<'a> Attention<'a> {
    pub fn new(subject: &'a Subject<'a>) -> Result<Attention<'a>, Stop> {
        let heads = |index: usize, name: &str| -> Result<Heads, Stop> {
            Ok(Heads::of(&subject.input(index)?.shape, subject.attrs.int(name)))
        };
        let (q, k) = (heads(0, "q_num_heads")?, heads(1, "kv_num_heads")?);
        let v = heads(2, "kv_num_heads")?;
        let past = subject.optional(4).map(|past| past.shape[2]);
        let total = k.sequence + past.unwrap_or(0);
        let mut rows = [q.heads, q.sequence, total].into_iter();
        let count = rows.try_fold(subject.input(0)?.shape[0], usize::checked_mul);
        if count.is_none() || k.heads == 0 || q.heads < k.heads {
            return Err(Stop::TooLarge { bytes: usize::MAX });
        }
        let sight = Sight::new(subject.attrs, q.sequence, past);
        Ok(Attention { subject, q, k, v, sight, past: past.unwrap_or(0), total })
    }

    fn row(&self, number: usize) -> Row {
        let (heads, queries) = (self.q.heads.max(1), self.q.sequence.max(1));
        Row { batch: number / (heads * queries), head: number / queries % heads, query: number % queries }
    }

    fn row_number(&self, row: Row) -> usize {
        (row.batch * self.q.heads + row.head) * self.q.sequence + row.query
    }

    /// The row and column of an element of Y.
    fn place(&self, element: usize) -> (Row, usize) {
        let (width, heads, queries) = (self.v.size.max(1), self.q.heads.max(1), self.q.sequence.max(1));
        let (vector, column) = (element / width, element % width);
        let row = match self.q.three {
            true => Row {
                batch: vector / (queries * heads),
                query: vector / heads % queries,
                head: vector % heads,
            },
            false => self.row(vector),
        };
        (row, column)
    }

    fn kv_head(&self, head: usize) -> usize {
        head / (self.q.heads / self.k.heads)
    }

    /// An element of the key or value at a position of the sequence, new or past.
    fn present<W: Wide>(
        &self,
        input: usize,
        (batch, head): (usize, usize),
        at: usize,
        column: usize,
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        let layout = if input == 1 { self.k } else { self.v };
        let (input, offset) = match at.checked_sub(self.past) {
            Some(at) => (input, layout.row(batch, head, at) + column),
            None => {
                let vector = (batch * layout.heads + head) * self.past + at;
                (input + 3, vector * layout.size + column)
            }
        };
        Ok(W::widen(self.dtype()?, inputs.element(input, offset as u64)?))
    }

    fn dtype(&self) -> Result<DType, Stop> {
        Ok(self.subject.input(0)?.dtype)
    }

    /// The root of the scale.
    fn factor<W: Real>(&self) -> W {
        let scale = match self.subject.attrs.opt_float("scale") {
            Some(scale) => W::from_f64(f64::from(scale)),
            None => W::ONE / W::count(self.q.size).sqrt(),
        };
        scale.sqrt()
    }

    fn capped<W: Real>(&self, score: W) -> W {
        let cap = W::from_f64(f64::from(self.subject.attrs.float("softcap")));
        if cap > W::ZERO { (score / cap).tanh() * cap } else { score }
    }

    fn masked<W: Wide + Real>(&self, number: usize, score: W, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        let (row, j) = (self.row(number / self.total.max(1)), number % self.total.max(1));
        let value = self.capped(score);
        let length = match self.subject.optional(6) {
            Some(_) => Some(inputs.element(6, row.batch as u64)? as i64),
            None => None,
        };
        if !self.sight.sees(length, row.query, j) {
            return Ok(-W::INFINITY);
        }
        let Some(mask) = self.subject.optional(3) else { return Ok(value) };
        let Some(at) = mask_at(&mask.shape, [row.batch, row.head, row.query, j]) else {
            return Ok(-W::INFINITY);
        };
        let bits = inputs.element(3, at as u64)?;
        Ok(match (mask.dtype, bits) {
            (DType::Bool, 0) => -W::INFINITY,
            (DType::Bool, _) => value,
            (dtype, bits) => value + W::widen(dtype, bits),
        })
    }

    fn term(&self, series: u8, row: usize) -> Term {
        // Of values, and of what has one part.
        Term::Part { series, row: row as u64, level: 0, index: 0 }
    }

    /// Elements of outputs 1 and 2: those of past and new.
    fn moved(&self, input: usize, element: usize, inputs: &mut dyn Inputs) -> Result<u64, Stop> {
        let layout = if input == 1 { self.k } else { self.v };
        let (vector, column) = (element / layout.size.max(1), element % layout.size.max(1));
        let (pair, at) = (vector / self.total.max(1), vector % self.total.max(1));
        match at.checked_sub(self.past) {
            Some(at) => {
                let from = layout.row(pair / layout.heads, pair % layout.heads, at) + column;
                inputs.element(input, from as u64)
            }
            None => inputs.element(input + 3, ((pair * self.past + at) * layout.size + column) as u64),
        }
    }
}

impl<W: Wide + Real> Formula<W> for Attention<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        Some(match series {
            Y => Series::new(Kind::Contraction, self.total),
            SCORE => Series::new(Kind::Contraction, self.q.size),
            MAXIMUM => Series { kind: Kind::Maximum, len: self.total, start: -W::INFINITY },
            SUM => Series::new(Kind::Sum, self.total),
            MASKED | WEIGHT => Series::value(),
            _ => return None,
        })
    }

    fn needs(&self, series: u8, row: usize, at: usize) -> Vec<Term> {
        let top = |series: u8, row: usize| {
            Formula::<W>::series(self, series, row).map(|s: Series<W>| s.top(series, row))
        };
        let (score, own) = (row * self.total + at, row / self.total.max(1));
        match series {
            Y => {
                let (place, _) = self.place(row);
                vec![self.term(WEIGHT, self.row_number(place) * self.total + at)]
            }
            MASKED => top(SCORE, row).into_iter().collect(),
            MAXIMUM => vec![self.term(MASKED, score)],
            SUM => top(MAXIMUM, row).into_iter().chain([self.term(MASKED, score)]).collect(),
            WEIGHT => [top(MAXIMUM, own), top(SUM, own), Some(self.term(MASKED, row))]
                .into_iter()
                .flatten()
                .collect(),
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
        let claim = |at: usize| claims.get(at).copied().ok_or(Stop::NoTerm);
        let alone = |value: W| Ok(Some((value, W::ONE)));
        match series {
            Y => {
                let (place, column) = self.place(row);
                let pair = (place.batch, self.kv_head(place.head));
                Ok(Some((claim(0)?, self.present(2, pair, at, column, inputs)?)))
            }
            SCORE => {
                let (place, key) = (self.row(row / self.total.max(1)), row % self.total.max(1));
                let pair = (place.batch, self.kv_head(place.head));
                let from = self.q.row(place.batch, place.head, place.query) + at;
                let (q, factor) = (W::widen(self.dtype()?, inputs.element(0, from as u64)?), self.factor());
                let k: W = self.present(1, pair, key, at, inputs)?;
                Ok(Some((q * factor, k * factor)))
            }
            MASKED => alone(self.masked(row, claim(0)?, inputs)?),
            MAXIMUM => alone(claim(0)?),
            SUM => alone(Real::softmax_exp(claim(1)? - claim(0)?)),
            WEIGHT if claim(0)? == -W::INFINITY => alone(W::ZERO),
            WEIGHT => alone(Real::softmax_exp(claim(2)? - claim(0)?) * (W::ONE / claim(1)?)),
            _ => Err(Stop::NoTerm),
        }
    }

    fn output_needs(&self, output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let top = |series: u8, row: usize| {
            Formula::<W>::series(self, series, row).map(|s: Series<W>| s.top(series, row)).ok_or(Stop::NoTerm)
        };
        match output {
            0 => {
                let row = self.row_number(self.place(element).0);
                Ok(vec![top(MAXIMUM, row)?, top(Y, element)?])
            }
            1 | 2 => Ok(Vec::new()),
            _ => Ok(match self.subject.attrs.int("qk_matmul_output_mode") {
                0 | 1 => vec![top(SCORE, element)?],
                2 => vec![self.term(MASKED, element)],
                _ => vec![self.term(WEIGHT, element)],
            }),
        }
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        if let 1 | 2 = output {
            return self.moved(output as usize, element, inputs);
        }
        let dtype = self.subject.output(output)?.dtype;
        let last = *claims.last().ok_or(Stop::NoTerm)?;
        let y = match output {
            // Where nothing is seen, no value counts, an infinite one neither.
            0 if claims[0] == -W::INFINITY => W::ZERO,
            0 => last,
            _ if self.subject.attrs.int("qk_matmul_output_mode") == 1 => self.capped(last),
            _ => last,
        };
        Ok(y.narrow(dtype))
    }
}
