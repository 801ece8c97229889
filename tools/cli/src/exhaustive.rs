//! `repops conformance exhaustive`: operators on every input that they can have.
//!
//! A device is compared with the CPU's kernels, which are compared with the mathematics elsewhere. Invariant: inputs are
//! bit patterns in ascending order, or drawn by a formula written here, so that two machines check the same.

use std::time::Instant;

use repops::attrs::Attrs;
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::ops::{self, SymType};
use repops::program::{Block, Header, Output, Program, ProgramParts, SPEC_VERSION, Step, ValueId};
use repops::{DType, DimExpr, Tensor};
use serde_json::{Value, json};

use crate::arguments::ConformanceExhaustive;
use crate::engine::Engine;
use crate::interrupt::{interrupted, watch_for_interrupts};
use crate::report::{note, print, print_json};
use crate::{Answer, Failure, Result};

/// Elements of one run.
const RUN: u64 = 1 << 22;

/// f32 functions of one argument, whose inputs are all there are.
const UNARY: &[&str] = &[
    "Sqrt",
    "Exp",
    "Log",
    "Tanh",
    "Sigmoid",
    "Erf",
    "Sin",
    "Cos",
    "Tan",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Reciprocal",
    "Softplus",
    "Gelu",
    "Mish",
    "HardSwish",
    "Floor",
    "Round",
    "Ceil",
    "Neg",
    "Abs",
    "Sign",
    "Relu",
];
/// Operators of two arguments, on drawn pairs.
const BINARY: &[&str] = &["Div", "Mul", "Add", "Sub", "Max", "Min", "Pow"];
/// What f32 is converted to, on all inputs.
const CONVERTED: &[DType] = &[
    DType::F16,
    DType::BF16,
    DType::F64,
    DType::I64,
    DType::I32,
    DType::U32,
    DType::I8,
    DType::U8,
    DType::Bool,
];

/// An operator on inputs of a type.
struct Check {
    name: String,
    program: Program,
    dtype: DType,
    arguments: usize,
}

impl Check {
    fn new(op: &str, attrs: Attrs, dtype: DType, arguments: usize, result: &str) -> Option<Check> {
        let def = ops::by_name(op)?;
        let ty = SymType::new(dtype, vec![DimExpr::sym("N")]);
        let step = Step {
            op: def.id,
            version: def.version,
            attrs: def.check_attrs(&attrs).ok()?,
            inputs: (0..arguments as u32).map(|at| Some(ValueId(at))).collect(),
            outputs: vec![Output { ty: None, slot: None }],
            region: None,
            blocks: vec![],
            origins: vec![],
        };
        let block = Block {
            params: vec![Some(ty); arguments],
            steps: vec![step],
            results: vec![ValueId(arguments as u32)],
        };
        let header = Header {
            spec: SPEC_VERSION,
            compiler: "exhaustive".to_string(),
            sources: vec![],
            inputs: (0..arguments).map(|at| format!("X{at}")).collect(),
            outputs: vec!["Y".to_string()],
        };
        let parts = ProgramParts { header, constants: vec![], data: vec![], blocks: vec![block] };
        let program = Program::new(parts).ok()?;
        Some(Check { name: format!("{op} {}{result}", dtype.name()), program, dtype, arguments })
    }

    /// All of them: f32 and the 16-bit floats.
    fn all() -> Vec<Check> {
        let mut list: Vec<Option<Check>> = Vec::new();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            list.extend(UNARY.iter().map(|op| Check::new(op, Attrs::new(), dtype, 1, "")));
        }
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            list.extend(BINARY.iter().map(|op| Check::new(op, Attrs::new(), dtype, 2, "")));
        }
        for from in [DType::F32, DType::F16, DType::BF16] {
            for to in CONVERTED.iter().filter(|to| **to != from) {
                let attrs = Attrs::new().with_int("to", i64::from(to.code()));
                list.push(Check::new("Cast", attrs, from, 1, &format!(" to {}", to.name())));
            }
        }
        list.into_iter().flatten().collect()
    }

    /// How many inputs there are, or are drawn.
    fn inputs(&self, drawn: u64) -> u64 {
        match (self.arguments, self.dtype.size()) {
            (1, 2) => 1 << 16,
            (1, 4) => 1 << 32,
            _ => drawn,
        }
    }

    /// Inputs number `first` to `first + count`.
    fn tensors(&self, first: u64, count: u64) -> Result<Vec<Tensor>> {
        let size = self.dtype.size();
        let mut out = Vec::with_capacity(self.arguments);
        for argument in 0..self.arguments as u64 {
            let mut tensor = Tensor::zeros(self.dtype, &[count as usize])?;
            for (element, number) in tensor.bytes_mut().chunks_exact_mut(size).zip(first..) {
                let bits = if self.arguments == 1 { number } else { drawn(2 * number + argument) };
                element.copy_from_slice(&bits.to_le_bytes()[..size]);
            }
            tensor.canonicalize();
            out.push(tensor);
        }
        Ok(out)
    }
}

