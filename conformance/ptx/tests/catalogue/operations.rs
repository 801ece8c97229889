//! Not results alone, but every float operation on the way to them: kernels may compute nothing that the definition of their
//! function does not compute. What is far below the last bit of a result shows here, and nowhere else.

use std::sync::OnceLock;

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::lane_op::{LaneOp, UnaryOp};
use repops::ops::{self, OpClass};
use repops::region::Region;
use repops::scalar;
use repops::sequence::sampling::Sampling;
use repops::symbolic::{Binary, Kind, SymF32, SymF64};
use repops::tensor::Tensor;
use repops_cuda::launch::contract::attention::AttentionShape;
use repops_cuda::launch::sampling::Choice;
use repops_ptx::Interpreter;
use repops_ptx::definition::{Definition, Floats, arithmetic};
use repops_ptx::suite::{Case, Draw};

use super::others::{Way, attend_on, launch, reference, step};
use super::{Check, What, vector};

pub fn checks() -> Vec<Check> {
    let mut out = Vec::new();
    for (op, attrs) in functions() {
        for dtype in [DType::F32, DType::F64] {
            if dtype == DType::F32 || !matches!(op, "Erf" | "Gelu" if attrs.get("approximate").is_none()) {
                out.push(function(op, attrs.clone(), dtype));
            }
        }
        out.push(fused(op, attrs));
    }
    for dtype in [DType::F32, DType::F64] {
        for kind in ["ReduceLogSumExp", "ReduceLogSum", "Softmax", "LogSoftmax"] {
            out.push(row(kind, dtype));
        }
    }
    out.push(capped_attention());
    out.push(capped_onnx_attention());
    out.push(capped_onnx_attention_of_doubles());
    out.push(choices());
    out
}

fn functions() -> Vec<(&'static str, Attrs)> {
    let none = Attrs::new;
    let plain = [
        "Exp", "Log", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Softplus",
        "Mish", "Gelu", "Sigmoid", "Pow",
    ];
    let mut out: Vec<(&str, Attrs)> = plain.into_iter().map(|op| (op, none())).collect();
    out.extend([
        ("Gelu", none().with_str("approximate", "tanh")),
        ("Elu", none().with_float("alpha", 0.7)),
        ("Selu", none().with_float("alpha", 1.1).with_float("gamma", 1.2)),
        ("Swish", none().with_float("alpha", 1.7)),
        ("Celu", none().with_float("alpha", 1.4)),
    ]);
    out
}

/// What the table says the function is on lanes, with defaults filled in.
fn lane(op: &str, attrs: &Attrs) -> LaneOp {
    let def = ops::by_name(op).expect("an operator");
    let OpClass::Elementwise(Some(lane)) = def.class else { panic!("{op} has no lanes") };
    lane(&def.check_attrs(attrs).expect("attributes"))
}

/// A function's definition, on one or two numbers.
struct Defined {
    definition: Definition,
    is_binary: bool,
}

fn defined(lane: LaneOp, dtype: DType) -> Defined {
    let (definition, is_binary) = match (lane, dtype) {
        (LaneOp::Unary(op), DType::F64) => (Definition::unary::<SymF64>(op), false),
        (LaneOp::Unary(op), _) => (Definition::unary::<SymF32>(op), false),
        (LaneOp::Binary(op), DType::F64) => (Definition::binary::<SymF64>(op), true),
        (LaneOp::Binary(op), _) => (Definition::binary::<SymF32>(op), true),
        _ => panic!("not a function"),
    };
    Defined { definition, is_binary }
}

