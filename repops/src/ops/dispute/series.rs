//! Series: the sums, contractions and maxima that steps compute and do not store.
//!
//! A series of a row has parts; parts are combined by the tree of [`crate::reduce`] (a maximum has no
//! order). Invariant: the order is that of [`reduce::contract`] and [`reduce::row_sum`], whose constants
//! are used here and not repeated.

use super::wide::Wide;
use super::{FAN, Inputs, STRIDE, Stop, Term};
use crate::reduce::{self, BLOCK, CHUNK, LANES};

/// How the elements of a series are put together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// [`reduce::contract`] of pairs.
    Contraction,
    /// [`reduce::row_sum`] of elements.
    Sum,
    /// The largest element and the start.
    Maximum,
    Minimum,
    /// No series: one value that the operator computes and does not store.
    Value,
}

impl Kind {
    /// Elements of one part.
    fn unit(self) -> usize {
        match self {
            Kind::Contraction => CHUNK,
            Kind::Sum => BLOCK,
            Kind::Maximum | Kind::Minimum => STRIDE,
            Kind::Value => 1,
        }
    }
}

/// A series: how it is accumulated, and over how many positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series<W> {
    pub kind: Kind,
    pub len: usize,
    /// What a maximum or minimum starts from.
    pub start: W,
}

impl<W: Wide> Series<W> {
    pub fn new(kind: Kind, len: usize) -> Series<W> {
        Series { kind, len, start: W::ZERO }
    }

    fn parts(&self) -> usize {
        self.len.div_ceil(self.kind.unit())
    }

    /// A value of its own.
    pub fn value() -> Series<W> {
        Series::new(Kind::Value, 1)
    }

    /// The term of the whole series.
    pub fn top(&self, series: u8, row: usize) -> Term {
        let (mut level, mut count) = (0, self.parts());
        while count > 1 {
            count = count.div_ceil(FAN);
            level += 1;
        }
        Term::Part { series, row: row as u64, level, index: 0 }
    }
}

