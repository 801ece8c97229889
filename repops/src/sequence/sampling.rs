//! The next token: from logits, parameters, earlier tokens and a seed. SPEC.md, "Sampling".
//!
//! Invariant: the choice is a function of these alone. Noise belongs to a token, a position and a seed, never to a rank or
//! a place in a batch; ties go to the lower token.

use std::collections::BTreeMap;

use crate::dtype::{Element, NAN_F32};
use crate::ops::softmax::row_maximum;
use crate::philox;
use crate::reduce::row_sum;
use crate::scalar;

/// How tokens are chosen. Defaults leave everything as the model says, without randomness.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampling {
    /// 0: the token of the greatest logit.
    pub temperature: f32,
    /// The most tokens that are considered; 0: all.
    pub top_k: u32,
    /// The share of probability that is considered; 1: all.
    pub top_p: f32,
    /// The least probability, as a part of the greatest one, that is considered.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens that have occurred; 1: nothing.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that were generated.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens as often as they were generated.
    pub frequency_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
        }
    }
}

/// Why no token can be chosen.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum SamplingError {
    #[error("{name} is {value}; it must be {expected}")]
    Parameter { name: &'static str, value: f32, expected: &'static str },
    #[error("the logit of token {token} is {value}; the model gives no distribution here")]
    Logit { token: usize, value: f32 },
    #[error("there are no logits")]
    Empty,
}

impl Sampling {
    /// Refuses parameters outside of their ranges.
    pub fn check(&self) -> Result<(), SamplingError> {
        let check = |name, value: f32, ok: bool, expected| match ok {
            true => Ok(()),
            false => Err(SamplingError::Parameter { name, value, expected }),
        };
        let within = |v: f32, low: f32, high: f32| v >= low && v <= high;
        let t = self.temperature;
        check("temperature", t, t == 0.0 || within(t, 1e-3, 1e3), "0, or from 0.001 to 1000")?;
        check("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1")?;
        check("min_p", self.min_p, within(self.min_p, 0.0, 1.0), "from 0 to 1")?;
        let r = self.repetition_penalty;
        check("repetition_penalty", r, within(r, 1e-3, 1e3), "from 0.001 to 1000")?;
        let p = self.presence_penalty;
        check("presence_penalty", p, within(p, -1e3, 1e3), "from -1000 to 1000")?;
        let f = self.frequency_penalty;
        check("frequency_penalty", f, within(f, -1e3, 1e3), "from -1000 to 1000")
    }

    /// The logit of a token that was generated `count` times; `None`: that has not occurred.
    pub(super) fn penalize(&self, mut logit: f32, count: Option<u32>) -> f32 {
        let Some(count) = count else { return logit };
        let r = self.repetition_penalty;
        if r != 1.0 {
            logit = if logit > 0.0 { logit / r } else { logit * r };
        }
        if count > 0 {
            logit -= count as f32 * self.frequency_penalty;
            logit -= self.presence_penalty;
        }
        logit
    }
}

/// What makes the noise of one choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Draw {
    pub seed: u64,
    /// The client's number for the request.
    pub nonce: u64,
    /// The position whose logits these are.
    pub position: u32,
}

impl Draw {
    /// A number in (0, 1) for each token.
    pub(super) fn noise(&self, tokens: &[u32]) -> Vec<f32> {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let block = |number| {
            philox::block(key, [number, self.position, self.nonce as u32, (self.nonce >> 32) as u32])
        };
        // Neighbours share a block.
        let mut last = (0, block(0));
        let word = |&token: &u32| {
            if last.0 != token / 4 {
                last = (token / 4, block(token / 4));
            }
            philox::open_f32(last.1[(token % 4) as usize])
        };
        tokens.iter().map(word).collect()
    }
}

/// Correctly rounded functions over many numbers; faster ones have the same values.
pub trait Functions {
    fn exp(&self, values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = scalar::exp(*v));
    }
    fn log(&self, values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = scalar::log(*v));
    }
}

/// One after the other.
pub struct Plain;
impl Functions for Plain {}

