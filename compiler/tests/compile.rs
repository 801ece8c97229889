//! A graph becomes a program that computes the graph's bits, whatever the options.

use std::collections::BTreeMap;

use proptest::prelude::*;
use repops::attrs::Attrs;
use repops::dim::DimExpr;
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::ops::{EvalCtx, PRODUCT_REGION, SymType, by_name, infer_known};
use repops::program::Origin;
use repops::reference::Reference;
use repops::{DType, Layout, Program, Tensor};
use repops_compiler::graph::{Block, Constant, Definition, Graph, Interface, Node, ValueId};
use repops_compiler::{CompileOptions, compile};

/// Builds graphs the way the importer does.
#[derive(Default)]
struct Model {
    graph: Graph,
    block: Block,
}

impl Model {
    fn input(&mut self, name: &str, shape: &[DimExpr]) -> ValueId {
        let ty = SymType::new(DType::F32, shape.to_vec());
        let id = self.graph.add_value(name, Definition::Parameter, Some(ty));
        self.block.parameters.push(id);
        id
    }

    fn constant(&mut self, name: &str, tensor: &Tensor) -> ValueId {
        self.graph.add_constant(Constant::from_tensor(name, tensor))
    }

    fn node(&mut self, op: &str, attrs: Attrs, inputs: &[ValueId]) -> ValueId {
        let def = by_name(op).unwrap();
        let name = format!("/{op}_{}", self.block.nodes.len());
        let output = self.graph.add_value(&name, Definition::Output, None);
        self.block.nodes.push(Node {
            def,
            attrs: def.check_attrs(&attrs).unwrap(),
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            blocks: Vec::new(),
            origin: Origin { name, op_type: op.into(), domain: String::new(), opset: 26 },
        });
        output
    }

    fn finish(mut self, outputs: &[ValueId]) -> Graph {
        self.block.results = outputs.to_vec();
        self.graph.main = self.block;
        self.graph.outputs =
            (0..outputs.len()).map(|index| Interface { name: format!("y{index}"), ty: None }).collect();
        self.graph
    }
}

