//! `repops trace diff`: the first step in which two traces differ, and the elements behind it.
//!
//! The traces say which digests differ. The bytes are computed again, where inputs are given: by the
//! program of each trace where both are at hand, else by the one that is. A trace that is not given is made by running.

use std::io::{Cursor, Read};

use repops::digest::Digest;
use repops::exec::{Executor, HashLevel};
use repops::ops::OpDef;
use repops::program::{Step, ValueId};
use repops::trace::StepRecord;
use repops::{Program, Tensor};
use repops_provenance::diff::{
    Captured, ElementDifference, Part, StepDifference, capture, elements, first_difference, step_at,
};
use repops_provenance::trace_file::TraceReader;
use serde_json::{Value, json};

use super::{Reader, open, operator_text, path_text, rows};
use crate::arguments::TraceDiff;
use crate::engine::{self, Engine};
use crate::inspect::{origin_text, value_text};
use crate::interrupt::Watcher;
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result, inputs};

/// Differing elements of each output that are shown.
const ELEMENTS_SHOWN: usize = 8;

/// One of the two traces with the program that it is of, if that was given.
struct Side<'a> {
    label: &'static str,
    claimed: Digest,
    program: Option<&'a Program>,
    record: Option<&'a StepRecord>,
}

pub fn diff(arguments: &TraceDiff) -> Result<Answer> {
    let program = engine::load(&arguments.program)?;
    if !arguments.generation.is_empty() {
        return rows::diff(arguments, &program);
    }
    let program_b = arguments.program_b.as_deref().map(engine::load).transpose()?;
    let traced = |which: usize, program: &Program| match arguments.traces.get(which) {
        Some(path) => open(path),
        None => regenerated(arguments, program),
    };
    let (mut a, mut b) = (traced(0, &program)?, traced(1, program_b.as_ref().unwrap_or(&program))?);
    let claimed = [a.program(), b.program()];
    let found = first_difference(&mut a, &mut b)?;
    let Some(difference) = found else { return Ok(same(arguments, claimed)) };
    let given = [Some(&program), program_b.as_ref()];
    let of = |digest: Digest| given.into_iter().flatten().find(|p| p.digest() == digest);
    let sides = [
        Side { label: "A", claimed: claimed[0], program: of(claimed[0]), record: difference.first.as_ref() },
        Side { label: "B", claimed: claimed[1], program: of(claimed[1]), record: difference.second.as_ref() },
    ];
    if sides.iter().all(|side| side.program.is_none()) {
        return Err(Failure(format!(
            "neither trace is of program {}: A is of {}, B is of {}",
            program.digest(),
            claimed[0],
            claimed[1]
        )));
    }
    let outputs = if arguments.inputs.inputs.is_empty() {
        None
    } else {
        Some(Recomputed::run(arguments, &sides, difference.index)?)
    };
    if arguments.json {
        print_json(&to_json(&sides, &difference, outputs.as_ref()));
    } else {
        print(&to_text(&sides, &difference, outputs.as_ref()));
    }
    Ok(Answer::No)
}

/// The trace that running a program gives.
fn regenerated(arguments: &TraceDiff, program: &Program) -> Result<Reader> {
    let engine = Engine::new(&arguments.engine)?;
    let tensors = inputs::read(&arguments.inputs, program)?;
    let mut watcher = Watcher::new(program, "running");
    let execution = engine.execute(program, &tensors, HashLevel::Operators, &mut watcher)?;
    let trace = execution.trace.ok_or_else(|| Failure::new("the run gave no trace"))?;
    let mut bytes = Vec::new();
    repops_provenance::trace_file::write(&mut bytes, &program.digest(), &trace)?;
    let bytes: Box<dyn Read> = Box::new(Cursor::new(bytes));
    Ok(TraceReader::new(bytes)?)
}

fn same(arguments: &TraceDiff, claimed: [Digest; 2]) -> Answer {
    // The records bind every constant and operator; only names and layout of the file can still differ.
    if claimed[0] != claimed[1] {
        note(&format!("the traces are equal, though of two programs: {} and {}", claimed[0], claimed[1]));
    }
    if arguments.json {
        print_json(&json!({ "same": true }));
    } else {
        print("the traces are equal");
    }
    Answer::Yes
}

