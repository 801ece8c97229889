//! RNN, GRU and LSTM: by the states between steps, then by the gates of one step.
//!
//! A state after `s` steps is stated on the way to later ones: a value of level `l` after `s` steps is computed from the
//! states after `m` steps, `m` being the largest multiple of 2^(l-1) below `s` (where it is not one of 2^l), and from the
//! same value of a lower level; one of level 0 from the step itself and the state after `s - 1` steps. So a state after
//! `m` steps is known as the value of level `l` where 2^l is the largest power of two that divides `m`, and parties
//! who differ about a late state find the first step that they do in as many rounds as the number of steps has bits.

use super::series::{Formula, Kind, Series};
use super::wide::Wide;
use super::{Inputs, Stop, Subject, Term};
use crate::dtype::DType;
use crate::ops::float::{Float, Real};
use crate::ops::recurrent::{Activation, Cell, clipped, directions, run_seen};
use crate::ops::{EvalCtx, OpDef, OpError};
use crate::tensor::Tensor;

/// H and C.
const H: u8 = 0;
const C: u8 = 1;
/// Contractions with W and with R, and activated gates.
const INPUT: u8 = 2;
const STATE: u8 = 3;
const GATE: u8 = 4;

/// A state's element is numbered `((direction * batch + sample) * (steps + 1) + s) * hidden + j`; a gate's `g`-th row of it
/// has that number times the number of gates, plus `g`.
pub(super) struct Recurrence<'a> {
    subject: &'a Subject<'a>,
    cell: Cell,
    activations: Vec<Activation>,
    reversed: &'static [bool],
    batch_first: bool,
    seq: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    lengths: Option<Vec<i64>>,
    /// linear_before_reset or input_forget.
    variant: bool,
}

/// An element of a state.
#[derive(Clone, Copy)]
struct At {
    direction: usize,
    sample: usize,
    steps: usize,
    j: usize,
}

fn cell_of(def: &OpDef) -> Result<Cell, Stop> {
    match def.name {
        "RNN" => Ok(Cell::Rnn),
        "GRU" => Ok(Cell::Gru),
        "LSTM" => Ok(Cell::Lstm),
        _ => Err(Stop::NoTerm),
    }
}

