//! Where two traces part, and where the bytes behind them do.
//!
//! Invariant: records are compared in order, so the first difference is where the two runs parted; what
//! follows may differ only because of it.

use std::fmt;
use std::io::Read;

use repops::digest::tensor_digest;
use repops::dtype::narrow;
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent};
use repops::program::{Program, Step};
use repops::trace::{Frame, StepRecord};
use repops::{DType, Digest, Tensor};

use crate::trace_file::{TraceError, TraceReader};

/// The first record in which two traces differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepDifference {
    /// Position in the traces.
    pub index: u64,
    /// `None`: the trace ended before.
    pub first: Option<StepRecord>,
    pub second: Option<StepRecord>,
    pub what: Vec<Part>,
}

/// A part of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// One of the traces has ended.
    End,
    Path,
    Operator,
    /// Attributes or the region's body.
    Body,
    Input(usize),
    Output(usize),
    Fault,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::End => f.write_str("the end of one trace"),
            Part::Path => f.write_str("path"),
            Part::Operator => f.write_str("operator"),
            Part::Body => f.write_str("attributes or body"),
            Part::Input(index) => write!(f, "input {index}"),
            Part::Output(index) => write!(f, "output {index}"),
            Part::Fault => f.write_str("fault"),
        }
    }
}

/// Reads both traces to their ends, so that both are known to be whole, and gives the first difference.
pub fn first_difference<A: Read, B: Read>(
    first: &mut TraceReader<A>,
    second: &mut TraceReader<B>,
) -> Result<Option<StepDifference>, DiffError> {
    let mut found = None;
    for index in 0.. {
        let a = first.next_record().map_err(|error| DiffError::Trace { which: "first", error })?;
        let b = second.next_record().map_err(|error| DiffError::Trace { which: "second", error })?;
        if a.is_none() && b.is_none() {
            break;
        }
        if found.is_none() && a != b {
            let what = differing_parts(a.as_ref(), b.as_ref());
            found = Some(StepDifference { index, first: a, second: b, what });
        }
    }
    Ok(found)
}

/// Everything in which two records differ.
fn differing_parts(first: Option<&StepRecord>, second: Option<&StepRecord>) -> Vec<Part> {
    let (Some(a), Some(b)) = (first, second) else { return vec![Part::End] };
    let mut parts = Vec::new();
    let mut note = |differs: bool, part| parts.extend(differs.then_some(part));
    note(a.path != b.path, Part::Path);
    note((a.op, a.version) != (b.op, b.version), Part::Operator);
    note(a.body != b.body, Part::Body);
    for index in 0..a.inputs.len().max(b.inputs.len()) {
        note(a.inputs.get(index) != b.inputs.get(index), Part::Input(index));
    }
    for index in 0..a.outputs.len().max(b.outputs.len()) {
        note(a.outputs.get(index) != b.outputs.get(index), Part::Output(index));
    }
    note(a.fault != b.fault, Part::Fault);
    parts
}

/// Why traces could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    #[error("the {which} trace: {error}")]
    Trace { which: &'static str, error: TraceError },
    #[error(transparent)]
    Execution(#[from] ExecError),
    #[error("the program ends before step {index}")]
    NoSuchStep { index: u64 },
}

/// The step of a program that a record's path leads to; `None` when the program has no such step.
pub fn step_at<'a>(program: &'a Program, path: &[Frame]) -> Option<&'a Step> {
    let frame = path.last()?;
    program.blocks().get(frame.block as usize)?.steps.get(frame.step as usize)
}

/// What a step gave when the program was run again; no outputs where data made it fail.
#[derive(Debug)]
pub struct Captured {
    pub outputs: Vec<Tensor>,
}

/// Runs the program up to the step that is run `index`-th and keeps its outputs.
pub fn capture(
    program: &Program,
    inputs: &[Tensor],
    index: u64,
    executor: &dyn Executor,
    observer: &mut dyn Observer,
) -> Result<Captured, DiffError> {
    let mut catcher = Catcher { inner: observer, index, caught: None, error: None };
    let result = executor.execute(program, inputs, HashLevel::None, &mut catcher);
    let Catcher { caught, error, .. } = catcher;
    if let Some(error) = error {
        return Err(ExecError::Tensor(error).into());
    }
    match (caught, result) {
        // The run was ended by the catcher.
        (Some(captured), _) => Ok(captured),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(_)) => Err(DiffError::NoSuchStep { index }),
    }
}

struct Catcher<'a> {
    inner: &'a mut dyn Observer,
    index: u64,
    caught: Option<Captured>,
    error: Option<repops::tensor::TensorError>,
}

