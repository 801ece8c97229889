//! The next token of sequences, chosen where their logits are: SPEC.md, "Sampling".
//!
//! Invariant: token and probability are those of `repops::sequence::sampling`, to the bit.

use std::collections::BTreeMap;

use repops::sequence::sampling::{Draw, Sampling, SamplingError};

use crate::device::{Argument, Device, View};
use crate::{Error, kernels};

kernels! {
    SAMPLING = "sampling";
    CHOOSE = "choose";
}

/// Bytes of what is chosen for a row.
pub const CHOSEN_BYTES: usize = 16;

/// Keys for which a row has room, where not all that may follow are likely enough.
const MANY: usize = 16384;

/// How the token that follows a row is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// The row's number.
    pub row: usize,
    pub sampling: &'a Sampling,
    /// All tokens up to the row's; the first `prompt` were given.
    pub tokens: &'a [u32],
    pub prompt: usize,
    pub draw: Draw,
}

/// Chooses a token for each of `choices` from rows of logits, f32 [rows, vocabulary]; `out` gets [`CHOSEN_BYTES`] for each.
pub fn choose<D: Device>(
    device: &D,
    logits: View<'_, D::Buffer>,
    choices: &[Choice<'_>],
    out: View<'_, D::Buffer>,
) -> Result<(), Error> {
    let &[rows, vocabulary] = logits.shape else {
        return Err(Error::unsupported("logits of other than rows"));
    };
    let n = u32::try_from(vocabulary).ok().filter(|n| (1..1 << 30).contains(n));
    let n = n.ok_or_else(|| Error::unsupported(format!("choosing among {vocabulary} tokens")))?;
    if choices.is_empty() {
        return Ok(());
    }
    let (mut table, mut occurred) = (Vec::new(), Vec::new());
    let mut copies = 0usize;
    for choice in choices {
        let sampling = choice.sampling;
        if choice.row >= rows {
            return Err(Error::unsupported(format!("row {} of {rows} rows of logits", choice.row)));
        }
        let first = occurred.len() / 8;
        if penalizes(sampling) {
            // Tokens that are none of the vocabulary have no logit.
            for (token, count) in occurrences(choice.tokens, choice.prompt).range(..n) {
                occurred.extend(token.to_le_bytes());
                occurred.extend(count.to_le_bytes());
            }
        }
        let penalties = occurred.len() / 8 - first;
        table.extend(((choice.row * vocabulary) as u64).to_le_bytes());
        table.extend(((copies * vocabulary) as u64).to_le_bytes());
        copies += usize::from(penalties > 0);
        let floats = [
            sampling.temperature,
            sampling.top_p,
            sampling.min_p,
            sampling.repetition_penalty,
            sampling.presence_penalty,
            sampling.frequency_penalty,
        ];
        table.extend(floats.iter().flat_map(|value| value.to_bits().to_le_bytes()));
        let (seed, nonce) = (choice.draw.seed, choice.draw.nonce);
        let words = [
            sampling.top_k,
            first as u32,
            penalties as u32,
            seed as u32,
            (seed >> 32) as u32,
            nonce as u32,
            (nonce >> 32) as u32,
            choice.draw.position,
        ];
        table.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    }
    let (table, occurred) = (device.put(&table)?, device.put(&occurred)?);
    let copied = device.alloc((4 * copies * vocabulary).max(16))?;
    let is_cut = choices.iter().any(|choice| choice.sampling.top_p < 1.0);
    let keys = device.alloc(if is_cut { 8 * MANY * choices.len() } else { 16 })?;
    let at = |buffer| Argument::Pointer { buffer, offset: 0 };
    device.launch(
        &CHOOSE,
        [choices.len() as u32, 1, 1],
        [512, 1, 1],
        0,
        &[
            out.pointer(),
            at(&table),
            at(&occurred),
            logits.pointer(),
            at(&copied),
            at(&keys),
            Argument::U32(n),
        ],
    )
}

/// Whether tokens that have occurred have other logits than the model says.
fn penalizes(sampling: &Sampling) -> bool {
    sampling.repetition_penalty != 1.0
        || sampling.presence_penalty != 0.0
        || sampling.frequency_penalty != 0.0
}

/// How often each token that occurred was generated.
fn occurrences(tokens: &[u32], prompt: usize) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    for (at, &token) in tokens.iter().enumerate() {
        *counts.entry(token).or_default() += u32::from(at >= prompt);
    }
    counts
}

/// What was chosen: a token, and the logarithm of its probability as the model gives it.
pub fn chosen(bytes: &[u8; CHOSEN_BYTES]) -> Result<(u32, f32), SamplingError> {
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    match word(4) {
        0 => Ok((word(0), f32::from_bits(word(8)))),
        _ => Err(SamplingError::Logit { token: word(0) as usize, value: f32::from_bits(word(12)) }),
    }
}