impl<'a> Recurrence<'a> {
    pub fn new(subject: &'a Subject<'a>, inputs: &mut dyn Inputs) -> Result<Recurrence<'a>, Stop> {
        let cell = cell_of(subject.def)?;
        let reversed = directions(subject.attrs)?;
        let batch_first = subject.attrs.int("layout") != 0;
        let (&[first, second, input], &[.., hidden]) =
            (subject.input(0)?.shape.as_slice(), subject.input(2)?.shape.as_slice())
        else {
            return Err(Stop::NoTerm);
        };
        let (seq, batch) = if batch_first { (second, first) } else { (first, second) };
        let variant = match cell {
            Cell::Rnn => false,
            Cell::Gru => subject.attrs.int("linear_before_reset") != 0,
            Cell::Lstm => subject.attrs.int("input_forget") != 0,
        };
        let mut numbers = [reversed.len(), batch, seq.saturating_add(1), hidden].into_iter();
        if numbers.try_fold(2 * cell.gates(), usize::checked_mul).is_none() {
            return Err(Stop::TooLarge { bytes: usize::MAX });
        }
        Ok(Recurrence {
            subject,
            cell,
            activations: cell.activations(subject.attrs, reversed.len())?,
            reversed,
            batch_first,
            seq,
            batch,
            input,
            hidden,
            lengths: subject.integers(inputs, 4)?,
            variant,
        })
    }

    fn number(&self, at: At) -> usize {
        ((at.direction * self.batch + at.sample) * (self.seq + 1) + at.steps) * self.hidden + at.j
    }

    fn at(&self, number: usize) -> At {
        let (hidden, states, batch) = (self.hidden.max(1), self.seq + 1, self.batch.max(1));
        let (row, j) = (number / hidden, number % hidden);
        let (pair, steps) = (row / states, row % states);
        At { direction: pair / batch, sample: pair % batch, steps, j }
    }

    /// The steps that a sample's sequence has.
    fn length(&self, sample: usize) -> usize {
        let given = self.lengths.as_ref().and_then(|lengths| lengths.get(sample));
        given.map_or(self.seq, |&length| (length.max(0) as usize).min(self.seq))
    }

    /// The level from which every state can be reached.
    fn top_level(&self) -> u8 {
        self.seq.max(1).next_power_of_two().trailing_zeros() as u8
    }

    fn value(&self, series: u8, at: At, level: u8) -> Term {
        Term::Part { series, row: self.number(at) as u64, level, index: 0 }
    }

    /// A state that is agreed upon when a later one is computed; `None`: the initial one.
    fn state(&self, series: u8, at: At) -> Option<Term> {
        (at.steps > 0).then(|| self.value(series, at, at.steps.trailing_zeros() as u8))
    }

    fn before(&self, at: At) -> At {
        At { steps: at.steps - 1, ..at }
    }

    fn gate(&self, at: At, gate: usize) -> Term {
        let row = self.number(at) * self.cell.gates() + gate;
        Term::Part { series: GATE, row: row as u64, level: 0, index: 0 }
    }

    fn series_of(&self) -> &'static [u8] {
        if self.cell == Cell::Lstm { &[H, C] } else { &[H] }
    }

    fn activate<W: Real>(&self, at: At, index: usize, x: W) -> W {
        let clip = self.subject.attrs.opt_float("clip").map(|clip| W::from_f64(f64::from(clip)));
        self.activation(at, index).apply(clipped(x, clip))
    }

    fn activation(&self, at: At, index: usize) -> Activation {
        self.activations[at.direction * self.cell.defaults().len() + index]
    }

    fn element<W: Wide>(&self, input: usize, at: usize, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        Ok(W::widen(self.subject.input(input)?.dtype, inputs.element(input, at as u64)?))
    }

    /// An element of the initial H (input 5) or C (input 6).
    fn initial<W: Wide>(&self, series: u8, at: At, inputs: &mut dyn Inputs) -> Result<W, Stop> {
        let input = if series == H { 5 } else { 6 };
        match self.subject.optional(input) {
            None => Ok(W::ZERO),
            Some(_) => self.element(input, self.state_offset(at), inputs),
        }
    }

    fn state_offset(&self, at: At) -> usize {
        let row = match self.batch_first {
            true => at.sample * self.reversed.len() + at.direction,
            false => at.direction * self.batch + at.sample,
        };
        row * self.hidden + at.j
    }

    /// `value + B[row]`, with Wb or Rb.
    fn biased<W: Wide>(
        &self,
        value: W,
        at: At,
        gate: usize,
        recurrent: bool,
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        if self.subject.optional(3).is_none() {
            return Ok(value);
        }
        let rows = self.cell.gates() * self.hidden;
        let first = at.direction * 2 * rows + if recurrent { rows } else { 0 };
        Ok(value.add(self.element(3, first + gate * self.hidden + at.j, inputs)?))
    }

    /// ((x * W' + h * R') + Wb) + Rb.
    fn summed<W: Wide>(
        &self,
        products: (W, W),
        at: At,
        gate: usize,
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        let sum = self.biased(products.0.add(products.1), at, gate, false, inputs)?;
        self.biased(sum, at, gate, true, inputs)
    }

    fn has_peepholes(&self) -> bool {
        self.cell == Cell::Lstm && self.subject.optional(7).is_some()
    }

    /// Claims of an activated gate: its two products, and the cell that a peephole sees.
    fn gate_needs(&self, products: [Term; 2], at: At, gate: usize) -> Vec<Term> {
        let cell = match gate {
            0 | 2 if self.has_peepholes() => self.state(C, self.before(at)),
            1 if self.has_peepholes() => Some(self.value(C, at, 0)),
            _ => None,
        };
        products.into_iter().chain(cell).collect()
    }

    fn gate_value<W: Wide + Real>(
        &self,
        at: At,
        gate: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        let &[x, h, ..] = claims else { return Err(Stop::NoTerm) };
        let mut value = self.summed((x, h), at, gate, inputs)?;
        if self.has_peepholes() && gate < 3 {
            let cell = match claims.get(2) {
                Some(cell) => *cell,
                None => self.initial(C, At { steps: 0, ..at }, inputs)?,
            };
            let weight: W = self.element(7, (at.direction * 3 + gate) * self.hidden + at.j, inputs)?;
            value = value + weight * cell;
        }
        Ok(self.activate(at, usize::from(self.cell == Cell::Lstm && gate == 3), value))
    }

    /// Claims of a state after a step, given the state before it.
    fn step_needs(&self, series: u8, products: &dyn Fn(usize) -> [Term; 2], at: At) -> Vec<Term> {
        let before = |series: u8| self.state(series, self.before(at));
        match (self.cell, series) {
            (Cell::Rnn, _) => vec![self.gate(at, 0)],
            (Cell::Gru, _) => {
                let reset = self.variant.then(|| self.gate(at, 1));
                let claims = [self.gate(at, 0)].into_iter().chain(reset).chain(products(2));
                claims.chain(before(H)).collect()
            }
            (Cell::Lstm, C) => {
                let forget = (!self.variant).then(|| self.gate(at, 2));
                [self.gate(at, 0)]
                    .into_iter()
                    .chain(forget)
                    .chain([self.gate(at, 3)])
                    .chain(before(C))
                    .collect()
            }
            (Cell::Lstm, _) => vec![self.gate(at, 1), self.value(C, at, 0)],
        }
    }

    fn step_value<W: Wide + Real>(
        &self,
        series: u8,
        at: At,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        let mut claims = claims.iter().copied();
        let mut next = || claims.next().ok_or(Stop::NoTerm);
        match (self.cell, series) {
            (Cell::Rnn, _) => next(),
            (Cell::Gru, _) => {
                let update = next()?;
                let reset = if self.variant { Some(next()?) } else { None };
                let (x, h) = (next()?, next()?);
                let argument = match reset {
                    Some(reset) => {
                        let recurrent = self.biased(h, at, 2, true, inputs)?;
                        self.biased(x, at, 2, false, inputs)? + reset * recurrent
                    }
                    None => self.summed((x, h), at, 2, inputs)?,
                };
                let candidate = self.activate(at, 1, argument);
                let before = self.previous(H, at, claims.next(), inputs)?;
                Ok((W::ONE - update) * candidate + update * before)
            }
            (Cell::Lstm, C) => {
                let input = next()?;
                let forget = if self.variant { W::ONE - input } else { next()? };
                let candidate = next()?;
                let before = self.previous(C, at, claims.next(), inputs)?;
                Ok(forget * before + input * candidate)
            }
            (Cell::Lstm, _) => {
                let (output, cell) = (next()?, next()?);
                // The clip is for what enters the gates.
                Ok(output * self.activation(at, 2).apply(cell))
            }
        }
    }

    /// A state before a step: agreed, or the initial one.
    fn previous<W: Wide>(
        &self,
        series: u8,
        at: At,
        claim: Option<W>,
        inputs: &mut dyn Inputs,
    ) -> Result<W, Stop> {
        match claim {
            Some(value) => Ok(value),
            None => self.initial(series, At { steps: 0, ..at }, inputs),
        }
    }

    /// The state that an element of an output holds; `None`: +0, past a sequence's end.
    fn held(&self, output: u32, element: usize) -> Option<(u8, At)> {
        let (hidden, dirs) = (self.hidden.max(1), self.reversed.len());
        let (row, j) = (element / hidden, element % hidden);
        if output > 0 {
            let (direction, sample) = match self.batch_first {
                true => (row % dirs, row / dirs),
                false => (row / self.batch.max(1), row % self.batch.max(1)),
            };
            let series = if output == 1 { H } else { C };
            return Some((series, At { direction, sample, steps: self.length(sample), j }));
        }
        let (t, direction, sample) = match self.batch_first {
            true => (row / dirs % self.seq.max(1), row % dirs, row / dirs / self.seq.max(1)),
            false => {
                let batch = self.batch.max(1);
                (row / batch / dirs, row / batch % dirs, row % batch)
            }
        };
        let length = self.length(sample);
        let steps = if self.reversed[direction] { length.checked_sub(t)? } else { t + 1 };
        (t < length).then_some((H, At { direction, sample, steps, j }))
    }
}

