//! `repops inspect`: what a program consists of.

use std::collections::BTreeMap;

use repops::DimExpr;
use repops::Program;
use repops::ops::SymType;
use repops::ops::dispute::{self, Subject, TensorType};
use repops::program::{Block, BlockId, Origin, Output, Step, ValueId};
use repops::region::Region;
use repops::sequence::{self, Sequence};
use serde_json::{Value, json};

use crate::arguments::Inspect;
use crate::engine;
use crate::report::{bytes, print, print_json, table};
use crate::{Answer, Failure, Result};

pub fn inspect(arguments: &Inspect) -> Result<Answer> {
    let program = engine::load(&arguments.program)?;
    match (&arguments.step, arguments.json) {
        (Some(place), is_json) => {
            let (block, index) = find_step(&program, place)?;
            if is_json {
                print_json(&step_json(&program, block, index));
            } else {
                print(&step_text(&program, block, index));
            }
        }
        (None, true) => print_json(&program_json(&program)),
        (None, false) => print(&program_text(&program)),
    }
    Ok(Answer::Yes)
}

/// `N` or `BLOCK:N`.
fn find_step(program: &Program, place: &str) -> Result<(BlockId, usize)> {
    let (block, index) = place.split_once(':').unwrap_or(("0", place));
    let numbers = block.parse::<u32>().ok().zip(index.parse::<usize>().ok());
    let (block, index) =
        numbers.ok_or_else(|| Failure(format!("--step {place:?}: N or BLOCK:N is expected")))?;
    let steps = program.blocks().get(block as usize).map_or(0, |b| b.steps.len());
    if index >= steps {
        return Err(Failure(format!("--step {place}: block {block} has {steps} steps")));
    }
    Ok((BlockId(block), index))
}

fn program_text(program: &Program) -> String {
    let header = program.header();
    let mut out = vec![
        format!("program   {}", program.digest()),
        format!("spec      {}.{}", header.spec.0, header.spec.1),
        format!("compiler  {}", header.compiler),
    ];
    for source in &header.sources {
        out.push(format!("source    {} {}", source.name, source.digest));
    }
    let main = program.main();
    for (name, ty) in header.inputs.iter().zip(&main.params) {
        out.push(format!("input     {name}: {}", type_text(ty.as_ref())));
    }
    for (name, value) in header.outputs.iter().zip(&main.results) {
        out.push(format!("output    {name}: {}", type_text(value_type(program, *value).as_ref())));
    }
    let constants = program.constants();
    let total: u64 = constants.iter().filter_map(|c| c.byte_len()).map(|len| len as u64).sum();
    out.push(format!("constants {} ({})", constants.len(), bytes(total)));
    let steps: usize = program.blocks().iter().map(|b| b.steps.len()).sum();
    out.push(format!("steps     {steps} in {} blocks, {} slots", program.blocks().len(), slots(program)));
    // Of models of language, or what is meant to be one.
    if header.inputs.iter().any(|name| name == sequence::TOKENS) {
        out.push(match Sequence::of(program) {
            Ok(s) => format!(
                "sequence  yes: {} tokens, {} attentions, {} of {} steps carried",
                s.vocabulary,
                s.attention.len(),
                s.carried.iter().filter(|c| **c).count(),
                s.carried.len()
            ),
            Err(error) => format!("sequence  no: {error}"),
        });
    }
    for (place, name, size) in beyond_disputes(program) {
        out.push(format!(
            "undecided step {place} ({name}): a dispute about it would read {} at once, more than may be",
            bytes(size as u64)
        ));
    }
    let counts = operator_counts(program).into_iter().map(|(name, count)| format!("{name} {count}"));
    out.push(format!("operators {}", counts.collect::<Vec<_>>().join(", ")));
    for (id, block) in (0..).map(BlockId).zip(program.blocks()) {
        out.push(String::new());
        if program.blocks().len() > 1 {
            let params: Vec<String> = block.params.iter().map(|ty| type_text(ty.as_ref())).collect();
            out.push(format!("block {}({})", id.0, params.join(", ")));
        }
        out.push(table(&step_rows(program, id, block)));
    }
    if !constants.is_empty() {
        out.push(String::new());
        out.push(table(&constant_rows(program)));
    }
    out.join("\n")
}

