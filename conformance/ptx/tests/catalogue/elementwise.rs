//! Element-wise operators.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::case;

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];
const INTEGERS: [DType; 8] =
    [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];

/// Numbers around which functions change: ties, limits of exponentials, integers, halves.
const TURNS: [f32; 28] = [
    0.5,
    -0.5,
    1.0,
    -1.0,
    1.5,
    -1.5,
    2.5,
    -2.5,
    3.0,
    -3.0,
    0.7,
    -0.7,
    88.7,
    -88.7,
    89.5,
    -104.5,
    1e-4,
    -1e-4,
    8388608.5,
    16777217.0,
    std::f32::consts::LN_2,
    std::f32::consts::PI,
    std::f32::consts::FRAC_PI_2,
    0.99999994,
    1.0000001,
    1e10,
    -1e10,
    0.3,
];

/// Hard numbers with turns among them and a spread of magnitudes.
pub fn floats(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut draw = Draw::new(seed);
    let values = draw.tensor(shape, |draw| match draw.below(4) {
        0 => TURNS[draw.below(TURNS.len())],
        1 => draw.plain() * [0.01, 3.0, 20.0, 100.0][draw.below(4)],
        _ => draw.hard(),
    });
    converted(values, dtype)
}

/// Converted by Cast's own reference.
pub fn converted(tensor: Tensor, dtype: DType) -> Tensor {
    if dtype == DType::F32 {
        return tensor;
    }
    let attrs = Attrs::new().with_int("to", i64::from(dtype.code()));
    let wanted = Case::new("Cast", attrs, vec![tensor]).wanted().expect("a cast");
    wanted.result.expect("no fault").remove(0)
}

fn without_zeros(mut tensor: Tensor) -> Tensor {
    let size = tensor.dtype().size();
    for element in tensor.bytes_mut().chunks_exact_mut(size) {
        if element.iter().all(|byte| *byte == 0) {
            element[0] = 3;
        }
    }
    tensor
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    unary(&mut out);
    binary(&mut out);
    integers(&mut out);
    casts(&mut out);
    let mut draw = Draw::new(50);
    for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
        let (c, a) = (draw.any_tensor(DType::Bool, &[3, 1, 7]), draw.any_tensor(dtype, &[5, 7]));
        out.push(case("Where", vec![c, a, draw.any_tensor(dtype, &[3, 5, 1])]));
    }
    for op in ["And", "Or", "Xor"] {
        let (a, b) = (draw.any_tensor(DType::Bool, &[4, 33]), draw.any_tensor(DType::Bool, &[33]));
        out.push(case(op, vec![a, b]));
    }
    for dtype in FLOATS {
        let mut inputs = vec![floats(dtype, &[3, 5, 13], 11)];
        inputs.extend((0..3).map(|seed| floats(dtype, &[5], 12 + seed)));
        inputs.push(converted(Tensor::from_slice(&[5], &[0.5f32, 1.25, 1e-3, 7.0, 0.0]), dtype));
        out.push(Case::new("BatchNormalization", Attrs::new().with_float("epsilon", 1e-3), inputs));
    }
    out.push(case("Not", vec![draw.any_tensor(DType::Bool, &[301])]));
    out
}

fn unary(out: &mut Vec<Case>) {
    let alpha = |value| Attrs::new().with_float("alpha", value);
    for dtype in FLOATS {
        // Four elements a thread.
        let count = 1000;
        for op in [
            "Abs",
            "Neg",
            "Sign",
            "Floor",
            "Ceil",
            "Round",
            "Sqrt",
            "Reciprocal",
            "Relu",
            "Softsign",
            "HardSwish",
        ] {
            out.push(case(op, vec![floats(dtype, &[count], 1)]));
        }
        for (op, attrs) in [
            ("LeakyRelu", alpha(0.3)),
            ("ThresholdedRelu", alpha(0.7)),
            ("HardSigmoid", alpha(0.3).with_float("beta", 0.6)),
            ("Shrink", Attrs::new().with_float("lambd", 0.4).with_float("bias", 0.1)),
        ] {
            out.push(Case::new(op, attrs, vec![floats(dtype, &[count], 2)]));
        }
        out.push(case("IsNaN", vec![floats(dtype, &[261], 3)]));
        for (negative, positive) in [(0, 1), (1, 0), (1, 1)] {
            let attrs =
                Attrs::new().with_int("detect_negative", negative).with_int("detect_positive", positive);
            out.push(Case::new("IsInf", attrs, vec![floats(dtype, &[261], 4)]));
        }
        let functions = [
            "Exp", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Sigmoid",
            "Softplus", "Mish", "Erf", "Gelu",
        ];
        let count = if dtype == DType::F32 { 2500 } else { 600 };
        for op in functions {
            if dtype != DType::F64 || !matches!(op, "Erf" | "Gelu") {
                out.push(case(op, vec![floats(dtype, &[count], 5)]));
            }
        }
        {
            for (op, attrs) in [
                ("Gelu", Attrs::new().with_str("approximate", "tanh")),
                ("Swish", alpha(1.7)),
                ("Elu", alpha(0.9)),
                ("Selu", alpha(1.1).with_float("gamma", 1.2)),
                ("Celu", alpha(1.4)),
            ] {
                out.push(Case::new(op, attrs, vec![floats(dtype, &[500], 6)]));
            }
        }
    }
}