impl<W: Wide + Real> Formula<W> for Recurrence<'_> {
    fn series(&self, series: u8, _row: usize) -> Option<Series<W>> {
        Some(match series {
            INPUT => Series::new(Kind::Contraction, self.input),
            STATE => Series::new(Kind::Contraction, self.hidden),
            H | GATE => Series::value(),
            C if self.cell == Cell::Lstm => Series::value(),
            _ => return None,
        })
    }

    fn needs(&self, series: u8, row: usize, p: usize) -> Vec<Term> {
        let (number, gate) = (row / self.cell.gates(), row % self.cell.gates());
        let at = self.at(number);
        if series != STATE || at.steps == 0 {
            return Vec::new();
        }
        let state = self.state(H, At { j: p, ..self.before(at) });
        let resets = self.cell == Cell::Gru && !self.variant && gate == 2;
        let reset = resets.then(|| self.gate(At { j: p, ..at }, 1));
        reset.into_iter().chain(state).collect()
    }

    fn value_needs(&self, series: u8, row: usize, level: u8) -> Result<Vec<Term>, Stop> {
        let products = |number: usize, gate: usize| {
            let row = number * self.cell.gates() + gate;
            let top = |series: u8, len: usize| Series::<W>::new(Kind::Contraction, len).top(series, row);
            [top(INPUT, self.input), top(STATE, self.hidden)]
        };
        if series == GATE {
            let (number, gate) = (row / self.cell.gates(), row % self.cell.gates());
            let at = self.at(number);
            if level > 0 || at.steps == 0 {
                return Err(Stop::NoTerm);
            }
            return Ok(self.gate_needs(products(number, gate), at, gate));
        }
        let at = self.at(row);
        if at.steps == 0 || level > self.top_level() {
            return Err(Stop::NoTerm);
        }
        // The highest level at which there is a state on the way.
        for below in (0..level).rev() {
            let steps = (at.steps - 1) >> below << below;
            if steps >> below & 1 == 1 {
                let vector = |series: u8| (0..self.hidden).map(move |j| (series, j));
                let states = self.series_of().iter().flat_map(|series| vector(*series));
                let on_the_way = states.map(|(series, j)| self.value(series, At { steps, j, ..at }, below));
                return Ok(on_the_way.chain([self.value(series, at, below)]).collect());
            }
        }
        if level > 0 {
            return Ok(vec![self.value(series, at, 0)]);
        }
        Ok(self.step_needs(series, &|gate| products(row, gate), at))
    }

    fn factors(
        &self,
        series: u8,
        row: usize,
        p: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<Option<(W, W)>, Stop> {
        if let H | C = series {
            return Ok(Some((self.step_value(series, self.at(row), claims, inputs)?, W::ONE)));
        }
        let (number, gate) = (row / self.cell.gates(), row % self.cell.gates());
        let at = self.at(number);
        let weights = (at.direction * self.cell.gates() + gate) * self.hidden + at.j;
        match series {
            GATE => Ok(Some((self.gate_value(at, gate, claims, inputs)?, W::ONE))),
            INPUT => {
                let t = match self.reversed[at.direction] {
                    true => self.length(at.sample).checked_sub(at.steps).ok_or(Stop::NoTerm)?,
                    false => at.steps - 1,
                };
                let row = match self.batch_first {
                    true => at.sample * self.seq + t,
                    false => t * self.batch + at.sample,
                };
                let x = self.element(0, row * self.input + p, inputs)?;
                Ok(Some((x, self.element(1, weights * self.input + p, inputs)?)))
            }
            STATE => {
                let resets = self.cell == Cell::Gru && !self.variant && gate == 2;
                let mut claims = claims.iter().copied();
                let reset = if resets { Some(claims.next().ok_or(Stop::NoTerm)?) } else { None };
                let h = self.previous(H, At { j: p, ..at }, claims.next(), inputs)?;
                let h = reset.map_or(h, |reset| reset * h);
                Ok(Some((h, self.element(2, weights * self.hidden + p, inputs)?)))
            }
            _ => Err(Stop::NoTerm),
        }
    }

    fn output_needs(&self, output: u32, element: usize) -> Result<Vec<Term>, Stop> {
        let Some((series, at)) = self.held(output, element) else { return Ok(Vec::new()) };
        Ok((at.steps > 0).then(|| self.value(series, at, self.top_level())).into_iter().collect())
    }

    fn output(
        &self,
        output: u32,
        element: usize,
        claims: &[W],
        inputs: &mut dyn Inputs,
    ) -> Result<u64, Stop> {
        let value = match (claims.first(), self.held(output, element)) {
            (Some(value), _) => *value,
            (None, Some((series, at))) => self.initial(series, at, inputs)?,
            (None, None) => W::ZERO,
        };
        Ok(value.narrow(self.subject.output(output)?.dtype))
    }
}

