//! Small programs that together have every rule of disputes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use repops::attrs::Attrs;
use repops::digest::bytes_digest;
use repops::exec::{Executor, HashLevel, Observer, StepEvent};
use repops::ops::{self, SymType};
use repops::program::{
    Block, BlockId, ConstantBytes, ConstantDecl, ConstantId, Header, Origin, Output, Program, ProgramParts,
    SPEC_VERSION, Step, ValueId,
};
use repops::reference::{Reference, pack};
use repops::region::{Instruction, Product, Region};
use repops::{DType, Layout, Tensor};
use repops_provenance::dispute::simulate::Dice;

/// Builds a program block by block.
#[derive(Default)]
struct Builder {
    constants: Vec<(ConstantDecl, Vec<u8>)>,
}

impl Builder {
    fn constant(&mut self, tensor: &Tensor, layout: Layout) -> u32 {
        let bytes = match layout {
            Layout::RowMajor => tensor.bytes().to_vec(),
            layout => pack(tensor.view(), layout),
        };
        let decl = ConstantDecl {
            name: String::new(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            layout,
            digest: bytes_digest(tensor.dtype(), layout, tensor.shape(), &bytes),
        };
        self.constants.push((decl, bytes));
        self.constants.len() as u32 - 1
    }

    fn program(self, inputs: usize, outputs: usize, blocks: Vec<Block>) -> Program {
        let names = |letter: &str, count: usize| (0..count).map(|i| format!("{letter}{i}")).collect();
        let (constants, data): (Vec<_>, Vec<_>) = self.constants.into_iter().unzip();
        let bytes =
            |bytes: Vec<u8>| ConstantBytes { len: bytes.len(), backing: Arc::new(aligned(bytes)), offset: 0 };
        Program::new(ProgramParts {
            header: Header {
                spec: SPEC_VERSION,
                compiler: "test".into(),
                sources: vec![],
                inputs: names("x", inputs),
                outputs: names("y", outputs),
            },
            constants,
            data: data.into_iter().map(bytes).collect(),
            blocks,
        })
        .unwrap()
    }
}

fn aligned(bytes: Vec<u8>) -> repops::tensor::AlignedBytes {
    repops::tensor::AlignedBytes::copy_of(&bytes).unwrap()
}

fn step(name: &str, attrs: Attrs, inputs: &[u32], outputs: usize, blocks: &[u32]) -> Step {
    let def = ops::by_name(name).unwrap();
    Step {
        op: def.id,
        version: def.version,
        attrs: def.check_attrs(&attrs).unwrap(),
        inputs: inputs.iter().map(|&v| Some(ValueId(v))).collect(),
        outputs: vec![Output::default(); outputs],
        region: None,
        blocks: blocks.iter().map(|&b| BlockId(b)).collect(),
        origins: vec![Origin {
            name: format!("/{name}"),
            op_type: name.into(),
            domain: String::new(),
            opset: 17,
        }],
    }
}

fn plain(name: &str, inputs: &[u32]) -> Step {
    step(name, Attrs::new(), inputs, 1, &[])
}

fn block(params: usize, steps: Vec<Step>, results: &[u32]) -> Block {
    Block { params: vec![None; params], steps, results: results.iter().map(|&v| ValueId(v)).collect() }
}

fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut dice = Dice(seed);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (dice.roll() >> 40) as f32 / 8_388_608.0 - 1.0).collect();
    Tensor::from_slice(shape, &values)
}

fn f32_of(shape: &[i64]) -> SymType {
    SymType::new(DType::F32, shape.iter().map(|&d| d.into()).collect())
}