/// The outputs of the differing step, computed again for each side whose program is at hand.
struct Recomputed {
    captured: [Option<Captured>; 2],
}

impl Recomputed {
    fn run(arguments: &TraceDiff, sides: &[Side<'_>; 2], index: u64) -> Result<Recomputed> {
        let engine = Engine::new(&arguments.engine)?;
        let mut captured = [None, None];
        for (slot, side) in captured.iter_mut().zip(sides) {
            let (Some(program), Some(_)) = (side.program, side.record) else { continue };
            let tensors = inputs::read(&arguments.inputs, program)?;
            let mut watcher = Watcher::new(program, "running");
            *slot = Some(capture(program, &tensors, index, &engine, &mut watcher)?);
        }
        Ok(Recomputed { captured })
    }

    /// Whether what was computed for a side is what its trace says.
    fn confirms(&self, sides: &[Side<'_>; 2], side: usize) -> Option<bool> {
        Some(self.captured[side].as_ref()?.is_as_recorded(sides[side].record?))
    }

    /// The differing elements of each output that has any, with their number.
    fn elements(&self) -> Vec<(usize, usize, Vec<ElementDifference>)> {
        let [Some(a), Some(b)] = &self.captured else { return Vec::new() };
        let pairs = a.outputs.iter().zip(&b.outputs).enumerate();
        pairs
            .filter_map(|(output, (a, b))| {
                let (count, shown) = elements(a, b, ELEMENTS_SHOWN)?;
                (count > 0).then_some((output, count, shown))
            })
            .collect()
    }

    fn shape(&self, output: usize) -> Option<(&Tensor, &Tensor)> {
        let [Some(a), Some(b)] = &self.captured else { return None };
        a.outputs.get(output).zip(b.outputs.get(output))
    }
}

/// The step that the records are of: of the first side whose program is known.
fn step_of<'a>(sides: &[Side<'a>; 2]) -> Option<(&'a Program, &'a Step)> {
    sides.iter().find_map(|side| {
        let program = side.program?;
        Some((program, step_at(program, &side.record?.path)?))
    })
}