/// All states of a recurrence, as bits.
pub(super) struct States([Vec<u64>; 2]);

impl States {
    /// Runs the operator.
    pub fn run(subject: &Subject<'_>, inputs: &[Option<Tensor>]) -> Result<States, Stop> {
        let recurrence = Recurrence::new(subject, &mut super::OpenInputs(inputs))?;
        let views: Vec<_> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
        let ctx = EvalCtx { attrs: subject.attrs, inputs: &views, outputs: subject.outputs.len() };
        match subject.input(0)?.dtype {
            DType::F32 => seen::<f32>(&recurrence, &ctx),
            DType::F64 => seen::<f64>(&recurrence, &ctx),
            DType::F16 => seen::<half::f16>(&recurrence, &ctx),
            DType::BF16 => seen::<half::bf16>(&recurrence, &ctx),
            found => Err(OpError::DType { index: 0, found, expected: "a float" }.into()),
        }
    }

    /// The bits of a state's term; `None` of any other.
    pub fn bits(&self, term: &Term) -> Option<u64> {
        let Term::Part { series: series @ (H | C), row, .. } = *term else { return None };
        self.0[usize::from(series)].get(row as usize).copied()
    }
}

fn seen<T: Float>(recurrence: &Recurrence<'_>, ctx: &EvalCtx<'_>) -> Result<States, Stop>
where
    T::Wide: Wide,
{
    let count = recurrence.reversed.len() * recurrence.batch * (recurrence.seq + 1) * recurrence.hidden;
    let mut bits = [vec![0; count], vec![0; if recurrence.cell == Cell::Lstm { count } else { 0 }]];
    run_seen::<T>(ctx, recurrence.cell, &mut |direction, sample, step, h, c| {
        let first = recurrence.number(At { direction, sample, steps: step + 1, j: 0 });
        for (values, list) in [h, c].into_iter().zip(&mut bits) {
            for (value, slot) in values.iter().zip(list.get_mut(first..).unwrap_or_default()) {
                *slot = Wide::to_bits(*value);
            }
        }
    })?;
    Ok(States(bits))
}
