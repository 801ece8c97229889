//! A referee as a process: disputes over HTTP/2 in an embedded store, and their pages; and what a party's process needs to talk to it.
//!
//! What it decides is `repops_provenance::dispute`; here are the clock, the disk and the network around it. Needs no kernels, no
//! compiler, no program and no weights, and little memory.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

mod describe;
pub mod exchange;
mod games;
pub mod page;
mod replay;
mod said;
mod service;
mod store;

use std::path::PathBuf;

use repops_provenance::dispute::{MessageError, TranscriptError};

pub use describe::describe;
pub use replay::{peak_kib, replay};
pub use said::Said;
pub use service::{Options, serve};

/// Why a referee cannot serve, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RefereeError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{name}: {problem}")]
    Store { name: String, problem: String },
    #[error(transparent)]
    Http(#[from] repops_http::HttpError),
    #[error("a transcript: {0}")]
    Message(#[from] MessageError),
    #[error("a transcript: {0}")]
    Transcript(#[from] TranscriptError),
}

type Result<T> = std::result::Result<T, RefereeError>;