fn to_text(sides: &[Side<'_>; 2], difference: &StepDifference, outputs: Option<&Recomputed>) -> String {
    let mut lines = vec![format!("the traces differ first at record {}", difference.index)];
    for side in sides {
        let what = match side.record {
            Some(record) => format!("step {} {}", path_text(&record.path), operator_text(record)),
            None => "has ended".to_string(),
        };
        let program = if side.program.is_some() { "" } else { ", which was not given" };
        lines.push(format!("  {}: {what} (program {}{program})", side.label, side.claimed));
    }
    if let Some((program, step)) = step_of(sides) {
        for origin in &step.origins {
            lines.push(format!("  ONNX node {}", origin_text(origin)));
        }
        for part in &difference.what {
            lines.extend(part_lines(part, sides, program, step));
        }
    } else {
        lines.extend(difference.what.iter().map(|part| format!("  {part} differs")));
    }
    if let Some(outputs) = outputs {
        lines.extend(recomputed_lines(sides, outputs));
    }
    lines.join("\n")
}

/// What differs, and for constants who agrees with the program.
fn part_lines(part: &Part, sides: &[Side<'_>; 2], program: &Program, step: &Step) -> Vec<String> {
    let digests = |digest: &dyn Fn(&StepRecord) -> Option<Digest>| {
        sides
            .iter()
            .map(|side| {
                let digest = side.record.and_then(digest);
                format!("    {}: {}", side.label, digest.map_or("none".to_string(), |d| d.to_hex()))
            })
            .collect::<Vec<_>>()
    };
    let mut lines = match *part {
        Part::Input(index) => {
            let value = step.inputs.get(index).copied().flatten();
            let name = value.map_or(String::new(), |v| format!(" ({})", value_text(program, v)));
            let mut lines = vec![format!("  input {index}{name} differs")];
            lines.extend(digests(&|r| r.inputs.get(index).copied().flatten()));
            lines.extend(value.and_then(|v| constant_line(program, v)));
            return lines;
        }
        Part::Output(index) => {
            let mut lines = vec![format!("  output {index} differs")];
            lines.extend(digests(&|r| r.outputs.get(index).copied()));
            lines
        }
        Part::Body => {
            let mut lines = vec!["  attributes or body differ".to_string()];
            lines.extend(digests(&|r| Some(r.body)));
            lines
        }
        Part::Fault => {
            let fault = |side: &Side<'_>| match side.record.and_then(|r| r.fault) {
                Some(fault) => format!("    {}: {fault}", side.label),
                None => format!("    {}: no fault", side.label),
            };
            let mut lines = vec!["  fault differs".to_string()];
            lines.extend(sides.iter().map(fault));
            lines
        }
        part => vec![format!("  {part} differs")],
    };
    lines.dedup();
    lines
}

/// A constant's digest is a matter of record: the program says what it is.
fn constant_line(program: &Program, value: ValueId) -> Option<String> {
    let constant = program.as_constant(value)?;
    let decl = &program.constants()[constant.index()];
    Some(format!("    the program's constant {:?} has {}", decl.name, decl.digest))
}

fn recomputed_lines(sides: &[Side<'_>; 2], outputs: &Recomputed) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, side) in sides.iter().enumerate() {
        let text = match outputs.confirms(sides, index) {
            Some(true) => "running its program again gives what the trace says",
            Some(false) => "running its program again gives something else than the trace says",
            None => "its program is not at hand, so its bytes are unknown",
        };
        lines.push(format!("  {}: {text}", side.label));
    }
    for (output, count, shown) in outputs.elements() {
        let Some((tensor, _)) = outputs.shape(output) else { continue };
        let total = tensor.len();
        lines.push(format!(
            "  output {output} ({} {:?}): {count} of {total} elements differ",
            tensor.dtype(),
            tensor.shape()
        ));
        for element in shown {
            lines.push(format!(
                "    {:?}  A {} {}  B {} {}",
                element.at,
                element.first.hex,
                element.first.decimal,
                element.second.hex,
                element.second.decimal
            ));
        }
    }
    lines
}

fn to_json(sides: &[Side<'_>; 2], difference: &StepDifference, outputs: Option<&Recomputed>) -> Value {
    let step = step_of(sides);
    let side = |(index, side): (usize, &Side<'_>)| {
        json!({
            "program": side.claimed.to_hex(),
            "path": side.record.map(|r| r.path.iter().map(|f| json!([f.block, f.step, f.iteration])).collect::<Vec<_>>()),
            "inputs": side.record.map(|r| r.inputs.iter().map(|d| d.map(|d| d.to_hex())).collect::<Vec<_>>()),
            "outputs": side.record.map(|r| r.outputs.iter().map(|d| d.to_hex()).collect::<Vec<_>>()),
            "confirmed": outputs.and_then(|o| o.confirms(sides, index)),
        })
    };
    let element = |e: &ElementDifference| {
        json!({
            "at": e.at,
            "a": { "hex": e.first.hex, "decimal": e.first.decimal },
            "b": { "hex": e.second.hex, "decimal": e.second.decimal },
        })
    };
    let elements = outputs.map(Recomputed::elements).unwrap_or_default();
    let elements = elements.iter().map(|(output, count, shown)| {
        json!({ "output": output, "count": count, "first": shown.iter().map(element).collect::<Vec<_>>() })
    });
    let operator: Option<&OpDef> = step.map(|(_, step)| step.def());
    json!({
        "same": false,
        "record": difference.index,
        "operator": operator.map(|def| def.name),
        "nodes": step.map(|(_, step)| step.origins.iter().map(|o| o.name.clone()).collect::<Vec<_>>()),
        "differs": difference.what.iter().map(Part::to_string).collect::<Vec<_>>(),
        "a": side((0, &sides[0])),
        "b": side((1, &sides[1])),
        "elements": elements.collect::<Vec<_>>(),
    })
}
