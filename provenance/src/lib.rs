//! Traces, receipts and their verification.
//!
//! Invariant: whoever verifies trusts `repops` and this crate and nothing else; a fast executor is
//! injected through [`repops::exec::Executor`]. Everything that is read here may come from an adversary:
//! sizes are bounded before anything is allocated, and every error names the field or offset.
#![forbid(unsafe_code)]
#![deny(clippy::float_arithmetic)]

pub mod diff;
pub mod dispute;
pub mod generation;
pub mod inside;
pub mod json;
pub mod keys;
pub mod opening;
pub mod receipt;
pub mod row_log;
pub mod trace_file;
pub mod verify;

pub use keys::{Key, KeyError, PublicKey};
pub use receipt::{Claim, Info, Receipt, ReceiptError};
pub use verify::{Difference, Unverifiable, Verdict, VerifyOptions, verify};