/// Numbers at the edges, and some of every size that functions tell apart. No NaN: which bits a NaN has is not defined before it is
/// stored, and functions take exponents out of the bits.
fn numbers(dtype: DType, seed: u64) -> Tensor {
    let mut draw = Draw::new(seed);
    let mut values = vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        -0.5,
        2.0,
        1e-30,
        -1e-30,
        1e-5,
        0.999,
        -0.999,
        88.0,
        -87.5,
        709.5,
        1e5,
        -1e5,
        1e10,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e300,
        5e-324,
        3.0,
        -7.0,
        // The least normal and the greatest subnormal number of both types.
        1.1754943508222875e-38,
        1.1754942106924411e-38,
        1e-45,
        2.2250738585072014e-308,
        2.225073858507201e-308,
    ];
    for size in [1.0, 3.0, 20.0, 500.0] {
        for _ in 0..10 {
            let unit = (draw.bits() >> 11) as f64 / (1u64 << 53) as f64;
            values.push((2.0 * unit - 1.0) * size);
        }
    }
    if dtype == DType::F64 {
        Tensor::from_slice(&[values.len()], &values)
    } else {
        Tensor::from_slice(&[values.len()], &values.iter().map(|&value| value as f32).collect::<Vec<_>>())
    }
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    match tensor.dtype() {
        DType::F64 => tensor.as_slice::<f64>().iter().map(|value| value.to_bits()).collect(),
        _ => tensor.as_slice::<f32>().iter().map(|value| u64::from(value.to_bits())).collect(),
    }
}

fn arguments(is_binary: bool, dtype: DType) -> Vec<Tensor> {
    (0..1 + u64::from(is_binary)).map(|seed| numbers(dtype, 5 + seed)).map(shuffled(is_binary)).collect()
}

/// Two lists whose edges do not always meet each other.
fn shuffled(is_binary: bool) -> impl FnMut(Tensor) -> Tensor {
    let mut turn = 0;
    move |tensor| {
        let shift = if is_binary && turn > 0 { 31 } else { 0 };
        turn += 1;
        let values = bits(&tensor);
        let turned: Vec<u64> = (0..values.len()).map(|at| values[(at + shift) % values.len()]).collect();
        match tensor.dtype() {
            DType::F64 => Tensor::from_slice(
                &[values.len()],
                &turned.iter().map(|&bits| f64::from_bits(bits)).collect::<Vec<_>>(),
            ),
            _ => Tensor::from_slice(
                &[values.len()],
                &turned.iter().map(|&bits| f32::from_bits(bits as u32)).collect::<Vec<_>>(),
            ),
        }
    }
}

fn defined_floats(defined: &Defined, inputs: &[Tensor]) -> Floats {
    let mut floats = Floats::default();
    let columns: Vec<Vec<u64>> = inputs.iter().map(bits).collect();
    for at in 0..columns[0].len() {
        let arguments: Vec<u64> = columns.iter().map(|column| column[at]).collect();
        defined.definition.compute(&arguments, &mut floats);
    }
    floats
}

fn compare(found: &Floats, allowed: &Floats) -> Result<(), String> {
    let beyond = found.beyond(allowed);
    if beyond.is_empty() {
        return Ok(());
    }
    let single = beyond.single.iter().map(|bits| format!("{bits:08x}"));
    let double = beyond.double.iter().map(|bits| format!("{bits:016x}"));
    let some: Vec<String> = single.chain(double).take(4).collect();
    let count = beyond.single.len() + beyond.double.len();
    Err(format!("{count} results that the definition does not have: {some:?}"))
}

fn check(name: String, run: impl Fn(&Interpreter) -> Result<(), String> + Send + Sync + 'static) -> Check {
    Check { name, architecture: 75, what: What::Other(Box::new(run)) }
}

/// Runs something and tells the float operations that it took.
fn watched(device: &Interpreter, run: impl FnOnce() -> Result<(), String>) -> Result<Floats, String> {
    device.remember_floats();
    let result = run();
    let floats = device.take_floats();
    result.map(|()| floats)
}

fn function(op: &'static str, attrs: Attrs, dtype: DType) -> Check {
    let allowed = OnceLock::new();
    check(format!("operations of {op} {attrs:?} in {dtype}"), move |device| {
        let defined = || defined(lane(op, &attrs), dtype);
        let inputs = arguments(op == "Pow", dtype);
        let allowed = allowed.get_or_init(|| defined_floats(&defined(), &inputs));
        let case = Case::new(op, attrs.clone(), inputs).aligned();
        let found = watched(device, || case.check_on(device).map_err(|failure| failure.to_string()))?;
        compare(&found, allowed)
    })
}

