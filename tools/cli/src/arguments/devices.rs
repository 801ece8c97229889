//! The arguments of what is about GPUs.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub struct RegionCode {
    /// The programs.
    #[arg(required = true, value_name = "PROGRAM.rep")]
    pub programs: Vec<PathBuf>,
    /// Where to write the code.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Devices {
    /// Measure what the kernels of the GPU of this number do in a second, beside what its memory and arithmetic units can do.
    #[arg(long, value_name = "N")]
    pub measure: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}
