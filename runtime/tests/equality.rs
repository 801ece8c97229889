//! The runtime gives the reference's outputs and traces: on every instruction set, with every number of
//! threads, with regions by tiles and operator by operator.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use repops::attrs::Attrs;
use repops::exec::{Executor, HashLevel, Observer, Unobserved};
use repops::ops::{self, SymType};
use repops::program::{
    Block, BlockId, ConstantBytes, ConstantDecl, Header, Output, Program, ProgramParts, SPEC_VERSION, SlotId,
    Step, ValueId,
};
use repops::reference::{Reference, pack_panel16};
use repops::region::{Instruction, Region};
use repops::trace::StepRecord;
use repops::{DType, DimExpr, Layout, Tensor};
use repops_runtime::{Isa, Regions, Runtime, RuntimeOptions};

/// Builds programs without a compiler.
#[derive(Default)]
struct Builder {
    constants: Vec<ConstantDecl>,
    data: Vec<ConstantBytes>,
    blocks: Vec<Block>,
}

impl Builder {
    fn constant(&mut self, tensor: &Tensor, layout: Layout) {
        let bytes = match layout {
            Layout::RowMajor => tensor.bytes().to_vec(),
            Layout::Panel16 => pack_panel16(tensor.view()),
        };
        self.constants.push(ConstantDecl {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout,
            digest: repops::digest::bytes_digest(tensor.dtype(), layout, tensor.shape(), &bytes),
        });
        self.data.push(ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 });
    }

    fn finish(self, inputs: &[&str], outputs: &[&str]) -> Program {
        let names = |list: &[&str]| list.iter().map(|n| n.to_string()).collect();
        let header = Header {
            spec: SPEC_VERSION,
            compiler: "test".to_string(),
            sources: vec![],
            inputs: names(inputs),
            outputs: names(outputs),
        };
        let Builder { constants, data, blocks } = self;
        // Through the file, so that constants are aligned as they are when mapped.
        let program = Program::new(ProgramParts { header, constants, data, blocks });
        let mut file = Vec::new();
        program.unwrap().write(&mut file).unwrap();
        Program::decode(Arc::new(file)).unwrap()
    }
}

fn apply(name: &str, attrs: Attrs, inputs: &[Option<u32>], slots: &[Option<u32>]) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&attrs).unwrap(),
        inputs: inputs.iter().map(|v| v.map(ValueId)).collect(),
        outputs: slots.iter().map(|s| Output { ty: None, slot: s.map(SlotId) }).collect(),
        region: None,
        blocks: vec![],
        origins: vec![],
    }
}

fn instruction(name: &str, args: &[u16]) -> Instruction {
    let def = ops::by_name(name).unwrap();
    Instruction {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&Attrs::new()).unwrap(),
        args: args.to_vec(),
        dtype: DType::F32,
    }
}

/// Reproducible values with a few extremes among them.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let value = |_| match next() % 97 {
        0 => f32::from_bits((next() as u32) & 0x007f_ffff),
        1 => -0.0,
        _ => (next() >> 40) as f32 / (1u32 << 22) as f32 - 2.0,
    };
    (0..count).map(value).collect()
}

/// Relu(Reshape(Region(MatMul(X, W), B))), K over several chunks.
fn layer(k: usize, n: usize, layout: Layout) -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[k, n], &values(k * n, 1)), layout);
    builder.constant(&Tensor::from_slice(&[n], &values(n, 2)), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[0i64, n as i64]), Layout::RowMajor);
    let x = SymType::new(DType::F32, vec![DimExpr::sym("N"), k.into()]);
    let mut region = apply("Region", Attrs::new(), &[Some(4), Some(1)], &[Some(1)]);
    region.region = Some(Region {
        params: vec![DType::F32, DType::F32],
        instructions: vec![
            instruction("Add", &[0, 1]),
            instruction("Relu", &[2]),
            instruction("Exp", &[3]),
            instruction("Mul", &[4, 2]),
        ],
        results: vec![5],
    });
    builder.blocks = vec![Block {
        params: vec![Some(x)],
        steps: vec![
            apply("MatMul", Attrs::new(), &[Some(3), Some(0)], &[Some(0)]),
            region,
            apply("Reshape", Attrs::new(), &[Some(5), Some(2)], &[None]),
            apply("Relu", Attrs::new(), &[Some(6)], &[None]),
        ],
        results: vec![ValueId(7), ValueId(6)],
    }];
    builder.finish(&["X"], &["Y", "Z"])
}

