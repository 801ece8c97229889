//! How a dispute ends.

use std::fmt;

use super::message::Party;

/// Who lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loser {
    First,
    Second,
    Both,
    /// Nobody: it could not be decided.
    Neither,
}

impl From<Party> for Loser {
    fn from(party: Party) -> Loser {
        match party {
            Party::First => Loser::First,
            Party::Second => Loser::Second,
        }
    }
}

impl fmt::Display for Loser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loser::First => "first",
            Loser::Second => "second",
            Loser::Both => "both",
            Loser::Neither => "neither",
        })
    }
}

/// Why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    #[error("no answer before the deadline")]
    Silent,
    #[error("a signed message that cannot be read, or that answers something else")]
    Malformed,
    #[error("a signed message for a round that was not asked for")]
    OutOfTurn,
    #[error("two different signed messages for one round")]
    Equivocation,
    #[error("hashes that do not lead to what was claimed before")]
    Hashes,
    #[error("evidence that does not belong to the agreed digests, or lacks what is needed")]
    Evidence,
    #[error("the claim's outputs or fault are not those of its trace")]
    Outcome,
    #[error("the trace ends too early or too late")]
    Length,
    #[error("the record is of another step than the one that comes next")]
    Path,
    #[error("the record names another operator than the program")]
    Operator,
    #[error("the record has other attributes or another body than the program")]
    Body,
    #[error("the record has another number of inputs than the program's step")]
    InputCount,
    #[error("input {0} of the record is not the value that the program says")]
    Input(u32),
    #[error("the record has another number of outputs than the program's step")]
    OutputCount,
    #[error("output {0} has another type or shape than follows from the inputs")]
    OutputType(u32),
    #[error("output {0} is not the result of the step's blocks")]
    Output(u32),
    #[error("an element of the output is not what the operator gives")]
    Element,
    #[error("the steps on which later positions depend are not those of the program")]
    Heads,
    #[error("the token does not follow from the logits")]
    Token,
    #[error("the fault is not the one that the step meets")]
    Fault,
    #[error("not decided: {0}")]
    Undecided(String),
}

impl Reason {
    /// A word for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Reason::Silent => "silent",
            Reason::Malformed => "malformed",
            Reason::OutOfTurn => "out-of-turn",
            Reason::Equivocation => "equivocation",
            Reason::Hashes => "hashes",
            Reason::Evidence => "evidence",
            Reason::Outcome => "outcome",
            Reason::Length => "length",
            Reason::Path => "path",
            Reason::Operator => "operator",
            Reason::Body => "body",
            Reason::InputCount => "input-count",
            Reason::Input(_) => "input",
            Reason::OutputCount => "output-count",
            Reason::OutputType(_) => "output-type",
            Reason::Output(_) => "output",
            Reason::Element => "element",
            Reason::Heads => "heads",
            Reason::Token => "token",
            Reason::Fault => "fault",
            Reason::Undecided(_) => "undecided",
        }
    }
}

/// The end of a dispute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub loser: Loser,
    pub reason: Reason,
}