/// Steps that are too large for the rule by which disputes decide them: place, operator, bytes.
fn beyond_disputes(program: &Program) -> Vec<(String, &'static str, usize)> {
    let fixed = |ty: SymType| {
        let shape = ty.shape.iter().map(DimExpr::as_extent).collect::<Option<Vec<usize>>>()?;
        Some(TensorType { dtype: ty.dtype, shape })
    };
    let mut found = Vec::new();
    for (id, block) in (0..).map(BlockId).zip(program.blocks()) {
        for (index, step) in block.steps.iter().enumerate() {
            // Sizes that are not fixed are not known to be too large.
            let ty =
                |value: &Option<ValueId>| value.and_then(|value| value_type(program, value)).and_then(fixed);
            let inputs: Vec<Option<TensorType>> = step.inputs.iter().map(ty).collect();
            let outputs: Vec<TensorType> =
                step.outputs.iter().filter_map(|output| output.ty.clone().and_then(fixed)).collect();
            let (def, region) = (step.def(), step.region.as_ref());
            let subject = Subject { def, attrs: &step.attrs, region, inputs: &inputs, outputs: &outputs };
            if let Some(bytes) = dispute::exceeds(&subject) {
                found.push((format!("{}:{index}", id.0), def.name, bytes));
            }
        }
    }
    found
}

fn step_rows(program: &Program, id: BlockId, block: &Block) -> Vec<Vec<String>> {
    let head = ["step", "operator", "inputs", "outputs", "slots", "ONNX node"].map(str::to_string);
    let mut rows = vec![head.to_vec()];
    for (index, (step, first)) in block.steps.iter().zip(program.first_outputs(id)).enumerate() {
        rows.push(vec![
            index.to_string(),
            step.def().name.to_string(),
            inputs_text(program, step),
            outputs_text(step, first),
            step.outputs
                .iter()
                .map(|o| o.slot.map_or("-".into(), |s| s.0.to_string()))
                .collect::<Vec<_>>()
                .join(","),
            origins_text(step),
        ]);
    }
    rows
}

fn constant_rows(program: &Program) -> Vec<Vec<String>> {
    let head = ["constant", "type", "bytes", "layout", "digest", "name"].map(str::to_string);
    let mut rows = vec![head.to_vec()];
    for (index, decl) in program.constants().iter().enumerate() {
        rows.push(vec![
            format!("%{index}"),
            SymType::of(decl.dtype, &decl.shape).to_string(),
            decl.byte_len().map_or(String::new(), |len| bytes(len as u64)),
            format!("{:?}", decl.layout),
            decl.digest.to_hex(),
            decl.name.clone(),
        ]);
    }
    rows
}

fn step_text(program: &Program, block: BlockId, index: usize) -> String {
    let step = &program.block(block).steps[index];
    let first = program.first_outputs(block)[index];
    let def = step.def();
    let mut out = vec![
        format!("step      {index} of block {}", block.0),
        format!("operator  {} (id {}, version {})", def.name, def.id, def.version),
        format!("doc       {}", def.doc),
        format!("attrs     {}", step.attrs),
        format!("body      {}", step.body_digest()),
    ];
    for (at, value) in step.inputs.iter().enumerate() {
        let text = value.map_or("absent".to_string(), |v| {
            format!("{} {}", value_text(program, v), type_text(value_type(program, v).as_ref()))
        });
        out.push(format!("input {at}   {text}"));
    }
    for (at, Output { ty, slot }) in step.outputs.iter().enumerate() {
        let slot = slot.map_or("memory of its own, or a view".to_string(), |s| format!("slot {}", s.0));
        out.push(format!("output {at}  %{} {} ({slot})", first.0 + at as u32, type_text(ty.as_ref())));
    }
    for inner in &step.blocks {
        out.push(format!("block     {}", inner.0));
    }
    for origin in &step.origins {
        out.push(format!("from      {}", origin_text(origin)));
    }
    if let Some(region) = &step.region {
        out.push(String::new());
        out.extend(region_lines(region));
    }
    out.join("\n")
}