impl Observer for Catcher<'_> {
    fn step(&mut self, event: StepEvent<'_>) {
        self.inner.step(StepEvent { ..event });
        if event.index as u64 != self.index || self.caught.is_some() {
            return;
        }
        match event.outputs.iter().map(|view| view.to_tensor()).collect() {
            Ok(outputs) => self.caught = Some(Captured { outputs }),
            Err(error) => self.error = Some(error),
        }
    }

    fn record(&mut self, record: &StepRecord) {
        self.inner.record(record);
    }

    fn interrupted(&mut self) -> bool {
        self.caught.is_some() || self.error.is_some() || self.inner.interrupted()
    }
}

impl Captured {
    /// Whether these are the outputs that the record commits to.
    pub fn is_as_recorded(&self, record: &StepRecord) -> bool {
        let found: Vec<Digest> = self.outputs.iter().map(|t| tensor_digest(t.view())).collect();
        found == record.outputs
    }
}

/// One element that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementDifference {
    /// The index along each axis.
    pub at: Vec<usize>,
    pub first: ElementText,
    pub second: ElementText,
}

/// An element as a person reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ElementText {
    /// Most significant digit first, as the value's bits are written.
    pub hex: String,
    pub decimal: String,
}

/// The number of elements in which two tensors of one type and shape differ, and the first `limit` of
/// them; `None` when type or shape differ.
pub fn elements(first: &Tensor, second: &Tensor, limit: usize) -> Option<(usize, Vec<ElementDifference>)> {
    if first.dtype() != second.dtype() || first.shape() != second.shape() {
        return None;
    }
    let size = first.dtype().size();
    let strides = repops::tensor::strides(first.shape());
    let mut count = 0;
    let mut shown = Vec::new();
    let pairs = first.bytes().chunks_exact(size).zip(second.bytes().chunks_exact(size));
    for (position, (a, b)) in pairs.enumerate().filter(|(_, (a, b))| a != b) {
        count += 1;
        if shown.len() < limit {
            let axis = |(stride, extent): (&usize, &usize)| position / stride % extent;
            shown.push(ElementDifference {
                at: strides.iter().zip(first.shape()).map(axis).collect(),
                first: element_text(first.dtype(), a),
                second: element_text(first.dtype(), b),
            });
        }
    }
    Some((count, shown))
}

/// An element in hexadecimal, and in the shortest decimal that reads back as the same bits.
pub fn element_text(dtype: DType, bytes: &[u8]) -> ElementText {
    fn bytes_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().expect("an element of its type's size")
    }
    let decimal = match dtype {
        DType::F32 => format!("{:?}", f32::from_le_bytes(bytes_of(bytes))),
        DType::F64 => format!("{:?}", f64::from_le_bytes(bytes_of(bytes))),
        DType::F16 => format!("{:?}", half::f16::from_le_bytes(bytes_of(bytes)).to_f32()),
        DType::BF16 => format!("{:?}", half::bf16::from_le_bytes(bytes_of(bytes)).to_f32()),
        DType::I8 => i8::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::I16 => i16::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::I32 => i32::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::I64 => i64::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::U8 => u8::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::U16 => u16::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::U32 => u32::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::U64 => u64::from_le_bytes(bytes_of(bytes)).to_string(),
        DType::Bool => (bytes[0] != 0).to_string(),
        narrow => format!("{:?}", narrow::value(narrow, bytes[0])),
    };
    let hex: String = bytes.iter().rev().map(|b| format!("{b:02x}")).collect();
    ElementText { hex: format!("0x{hex}"), decimal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_located_and_written() {
        let a = Tensor::from_slice(&[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let b = Tensor::from_slice(&[2, 3], &[1.0f32, 2.0, 3.0, 4.0, 5.5, -6.0]);
        let (count, shown) = elements(&a, &b, 1).unwrap();
        assert_eq!((count, shown.len()), (2, 1));
        assert_eq!(shown[0].at, [1, 1]);
        assert_eq!(
            shown[0].second,
            ElementText { hex: "0x40b00000".to_string(), decimal: "5.5".to_string() }
        );
        assert_eq!(elements(&a, &a.clone().reshaped(&[3, 2]), 1), None);
        assert_eq!(elements(&a, &a, 1), Some((0, vec![])));
        assert_eq!(element_text(DType::I16, &[0xfe, 0xff]).decimal, "-2");
        assert_eq!(element_text(DType::I16, &[0xfe, 0xff]).hex, "0xfffe");
    }
}