/// A bit of everything that has no blocks.
fn layers() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let w = b.constant(&noise(&[300, 20], 1), Layout::Panel16);
    let bias = b.constant(&noise(&[20], 2), Layout::RowMajor);
    let indices = b.constant(&Tensor::from_slice(&[3], &[4i64, 0, -2]), Layout::RowMajor);
    let axes = b.constant(&Tensor::from_slice(&[1], &[1i64]), Layout::RowMajor);
    let k = b.constant(&Tensor::from_slice(&[1], &[2i64]), Layout::RowMajor);
    let x = 5;
    let mut region = step("Region", Attrs::new(), &[6, bias], 1, &[]);
    let op = |name: &str| ops::by_name(name).unwrap();
    let instruction = |name: &str, args: &[u16]| Instruction {
        op: op(name).id,
        version: op(name).version,
        attrs: op(name).check_attrs(&Attrs::new()).unwrap(),
        args: args.to_vec(),
        dtype: DType::F32,
    };
    region.region = Some(Region {
        products: Vec::new(),
        params: vec![DType::F32; 2],
        instructions: vec![instruction("Add", &[0, 1]), instruction("Tanh", &[2])],
        results: vec![3],
    });
    let mut gated = step("ProductRegion", Attrs::new(), &[x, w, x, w, bias, 6, bias], 1, &[]);
    let product = |name: &str, inputs: u16| {
        let attrs = op(name).check_attrs(&Attrs::new()).unwrap();
        Product { op: op(name).id, version: op(name).version, attrs, inputs }
    };
    gated.region = Some(Region {
        products: vec![product("MatMul", 2), product("Gemm", 3)],
        params: vec![DType::F32; 4],
        instructions: vec![
            instruction("Sigmoid", &[0]),
            instruction("Mul", &[4, 1]),
            instruction("Add", &[5, 2]),
            instruction("Mul", &[6, 3]),
        ],
        results: vec![7],
    });
    let axis = |axis: i64| Attrs::new().with_int("axis", axis);
    let mut main = block(
        1,
        vec![
            plain("MatMul", &[x, w]),                        // 6: [6, 20]
            region,                                          // 7
            plain("Softmax", &[7]),                          // 8
            plain("LayerNormalization", &[8, bias]),         // 9
            plain("Transpose", &[9]),                        // 10: [20, 6]
            step("Gather", axis(1), &[10, indices], 1, &[]), // 11: [20, 3]
            plain("ReduceMean", &[11, axes]),                // 12: [20, 1]
            step("Concat", axis(1), &[11, 12], 1, &[]),      // 13: [20, 4]
            step("TopK", axis(1), &[13, k], 2, &[]),         // 14, 15: [20, 2]
            plain("Shape", &[13]),                           // 16
            plain("Gemm", &[14, 13]),                        // 17: refused below, replaced
            gated,                                           // 18: [6, 20]
        ],
        &[14, 15, 16, 17, 18],
    );
    main.steps[10] = step("Gemm", Attrs::new().with_int("transA", 1), &[14, 13], 1, &[]);
    main.params[0] = Some(f32_of(&[6, 300]));
    (b.program(1, 5, vec![main]), vec![noise(&[6, 300], 3)])
}

/// If in Loop, values passed through iterations and from outside.
fn control() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let trips = b.constant(&Tensor::scalar(4i64), Layout::RowMajor);
    let yes = b.constant(&Tensor::from_bools(&[], &[true]), Layout::RowMajor);
    let two = b.constant(&Tensor::scalar(2i64), Layout::RowMajor);
    // Values: 0..3 constants; 3 x; main steps: 4 Relu, 5 5 Loop (two outputs: 5, 6), 7 Add.
    let main = block(
        1,
        vec![
            plain("Relu", &[3]),
            step("Loop", Attrs::new(), &[trips, yes, 4, 3], 2, &[1]),
            plain("Add", &[5, 6]),
        ],
        &[7],
    );
    // Block 1, values from 8: iteration 8, condition 9, carried 10, 11; Less 12, If 13, Identity 14.
    let body = block(
        4,
        vec![plain("Less", &[8, two]), step("If", Attrs::new(), &[12], 1, &[2, 3]), plain("Identity", &[9])],
        &[14, 13, 11],
    );
    // Block 2: 15 = Mul(10, 11); block 3: 16 = Sub(10, 4), 17 = Neg(16).
    let then = block(0, vec![plain("Mul", &[10, 11])], &[15]);
    let other = block(0, vec![plain("Sub", &[10, 4]), plain("Neg", &[16])], &[17]);
    let mut blocks = vec![main, body, then, other];
    blocks[0].params[0] = Some(f32_of(&[3, 5]));
    (b.program(1, 1, blocks), vec![noise(&[3, 5], 9)])
}

/// A scan with a state and slices.
fn scan() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let start = b.constant(&noise(&[4], 21), Layout::RowMajor);
    // Values: 0 constant; 1 x; 2, 3 Scan; 4 Exp. Body from 5: state 5, slice 6; Add 7, Tanh 8.
    let attrs = Attrs::new()
        .with_int("num_scan_inputs", 1)
        .with_ints("scan_input_directions", &[1])
        .with_ints("scan_output_axes", &[-1]);
    let mut main = block(1, vec![step("Scan", attrs, &[start, 1], 2, &[1]), plain("Exp", &[3])], &[2, 4]);
    main.params[0] = Some(f32_of(&[3, 4]));
    let body = block(2, vec![plain("Add", &[5, 6]), plain("Tanh", &[7])], &[7, 8]);
    (b.program(1, 2, vec![main, body]), vec![noise(&[3, 4], 22)])
}

