//! `cargo xtask graphs`: random graphs by the reference and on every kernel path of this machine.
//!
//! The tests check a few hundred on every run; this checks as many others as wanted.

use crate::command::{self, Result};
use crate::setup;

#[derive(clap::Args, Clone)]
pub struct Options {
    /// How many graphs.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub count: u64,
    /// The seed of the first.
    #[arg(long, value_name = "SEED", default_value_t = 1_000_000)]
    pub first: u64,
}

pub fn run(options: &Options) -> Result<()> {
    setup::provide_all(&setup::Options::default())?;
    command::run(
        setup::cargo_with_llvm()
            .args(["test", "--quiet", "-p", "repops-conformance", "--test", "random", "--", "--nocapture"])
            .env("REPOPS_GRAPHS", options.count.to_string())
            .env("REPOPS_FIRST_GRAPH", options.first.to_string()),
    )
}