fn fused(op: &'static str, attrs: Attrs) -> Check {
    let known = OnceLock::new();
    check(format!("operations of {op} {attrs:?} in a region"), move |device| {
        let (region, inputs, wanted, allowed): &(Region, Vec<Tensor>, Vec<Tensor>, Floats) = known
            .get_or_init(|| {
                let inputs = arguments(op == "Pow", DType::F32);
                let args: &[u16] = if op == "Pow" { &[0, 1] } else { &[0] };
                let instructions = vec![step(op, attrs.clone(), args, DType::F32)];
                let params = vec![DType::F32; args.len()];
                let region =
                    Region { products: Vec::new(), params, instructions, results: vec![args.len() as u16] };
                let wanted = reference(&region, &inputs, &[inputs[0].len()]);
                let allowed = defined_floats(&defined(lane(op, &attrs), DType::F32), &inputs);
                (region, inputs, wanted, allowed)
            });
        let found = watched(device, || launch(device, region, inputs, wanted))?;
        compare(&found, allowed)
    })
}

/// Rows of two elements: few operations beside the functions', all of which are named here.
fn row(kind: &'static str, dtype: DType) -> Check {
    let allowed = OnceLock::new();
    check(format!("operations of {kind} in {dtype}"), move |device| {
        let mut draw = Draw::new(9);
        let mut values: Vec<f32> = (0..96).map(|_| draw.plain() * (1 + draw.below(9)) as f32).collect();
        values[..4].copy_from_slice(&[f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE / 2.0, 0.0]);
        let single = Tensor::from_slice(&[values.len() / 2, 2], &values);
        // Numbers of all 53 bits.
        let mut precise: Vec<f64> =
            values.iter().map(|&value| f64::from(value) * (1.0 + draw.below(1 << 30) as f64 / 3e9)).collect();
        // Sums at the edge of the subnormal numbers.
        precise[..4].copy_from_slice(&[f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE / 2.0, 0.0]);
        let x =
            if dtype == DType::F64 { Tensor::from_slice(&[values.len() / 2, 2], &precise) } else { single };
        let allowed = allowed.get_or_init(|| row_floats(kind, &x));
        let case = if kind.starts_with("Reduce") {
            Case::new(kind, Attrs::new(), vec![absolute(kind, x), vector(&[1])]).on_host(&[1])
        } else {
            Case::new(kind, Attrs::new(), vec![x])
        };
        let found =
            watched(device, || case.aligned().check_on(device).map_err(|failure| failure.to_string()))?;
        compare(&found, allowed)
    })
}

/// Sums whose logarithm is a number.
fn absolute(kind: &str, x: Tensor) -> Tensor {
    if kind != "ReduceLogSum" {
        return x;
    }
    let wanted = Case::new("Abs", Attrs::new(), vec![x]).wanted().expect("a case");
    wanted.result.expect("no fault").remove(0)
}

