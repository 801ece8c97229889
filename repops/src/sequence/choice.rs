//! Disputes about a chosen token: two parties agree on the logits and not on the token that follows. SPEC.md, "Disputes".
//!
//! As for elements of outputs (`ops/dispute/`), the parties state the values of finer *terms*, and the first that differs is
//! what is disputed next. Some terms are not computed but checked: that a token has a rank is checked by counting the
//! tokens before it. Invariant: whoever states what [`Known`] finds is right wherever [`Choice::judge`] is asked, which reads at
//! most [`PIECE`] logits that stand together, and three others.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use super::sampling::{Draw, Functions, Plain, Sampling, occurrences};
use crate::ops::dispute::{FAN, Stop, Term};

/// Tokens that are counted or summed up at once: a leaf of logits.
pub const PIECE: u64 = 256;
/// Sums that are claimed together.
const SUMS: u64 = 256;

/// The token.
pub const TOKEN: Term = Term::Output { output: 0, element: 0 };
/// The first token in descending order of values, equals by ascending token.
const FIRST: Term = part(0, 0, 0, 0);
/// The last one that top_k keeps.
const LAST: Term = part(1, 0, 0, 0);
/// Of token `row`, the number of tokens before it in that order: of all, or of the pieces of a part.
const RANK: u8 = 2;
/// The sum of weights in ascending order of tokens, up to the end of a part.
const TOTAL: u8 = 3;
/// The sum of weights of the tokens before token `row`, in their order.
const BEFORE: u8 = 4;
/// The sum of weights of the first `row` tokens in their order, up to the end of a part.
const SUM: u8 = 5;
/// The token with rank `index`.
const AT: u8 = 6;

const fn part(series: u8, row: u64, level: u8, index: u64) -> Term {
    Term::Part { series, row, level, index }
}

/// The least level whose parts, `unit * fan^level` each, hold `count`.
fn top(count: u64, unit: u64, fan: u64) -> u8 {
    let (mut level, mut size) = (0, unit);
    while size < count {
        (level, size) = (level + 1, size.saturating_mul(fan));
    }
    level
}

/// Where a part of a level begins.
fn start(level: u8, index: u64, unit: u64, fan: u64) -> u64 {
    fan.saturating_pow(u32::from(level)).saturating_mul(unit).saturating_mul(index)
}

/// The parts of the level below that make up a part.
fn children(series: u8, row: u64, level: u8, index: u64, count: u64, unit: u64, fan: u64) -> Vec<Term> {
    let first = index.saturating_mul(fan);
    let own = first..first.saturating_add(fan);
    let exists = |i: &u64| start(level - 1, *i, unit, fan) < count;
    own.take_while(exists).map(|i| part(series, row, level - 1, i)).collect()
}

/// The sum up to where a part of level 0 begins, as a part that ends there.
fn predecessor(series: u8, row: u64, index: u64) -> Option<Term> {
    let (mut level, mut at) = (0, index);
    while at > 0 && at.is_multiple_of(SUMS) {
        (level, at) = (level + 1, at / SUMS);
    }
    at.checked_sub(1).map(|before| part(series, row, level, before))
}

/// Logits, of which perhaps only some are open.
pub trait Logits {
    fn logit(&mut self, token: u64) -> Result<f32, Stop>;
}

/// All of them.
impl Logits for &[f32] {
    fn logit(&mut self, token: u64) -> Result<f32, Stop> {
        self.get(token as usize).copied().ok_or(Stop::NoTerm)
    }
}

/// What a choice depends on besides logits.
pub struct Choice {
    sampling: Sampling,
    counts: BTreeMap<u32, u32>,
    draw: Draw,
    vocabulary: u64,
}

/// What both parties state of a term.
pub type Agreed<'f> = &'f dyn Fn(Term) -> Option<u64>;

impl Choice {
    /// Of the token after `tokens`, of which the first `prompt` were given.
    pub fn new(sampling: Sampling, tokens: &[u32], prompt: usize, draw: Draw, vocabulary: u64) -> Choice {
        Choice { sampling, counts: occurrences(tokens, prompt), draw, vocabulary }
    }

    fn is_token(&self, token: u64) -> bool {
        token < self.vocabulary
    }

    /// How many tokens top_k leaves.
    fn k(&self) -> u64 {
        match self.sampling.top_k {
            0 => self.vocabulary,
            k => self.vocabulary.min(u64::from(k)),
        }
    }