/// Number `index` of the drawn bit patterns: SplitMix64.
fn drawn(index: u64) -> u64 {
    let mut z = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[expect(clippy::disallowed_methods, reason = "for people")]
pub fn exhaustive(arguments: &ConformanceExhaustive) -> Result<Answer> {
    watch_for_interrupts();
    let checks: Vec<Check> =
        Check::all().into_iter().filter(|check| check.name.contains(&arguments.only)).collect();
    if checks.is_empty() {
        return Err(Failure(format!("no check's name contains {:?}", arguments.only)));
    }
    let engine = Engine::new(&arguments.engine)?;
    let cpu = Engine::on_cpu(&arguments.engine)?;
    let (mut found, mut wrong) = (Vec::new(), 0);
    for check in &checks {
        let start = Instant::now();
        let problem = compare(check, &engine, &cpu, arguments)?;
        wrong += usize::from(problem.is_some());
        let elapsed = start.elapsed().as_secs();
        let text = problem.clone().unwrap_or_else(|| "equal".to_string());
        if !arguments.json {
            print(&format!("{}: {text} ({elapsed} s)", check.name));
        }
        found.push(json!({ "check": check.name, "difference": problem, "elapsed_s": elapsed }));
    }
    if arguments.json {
        print_json(&json!({
            "device": engine.device(),
            "on_cpu": engine.fallbacks(),
            "checks": Value::Array(found),
        }));
    } else {
        print(&format!("{}: {} checks, {wrong} differ", engine.device(), checks.len()));
        for (op, steps) in engine.fallbacks().unwrap_or_default() {
            note(&format!("the CPU computed {op} ({steps} runs)"));
        }
    }
    Ok(if wrong == 0 { Answer::Yes } else { Answer::No })
}

/// The first difference, if there is one. Of every `every` runs one is done.
fn compare(
    check: &Check,
    engine: &Engine,
    cpu: &Engine,
    arguments: &ConformanceExhaustive,
) -> Result<Option<String>> {
    let (total, mut first) = (check.inputs(arguments.drawn), 0);
    while first < total {
        if interrupted() {
            return Err(Failure::new("interrupted"));
        }
        let count = RUN.min(total - first);
        let inputs = check.tensors(first, count)?;
        let run = |engine: &Engine| -> Result<Tensor> {
            let ran = engine.execute(&check.program, &inputs, HashLevel::None, &mut Unobserved)?;
            let outputs = ran.result.map_err(|at| Failure(format!("{}: {}", check.name, at.fault)))?;
            outputs.into_iter().next().ok_or_else(|| Failure::new("a program without outputs"))
        };
        let (found, expected) = (run(engine)?, run(cpu)?);
        if found.bytes() != expected.bytes() {
            let size = found.dtype().size();
            let pairs = found.bytes().chunks_exact(size).zip(expected.bytes().chunks_exact(size));
            let at = pairs.clone().position(|(a, b)| a != b).unwrap_or(0);
            let given: Vec<String> = inputs.iter().map(|x| hex(element(x, at))).collect();
            let count = pairs.filter(|(a, b)| a != b).count();
            return Ok(Some(format!(
                "{count} of these differ; of {} it is {}, not {}",
                given.join(", "),
                hex(element(&found, at)),
                hex(element(&expected, at))
            )));
        }
        engine.give_back(vec![found]);
        cpu.give_back(vec![expected]);
        first += RUN * u64::from(arguments.every);
    }
    Ok(None)
}

fn element(tensor: &Tensor, at: usize) -> &[u8] {
    let size = tensor.dtype().size();
    &tensor.bytes()[at * size..][..size]
}

/// The bits of an element, most significant first.
fn hex(element: &[u8]) -> String {
    element.iter().rev().map(|byte| format!("{byte:02x}")).collect()
}
