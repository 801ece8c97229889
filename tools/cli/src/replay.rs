//! `repops conformance replay`: packed cases on a device and by the CPU.
//!
//! A case is a program, `NAME.rep`, and inputs, `NAME.N.inputs.rep`: a program of no steps whose constants they are, so
//! that no other format has to be read. Invariant: equal means outputs or fault, and every record of the trace.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use repops::exec::{Execution, Executor, HashLevel, Unobserved};
use repops::program::{
    Block, ConstantBytes, ConstantDecl, ConstantId, Header, Program, ProgramParts, SPEC_VERSION, ValueId,
};
use repops::{Layout, Tensor};
use serde_json::json;

use crate::arguments::ConformanceReplay;
use crate::engine::{self, Engine};
use crate::interrupt::{interrupted, watch_for_interrupts};
use crate::report::{print, print_json};
use crate::{Answer, Failure, Result};

/// Tensors as a program without steps.
pub fn container(names: &[String], tensors: &[Tensor]) -> Result<Program> {
    let mut constants = Vec::new();
    let mut data = Vec::new();
    for (index, tensor) in tensors.iter().enumerate() {
        let mut tensor = tensor.clone();
        tensor.canonicalize();
        constants.push(ConstantDecl {
            name: names.get(index).cloned().unwrap_or_default(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout: Layout::RowMajor,
            digest: repops_kernels::bytes_digest(
                tensor.dtype(),
                Layout::RowMajor,
                tensor.shape(),
                tensor.bytes(),
            ),
        });
        let bytes = tensor.bytes().to_vec();
        data.push(ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 });
    }
    let header = Header {
        spec: SPEC_VERSION,
        compiler: "inputs".to_string(),
        sources: vec![],
        inputs: vec![],
        outputs: (0..tensors.len()).map(|index| format!("{index}")).collect(),
    };
    let results = (0..tensors.len() as u32).map(ValueId).collect();
    let blocks = vec![Block { params: vec![], steps: vec![], results }];
    Ok(Program::new(ProgramParts { header, constants, data, blocks })?)
}

/// The tensors of a [`container`].
pub fn contained(program: &Program) -> Result<Vec<Tensor>> {
    let constant = |index| {
        let view =
            program.constant(ConstantId(index as u32)).ok_or_else(|| Failure::new("inputs in panels"))?;
        Ok(view.to_tensor()?)
    };
    (0..program.constants().len()).map(constant).collect()
}

pub fn replay(arguments: &ConformanceReplay) -> Result<Answer> {
    watch_for_interrupts();
    let cases = cases(arguments)?;
    let engine = Engine::new(&arguments.engine)?;
    let cpu = Engine::on_cpu(&arguments.engine)?;
    let (mut runs, mut wrong) = (0u64, Vec::new());
    for (name, (program, sets)) in &cases {
        let program = engine::load(program)?;
        for set in sets {
            if interrupted() {
                return Err(Failure::new("interrupted"));
            }
            let inputs = contained(&engine::load(set)?)?;
            let run =
                |engine: &Engine| engine.execute(&program, &inputs, HashLevel::Operators, &mut Unobserved);
            let problem = match (run(&engine), run(&cpu)) {
                (Ok(found), Ok(expected)) => difference(&found, &expected),
                (Err(found), Err(expected)) if found == expected => None,
                (Err(found), Ok(_)) => Some(found.to_string()),
                (_, Err(expected)) => Some(format!("by the CPU: {expected}")),
            };
            runs += 1;
            wrong.extend(problem.map(|problem| format!("{name}: {problem}")));
        }
    }
    let fallbacks = engine.fallbacks().unwrap_or_default();
    if arguments.json {
        print_json(&json!({
            "device": engine.device(),
            "cases": cases.len(),
            "runs": runs,
            "differences": wrong,
            "on_cpu": fallbacks,
        }));
    } else {
        wrong.iter().for_each(|line| print(line));
        for (op, steps) in &fallbacks {
            print(&format!("the CPU computed {op}: {steps} steps"));
        }
        let (device, differ) = (engine.device(), wrong.len());
        print(&format!("{device}: {} cases, {runs} runs, {differ} differ from the CPU's", cases.len()));
    }
    Ok(if wrong.is_empty() { Answer::Yes } else { Answer::No })
}

fn difference(found: &Execution, expected: &Execution) -> Option<String> {
    let (Some(trace), Some(other)) = (&found.trace, &expected.trace) else {
        return Some("a run without a trace".to_string());
    };
    let step = trace.records.iter().zip(&other.records).position(|(a, b)| a != b);
    match step {
        Some(step) => Some(format!("record {step} differs ({})", trace.records[step].op)),
        None if trace.records.len() != other.records.len() => {
            Some("the traces have other lengths".to_string())
        }
        None if found.result != expected.result => Some("the outputs differ".to_string()),
        None => None,
    }
}

/// By name: the program, and its inputs in order.
fn cases(arguments: &ConformanceReplay) -> Result<BTreeMap<String, (PathBuf, Vec<PathBuf>)>> {
    let failed = |e: std::io::Error| Failure(format!("{}: {e}", arguments.folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&arguments.folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    let name =
        |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut out: BTreeMap<String, (PathBuf, Vec<PathBuf>)> = BTreeMap::new();
    for path in &files {
        let file = name(path);
        if let Some(case) = file.strip_suffix(".rep").filter(|case| !case.ends_with(".inputs")) {
            out.insert(case.to_string(), (path.clone(), Vec::new()));
        }
    }
    for path in &files {
        let file = name(path);
        let case = file.strip_suffix(".inputs.rep").and_then(|rest| rest.rsplit_once('.'));
        if let Some((_, sets)) = case.and_then(|(case, _)| out.get_mut(case)) {
            sets.push(path.clone());
        }
    }
    out.retain(|case, (_, sets)| case.contains(&arguments.only) && !sets.is_empty());
    if out.is_empty() {
        return Err(Failure(format!("{}: no packed case there", arguments.folder.display())));
    }
    Ok(out)
}
