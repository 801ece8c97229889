//! What a referee asks, and the terms of a dispute.

use repops::ops::dispute::Term;

use super::judge::{Disputed, Question};
use super::message::Body;

/// What the parties agree on before they begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Milliseconds for each answer.
    pub answer_ms: u64,
    /// Tells disputes about the same two receipts apart.
    pub number: u64,
}

/// Why there is nothing to dispute.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum NoDispute {
    #[error("the {which} receipt: {error}")]
    Receipt { which: &'static str, error: crate::receipt::ReceiptError },
    #[error("both receipts are signed by the same key")]
    OneParty,
    #[error("the receipts are about different {0}")]
    Different(&'static str),
    #[error("the {which} receipt claims no trace; disputes need level \"operators\"")]
    NoTrace { which: &'static str },
    #[error("one receipt is of a run and the other of a generation")]
    Kinds,
    #[error("the receipts claim the same")]
    Agreement,
}

/// A tree whose leaves are searched for the first that differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tree {
    Trace,
    Output,
    /// The entries of a sequence.
    Log,
    /// The steps of the row under dispute.
    Steps,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
#[allow(clippy::large_enum_variant, reason = "a dispute holds one")]
pub enum Ask {
    /// Of each party's own trace or log, for the common number of records or positions.
    Frontier {
        common: u64,
    },
    /// The nodes `levels` below the node over `1 << height` leaves from `first` on.
    Nodes {
        tree: Tree,
        first: u64,
        height: u32,
        levels: u32,
    },
    Record {
        index: u64,
    },
    /// Type and frontier of a tensor of the record.
    Tensor {
        of: Disputed,
    },
    Leaf {
        index: u64,
    },
    Claims {
        terms: Vec<Term>,
    },
    Witness,
    /// The roots of both halves of a row.
    Row {
        position: u64,
    },
    /// The number of the program's steps, and which of them are the head.
    Heads,
    /// Steps by which a step's output gets into keys or values.
    Path {
        step: u64,
    },
    /// The frontier of the tree of a row's carried steps (0) or of its head (1).
    Steps {
        position: u64,
        half: usize,
    },
    /// The digests of what a step gave at a position.
    Outputs {
        position: u64,
        step: u64,
    },
    Evidence(Question),
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    Accepted,
    /// It changed nothing; why.
    Ignored(&'static str),
}

/// Whether a body is of the kind that is asked for.
pub(super) fn answers(ask: &Ask, body: &Body) -> bool {
    matches!(
        (ask, body),
        (Ask::Frontier { .. }, Body::Frontier(_))
            | (Ask::Nodes { .. }, Body::Nodes(_))
            | (Ask::Record { .. }, Body::Record(_))
            | (Ask::Tensor { .. }, Body::Output { .. })
            | (Ask::Leaf { .. }, Body::Leaf(_))
            | (Ask::Claims { .. }, Body::Claims(_))
            | (Ask::Witness, Body::Witness { .. })
            | (Ask::Row { .. } | Ask::Outputs { .. }, Body::Nodes(_))
            | (Ask::Heads | Ask::Path { .. }, Body::Claims(_))
            | (Ask::Steps { .. }, Body::Frontier(_))
            | (Ask::Evidence(_), Body::Evidence(_))
    )
}