/// What an operator makes of its series. A term's own claims come first in `claims`, in the order in which
/// they were listed.
pub(super) trait Formula<W: Wide> {
    /// The series with this number for a row; `None` when there is none.
    fn series(&self, series: u8, row: usize) -> Option<Series<W>>;
    /// Claims that position `at` of a series is computed from.
    fn needs(&self, series: u8, row: usize, at: usize) -> Vec<Term> {
        let _ = (series, row, at);
        Vec::new()
    }
    /// Claims that a [`Kind::Value`] is computed from. One of a level above 0 is the last of its claims: the others
    /// are agreed upon on the way.
    fn value_needs(&self, series: u8, row: usize, level: u8) -> Result<Vec<Term>, Stop> {
        if level > 0 { Err(Stop::NoTerm) } else { Ok(self.needs(series, row, 0)) }
    }
    /// The factors at a position; an element of a sum or maximum, and a value, is the first alone.
    /// `None`: skipped.
    fn factors(
        &self,
        series: u8,
        row: usize,
        at: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop>;
    /// Claims that an output's element is computed from.
    fn output_needs(&self, output: u32, element: usize) -> Result<Vec<Term>, Stop>;
    /// The bits of an output's element.
    fn output(&self, output: u32, element: usize, claims: &[W], inputs: &mut dyn Inputs)
    -> Result<u64, Stop>;
}

/// Positions of a lane of a part between two claims.
struct Run {
    first: usize,
    step: usize,
    count: usize,
}

fn parts_at(count: usize, level: u8) -> usize {
    (0..level).fold(count, |n, _| n.div_ceil(FAN))
}

/// Elements of part `part`.
fn part_len<W: Wide>(series: &Series<W>, part: usize) -> usize {
    let unit = series.kind.unit();
    series.len.saturating_sub(part.saturating_mul(unit)).min(unit)
}

fn lanes_of(kind: Kind) -> usize {
    if kind == Kind::Sum { LANES } else { 1 }
}

/// Elements that a lane of a part takes.
fn lane_len<W: Wide>(series: &Series<W>, part: usize, lane: usize) -> usize {
    part_len(series, part).saturating_sub(lane).div_ceil(lanes_of(series.kind))
}

fn run<W: Wide>(series: &Series<W>, part: usize, lane: usize, step: usize) -> Result<Run, Stop> {
    let lanes = lanes_of(series.kind);
    let len = lane_len(series, part, lane);
    let from = step * STRIDE;
    if lane >= lanes || from >= len || matches!(series.kind, Kind::Maximum | Kind::Minimum | Kind::Value) {
        return Err(Stop::NoTerm);
    }
    let first = part * series.kind.unit() + lane + from * lanes;
    Ok(Run { first, step: lanes, count: (len - from).min(STRIDE) })
}

fn positions(run: &Run) -> impl Iterator<Item = usize> {
    let (first, step) = (run.first, run.step);
    (0..run.count).map(move |i| first + i * step)
}

/// The claims of a term.
pub(super) fn claims<W: Wide>(formula: &dyn Formula<W>, term: Term) -> Result<Vec<Term>, Stop> {
    match term {
        Term::Output { output, element } => formula.output_needs(output, element as usize),
        Term::Part { series: number, row, level, index } => {
            let series = formula.series(number, row as usize).ok_or(Stop::NoTerm)?;
            if series.kind == Kind::Value && index == 0 {
                return formula.value_needs(number, row as usize, level);
            }
            if level > 16 || index as usize >= parts_at(series.parts(), level).max(1) {
                return Err(Stop::NoTerm);
            }
            let index = index as usize;
            if level > 0 {
                let below = parts_at(series.parts(), level - 1);
                let children = index * FAN..below.min((index + 1) * FAN);
                return Ok(children
                    .map(|i| Term::Part { series: number, row, level: level - 1, index: i as u64 })
                    .collect());
            }
            let part = index as u64;
            let lane = |lane: usize, step: usize| Term::Lane {
                series: number,
                row,
                part,
                lane: lane as u8,
                step: step as u16,
            };
            let steps = |l: usize| lane_len(&series, index, l).div_ceil(STRIDE);
            Ok(match series.kind {
                Kind::Contraction => (0..steps(0)).map(|step| lane(0, step)).collect(),
                Kind::Sum => {
                    let used = (0..LANES).filter(|l| steps(*l) > 0);
                    used.map(|l| lane(l, steps(l) - 1)).collect()
                }
                Kind::Maximum | Kind::Minimum => {
                    let first = index * STRIDE;
                    let at = first..first + part_len(&series, index);
                    at.flat_map(|at| formula.needs(number, row as usize, at)).collect()
                }
                Kind::Value => return Err(Stop::NoTerm),
            })
        }
        Term::Lane { series: number, row, part, lane, step } => {
            let series = formula.series(number, row as usize).ok_or(Stop::NoTerm)?;
            let run = run(&series, part as usize, lane as usize, step as usize)?;
            let before = step.checked_sub(1).map(|step| Term::Lane { series: number, row, part, lane, step });
            let needs = positions(&run).flat_map(|at| formula.needs(number, row as usize, at));
            Ok(before.into_iter().chain(needs).collect())
        }
    }
}

/// The bits of a term, given those of its claims.
pub(super) fn value<W: Wide>(
    formula: &dyn Formula<W>,
    term: Term,
    bits: &[u64],
    inputs: &mut dyn Inputs,
) -> Result<u64, Stop> {
    let claims: Vec<W> = bits.iter().map(|&bits| W::from_bits(bits)).collect();
    let found = match term {
        Term::Output { output, element } => {
            return formula.output(output, element as usize, &claims, inputs);
        }
        Term::Part { series: number, row, level, index } => {
            let series = formula.series(number, row as usize).ok_or(Stop::NoTerm)?;
            let choose = |a: W, b: W| if series.kind == Kind::Maximum { a.larger(b) } else { a.smaller(b) };
            match (series.kind, level) {
                (Kind::Value, 1..) => *claims.last().ok_or(Stop::NoTerm)?,
                (Kind::Value, 0) => {
                    let found = formula.factors(number, row as usize, 0, &claims, inputs)?;
                    found.ok_or(Stop::NoTerm)?.0
                }
                (Kind::Contraction | Kind::Sum, 1..) => reduce::tree(&claims),
                (Kind::Contraction, 0) => claims.last().copied().unwrap_or(W::ZERO).add(W::ZERO),
                (Kind::Sum, 0) => {
                    let mut lanes = [W::ZERO; LANES];
                    lanes.iter_mut().zip(&claims).for_each(|(lane, claim)| *lane = *claim);
                    reduce::fold_lanes(lanes)
                }
                (Kind::Maximum | Kind::Minimum, 1..) => claims.into_iter().fold(series.start, choose),
                (Kind::Maximum | Kind::Minimum, 0) => {
                    let (row, first) = (row as usize, index as usize * STRIDE);
                    let mut rest = claims.as_slice();
                    let mut best = series.start;
                    for at in first..first + part_len(&series, index as usize) {
                        let own = take(&mut rest, formula.needs(number, row, at).len())?;
                        if let Some((element, _)) = formula.factors(number, row, at, own, inputs)? {
                            best = choose(best, element);
                        }
                    }
                    best
                }
            }
        }
        Term::Lane { series: number, row, part, lane, step } => {
            let row = row as usize;
            let series = formula.series(number, row).ok_or(Stop::NoTerm)?;
            let run = run(&series, part as usize, lane as usize, step as usize)?;
            let mut rest = claims.as_slice();
            let mut acc = match step {
                0 => W::ZERO,
                _ => take(&mut rest, 1)?[0],
            };
            for at in positions(&run) {
                let own = take(&mut rest, formula.needs(number, row, at).len())?;
                match formula.factors(number, row, at, own, inputs)? {
                    Some((a, b)) if series.kind == Kind::Contraction => acc = a.fma(b, acc),
                    Some((element, _)) => acc = acc.add(element),
                    None => {}
                }
            }
            acc
        }
    };
    Ok(found.to_bits())
}

fn take<'a, W>(rest: &mut &'a [W], count: usize) -> Result<&'a [W], Stop> {
    let (head, tail) = rest.split_at_checked(count).ok_or(Stop::NoTerm)?;
    *rest = tail;
    Ok(head)
}