    fn cuts_ranks(&self) -> bool {
        self.sampling.temperature != 0.0 && self.k() < self.vocabulary
    }

    fn cuts_sums(&self) -> bool {
        self.sampling.temperature != 0.0 && self.sampling.top_p < 1.0
    }

    fn weighs(&self) -> bool {
        self.sampling.temperature != 0.0 && (self.sampling.top_p < 1.0 || self.sampling.min_p != 0.0)
    }

    /// A token's value: its logit after penalties, divided by the temperature if there is one.
    fn value(&self, token: u64, logits: &mut dyn Logits) -> Result<f32, Stop> {
        let logit = logits.logit(token)?;
        let count = u32::try_from(token).ok().and_then(|token| self.counts.get(&token)).copied();
        let value = self.sampling.penalize(logit, count);
        Ok(if self.sampling.temperature == 0.0 { value } else { value / self.sampling.temperature })
    }

    /// The value with noise, which decides between tokens that are kept.
    fn score(&self, token: u64, logits: &mut dyn Logits) -> Result<f32, Stop> {
        let value = self.value(token, logits)?;
        if self.sampling.temperature == 0.0 {
            return Ok(value);
        }
        let mut noise = self.draw.noise(&[token as u32]);
        Plain.log(&mut noise);
        noise.iter_mut().for_each(|v| *v = -*v);
        Plain.log(&mut noise);
        Ok(value - noise[0])
    }

    /// Whether the first of two tokens comes before the other.
    fn is_before(&self, a: u64, b: u64, logits: &mut dyn Logits) -> Result<bool, Stop> {
        Ok(before((self.value(a, logits)?, a), (self.value(b, logits)?, b)))
    }

    fn weight(&self, token: u64, first: u64, logits: &mut dyn Logits) -> Result<f32, Stop> {
        let mut weight = [self.value(token, logits)? - self.value(first, logits)?];
        Plain.exp(&mut weight);
        Ok(weight[0])
    }

    fn rank(&self, token: u64) -> Term {
        part(RANK, token, top(self.vocabulary, PIECE, FAN as u64), 0)
    }

    fn total(&self) -> Term {
        part(TOTAL, 0, top(self.vocabulary, PIECE, SUMS), 0)
    }

    fn sum(count: u64) -> Term {
        part(SUM, count, top(count, 1, SUMS), 0)
    }

    /// Which of two different tokens wins if both are kept.
    fn winner(&self, [a, b]: [u64; 2], logits: &mut dyn Logits) -> Result<usize, Stop> {
        let (x, y) = (self.score(a, logits)?, self.score(b, logits)?);
        Ok(usize::from(!before((x, a), (y, b))))
    }

    /// The terms that decide about a term of which the parties state `values`. The logits of these tokens are open.
    pub fn finer(
        &self,
        term: Term,
        values: [u64; 2],
        agreed: Agreed<'_>,
        logits: &mut dyn Logits,
    ) -> Result<Vec<Term>, Stop> {
        let both = values.iter().all(|v| self.is_token(*v));
        let ranks = || if both { values.map(|v| self.rank(v)).to_vec() } else { Vec::new() };
        let Term::Part { series, row, level, index } = term else {
            if !both || !(self.cuts_ranks() || self.weighs()) {
                return Ok(Vec::new());
            }
            let winner = values[self.winner(values, logits)?];
            let mut terms = Vec::new();
            terms.extend(self.weighs().then_some(FIRST));
            terms.extend((self.cuts_ranks() && self.cuts_sums()).then_some(LAST));
            terms.extend(self.cuts_sums().then(|| self.total()));
            terms.extend((self.cuts_ranks() || self.cuts_sums()).then(|| self.rank(winner)));
            terms.extend(self.cuts_sums().then(|| part(BEFORE, winner, 0, 0)));
            return Ok(terms);
        };
        Ok(match (series, level) {
            (0, _) => Vec::new(),
            (1 | AT, _) => ranks(),
            (RANK, 0) => Vec::new(),
            (RANK, _) => children(RANK, row, level, index, self.vocabulary, PIECE, FAN as u64),
            (TOTAL, 0) => {
                let last = self.cuts_ranks().then_some(LAST);
                [Some(FIRST), last, predecessor(TOTAL, row, index)].into_iter().flatten().collect()
            }
            (TOTAL, _) => children(TOTAL, row, level, index, self.vocabulary, PIECE, SUMS),
            (BEFORE, _) => match agreed(self.rank(row)).ok_or(Stop::NoTerm)? {
                0 => Vec::new(),
                rank if rank > self.vocabulary => return Err(Stop::NoTerm),
                rank => vec![Choice::sum(rank)],
            },
            (SUM, 0) => [Some(FIRST), Some(part(AT, 0, 0, index)), predecessor(SUM, row, index)]
                .into_iter()
                .flatten()
                .collect(),
            (SUM, _) => children(SUM, row, level, index, row, 1, SUMS),
            _ => return Err(Stop::NoTerm),
        })
    }