fn row_floats(kind: &str, x: &Tensor) -> Floats {
    let is_double = x.dtype() == DType::F64;
    let float = if is_double { Kind::F64 } else { Kind::F32 };
    let of = |op| if is_double { Definition::unary::<SymF64>(op) } else { Definition::unary::<SymF32>(op) };
    let exp = match kind {
        "ReduceLogSumExp" => of(UnaryOp::Exp),
        _ if is_double => of(UnaryOp::Exp),
        _ => Definition::of(|| repops::scalar::softmax_exp(SymF32::input(0)).0),
    };
    let log = of(UnaryOp::Log);
    let one = if is_double { 1.0f64.to_bits() } else { u64::from(1.0f32.to_bits()) };
    let value =
        |bits: u64| if is_double { f64::from_bits(bits) } else { f64::from(f32::from_bits(bits as u32)) };
    let mut floats = Floats::default();
    for row in bits(&absolute(kind, x.clone())).chunks_exact(2) {
        let mut does = |op, a, b| arithmetic(op, a, b, float, &mut floats);
        // Accumulators that have no element are +0, and so is what is added to those that have one.
        does(Binary::Add, 0, 0);
        if kind == "ReduceLogSum" {
            for &x in row {
                does(Binary::Add, 0, x);
            }
            let sum = does(Binary::Add, row[0], row[1]);
            // What the mean and the norm would be is computed before it is known that they are not asked for.
            of(UnaryOp::Sqrt).compute(&[sum], &mut floats);
            let mut does = |op, a, b| arithmetic(op, a, b, float, &mut floats);
            does(Binary::Div, sum, if is_double { 2.0f64.to_bits() } else { u64::from(2.0f32.to_bits()) });
            log.compute(&[sum], &mut floats);
            continue;
        }
        let most = if value(row[0]) > value(row[1]) { row[0] } else { row[1] };
        let parts = [row[0], row[1]].map(|x| {
            let less = arithmetic(Binary::Sub, x, most, float, &mut floats);
            let part = exp.compute(&[less], &mut floats);
            arithmetic(Binary::Add, 0, part, float, &mut floats);
            (less, part)
        });
        let sum = arithmetic(Binary::Add, parts[0].1, parts[1].1, float, &mut floats);
        if kind == "Softmax" {
            let factor = arithmetic(Binary::Div, one, sum, float, &mut floats);
            for (_, part) in parts {
                arithmetic(Binary::Mul, part, factor, float, &mut floats);
            }
            continue;
        }
        let logarithm = log.compute(&[sum], &mut floats);
        if kind == "ReduceLogSumExp" {
            arithmetic(Binary::Add, logarithm, most, float, &mut floats);
        } else {
            for (less, _) in parts {
                arithmetic(Binary::Sub, less, logarithm, float, &mut floats);
            }
        }
    }
    floats
}

/// Scores that tanh caps: it alone computes in f64, on numbers that were computed in f32.
fn capped_attention() -> Check {
    let wanted = OnceLock::new();
    check("operations of a softcap".to_owned(), move |device| {
        let shape =
            AttentionShape { heads: 2, kv_heads: 1, d: 5, e: 3, scale: 0.37, softcap: 2.5, window: 0 };
        let found = watched(device, || attend_on(device, &shape, 7, 3, Way::Plain, &wanted))?;
        compare_doubles(found, UnaryOp::Tanh)
    })
}

fn capped_onnx_attention() -> Check {
    check("operations of a softcap of Attention".to_owned(), move |device| {
        let mut draw = Draw::new(31);
        let inputs = [5, 5, 3].map(|size| draw.plain_tensor(&[1, 2, 7, size])).to_vec();
        let case = Case::new("Attention", Attrs::new().with_float("softcap", 1.5), inputs).aligned();
        let found = watched(device, || case.check_on(device).map_err(|failure| failure.to_string()))?;
        compare_doubles(found, UnaryOp::Tanh)
    })
}