/// Chooses the token that follows `tokens`, of which the first `prompt` were given and the others generated.
pub fn choose(
    logits: &[f32],
    sampling: &Sampling,
    tokens: &[u32],
    prompt: usize,
    draw: Draw,
    functions: &dyn Functions,
) -> Result<u32, SamplingError> {
    check(logits, sampling)?;
    let logits = penalized(logits, sampling, tokens, prompt);
    if sampling.temperature == 0.0 {
        return Ok(greatest(logits.iter().copied().zip(0..)));
    }
    let scaled: Vec<f32> = logits.iter().map(|v| v / sampling.temperature).collect();
    let kept = kept(&scaled, sampling, functions);
    // Gumbel noise: the greatest sum is a draw from the distribution.
    let mut noise = draw.noise(&kept);
    functions.log(&mut noise);
    noise.iter_mut().for_each(|v| *v = -*v);
    functions.log(&mut noise);
    Ok(greatest(kept.iter().zip(&noise).map(|(&t, n)| (scaled[t as usize] - n, t))))
}

/// The logarithm of a token's probability as the model gives it: LogSoftmax's element. NaN for a token that is none.
pub fn log_probability(logits: &[f32], token: u32, functions: &dyn Functions) -> f32 {
    log_probabilities(logits, &[token], functions)[0]
}

/// The same for several tokens.
pub fn log_probabilities(logits: &[f32], tokens: &[u32], functions: &dyn Functions) -> Vec<f32> {
    let maximum = row_maximum(logits);
    let mut weights: Vec<f32> = logits.iter().map(|v| v - maximum).collect();
    functions.exp(&mut weights);
    let sum = [row_sum(weights.len(), |i| weights[i])];
    let mut log = sum;
    functions.log(&mut log);
    let of =
        |token: &u32| logits.get(*token as usize).map_or(NAN_F32, |l| ((l - maximum) - log[0]).canonical());
    tokens.iter().map(of).collect()
}

/// The `count` tokens of the greatest logits, the greatest first, equals by ascending token. No logit is NaN.
pub fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut found: Vec<u32> = Vec::with_capacity(count.min(logits.len()) + 1);
    for (token, logit) in logits.iter().enumerate() {
        let least = found.last().map(|&last| logits[last as usize]);
        if count == 0 || (found.len() == count && least.is_some_and(|least| *logit <= least)) {
            continue;
        }
        let place = found.partition_point(|&other| logits[other as usize] >= *logit);
        found.insert(place, token as u32);
        found.truncate(count);
    }
    found
}

/// Whether [`choose`] could give `token` with some seed, and how many tokens are likelier before sampling cuts any.
pub fn standing(
    logits: &[f32],
    sampling: &Sampling,
    tokens: &[u32],
    prompt: usize,
    token: u32,
    functions: &dyn Functions,
) -> Result<(bool, usize), SamplingError> {
    check(logits, sampling)?;
    let logits = penalized(logits, sampling, tokens, prompt);
    let Some(&own) = logits.get(token as usize) else { return Ok((false, logits.len())) };
    let before = |(at, v): (usize, &f32)| *v > own || (*v == own && at < token as usize);
    let rank = logits.iter().enumerate().filter(|v| before(*v)).count();
    if sampling.temperature == 0.0 {
        return Ok((rank == 0, rank));
    }
    let scaled: Vec<f32> = logits.iter().map(|v| v / sampling.temperature).collect();
    Ok((kept(&scaled, sampling, functions).contains(&token), rank))
}

fn check(logits: &[f32], sampling: &Sampling) -> Result<(), SamplingError> {
    sampling.check()?;
    if let Some(token) = logits.iter().position(|v| v.is_nan() || *v == f32::INFINITY) {
        return Err(SamplingError::Logit { token, value: logits[token] });
    }
    if logits.is_empty() { Err(SamplingError::Empty) } else { Ok(()) }
}

