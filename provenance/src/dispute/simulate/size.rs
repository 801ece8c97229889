//! How large a dispute's subject is, and how many rounds it may take for that.

use std::collections::BTreeSet;

use repops::digest::LEAF_BYTES;
use repops::ops::dispute::{OpenInputs, Subject, Term, claims};

use crate::dispute::judge::Disputed;
use crate::dispute::player::Player;
use crate::dispute::referee::Referee;

/// More terms of an element than this are not counted.
const TERMS_MAX: usize = 1 << 18;

/// The trees that a dispute goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Records of the trace, or rows of all steps of a generation.
    pub steps: u64,
    /// Leaves of the tensor under dispute; 1 where it came to none.
    pub leaves: u64,
    /// Chunks, blocks and groups of all series beneath the element under dispute, pieces of a vocabulary; 1 where there
    /// are none.
    pub chunks: u64,
}

impl Size {
    /// The most rounds: `log2(steps) + log2(leaves) + log2(chunks) + 6`, each logarithm rounded down.
    pub fn rounds_max(&self) -> u32 {
        [self.steps, self.leaves, self.chunks].map(|count| count.max(1).ilog2()).iter().sum::<u32>() + 6
    }

    /// Of a dispute that is over, by what a party has at hand.
    pub(super) fn of(referee: &Referee, player: &mut Player<'_>, steps: u64) -> Size {
        let leaves = referee.output_types().map_or(1, |types| {
            let bytes = types.each_ref().map(|ty| ty.len() * ty.dtype.size());
            bytes[0].max(bytes[1]).div_ceil(LEAF_BYTES) as u64
        });
        Size { steps, leaves: leaves.max(1), chunks: chunks(referee, player).unwrap_or(1).max(1) }
    }
}

fn chunks(referee: &Referee, player: &mut Player<'_>) -> Option<u64> {
    let place = referee.place()?;
    if referee.disputed() == Some(Disputed::Choice) {
        let name = referee.records()?[0].inputs.first().copied().flatten()?;
        let logits = player.tensors_of(&[Some(name)]).ok()?.swap_remove(0)?;
        return Some((*logits.shape().last()? as u64).div_ceil(256));
    }
    let (top, _, _) = referee.element()?;
    let (inputs, outputs) = referee.types()?;
    let step = &place.step;
    let subject =
        Subject { def: step.def(), attrs: &step.attrs, region: step.region.as_ref(), inputs, outputs };
    let tensors = player.tensors_of(&referee.records()?[0].inputs).ok()?;
    let mut open = OpenInputs(&tensors);
    let (mut seen, mut waiting) = (BTreeSet::from([top]), vec![top]);
    while let Some(term) = waiting.pop() {
        if seen.len() > TERMS_MAX {
            break;
        }
        let finer = claims(&subject, term, &mut open).unwrap_or_default();
        waiting.extend(finer.into_iter().filter(|finer| seen.insert(*finer)));
    }
    Some(seen.iter().filter(|term| matches!(term, Term::Part { level: 0, .. })).count() as u64)
}
