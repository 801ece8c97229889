//! `repops trace show`.

use repops::trace::StepRecord;
use repops::{Program, Tensor};
use repops_provenance::diff::{element_text, step_at};
use repops_provenance::inside::region_at;
use serde_json::{Value, json};

use super::{open, operator_text, path_text};
use crate::arguments::TraceShow;
use crate::engine::{self, Engine};
use crate::inspect::{origins_text, region_lines};
use crate::interrupt::Watcher;
use crate::report::{note, print, print_json, table};
use crate::{Answer, Failure, Result, inputs};

/// Elements of a value inside of a step that are shown.
const ELEMENTS_SHOWN: usize = 8;

pub fn show(arguments: &TraceShow) -> Result<Answer> {
    let program = arguments.program.as_deref().map(engine::load).transpose()?;
    let mut reader = open(&arguments.trace)?;
    if let Some(program) = &program
        && program.digest() != reader.program()
    {
        note(&format!("the trace is of program {}, not of {}", reader.program(), program.digest()));
        return Ok(Answer::No);
    }
    let mut records = Vec::new();
    // To the end, so that what is shown is known to be whole.
    let wanted = arguments.step.or(arguments.inside);
    let mut index = 0;
    let failed = |error: &dyn std::fmt::Display| Failure(format!("{}: {error}", arguments.trace.display()));
    let mut steps = Vec::new();
    while let Some(record) = reader.next_record().map_err(|e| failed(&e))? {
        steps.push(record.digest());
        if wanted.is_none_or(|wanted| wanted == index) {
            records.push((index, record));
        }
        index += 1;
    }
    let root = repops::trace::trace_root(&steps);
    if let (Some(wanted), []) = (wanted, records.as_slice()) {
        return Err(Failure(format!("record {wanted}: the trace has {index} records")));
    }
    if let (Some(_), Some(program), [(index, record)]) = (arguments.inside, &program, records.as_slice()) {
        return inside(arguments, program, *index, record);
    }
    if arguments.json {
        let record = |(index, record): &(u64, StepRecord)| record_json(*index, record, program.as_ref());
        print_json(&json!({
            "program": reader.program().to_hex(),
            "trace_root": root.to_hex(),
            "steps": index,
            "records": records.iter().map(record).collect::<Vec<_>>(),
        }));
        return Ok(Answer::Yes);
    }
    if arguments.step.is_some() {
        records.iter().for_each(|(index, record)| print(&record_text(*index, record, program.as_ref())));
        return Ok(Answer::Yes);
    }
    print(&format!("program     {}\ntrace root  {root}\nsteps       {index}\n", reader.program()));
    let head = ["record", "step", "operator", "outputs", "ONNX node"].map(str::to_string);
    let mut rows = vec![head.to_vec()];
    rows.extend(records.iter().map(|(index, record)| row(*index, record, program.as_ref())));
    print(&table(&rows));
    Ok(Answer::Yes)
}

fn node(record: &StepRecord, program: Option<&Program>) -> Option<String> {
    program.and_then(|program| step_at(program, &record.path)).map(origins_text)
}

fn row(index: u64, record: &StepRecord, program: Option<&Program>) -> Vec<String> {
    let outputs: Vec<String> = record.outputs.iter().map(|d| d.to_hex()[..16].to_string()).collect();
    let outputs = match record.fault {
        Some(fault) => format!("fault: {fault}"),
        None => outputs.join(" "),
    };
    vec![
        index.to_string(),
        path_text(&record.path),
        operator_text(record),
        outputs,
        node(record, program).unwrap_or_default(),
    ]
}

fn record_text(index: u64, record: &StepRecord, program: Option<&Program>) -> String {
    let mut lines = vec![
        format!("record    {index}"),
        format!("digest    {}", record.digest()),
        format!("step      {}", path_text(&record.path)),
        format!("operator  {}", operator_text(record)),
        format!("body      {}", record.body),
    ];
    for (at, input) in record.inputs.iter().enumerate() {
        lines.push(format!("input {at}   {}", input.map_or("absent".to_string(), |d| d.to_hex())));
    }
    for (at, output) in record.outputs.iter().enumerate() {
        lines.push(format!("output {at}  {output}"));
    }
    lines.extend(record.fault.map(|fault| format!("fault     {fault}")));
    lines.extend(node(record, program).map(|node| format!("from      {node}")));
    lines.join("\n")
}

fn record_json(index: u64, record: &StepRecord, program: Option<&Program>) -> Value {
    json!({
        "record": index,
        "digest": record.digest().to_hex(),
        "path": record.path.iter().map(|f| json!([f.block, f.step, f.iteration])).collect::<Vec<_>>(),
        "operator": operator_text(record),
        "body": record.body.to_hex(),
        "inputs": record.inputs.iter().map(|d| d.map(|d| d.to_hex())).collect::<Vec<_>>(),
        "outputs": record.outputs.iter().map(|d| d.to_hex()).collect::<Vec<_>>(),
        "fault": record.fault.map(|fault| fault as u32),
        "node": node(record, program),
    })
}

/// Runs up to a fused step and shows what each of its instructions gives.
fn inside(arguments: &TraceShow, program: &Program, index: u64, record: &StepRecord) -> Result<Answer> {
    let tensors = inputs::read(&arguments.inputs, program)?;
    let engine = Engine::new(&arguments.engine)?;
    let mut watcher = Watcher::new(program, "running");
    let (region, values) = region_at(program, &tensors, &record.path, index, &engine, &mut watcher)?;
    drop(watcher);
    let lines = region_lines(region);
    if arguments.json {
        let value = |(at, tensor): (usize, &Tensor)| {
            json!({
                "instruction": lines[at + 1].trim(),
                "dtype": tensor.dtype().name(),
                "shape": tensor.shape(),
                "digest": repops::digest::tensor_digest(tensor.view()).to_hex(),
                "elements": first_elements(tensor),
            })
        };
        let values: Vec<Value> = values.iter().enumerate().map(value).collect();
        print_json(&json!({ "record": index, "node": node(record, Some(program)), "values": values }));
        return Ok(Answer::Yes);
    }
    print(&record_text(index, record, Some(program)));
    print(&lines[0]);
    for (line, tensor) in lines[1..].iter().zip(&values) {
        let more = if tensor.len() > ELEMENTS_SHOWN { " ..." } else { "" };
        print(line);
        print(&format!("      {:?} {}{more}", tensor.shape(), first_elements(tensor).join(" ")));
    }
    print(&lines[lines.len() - 1]);
    Ok(Answer::Yes)
}

fn first_elements(tensor: &Tensor) -> Vec<String> {
    let elements = tensor.bytes().chunks_exact(tensor.dtype().size()).take(ELEMENTS_SHOWN);
    elements.map(|bytes| element_text(tensor.dtype(), bytes).decimal).collect()
}