    /// Which of the parties' values is right, finer terms being agreed.
    pub fn judge(
        &self,
        term: Term,
        values: [u64; 2],
        agreed: Agreed<'_>,
        logits: &mut dyn Logits,
    ) -> Result<[bool; 2], Stop> {
        let there = values.map(|v| self.is_token(v));
        let known = |term: Term| agreed(term).ok_or(Stop::NoTerm);
        let Term::Part { series, row, level, index } = term else {
            if there != [true; 2] {
                return Ok(there);
            }
            for token in values {
                // Such logits give no distribution: nobody has a token here.
                let logit = logits.logit(token)?;
                if logit.is_nan() || logit == f32::INFINITY {
                    return Ok([false; 2]);
                }
            }
            let winner = self.winner(values, logits)?;
            let is_kept = self.is_kept(values[winner], agreed, logits)?;
            return Ok([0, 1].map(|party| (party == winner) == is_kept));
        };
        let has_rank = |rank: u64| -> Result<[bool; 2], Stop> {
            if there != [true; 2] {
                return Ok(there);
            }
            let [a, b] = values.map(|v| known(self.rank(v)));
            Ok([a? == rank, b? == rank])
        };
        let found = match (series, level) {
            (0, _) if there != [true; 2] => return Ok(there),
            (0, _) => {
                let first = self.is_before(values[0], values[1], logits)?;
                return Ok([first, !first]);
            }
            (1, _) => return has_rank(self.k() - 1),
            (AT, _) => return has_rank(index),
            (RANK, 0) => {
                let own = (self.value(row, logits)?, row);
                let mut count = 0;
                for token in self.piece(index) {
                    count += u64::from(before((self.value(token, logits)?, token), own));
                }
                count
            }
            (RANK, _) => {
                let mut count = 0u64;
                for child in self.finer(term, values, agreed, logits)? {
                    count = count.saturating_add(known(child)?);
                }
                count
            }
            (TOTAL, 0) => {
                let first = known(FIRST)?;
                let last = self.cuts_ranks().then(|| known(LAST)).transpose()?;
                let mut sum = carried(predecessor(TOTAL, row, index), agreed)?;
                for token in self.piece(index) {
                    let kept = match last {
                        Some(last) => token == last || self.is_before(token, last, logits)?,
                        None => true,
                    };
                    if kept {
                        sum += f64::from(self.weight(token, first, logits)?);
                    }
                }
                sum.to_bits()
            }
            (SUM, 0) => {
                let sum = carried(predecessor(SUM, row, index), agreed)?;
                let token = known(part(AT, 0, 0, index))?;
                (sum + f64::from(self.weight(token, known(FIRST)?, logits)?)).to_bits()
            }
            (TOTAL | SUM, _) => {
                let last = self.finer(term, values, agreed, logits)?.pop();
                known(last.ok_or(Stop::NoTerm)?)?
            }
            (BEFORE, _) => match self.finer(term, values, agreed, logits)?.pop() {
                Some(sum) => known(sum)?,
                None => 0.0f64.to_bits(),
            },
            _ => return Err(Stop::NoTerm),
        };
        Ok(values.map(|v| v == found))
    }

    fn piece(&self, index: u64) -> std::ops::Range<u64> {
        let first = index.saturating_mul(PIECE).min(self.vocabulary);
        first..(first + PIECE).min(self.vocabulary)
    }

    /// Whether top_k, top_p and min_p leave a token.
    fn is_kept(&self, token: u64, agreed: Agreed<'_>, logits: &mut dyn Logits) -> Result<bool, Stop> {
        let known = |term: Term| agreed(term).ok_or(Stop::NoTerm);
        if self.cuts_ranks() && known(self.rank(token))? >= self.k() {
            return Ok(false);
        }
        if !self.weighs() {
            return Ok(true);
        }
        if self.cuts_sums() && known(self.rank(token))? > 0 {
            let wanted = f64::from_bits(known(self.total())?) * f64::from(self.sampling.top_p);
            // What is before it is enough: sums grow from token to token.
            if f64::from_bits(known(part(BEFORE, token, 0, 0))?) >= wanted {
                return Ok(false);
            }
        }
        let first = known(FIRST)?;
        Ok(token == first || self.weight(token, first, logits)? >= self.sampling.min_p)
    }
}