/// The instructions of a region, one a line; also the names of values in `trace show --inside`.
pub fn region_lines(region: &Region) -> Vec<String> {
    let params = region.params.iter().enumerate().skip(region.products.len());
    let params = params.map(|(at, dtype)| format!("v{at}: {dtype}"));
    let mut lines = vec![format!("region({})", params.collect::<Vec<_>>().join(", "))];
    for (at, (product, inputs)) in region.products().enumerate() {
        let inputs: Vec<String> = inputs.map(|input| format!("input {input}")).collect();
        let attrs = if product.attrs.is_empty() { String::new() } else { format!(" {}", product.attrs) };
        lines.push(format!("  v{at} = {}({}){attrs}: f32", product.def().name, inputs.join(", ")));
    }
    for (at, instruction) in region.instructions.iter().enumerate() {
        let name = repops::ops::by_id(instruction.op, instruction.version).map_or("?", |def| def.name);
        let args: Vec<String> = instruction.args.iter().map(|a| format!("v{a}")).collect();
        let attrs =
            if instruction.attrs.is_empty() { String::new() } else { format!(" {}", instruction.attrs) };
        let value = region.params.len() + at;
        lines.push(format!("  v{value}: {} = {name}({}){attrs}", instruction.dtype, args.join(", ")));
    }
    let results: Vec<String> = region.results.iter().map(|r| format!("v{r}")).collect();
    lines.push(format!("  yield {}", results.join(", ")));
    lines
}

/// The declared type of a value; `None` when it is known only at run time.
fn value_type(program: &Program, value: ValueId) -> Option<SymType> {
    if let Some(constant) = program.as_constant(value) {
        let decl = &program.constants()[constant.index()];
        return Some(SymType::of(decl.dtype, &decl.shape));
    }
    let blocks = (0..program.blocks().len() as u32).map(BlockId);
    let block = blocks.take_while(|b| program.first_param(*b).0 <= value.0).last()?;
    let body = program.block(block);
    let param = (value.0 - program.first_param(block).0) as usize;
    if let Some(ty) = body.params.get(param) {
        return ty.clone();
    }
    let firsts = program.first_outputs(block);
    let step = firsts.partition_point(|first| first.0 <= value.0).checked_sub(1)?;
    body.steps[step].outputs.get((value.0 - firsts[step].0) as usize)?.ty.clone()
}

fn type_text(ty: Option<&SymType>) -> String {
    ty.map_or("(known at run time)".to_string(), SymType::to_string)
}

/// `%7`, with the name of a constant or an input.
pub fn value_text(program: &Program, value: ValueId) -> String {
    if let Some(constant) = program.as_constant(value) {
        let name = &program.constants()[constant.index()].name;
        return if name.is_empty() { format!("%{}", value.0) } else { format!("%{}={name}", value.0) };
    }
    let input = value.0.checked_sub(program.first_param(BlockId(0)).0);
    match input.and_then(|at| program.header().inputs.get(at as usize)) {
        Some(name) => format!("%{}={name}", value.0),
        None => format!("%{}", value.0),
    }
}

fn inputs_text(program: &Program, step: &Step) -> String {
    let texts = step.inputs.iter().map(|v| v.map_or("-".to_string(), |v| value_text(program, v)));
    texts.collect::<Vec<_>>().join(" ")
}

fn outputs_text(step: &Step, first: ValueId) -> String {
    let texts =
        (first.0..).zip(&step.outputs).map(|(value, o)| format!("%{value} {}", type_text(o.ty.as_ref())));
    texts.collect::<Vec<_>>().join(" ")
}

pub fn origins_text(step: &Step) -> String {
    match step.origins.as_slice() {
        [] => "(none)".to_string(),
        [one] => one.name.clone(),
        [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
    }
}

pub fn origin_text(origin: &Origin) -> String {
    let domain = if origin.domain.is_empty() { String::new() } else { format!("{}.", origin.domain) };
    format!("{} ({domain}{}, opset {})", origin.name, origin.op_type, origin.opset)
}

fn operator_counts(program: &Program) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for step in program.blocks().iter().flat_map(|b| &b.steps) {
        *counts.entry(step.def().name).or_insert(0) += 1;
    }
    counts
}