/// The logits after the penalties, in this order, each operation rounded: repetition for every token that occurred,
/// then `- count * frequency`, then `- presence` for those that were generated.
fn penalized(logits: &[f32], sampling: &Sampling, tokens: &[u32], prompt: usize) -> Vec<f32> {
    let mut logits = logits.to_vec();
    let none = sampling.repetition_penalty == 1.0
        && sampling.presence_penalty == 0.0
        && sampling.frequency_penalty == 0.0;
    if none {
        return logits;
    }
    for (token, count) in occurrences(tokens, prompt) {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = sampling.penalize(*logit, Some(count));
        }
    }
    logits
}

/// How often each token that occurred was generated; those of the prompt alone 0 times.
pub(super) fn occurrences(tokens: &[u32], prompt: usize) -> BTreeMap<u32, u32> {
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for (at, &token) in tokens.iter().enumerate() {
        *counts.entry(token).or_default() += u32::from(at >= prompt);
    }
    counts
}

/// The token of the greatest value, the lower one of equals. Values of -infinity count as any other.
fn greatest(values: impl Iterator<Item = (f32, u32)>) -> u32 {
    let mut best: Option<(f32, u32)> = None;
    for (value, token) in values {
        debug_assert!(!value.is_nan() || value.to_bits() == NAN_F32.to_bits());
        let better = best.is_none_or(|(b, t)| value > b || (value == b && token < t));
        if better {
            best = Some((value, token));
        }
    }
    best.map_or(0, |(_, token)| token)
}