/// Descending order of values; equals by ascending token.
fn before((x, a): (f32, u64), (y, b): (f32, u64)) -> bool {
    x > y || (x == y && a < b)
}

fn carried(term: Option<Term>, agreed: Agreed<'_>) -> Result<f64, Stop> {
    let Some(term) = term else { return Ok(0.0) };
    agreed(term).map(f64::from_bits).ok_or(Stop::NoTerm)
}

/// The terms of a choice to whoever has all logits.
pub struct Known {
    choice: Choice,
    values: Vec<f32>,
    ordered: OnceCell<Ordered>,
}

struct Ordered {
    tokens: Vec<u32>,
    /// Sums of weights: after each piece of tokens, and after each token in their order.
    totals: Vec<f64>,
    sums: Vec<f64>,
}

impl Known {
    pub fn new(choice: Choice, logits: &[f32]) -> Result<Known, Stop> {
        let mut all = logits;
        let values = (0..choice.vocabulary).map(|t| choice.value(t, &mut all)).collect::<Result<_, _>>()?;
        Ok(Known { choice, values, ordered: OnceCell::new() })
    }

    fn ordered(&self) -> &Ordered {
        self.ordered.get_or_init(|| {
            let mut tokens: Vec<u32> = (0..self.values.len() as u32).collect();
            let order = |t: &u32| (self.values[*t as usize], u64::from(*t));
            tokens.sort_by(|a, b| before(order(b), order(a)).cmp(&before(order(a), order(b))));
            let first = tokens.first().map_or(0.0, |t| self.values[*t as usize]);
            let mut weights: Vec<f32> = self.values.iter().map(|v| v - first).collect();
            Plain.exp(&mut weights);
            let kept = self.choice.k() as usize;
            let last = kept.checked_sub(1).and_then(|at| tokens.get(at)).map_or((0.0, 0), order);
            let mut sum = 0.0;
            let mut totals = Vec::new();
            for (at, weight) in weights.iter().enumerate() {
                let own = (self.values[at], at as u64);
                if !self.choice.cuts_ranks() || own.1 == last.1 || before(own, last) {
                    sum += f64::from(*weight);
                }
                if (at as u64 + 1).is_multiple_of(PIECE) {
                    totals.push(sum);
                }
            }
            totals.push(sum);
            let mut sum = 0.0;
            let grown = |t: &u32| {
                sum += f64::from(weights[*t as usize]);
                sum
            };
            let sums = tokens.iter().map(grown).collect();
            Ordered { tokens, totals, sums }
        })
    }