/// Queries with one key each, that is its own score: all else is computed from zeros and ones.
fn capped_onnx_attention_of_doubles() -> Check {
    check("operations of a softcap of Attention in f64".to_owned(), move |device| {
        let scores = numbers(DType::F64, 32);
        // Near multiples of half of ln 2 what is left of them is so small that every part of ln 2 shows in it.
        let near: Vec<f64> = (1..20)
            .flat_map(|k| [1e-7, -3e-9].map(|d| f64::from(k) * std::f64::consts::LN_2 / 2.0 + d))
            .collect();
        let all = [scores.as_slice::<f64>(), &near].concat();
        let finite: Vec<f64> = all.into_iter().filter(|score| score.is_finite()).collect();
        let shape = [finite.len(), 1, 1, 1];
        let ones = || Tensor::from_slice(&shape, &vec![1.0f64; finite.len()]);
        let attrs = Attrs::new().with_float("scale", 1.0).with_float("softcap", 1.0);
        let inputs = vec![ones(), Tensor::from_slice(&shape, &finite), ones()];
        let case = Case::new("Attention", attrs, inputs).aligned();
        let found = watched(device, || case.check_on(device).map_err(|failure| failure.to_string()))?;
        let tanh = Definition::unary::<SymF64>(UnaryOp::Tanh);
        let mut allowed = Floats::default();
        for score in finite.iter().copied().chain([0.0, 1.0]) {
            allowed.double(score.to_bits());
            let capped = tanh.compute(&[score.to_bits()], &mut allowed);
            allowed.double(capped);
        }
        Definition::unary::<SymF64>(UnaryOp::Exp).compute(&[0], &mut allowed);
        compare(&Floats { double: found.double, ..Floats::default() }, &allowed)
    })
}

/// Tokens among so few that all sums of their weights can be named; everything else in f64 is a function's, of some number that was
/// computed in f32.
fn choices() -> Check {
    check("operations of choices".to_owned(), move |device| {
        let mut draw = Draw::new(33);
        let rows: Vec<Vec<f32>> = (0..15)
            .map(|row| (0..4).map(|_| draw.plain() * [1.0f32, 4.0, 30.0][row % 3]).collect())
            .collect();
        let warm = Sampling { temperature: 0.8, top_p: 0.7, ..Sampling::default() };
        let ways = [
            warm,
            Sampling { top_p: 0.99, min_p: 0.01, ..warm },
            Sampling { top_p: 1.0, min_p: 0.01, ..warm },
            Sampling { top_p: 1.0, ..warm },
        ];
        let choice =
            |row, sampling| Choice { row, sampling, tokens: &[], prompt: 0, draw: Default::default() };
        let choices: Vec<Choice<'_>> =
            (0..rows.len()).flat_map(|row| ways.each_ref().map(|sampling| choice(row, sampling))).collect();
        let found = watched(device, || super::sampling::chosen_by(device, &rows, &choices).map(|_| ()))?;
        let [exp, log] = [UnaryOp::Exp, UnaryOp::Log].map(Definition::unary::<SymF32>);
        let mut allowed = Floats::default();
        for &argument in &found.single {
            exp.compute(&[u64::from(argument)], &mut allowed);
            // Noise is the logarithm of one.
            let logarithm = log.compute(&[u64::from(argument)], &mut allowed);
            log.compute(&[logarithm ^ 1 << 31], &mut allowed);
        }
        for row in &rows {
            let scaled: Vec<f32> = row.iter().map(|logit| logit / warm.temperature).collect();
            let most = scaled.iter().copied().fold(f32::NEG_INFINITY, |a, b| if a < b { b } else { a });
            let weights: Vec<f64> = scaled.iter().map(|z| f64::from(scalar::exp(z - most))).collect();
            sums(0.0, &weights, &ways, &mut allowed);
        }
        compare(&Floats { double: found.double, ..Floats::default() }, &allowed)
    })
}

/// Of numbers one after another, in every order, and the parts of them that are asked for.
fn sums(sum: f64, left: &[f64], ways: &[Sampling], floats: &mut Floats) {
    floats.double(sum.to_bits());
    ways.iter().for_each(|way| floats.double((sum * f64::from(way.top_p)).to_bits()));
    for at in 0..left.len() {
        sums(sum + left[at], &[&left[..at], &left[at + 1..]].concat(), ways, floats);
    }
}

/// Everything in f64 is a function's, of some number that was computed in f32.
fn compare_doubles(found: Floats, op: UnaryOp) -> Result<(), String> {
    let function = Definition::unary::<SymF32>(op);
    let mut allowed = Floats::default();
    for &argument in &found.single {
        function.compute(&[u64::from(argument)], &mut allowed);
    }
    compare(&Floats { double: found.double, ..Floats::default() }, &allowed)
}