/// Tokens that are considered, in no order. Of all, in descending order of value (ties: the lower token first), the first
/// top_k; of those, with `e = exp(value - maximum)`, the shortest beginning whose sum of `e` reaches top_p times the sum of all
/// of theirs, both in f64, one after the other: the beginning's in that order, all in ascending order of tokens; of those the ones with
/// `e >= min_p`. The first one always stays.
fn kept(scaled: &[f32], sampling: &Sampling, functions: &dyn Functions) -> Vec<u32> {
    let all = scaled.len();
    let k = if sampling.top_k == 0 { all } else { all.min(sampling.top_k as usize) };
    let mut tokens: Vec<u32> = (0..all as u32).collect();
    // No value is NaN.
    let by_value = |a: &u32, b: &u32| {
        let (x, y) = (scaled[*a as usize], scaled[*b as usize]);
        y.partial_cmp(&x).expect("no NaN").then(a.cmp(b))
    };
    if k < all {
        tokens.select_nth_unstable_by(k - 1, by_value);
        tokens.truncate(k);
        tokens.sort_unstable();
    }
    if sampling.top_p >= 1.0 && sampling.min_p == 0.0 {
        return tokens;
    }
    let first = greatest(tokens.iter().map(|&t| (scaled[t as usize], t)));
    let maximum = scaled[first as usize];
    let mut weights: Vec<f32> = tokens.iter().map(|&t| scaled[t as usize] - maximum).collect();
    // Where all are -infinity the differences are NaN, and all weigh nothing.
    functions.exp(&mut weights);
    let mut weighed: Vec<(u32, f32)> = tokens.into_iter().zip(weights).collect();
    if sampling.top_p < 1.0 {
        let total = weighed.iter().fold(0.0f64, |sum, (_, w)| sum + f64::from(*w));
        let wanted = total * f64::from(sampling.top_p);
        // Sorted as far as it is needed, which is seldom far.
        let (mut sum, mut sorted, mut end) = (0.0f64, 0, weighed.len());
        while sorted < end {
            let until = (4 * sorted).max(256).min(weighed.len());
            let rest = &mut weighed[sorted..];
            if until - sorted < rest.len() {
                rest.select_nth_unstable_by(until - sorted - 1, |a, b| by_value(&a.0, &b.0));
            }
            rest[..until - sorted].sort_unstable_by(|a, b| by_value(&a.0, &b.0));
            for (at, (_, weight)) in weighed[..until].iter().enumerate().skip(sorted) {
                sum += f64::from(*weight);
                if sum >= wanted {
                    end = at + 1;
                    break;
                }
            }
            sorted = until;
        }
        weighed.truncate(end);
    }
    weighed.retain(|(token, weight)| *token == first || *weight >= sampling.min_p);
    weighed.into_iter().map(|(token, _)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(logits: &[f32], sampling: Sampling, draw: Draw) -> u32 {
        choose(logits, &sampling, &[], 0, draw, &Plain).expect("a token")
    }

    #[test]
    fn without_temperature_the_greatest_and_of_equals_the_lower() {
        assert_eq!(run(&[1.0, 3.0, 3.0, -1.0], Sampling::default(), Draw::default()), 1);
        assert_eq!(run(&[f32::NEG_INFINITY; 3], Sampling::default(), Draw::default()), 0);
    }

    #[test]
    fn the_likeliest_come_first_and_of_equals_the_lower() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, -1.0, 2.0];
        assert_eq!(likeliest(&logits, 0), [] as [u32; 0]);
        assert_eq!(likeliest(&logits, 1), [1]);
        assert_eq!(likeliest(&logits, 4), [1, 3, 5, 0]);
        assert_eq!(likeliest(&logits, 9), [1, 3, 5, 0, 4, 2]);
        let all = log_probabilities(&logits, &[1, 0, 7], &Plain);
        assert_eq!(all[0].to_bits(), log_probability(&logits, 1, &Plain).to_bits());
        assert_eq!(all[1].to_bits(), log_probability(&logits, 0, &Plain).to_bits());
        assert!(all[2].is_nan());
    }

    #[test]
    fn draws_follow_the_distribution() {
        let probabilities = [0.5f32, 0.3, 0.15, 0.05];
        let logits: Vec<f32> = probabilities.iter().map(|p| scalar::log(*p)).collect();
        let sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        let mut counts = [0u32; 4];
        for position in 0..20_000 {
            let draw = Draw { seed: 7, nonce: 3, position };
            counts[run(&logits, sampling, draw) as usize] += 1;
        }
        for (count, p) in counts.iter().zip(probabilities) {
            // Five standard deviations.
            let (mean, deviation) = (20_000.0 * p, (20_000.0 * p * (1.0 - p)).sqrt());
            assert!((*count as f32 - mean).abs() < 5.0 * deviation, "{counts:?}");
        }
        // Another seed, nonce or position gives other noise.
        let draws = |draw: Draw| -> Vec<u32> {
            (0..32).map(|p| run(&logits, sampling, Draw { position: p + draw.position, ..draw })).collect()
        };
        let one = draws(Draw::default());
        assert_ne!(one, draws(Draw { seed: 1 << 40, ..Draw::default() }));
        assert_ne!(one, draws(Draw { nonce: 1 << 40, ..Draw::default() }));
        assert_eq!(one, draws(Draw::default()));
    }

    #[test]
    fn cuts_keep_what_they_say() {
        let probabilities = [0.15f32, 0.5, 0.05, 0.3];
        let logits: Vec<f32> = probabilities.iter().map(|p| scalar::log(*p)).collect();
        // From the likeliest on.
        let kept = |sampling: Sampling| {
            let mut kept = super::kept(&logits, &sampling, &Plain);
            kept.sort_by(|a, b| logits[*b as usize].partial_cmp(&logits[*a as usize]).expect("no NaN"));
            kept
        };
        let base = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(kept(Sampling { top_k: 2, ..base }), [1, 3]);
        assert_eq!(kept(Sampling { top_p: 0.75, ..base }), [1, 3]);
        assert_eq!(kept(Sampling { top_p: 0.85, ..base }), [1, 3, 0]);
        assert_eq!(kept(Sampling { top_p: 1e-9, ..base }), [1]);
        assert_eq!(kept(Sampling { min_p: 0.2, ..base }), [1, 3, 0]);
        assert_eq!(kept(Sampling { min_p: 1.0, ..base }), [1]);
        assert_eq!(kept(Sampling { top_k: 3, min_p: 0.5, ..base }), [1, 3]);
        // Noise is a token's own: what else is considered changes no choice among those that stay.
        for position in 0..200 {
            let draw = Draw { seed: 1, nonce: 0, position };
            let all = run(&logits, base, draw);
            let some = run(&logits, Sampling { top_k: 3, ..base }, draw);
            assert!(all == 2 || all == some);
        }
    }

    #[test]
    fn sorting_in_parts_is_sorting() {
        let scaled: Vec<f32> =
            (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 * 1e-3).collect();
        for top_p in [0.001, 0.3, 0.7, 0.95, 0.999_999] {
            let sampling = Sampling { temperature: 1.0, top_p, ..Sampling::default() };
            let mut order: Vec<u32> = (0..5000).collect();
            order.sort_by(|a, b| {
                scaled[*b as usize].partial_cmp(&scaled[*a as usize]).expect("no NaN").then(a.cmp(b))
            });
            let weight = |t: u32| f64::from(scalar::exp(scaled[t as usize] - scaled[order[0] as usize]));
            let total = (0..5000).fold(0.0, |sum, t| sum + weight(t));
            let mut sum = 0.0;
            let reached = order.iter().position(|&t| {
                sum += weight(t);
                sum >= total * f64::from(top_p)
            });
            let mut expected = order[..reached.map_or(5000, |at| at + 1)].to_vec();
            let mut found = super::kept(&scaled, &sampling, &Plain);
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{top_p}");
        }
    }

    #[test]
    fn probabilities_are_the_operators() {
        let logits: Vec<f32> = (0..5000).map(|i| (i * i % 77) as f32 * 0.13 - 4.0).collect();
        let x = crate::Tensor::from_slice(&[logits.len()], &logits);
        let y = crate::ops::testing::output("LogSoftmax", &crate::attrs::Attrs::new(), &[&x]);
        for token in [0, 8, 4999] {
            let found = log_probability(&logits, token, &Plain);
            assert_eq!(found.to_bits(), y.as_slice::<f32>()[token as usize].to_bits());
        }
        assert!(log_probability(&logits, 5000, &Plain).is_nan());
    }

    #[test]
    fn what_could_have_been_drawn() {
        let logits = [1.0, 4.0, 2.0, 4.0];
        let standing =
            |s: Sampling, t: u32| super::standing(&logits, &s, &[], 0, t, &Plain).expect("a standing");
        let greedy = Sampling::default();
        assert_eq!(
            [1, 3, 2, 0].map(|t| standing(greedy, t)),
            [(true, 0), (false, 1), (false, 2), (false, 3)]
        );
        let top = Sampling { temperature: 1.0, top_k: 2, ..greedy };
        assert_eq!([1, 3, 2, 9].map(|t| standing(top, t)), [(true, 0), (true, 1), (false, 2), (false, 4)]);
    }

    #[test]
    fn penalties_are_taken_in_order() {
        let sampling = Sampling {
            repetition_penalty: 2.0,
            presence_penalty: 0.25,
            frequency_penalty: 0.5,
            ..Sampling::default()
        };
        let found = penalized(&[4.0, -4.0, 4.0, 4.0], &sampling, &[0, 1, 2, 2, 9], 2);
        assert_eq!(found, [2.0, -8.0, 2.0 - 1.0 - 0.25, 4.0]);
    }

    #[test]
    fn bad_logits_and_parameters_are_errors() {
        let choose = |logits: &[f32], s: Sampling| super::choose(logits, &s, &[], 0, Draw::default(), &Plain);
        assert!(choose(&[0.0, f32::NAN], Sampling::default()).is_err());
        assert!(choose(&[f32::INFINITY], Sampling::default()).is_err());
        assert_eq!(choose(&[], Sampling::default()), Err(SamplingError::Empty));
        let base = Sampling::default();
        for bad in [
            Sampling { temperature: -1.0, ..base },
            Sampling { temperature: f32::NAN, ..base },
            Sampling { top_p: 0.0, ..base },
            Sampling { min_p: 1.5, ..base },
            Sampling { repetition_penalty: 0.0, ..base },
            Sampling { presence_penalty: f32::INFINITY, ..base },
            Sampling { frequency_penalty: f32::NAN, ..base },
        ] {
            assert!(choose(&[1.0, 2.0], bad).is_err(), "{bad:?}");
        }
        // All impossible: no weight is a number, and the first of the order stays.
        let s = Sampling { temperature: 1.0, top_k: 2, min_p: 0.5, ..base };
        assert_eq!(choose(&[f32::NEG_INFINITY; 3], s), Ok(0));
    }
}
