//! Disputes: two parties claim different things of one run, and a referee with kilobytes finds the one who
//! is wrong. SPEC.md, "Disputes".
//!
//! The game is one rule applied over and over: of what the parties claim differently, they state the parts;
//! the first part that differs is what the game goes on with. It begins at the traces' roots, goes down to
//! the first record that differs, to an element of its output, to a chunk of that element's sum and to sixteen
//! terms, which the referee computes from opened inputs. Everything before the first difference is agreed, and
//! what is agreed between an honest party and any other is true.

pub mod ask;
pub mod audit;
pub mod audit_rows;
mod choice;
pub mod claimed;
pub mod facts;
mod faults;
mod follow;
mod generation;
mod held;
pub mod judge;
mod kept;
pub mod log;
pub mod message;
mod moved;
mod near;
mod opened;
pub mod partial;
pub mod paths;
pub mod player;
pub mod referee;
pub mod rows;
mod section;
pub mod simulate;
mod source;
mod tensor;
mod terms;
pub mod transcript;
mod types;
pub mod verdict;

pub use ask::{Ask, NoDispute, Received, Terms};
pub use claimed::Claimed;
pub use follow::Followed;
pub use held::Records;
pub use kept::{Checkpoints, Keep, Keeper};
pub use log::SequenceLog;
pub use message::{Body, MESSAGE_BYTES_MAX, Message, MessageError, Party};
pub use player::{Player, PlayerError};
pub use referee::Referee;
pub use transcript::{Recorded, Transcript, TranscriptError};
pub use verdict::{Loser, Reason, Verdict};