fn values(shape: &[usize], seed: u32) -> Tensor {
    let count = shape.iter().product::<usize>() as u32;
    let value = |i: u32| ((i ^ seed).wrapping_mul(0x9E37_79B1) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    Tensor::from_slice(shape, &(0..count).map(value).collect::<Vec<f32>>())
}

/// Two layers with an activation spelled out, a projection given transposed, and a constant subexpression.
fn perceptron() -> Graph {
    let mut model = Model::default();
    let x = model.input("x", &[DimExpr::sym("batch"), DimExpr::Const(300)]);
    let w1 = model.constant("w1", &values(&[300, 37], 1));
    let b1 = model.constant("b1", &values(&[37], 2));
    let w2 = model.constant("w2", &values(&[19, 37], 3));
    let two = model.constant("two", &Tensor::scalar(2.0f32));
    let two_again = model.constant("two_again", &Tensor::scalar(2.0f32));
    let shape = model.constant("shape", &Tensor::from_slice(&[2], &[-1i64, 19]));
    let none = Attrs::new;
    let half = model.node("Reciprocal", none(), &[two]);
    let h = model.node("MatMul", none(), &[x, w1]);
    let h = model.node("Add", none(), &[h, b1]);
    let scaled = model.node("Mul", none(), &[h, half]);
    let root = model.node("Sqrt", none(), &[two_again]);
    let e = model.node("Div", none(), &[h, root]);
    let e = model.node("Erf", none(), &[e]);
    let one = model.constant("one", &Tensor::scalar(1.0f32));
    let e = model.node("Add", none(), &[e, one]);
    let gelu = model.node("Mul", none(), &[scaled, e]);
    let gelu = model.node("Identity", none(), &[gelu]);
    let y = model.node("Gemm", none().with_int("transB", 1), &[gelu, w2]);
    let y = model.node("Reshape", none(), &[y, shape]);
    let p = model.node("Softmax", none().with_int("axis", -1), &[y]);
    model.node("Exp", none(), &[y]);
    model.finish(&[p, y])
}

fn run(program: &Program, input: &Tensor) -> Vec<Tensor> {
    let inputs = std::slice::from_ref(input);
    let execution = Reference.execute(program, inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    execution.result.unwrap()
}

#[test]
fn options_change_the_program_and_no_bit() {
    let input = values(&[5, 300], 4);
    let mut expected = None;
    for (fuse, layout) in [(false, false), (true, false), (false, true), (true, true)] {
        let options = CompileOptions { fuse, layout, context: None, as_is: false };
        let program = compile(perceptron(), &options, &mut |_, _| {}).unwrap();
        let regions = program.main().steps.iter().filter(|step| step.op == PRODUCT_REGION).count();
        let panels = program.constants().iter().filter(|decl| decl.layout == Layout::Panel16).count();
        assert_eq!((regions, panels), (usize::from(fuse), 2 * usize::from(layout)));
        let found = run(&program, &input);
        assert_eq!(*expected.get_or_insert_with(|| found.clone()), found, "fuse {fuse}, layout {layout}");
    }
}

#[test]
fn steps_keep_the_nodes_they_come_from() {
    let program = compile(perceptron(), &CompileOptions::default(), &mut |_, _| {}).unwrap();
    let steps: Vec<(&str, Vec<&str>)> = program
        .main()
        .steps
        .iter()
        .map(|step| (step.def().name, step.origins.iter().map(|origin| origin.op_type.as_str()).collect()))
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = vec![
        ("ProductRegion", vec!["MatMul", "Add", "Mul", "Div", "Erf", "Add", "Mul"]),
        ("Gemm", vec!["Gemm"]),
        ("Softmax", vec!["Softmax"]),
    ];
    assert_eq!(steps, expected);
    // Folded, shared and unused constants: the two 2s became 0.5 and the root.
    let names: Vec<&str> = program.constants().iter().map(|decl| decl.name.as_str()).collect();
    assert_eq!(names, ["w1", "b1", "", "", "one", "w2"]);
}

#[test]
fn compiling_again_gives_the_same_bytes() {
    let bytes = || {
        let mut bytes = Vec::new();
        compile(perceptron(), &CompileOptions::default(), &mut |_, _| {}).unwrap().write(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn every_pass_shows_a_module_that_parses() {
    let mut seen = Vec::new();
    let context = repops_compiler::mlir::Context::new();
    compile(perceptron(), &CompileOptions::default(), &mut |pass, text| {
        seen.push(pass.to_owned());
        let text = text();
        assert_eq!(repops_compiler::mlir::Module::parse(&context, &text).unwrap().to_text(true), text);
    })
    .unwrap();
    let names = "build infer fold canonicalize cse prune bias layout fuse products plan";
    assert_eq!(seen, names.split(' ').collect::<Vec<_>>());
}

/// y = sum of n times (x > 0 ? x : exp(x)), each iteration's part beside it: branch in a loop, values from outside.
fn looped() -> Graph {
    let mut model = Model::default();
    let x = model.input("x", &[DimExpr::sym("N")]);
    let zero = model.constant("zero", &Tensor::scalar(0.0f32));
    let yes = model.constant("yes", &Tensor::from_bools(&[], &[true]));
    let trips = model.constant("trips", &Tensor::scalar(3i64));
    let zeros = model.node("Sub", Attrs::new(), &[x, x]);
    let outer = std::mem::take(&mut model.block);

    let then_block = Block { results: vec![x], ..Block::default() };
    let exp = model.node("Exp", Attrs::new(), &[x]);
    let exp = model.node("Mul", Attrs::new(), &[exp, x]);
    let else_block = Block { results: vec![exp], ..std::mem::take(&mut model.block) };

    let body_parameter = |model: &mut Model, name: &str| {
        let id = model.graph.add_value(name, Definition::Parameter, None);
        model.block.parameters.push(id);
        id
    };
    body_parameter(&mut model, "i");
    let go = body_parameter(&mut model, "go");
    let sum = body_parameter(&mut model, "sum");
    let most = model.node("ReduceMax", Attrs::new().with_int("keepdims", 0), &[sum]);
    let positive = model.node("Greater", Attrs::new(), &[most, zero]);
    let part = model.node("If", Attrs::new(), &[positive]);
    model.block.nodes.last_mut().unwrap().blocks = vec![then_block, else_block];
    let next = model.node("Add", Attrs::new(), &[sum, part]);
    let next = model.node("Relu", Attrs::new(), &[next]);
    let body = Block { results: vec![go, next, part], ..std::mem::take(&mut model.block) };

    model.block = outer;
    let last = model.node("Loop", Attrs::new(), &[trips, yes, zeros]);
    let parts = model.graph.add_value("parts", Definition::Output, None);
    let node = model.block.nodes.last_mut().unwrap();
    node.outputs.push(parts);
    node.blocks = vec![body];
    model.finish(&[last, parts])
}

#[test]
fn control_flow_is_compiled() {
    let input = Tensor::from_slice(&[3], &[0.5f32, -1.0, 2.0]);
    let mut sum = [0.0f32; 3];
    let mut parts = Vec::new();
    for _ in 0..3 {
        let positive = sum.iter().any(|&value| value > 0.0);
        for (sum, &x) in sum.iter_mut().zip(input.as_slice::<f32>()) {
            let part = if positive { x } else { repops::scalar::exp(x) * x };
            parts.push(part);
            *sum = if *sum + part > 0.0 { *sum + part } else { 0.0 };
        }
    }
    let expected = [Tensor::from_slice(&[3], &sum), Tensor::from_slice(&[3, 3], &parts)];
    for fuse in [false, true] {
        let options = CompileOptions { fuse, ..CompileOptions::default() };
        let program = compile(looped(), &options, &mut |_, _| {}).unwrap();
        assert_eq!(program.blocks().len(), 4);
        assert_eq!(run(&program, &input), expected);
    }
}

#[test]
fn errors_name_the_node() {
    let mut model = Model::default();
    let x = model.input("x", &[DimExpr::sym("batch"), DimExpr::Const(300)]);
    let w = model.constant("w", &values(&[299, 37], 1));
    let y = model.node("MatMul", Attrs::new(), &[x, w]);
    let error = compile(model.finish(&[y]), &CompileOptions::default(), &mut |_, _| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "node \"/MatMul_0\" (MatMul): shapes do not fit: A has 300 columns, B has 299 rows"
    );
}

/// A graph over rows of 8 numbers from a list of choices: an operator, and which earlier values it reads.
fn grown(choices: &[(u8, u8, u8)], outputs: usize) -> Graph {
    let mut model = Model::default();
    let rows = [DimExpr::sym("batch"), DimExpr::Const(8)];
    let mut all = vec![model.input("x", &rows), model.input("y", &rows)];
    let weight = model.constant("w", &values(&[8, 8], 5));
    let bias = model.constant("b", &values(&[8], 6));
    let flat = model.constant("flat", &Tensor::from_slice(&[1], &[-1i64]));
    let back = model.constant("back", &Tensor::from_slice(&[2], &[-1i64, 8]));
    for &(op, a, b) in choices {
        // Late values more often than early ones.
        let pick = |n: u8| all[all.len() - 1 - usize::from(n) % all.len().min(6)];
        let (a, b) = (pick(a), pick(b));
        let value = match op % 12 {
            0 => model.node("Add", Attrs::new(), &[a, b]),
            1 => model.node("Mul", Attrs::new(), &[a, b]),
            2 => model.node("Sub", Attrs::new(), &[a, bias]),
            3 => model.node("Relu", Attrs::new(), &[a]),
            4 => model.node("Tanh", Attrs::new(), &[a]),
            5 => model.node("Softmax", Attrs::new().with_int("axis", -1), &[a]),
            6 => model.node("MatMul", Attrs::new(), &[a, weight]),
            7 => {
                let greater = model.node("Greater", Attrs::new(), &[a, b]);
                model.node("Where", Attrs::new(), &[greater, b, bias])
            }
            8 => {
                let flat = model.node("Reshape", Attrs::new(), &[a, flat]);
                let flat = model.node("Neg", Attrs::new(), &[flat]);
                model.node("Reshape", Attrs::new(), &[flat, back])
            }
            9 => model.node("Identity", Attrs::new(), &[a]),
            10 => model.node("Gemm", Attrs::new().with_int("transB", 1), &[a, weight, bias]),
            // The same as an earlier one, perhaps.
            _ => model.node("Erf", Attrs::new(), &[a]),
        };
        all.push(value);
    }
    let results: Vec<ValueId> = all.into_iter().rev().take(outputs).collect();
    model.finish(&results)
}

/// The graph, node by node, by the operators' own evaluation.
fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut values: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    for (&id, input) in graph.main.parameters.iter().zip(inputs) {
        values.insert(id, input.clone());
    }
    for index in 0..graph.values.len() as u32 {
        if let Some(constant) = graph.as_constant(ValueId(index)) {
            values.insert(ValueId(index), constant.to_tensor().unwrap());
        }
    }
    for node in &graph.main.nodes {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| values[&id].view())).collect();
        infer_known(node.def, &node.attrs, &inputs, node.outputs.len()).unwrap();
        let ctx = EvalCtx { attrs: &node.attrs, inputs: &inputs, outputs: node.outputs.len() };
        let outputs = (node.def.eval)(&ctx).unwrap();
        for (&id, output) in node.outputs.iter().zip(outputs) {
            values.insert(id, output);
        }
    }
    graph.main.results.iter().map(|id| values[id].clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn no_pass_changes_a_bit(
        choices in prop::collection::vec(any::<(u8, u8, u8)>(), 1..30),
        outputs in 1usize..4,
        batch in 0usize..4,
    ) {
        let inputs = [values(&[batch, 8], 7), values(&[batch, 8], 8)];
        let expected = evaluate(&grown(&choices, outputs), &inputs);
        for (fuse, layout) in [(false, false), (true, true)] {
            let options = CompileOptions { fuse, layout, context: None, as_is: false };
            let program = compile(grown(&choices, outputs), &options, &mut |_, _| {}).unwrap();
            let found = Reference.execute(&program, &inputs, HashLevel::None, &mut Unobserved).unwrap();
            prop_assert_eq!(&expected, &found.result.unwrap());
        }
    }
}
