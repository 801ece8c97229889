//! Suites of cases: each a model, with inputs and mostly with the outputs that they must give.
//!
//! A case is imported and compiled, and then computed three ways: node by node as it was imported ([`interpret`]),
//! by the reference executor on the compiled program, and by the kernels. All must give the same bits; the outputs
//! must be the expected ones within the tolerance that ONNX uses for its own ([`compare`]). What became of every case
//! is a [`Report`], which holds the digests of the outputs, so that whoever runs the suite elsewhere compares it with
//! ours: [`differences`] of two reports, or the committed [`Goldens`].
//!
//! Importing needs the compiler; cases that were packed as programs ([`files`]) are run without it, as are reports, goldens and
//! the page.

mod cases;
pub mod compare;
mod goldens;
#[cfg(feature = "compiler")]
mod import;
#[cfg(feature = "compiler")]
pub mod interpret;
mod known;
mod model;
mod page;
mod report;
mod run;

pub use cases::{Case, SUITES, cases};
pub use goldens::Goldens;
#[cfg(feature = "compiler")]
pub use import::{files, packed};
pub use known::Known;
pub use page::page;
pub use report::{
    CaseReport, Counts, Difference, Machine, Outcome, OutputDigest, Report, differences, summarize,
};
pub use run::{Ways, run};

/// A file of the suite that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    #[error("{path}: line {line} is not {form}")]
    Line { path: String, line: usize, form: &'static str },
    #[error("{path}: {source}")]
    Json { path: String, source: serde_json::Error },
    #[error("{path}: this is no report of this version")]
    Format { path: String },
    #[error("{path}: holds no cases")]
    Empty { path: String },
}

/// A file's text, with its path in the error.
fn read_text(path: &std::path::Path) -> Result<String, SuiteError> {
    let io = |source| SuiteError::Io { path: path.display().to_string(), source };
    std::fs::read_to_string(path).map_err(io)
}