fn binary(out: &mut Vec<Case>) {
    for dtype in FLOATS {
        for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow"] {
            let count = if op == "Pow" { 1500 } else { 517 };
            out.push(case(op, vec![floats(dtype, &[count], 1), floats(dtype, &[count], 2)]));
            out.push(case(op, vec![floats(dtype, &[3, 5, 7], 3), floats(dtype, &[5, 1], 4)]));
        }
        // Equal numbers meet.
        for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
            let (a, b) = (floats(dtype, &[2, 1, 3, 1, 5], 6), floats(dtype, &[4, 1, 2, 1], 7));
            out.push(case(op, vec![a, b]));
            out.push(case(op, vec![floats(dtype, &[40], 8), floats(dtype, &[40, 1], 8)]));
        }
        let of = |shape: &[usize], seed| floats(dtype, shape, seed);
        out.push(case("Max", vec![of(&[4, 3], 1), of(&[3], 2), of(&[4, 1], 3)]));
        let (low, high) = (Tensor::scalar(-0.75f32), Tensor::scalar(1.5f32));
        let (low, high) = (converted(low, dtype), converted(high, dtype));
        let x = Some(of(&[300], 9));
        out.push(Case::with_optional("Clip", Attrs::new(), vec![x.clone(), Some(low), Some(high.clone())]));
        out.push(Case::with_optional("Clip", Attrs::new(), vec![x, None, Some(high)]));
    }
    out.push(case("Sum", (0..4).map(|k| floats(DType::F32, &[200], k)).collect()));
    for dtype in FLOATS {
        let three = || vec![floats(dtype, &[200], 1), floats(dtype, &[3, 1], 2), floats(dtype, &[3, 200], 3)];
        out.push(case("Sum", three()));
        out.push(case("Mean", three()));
        out.push(case("Mean", three()[..1].to_vec()));
    }
    let pairs = [
        (DType::F32, DType::I64),
        (DType::F32, DType::F16),
        (DType::BF16, DType::F32),
        (DType::F16, DType::U8),
        (DType::F64, DType::I32),
        (DType::I32, DType::F32),
        (DType::I64, DType::F64),
    ];
    for (base, exponent) in pairs {
        let of = |dtype: DType, shape: &[usize], seed| {
            let wide = floats(DType::F32, shape, seed);
            let small = wide.as_slice::<f32>().iter().map(|value| value % 64.0).collect::<Vec<_>>();
            if dtype.is_int() {
                converted(Tensor::from_slice(shape, &small), dtype)
            } else {
                converted(wide, dtype)
            }
        };
        out.push(case("Pow", vec![of(base, &[3, 150], 1), of(exponent, &[150], 2)]));
    }
}

fn integers(out: &mut Vec<Case>) {
    let mut draw = Draw::new(20);
    for dtype in INTEGERS {
        for op in ["Add", "Sub", "Mul", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor"] {
            out.push(case(op, vec![draw.any_tensor(dtype, &[3, 61]), draw.any_tensor(dtype, &[61])]));
        }
        let divides =
            [("Div", Attrs::new()), ("Mod", Attrs::new()), ("Mod", Attrs::new().with_int("fmod", 1))];
        for (op, attrs) in divides {
            let divisor = without_zeros(draw.any_tensor(dtype, &[183]));
            out.push(Case::new(op, attrs.clone(), vec![draw.any_tensor(dtype, &[183]), divisor]));
            let zeros = Tensor::zeros(dtype, &[]).expect("small");
            out.push(Case::new(op, attrs, vec![draw.any_tensor(dtype, &[40]), zeros]));
        }
        for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
            out.push(case(op, vec![draw.any_tensor(dtype, &[3, 61]), draw.any_tensor(dtype, &[61])]));
        }
        out.push(case("BitwiseNot", vec![draw.any_tensor(dtype, &[99])]));
        let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
        for op in if signed { &["Abs", "Neg", "Sign", "Relu"][..] } else { &["Abs", "Sign"][..] } {
            out.push(case(op, vec![draw.any_tensor(dtype, &[99])]));
        }
        if !signed {
            for direction in ["LEFT", "RIGHT"] {
                let amounts = draw.any_tensor(dtype, &[150]);
                let attrs = Attrs::new().with_str("direction", direction);
                out.push(Case::new("BitShift", attrs, vec![draw.any_tensor(dtype, &[150]), amounts]));
            }
        }
    }
}

fn casts(out: &mut Vec<Case>) {
    let mut draw = Draw::new(30);
    let all = FLOATS.into_iter().chain(INTEGERS).chain([DType::Bool]);
    let all: Vec<DType> = all.collect();
    for &from in &all {
        let x = if from.is_float() { floats(from, &[230], 31) } else { draw.any_tensor(from, &[130]) };
        for &to in all.iter().filter(|&&to| to != from) {
            let attrs = Attrs::new().with_int("to", i64::from(to.code()));
            out.push(Case::new("Cast", attrs, vec![x.clone()]));
        }
    }
}