fn runtimes() -> Vec<(String, Runtime)> {
    let mut list = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 2, 7] {
            for (name, regions) in [("tiles", Regions::Tiles), ("unfused", Regions::Unfused)] {
                let options = RuntimeOptions { threads, isa: Some(isa), regions };
                list.push((format!("{} {threads} {name}", isa.name()), Runtime::new(options).unwrap()));
            }
        }
    }
    list
}

/// Collects the records as they are passed on.
#[derive(Default)]
struct Collect {
    records: Vec<StepRecord>,
    steps: usize,
}

impl Observer for Collect {
    fn step(&mut self, event: repops::exec::StepEvent<'_>) {
        assert_eq!(event.index, self.steps);
        self.steps += 1;
    }
    fn record(&mut self, record: &StepRecord) {
        self.records.push(record.clone());
    }
}

fn check(program: &Program, inputs: &[Tensor], runtimes: &[(String, Runtime)]) {
    let expected = Reference.execute(program, inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    for (name, runtime) in runtimes {
        // Three times, so that memory is reused, that of the results too, whatever they hold by then.
        for _ in 0..3 {
            let mut seen = Collect::default();
            let found = runtime.execute(program, inputs, HashLevel::Operators, &mut seen).unwrap();
            assert_eq!(found.result, expected.result, "{name}");
            assert_eq!(found.trace, expected.trace, "{name}");
            assert_eq!(seen.records, found.trace.unwrap().records, "{name}");
            let mut results = found.result.unwrap_or_default();
            results.iter_mut().for_each(|result| result.bytes_mut().fill(0xa5));
            runtime.give_back(results);
        }
        let quiet = runtime.execute(program, inputs, HashLevel::None, &mut Unobserved).unwrap();
        assert_eq!(quiet.result, expected.result, "{name}");
        assert!(quiet.trace.is_none());
    }
}

#[test]
fn a_layer_on_every_machine() {
    let runtimes = runtimes();
    for (rows, k, n) in [(1, 1, 1), (3, 300, 17), (37, 513, 70), (0, 4, 4), (130, 256, 200)] {
        for layout in [Layout::RowMajor, Layout::Panel16] {
            let x = Tensor::from_slice(&[rows, k], &values(rows * k, 3));
            check(&layer(k, n, layout), &[x], &runtimes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Odd remainders of every tile, several chunks of a contraction, rows for more threads than there are.
    #[test]
    fn drawn_layers_on_every_machine(rows in 1usize..40, k in 1usize..900, n in 1usize..80, panels: bool) {
        static RUNTIMES: LazyLock<Vec<(String, Runtime)>> = LazyLock::new(runtimes);
        let layout = if panels { Layout::Panel16 } else { Layout::RowMajor };
        let x = Tensor::from_slice(&[rows, k], &values(rows * k, (rows * k * n) as u64));
        check(&layer(k, n, layout), &[x], &RUNTIMES);
    }
}

#[test]
fn a_nan_payload_that_enters_is_made_canonical() {
    let mut x = Tensor::from_slice(&[1, 2], &[1.0f32, 0.0]);
    x.bytes_mut()[4..].copy_from_slice(&0xffc1_2345u32.to_le_bytes());
    check(&layer(2, 3, Layout::RowMajor), &[x], &runtimes());
}

/// Views of a constant, of a view, of an input and in the shape they had, each used again.
#[test]
fn views_have_digests_of_their_own() {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[6, 500], &values(3000, 4)), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[500i64, 6]), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[1], &[3000i64]), Layout::RowMajor);
    builder.constant(&Tensor::from_slice(&[2], &[6i64, 500]), Layout::RowMajor);
    let reshape = |from, shape| apply("Reshape", Attrs::new(), &[Some(from), Some(shape)], &[None]);
    builder.blocks = vec![Block {
        params: vec![Some(SymType::new(DType::F32, vec![500usize.into(), 6usize.into()]))],
        steps: vec![
            reshape(0, 1),
            reshape(5, 2),
            apply("Add", Attrs::new(), &[Some(4), Some(5)], &[None]),
            reshape(0, 3),
            reshape(4, 2),
            apply("Mul", Attrs::new(), &[Some(6), Some(9)], &[None]),
        ],
        results: vec![ValueId(7), ValueId(8), ValueId(10)],
    }];
    let program = builder.finish(&["X"], &["A", "B", "C"]);
    check(&program, &[Tensor::from_slice(&[500, 6], &values(3000, 5))], &runtimes());
}