/// A run that ends in a fault.
fn faulty() -> (Program, Vec<Tensor>) {
    let b = Builder::default();
    let mut main = block(2, vec![plain("Neg", &[0]), plain("Div", &[2, 1]), plain("Abs", &[3])], &[4]);
    main.params = vec![Some(SymType::new(DType::I64, vec![3i64.into()])); 2];
    let inputs = vec![Tensor::from_slice(&[3], &[7i64, 8, 9]), Tensor::from_slice(&[3], &[1i64, 0, 2])];
    (b.program(2, 1, vec![main]), inputs)
}

/// A loop without iterations, and one whose slices cannot be stacked: a fault of control flow.
fn ragged() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let [trips, zero, one] = [3i64, 0, 1].map(|value| b.constant(&Tensor::scalar(value), Layout::RowMajor));
    let yes = b.constant(&Tensor::from_bools(&[], &[true]), Layout::RowMajor);
    // Values: 4 x; main steps: 5, 6 Loop; 7 Neg; 8, 9 Loop; 10 Abs.
    let mut idle = step("Loop", Attrs::new(), &[zero, yes, 4], 2, &[1]);
    idle.outputs[1].ty = Some(f32_of(&[0, 5]));
    let ragged = step("Loop", Attrs::new(), &[trips, yes, 7], 2, &[2]);
    let mut main = block(1, vec![idle, plain("Neg", &[5]), ragged, plain("Abs", &[8])], &[10, 6]);
    main.params[0] = Some(f32_of(&[5]));
    // Block 1: iteration 11, condition 12, carried 13; Exp 14, Identity 15.
    let never = block(3, vec![plain("Exp", &[13]), plain("Identity", &[12])], &[15, 13, 14]);
    // Block 2: iteration 16, condition 17, carried 18; Range 19, Exp 20, Identity 21.
    let steps = vec![plain("Range", &[zero, 16, one]), plain("Exp", &[18]), plain("Identity", &[17])];
    let growing = block(3, steps, &[21, 20, 19]);
    (b.program(1, 2, vec![main, never, growing]), vec![noise(&[5], 31)])
}

/// Large enough for trees of leaves and of chunks.
fn wide() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let w = b.constant(&noise(&[5000, 3], 1), Layout::RowMajor);
    let one = b.constant(&Tensor::from_slice(&[1], &[1i64]), Layout::RowMajor);
    let mut main = block(
        1,
        vec![
            plain("MatMul", &[2, w]),
            plain("ReduceSum", &[2, one]),
            plain("Softmax", &[2]),
            plain("ReduceMax", &[2, one]),
            plain("Exp", &[2]),
        ],
        &[3, 4, 5, 6, 7],
    );
    main.params[0] = Some(f32_of(&[2, 5000]));
    (b.program(1, 5, vec![main]), vec![noise(&[2, 5000], 5)])
}

/// Operators whose elements have terms beneath terms.
fn deep() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let [w, r, kernel] = [(&[1, 12, 8][..], 1), (&[1, 12, 4], 2), (&[2, 1, 3, 3], 3)]
        .map(|(shape, seed)| b.constant(&noise(shape, seed), Layout::RowMajor));
    let lengths = b.constant(&Tensor::from_slice(&[2], &[6i32, 4]), Layout::RowMajor);
    let scales = b.constant(&Tensor::from_slice(&[4], &[1.0f32, 1.0, 1.5, 2.0]), Layout::RowMajor);
    let rows = b.constant(&Tensor::from_slice(&[2, 1], &[5i64, 1]), Layout::RowMajor);
    // Inputs 6: [1, 2, 6, 8], 7: [6, 2, 8], 8: [2, 2, 8]; steps from 9.
    let heads = Attrs::new().with_int("is_causal", 1);
    let mut gru = step("GRU", Attrs::new(), &[7, w, r, lengths], 2, &[]);
    gru.inputs = [Some(7), Some(w), Some(r), None, Some(lengths)].map(|v| v.map(ValueId)).to_vec();
    let mut resize = step("Resize", Attrs::new().with_str("mode", "linear"), &[6, scales], 1, &[]);
    resize.inputs = [Some(6), None, Some(scales)].map(|v| v.map(ValueId)).to_vec();
    let pool = Attrs::new().with_ints("kernel_shape", &[2, 3]);
    let steps = vec![
        step("Attention", heads, &[6, 6, 6], 1, &[]), // 9
        gru,                                          // 10, 11
        resize,                                       // 12
        step("ConvTranspose", Attrs::new().with_ints("strides", &[2, 1]), &[6, kernel], 1, &[]), // 13
        step("Einsum", Attrs::new().with_str("equation", "abcd,cbd->ac"), &[9, 7], 1, &[]), // 14
        step("MaxPool", pool.clone(), &[12], 2, &[]), // 15, 16
        step("AveragePool", pool, &[12], 1, &[]),     // 17
        step("ArgMax", Attrs::new().with_int("axis", 1), &[14], 1, &[]), // 18
        step("DynamicQuantizeLinear", Attrs::new(), &[9], 3, &[]), // 19, 20, 21
        step("ScatterND", Attrs::new(), &[7, rows, 8], 1, &[]), // 22
    ];
    let mut main = block(3, steps, &[10, 11, 13, 15, 16, 17, 18, 19, 20, 21, 22]);
    main.params = vec![Some(f32_of(&[1, 2, 6, 8])), Some(f32_of(&[6, 2, 8])), Some(f32_of(&[2, 2, 8]))];
    let inputs = vec![noise(&[1, 2, 6, 8], 7), noise(&[6, 2, 8], 8), noise(&[2, 2, 8], 9)];
    (b.program(3, 11, vec![main]), inputs)
}