fn slots(program: &Program) -> usize {
    let outputs = program.blocks().iter().flat_map(|b| &b.steps).flat_map(|s| &s.outputs);
    outputs.filter_map(|o| o.slot).map(|s| s.index() + 1).max().unwrap_or(0)
}

fn type_json(ty: Option<&SymType>) -> Value {
    ty.map_or(Value::Null, |ty| {
        let dims = ty.shape.iter().map(|d| d.as_const().map_or(json!(d.to_string()), |c| json!(c)));
        json!({ "dtype": ty.dtype.name(), "shape": dims.collect::<Vec<_>>() })
    })
}

fn program_json(program: &Program) -> Value {
    let header = program.header();
    let main = program.main();
    let input =
        |(name, ty): (&String, &Option<SymType>)| json!({ "name": name, "type": type_json(ty.as_ref()) });
    let output = |(name, value): (&String, &ValueId)| json!({ "name": name, "type": type_json(value_type(program, *value).as_ref()) });
    let constant = |(index, decl): (usize, &repops::program::ConstantDecl)| {
        json!({
            "value": index,
            "name": decl.name,
            "type": type_json(Some(&SymType::of(decl.dtype, &decl.shape))),
            "layout": format!("{:?}", decl.layout),
            "bytes": decl.byte_len(),
            "digest": decl.digest.to_hex(),
        })
    };
    let blocks = (0..program.blocks().len() as u32).map(|block| {
        let steps = 0..program.block(BlockId(block)).steps.len();
        json!({
            "params": program.block(BlockId(block)).params.iter().map(|ty| type_json(ty.as_ref())).collect::<Vec<_>>(),
            "steps": steps.map(|index| step_json(program, BlockId(block), index)).collect::<Vec<_>>(),
            "results": program.block(BlockId(block)).results.iter().map(|v| v.0).collect::<Vec<_>>(),
        })
    });
    let undecided = beyond_disputes(program).into_iter();
    let undecided = undecided
        .map(|(place, op, bytes)| json!({ "step": place, "op": op, "bytes": bytes }))
        .collect::<Vec<_>>();
    let source = |s: &repops::program::Source| json!({ "name": s.name, "digest": s.digest.to_hex() });
    json!({
        "program": program.digest().to_hex(),
        "spec": format!("{}.{}", header.spec.0, header.spec.1),
        "compiler": header.compiler,
        "undecided": undecided,
        "sources": header.sources.iter().map(source).collect::<Vec<_>>(),
        "inputs": header.inputs.iter().zip(&main.params).map(input).collect::<Vec<_>>(),
        "outputs": header.outputs.iter().zip(&main.results).map(output).collect::<Vec<_>>(),
        "operators": operator_counts(program),
        "slots": slots(program),
        "constants": program.constants().iter().enumerate().map(constant).collect::<Vec<_>>(),
        "blocks": blocks.collect::<Vec<_>>(),
    })
}

fn step_json(program: &Program, block: BlockId, index: usize) -> Value {
    let step = &program.block(block).steps[index];
    let first = program.first_outputs(block)[index].0;
    let output = |(at, o): (u32, &Output)| json!({ "value": at, "type": type_json(o.ty.as_ref()), "slot": o.slot.map(|s| s.0) });
    let origin =
        |o: &Origin| json!({ "name": o.name, "op_type": o.op_type, "domain": o.domain, "opset": o.opset });
    json!({
        "block": block.0,
        "step": index,
        "operator": step.def().name,
        "op": step.op,
        "version": step.version,
        "attrs": step.attrs.iter().map(|(name, v)| (name.to_string(), json!(v.to_string()))).collect::<serde_json::Map<_, _>>(),
        "body": step.body_digest().to_hex(),
        "inputs": step.inputs.iter().map(|v| v.map(|v| v.0)).collect::<Vec<_>>(),
        "outputs": (first..).zip(&step.outputs).map(output).collect::<Vec<_>>(),
        "blocks": step.blocks.iter().map(|b| b.0).collect::<Vec<_>>(),
        "origins": step.origins.iter().map(origin).collect::<Vec<_>>(),
        "region": step.region.as_ref().map(region_lines),
    })
}