/// Loop: V becomes (V + 1) V0 in each of M iterations; V + 1 is a scan output.
fn looping() -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::scalar(1.0f32), Layout::RowMajor);
    let scalar = |dtype| Some(SymType::new(dtype, vec![]));
    let vector = SymType::new(DType::F32, vec![DimExpr::sym("N")]);
    let mut step = apply("Loop", Attrs::new(), &[Some(1), None, Some(2)], &[None, None]);
    step.outputs[1].ty = Some(SymType::new(DType::F32, vec![0i64.into(), DimExpr::sym("N")]));
    step.blocks = vec![BlockId(1)];
    let main = Block {
        params: vec![scalar(DType::I64), Some(vector.clone())],
        steps: vec![step, apply("Relu", Attrs::new(), &[Some(3)], &[None])],
        results: vec![ValueId(5), ValueId(4)],
    };
    // Values: 0 the constant; 1, 2 parameters; 3, 4 of Loop; 5 of Relu; 6, 7, 8 the body's parameters.
    let body = Block {
        params: vec![scalar(DType::I64), scalar(DType::Bool), Some(vector)],
        steps: vec![
            apply("Add", Attrs::new(), &[Some(8), Some(0)], &[Some(0)]),
            apply("Mul", Attrs::new(), &[Some(9), Some(2)], &[Some(1)]),
        ],
        results: vec![ValueId(7), ValueId(10), ValueId(9)],
    };
    builder.blocks = vec![main, body];
    builder.finish(&["M", "V"], &["Y", "S"])
}

#[test]
fn loops_leave_the_same_trace() {
    for trips in [1i64, 5] {
        let inputs = [Tensor::scalar(trips), Tensor::from_slice(&[5000], &values(5000, 4))];
        check(&looping(), &inputs, &runtimes());
        let run = Reference.execute(&looping(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
        assert_eq!(run.trace.unwrap().records.len() as i64, 2 * trips + 2);
    }
}

#[test]
fn a_fault_is_the_last_record() {
    let mut builder = Builder::default();
    let ty = Some(SymType::new(DType::I64, vec![DimExpr::sym("N")]));
    builder.blocks = vec![Block {
        params: vec![ty.clone(), ty],
        steps: vec![
            apply("Add", Attrs::new(), &[Some(0), Some(1)], &[None]),
            apply("Div", Attrs::new(), &[Some(0), Some(1)], &[None]),
            apply("Add", Attrs::new(), &[Some(3), Some(1)], &[None]),
        ],
        results: vec![ValueId(4)],
    }];
    let program = builder.finish(&["A", "B"], &["C"]);
    let inputs = [Tensor::from_slice(&[2], &[6i64, 7]), Tensor::from_slice(&[2], &[3i64, 0])];
    check(&program, &inputs, &runtimes());
    let run = Reference.execute(&program, &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap_err().fault, ops::Fault::DivisionByZero);
    assert_eq!(run.trace.unwrap().records.len(), 2);
}

#[test]
fn too_many_threads_are_refused() {
    for threads in [repops_runtime::THREADS_MAX + 1, usize::MAX] {
        let options = RuntimeOptions { threads, ..RuntimeOptions::default() };
        assert!(matches!(Runtime::new(options), Err(repops_runtime::RuntimeError::TooManyThreads { .. })));
    }
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let program = layer(4, 4, Layout::RowMajor);
    let run = |inputs: &[Tensor]| {
        runtime.execute(&program, inputs, HashLevel::None, &mut Unobserved).unwrap_err().to_string()
    };
    assert_eq!(run(&[]), "the program has 1 inputs; 0 were given");
    assert!(run(&[Tensor::from_slice(&[1, 3], &[0.0f32; 3])]).contains("input X has shape [1, 3]"));
    assert!(run(&[Tensor::from_slice(&[1, 4], &[0i64; 4])]).contains("input X is i64"));
}
