//! `repops trace`.

mod diff;
mod rows;
mod show;

pub use diff::diff;
pub use show::show;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use repops::trace::{Frame, StepRecord};
use repops_provenance::trace_file::TraceReader;

use crate::{Failure, Result};

type Reader = TraceReader<Box<dyn Read>>;

fn open(path: &Path) -> Result<Reader> {
    let failed = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(|e| failed(&e))?;
    let reader: Box<dyn Read> = Box::new(BufReader::new(file));
    TraceReader::new(reader).map_err(|e| failed(&e))
}

/// `3`, `12/1:0#4`: the step of the main block, then `block:step` with the iteration of a loop.
fn path_text(path: &[Frame]) -> String {
    let frame = |(depth, frame): (usize, &Frame)| {
        let iteration = if frame.iteration > 0 { format!("#{}", frame.iteration) } else { String::new() };
        if depth == 0 && frame.block == 0 {
            format!("{}{iteration}", frame.step)
        } else {
            format!("{}:{}{iteration}", frame.block, frame.step)
        }
    };
    path.iter().enumerate().map(frame).collect::<Vec<_>>().join("/")
}

/// The operator's name, or its number when this version does not know it.
fn operator_text(record: &StepRecord) -> String {
    match repops::ops::by_id(record.op, record.version) {
        Some(def) => def.name.to_string(),
        None => format!("operator {} version {}", record.op, record.version),
    }
}