    /// What is true of a term; `None` of one that is none.
    pub fn value(&self, term: Term) -> Option<u64> {
        let Term::Part { series, row, level, index } = term else { return None };
        let own = self.ordered();
        let token = |rank: u64| own.tokens.get(usize::try_from(rank).ok()?).map(|t| u64::from(*t));
        let rank = |token: u64, within: std::ops::Range<u64>| {
            let own = (*self.values.get(token as usize)?, token);
            let within = within.start as usize..(within.end as usize).min(self.values.len());
            let first = within.start as u64;
            let all = (first..).zip(self.values.get(within)?);
            Some(all.filter(|(t, v)| before((**v, *t), own)).count() as u64)
        };
        let end = |unit: u64, fan: u64| start(level, index.saturating_add(1), unit, fan);
        match series {
            0 => token(0),
            1 => token(self.choice.k().checked_sub(1)?),
            AT => token(index),
            RANK => {
                let unit = FAN as u64;
                rank(row, start(level, index, PIECE, unit)..end(PIECE, unit))
            }
            TOTAL => {
                let piece = (end(PIECE, SUMS) / PIECE - 1).min(own.totals.len() as u64 - 1);
                own.totals.get(piece as usize).map(|sum| sum.to_bits())
            }
            BEFORE => match rank(row, 0..self.choice.vocabulary)? {
                0 => Some(0.0f64.to_bits()),
                rank => own.sums.get(rank as usize - 1).map(|sum| sum.to_bits()),
            },
            SUM => {
                let count = end(1, SUMS).min(row);
                own.sums.get(usize::try_from(count.checked_sub(1)?).ok()?).map(|sum| sum.to_bits())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sampling::choose;
    use super::*;

    struct Dice(u64);
    impl Dice {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % n
        }
    }

    /// Plays an honest party, who states what is true, against one that lies at random in every round; the rounds.
    fn play(choice: &Choice, known: &Known, logits: &[f32], honest: u64, lie: u64, dice: &mut Dice) -> u32 {
        let liar = dice.below(2) as usize;
        let sides = |own: u64, other: u64| if liar == 1 { [own, other] } else { [other, own] };
        let (mut term, mut values) = (TOKEN, sides(honest, lie));
        let mut agreed: BTreeMap<Term, u64> = BTreeMap::new();
        for round in 1.. {
            let lookup = |term: Term| agreed.get(&term).copied();
            let finer = choice.finer(term, values, &lookup, &mut &*logits).expect("finer terms");
            assert!(finer.len() <= 512, "{} terms", finer.len());
            let unknown: Vec<Term> = finer.into_iter().filter(|t| !agreed.contains_key(t)).collect();
            let lied =
                (dice.below(8) > 0 && !unknown.is_empty()).then(|| dice.below(unknown.len() as u64) as usize);
            let mut next = None;
            for (at, term) in unknown.iter().enumerate() {
                let own = known.value(*term).expect("a term's value");
                if lied == Some(at) {
                    let other = match dice.below(3) {
                        0 => own ^ 1,
                        1 => dice.below(choice.vocabulary + 2),
                        _ => own.wrapping_add(dice.below(9)),
                    };
                    if other != own {
                        next = Some((*term, sides(own, other)));
                        break;
                    }
                }
                agreed.insert(*term, own);
            }
            match next {
                Some(next) => (term, values) = next,
                None => {
                    let lookup = |term: Term| agreed.get(&term).copied();
                    let right = choice.judge(term, values, &lookup, &mut &*logits).expect("a judgement");
                    assert_eq!(right, sides(1, 0).map(|v| v == 1), "{term:?} {values:?}");
                    return round;
                }
            }
        }
        0
    }

    #[test]
    fn the_honest_party_wins_about_every_token() {
        let mut dice = Dice(5);
        let mut most = 0;
        for game in 0..800u64 {
            let vocabulary = [3, 50, 256, 700, 5000][(game % 5) as usize];
            // Many equal ones, and some that are impossible.
            let steps = 1 + dice.below(400);
            let logits: Vec<f32> = (0..vocabulary)
                .map(|_| match dice.below(40) {
                    0 => f32::NEG_INFINITY,
                    _ => dice.below(steps) as f32 * 0.11 - 6.0,
                })
                .collect();
            let sampling = Sampling {
                temperature: [0.0, 0.7, 1.0, 30.0][dice.below(4) as usize],
                top_k: [0, 1, 40, 300][dice.below(4) as usize],
                top_p: [1.0, 0.9, 0.3, 0.999_99][dice.below(4) as usize],
                min_p: [0.0, 0.0, 0.05, 1.0][dice.below(4) as usize],
                repetition_penalty: [1.0, 1.3][dice.below(2) as usize],
                presence_penalty: [0.0, 0.4][dice.below(2) as usize],
                ..Sampling::default()
            };
            let tokens: Vec<u32> = (0..6).map(|_| dice.below(vocabulary) as u32).collect();
            let draw = Draw { seed: game, nonce: 3, position: 5 };
            let honest = choose(&logits, &sampling, &tokens, 3, draw, &Plain).expect("a token");
            let choice = || Choice::new(sampling, &tokens, 3, draw, vocabulary);
            let known = Known::new(choice(), &logits).expect("all logits");
            for _ in 0..3 {
                let lie = dice.below(vocabulary + 2);
                if lie != u64::from(honest) {
                    let rounds = play(&choice(), &known, &logits, u64::from(honest), lie, &mut dice);
                    most = most.max(rounds);
                }
            }
        }
        assert!((5..=14).contains(&most), "{most} rounds");
    }

    #[test]
    fn no_token_follows_from_no_numbers() {
        let sampling = Sampling::default();
        let choice = Choice::new(sampling, &[1], 1, Draw::default(), 3);
        let mut logits: &[f32] = &[1.0, f32::NAN, f32::INFINITY];
        let judge = |values, logits: &mut &[f32]| choice.judge(TOKEN, values, &|_| None, logits);
        assert_eq!(judge([0, 1], &mut logits), Ok([false; 2]));
        assert_eq!(judge([0, 3], &mut logits), Ok([true, false]));
    }
}