/// A convolution whose filters lie in blocks.
fn filtered() -> (Program, Vec<Tensor>) {
    let mut b = Builder::default();
    let w = b.constant(&noise(&[20, 17, 3, 3], 1), Layout::Filters16);
    let bias = b.constant(&noise(&[20], 2), Layout::RowMajor);
    let conv = step("Conv", Attrs::new().with_ints("pads", &[1, 1, 1, 1]), &[2, w, bias], 1, &[]);
    let mut main = block(1, vec![conv, plain("Relu", &[3])], &[3, 4]);
    main.params[0] = Some(f32_of(&[1, 17, 4, 5]));
    (b.program(1, 2, vec![main]), vec![noise(&[1, 17, 4, 5], 3)])
}

/// Layers, control flow, a fault, long rows, a scan, terms beneath terms, a fault of control flow, and blocks of filters.
pub static PROGRAMS: LazyLock<Vec<(Program, Vec<Tensor>)>> =
    LazyLock::new(|| vec![layers(), control(), faulty(), wide(), scan(), deep(), ragged(), filtered()]);

/// Keeps what every step puts out.
#[derive(Default)]
struct Kept(Vec<Vec<Tensor>>);

impl Observer for Kept {
    fn step(&mut self, event: StepEvent<'_>) {
        self.0.push(event.outputs.iter().map(|view| view.to_tensor().unwrap()).collect());
    }
}

/// Each step of a program without blocks as a program of its own, with what it read.
#[allow(dead_code, reason = "not every test asks for it")]
pub fn single_steps(program: &Program, inputs: &[Tensor]) -> Vec<(Program, Vec<Tensor>)> {
    let mut kept = Kept::default();
    let ran = Reference.execute(program, inputs, HashLevel::None, &mut kept);
    assert!(ran.is_ok());
    let first = program.first_param(BlockId(0)).0;
    let mut values: BTreeMap<u32, Tensor> = (first..).zip(inputs.iter().cloned()).collect();
    let mut found = Vec::new();
    for (at, step) in program.main().steps.iter().enumerate() {
        let mut b = Builder::default();
        let (mut own, mut names) = (Vec::new(), BTreeMap::new());
        let read: BTreeSet<ValueId> = step.inputs.iter().flatten().copied().collect();
        for value in read.iter().filter(|value| program.as_constant(**value).is_some()) {
            let decl = program.constants()[value.index()].clone();
            let bytes = program.constant_bytes(ConstantId(value.0)).to_vec();
            names.insert(*value, ValueId(b.constants.len() as u32));
            b.constants.push((decl, bytes));
        }
        for value in read.iter().filter(|value| program.as_constant(**value).is_none()) {
            let name = ValueId((b.constants.len() + own.len()) as u32);
            names.insert(*value, name);
            own.push(values[&value.0].clone());
        }
        let mut alone = step.clone();
        alone.inputs = step.inputs.iter().map(|value| value.map(|value| names[&value])).collect();
        for output in &mut alone.outputs {
            *output = Output::default();
        }
        let results: Vec<u32> = (0..step.outputs.len() as u32).map(|k| names.len() as u32 + k).collect();
        let mut main = block(own.len(), vec![alone], &results);
        for (param, tensor) in main.params.iter_mut().zip(&own) {
            *param = Some(SymType::new(
                tensor.dtype(),
                tensor.shape().iter().map(|&d| (d as i64).into()).collect(),
            ));
        }
        found.push((b.program(own.len(), results.len(), vec![main]), own));
        // A step that fails puts nothing out, and is the last.
        let Some(outputs) = kept.0.get(at).filter(|outputs| outputs.len() == step.outputs.len()) else {
            break;
        };
        let names = program.first_outputs(BlockId(0))[at].0..;
        values.extend(names.zip(outputs.iter().cloned()));
    }
    found
}
