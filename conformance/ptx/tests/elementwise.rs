//! Element-wise operators on the interpreter: every operator, every type, broadcasting, and the numbers at the edges.

use half::{bf16, f16};
use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::Case;

mod tensors;
use tensors::{floats, integers, truths};

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];
const INTEGERS: [DType; 8] =
    [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];

fn one(op: &'static str, attrs: Attrs, x: Tensor) {
    Case::new(op, attrs, vec![x]).check();
}

#[test]
fn arithmetic_of_one_number() {
    for dtype in FLOATS {
        for op in ["Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Sqrt", "Reciprocal", "Relu", "Softsign"] {
            one(op, Attrs::new(), floats(dtype, &[3, 401], 1));
        }
        for (op, attrs) in [
            ("LeakyRelu", Attrs::new().with_float("alpha", 0.3)),
            ("ThresholdedRelu", Attrs::new().with_float("alpha", 0.7)),
            ("HardSigmoid", Attrs::new().with_float("alpha", 0.3).with_float("beta", 0.6)),
            ("HardSwish", Attrs::new()),
            ("Shrink", Attrs::new().with_float("lambd", 0.4).with_float("bias", 0.1)),
        ] {
            one(op, attrs, floats(dtype, &[1200], 2));
        }
    }
}

#[test]
fn functions_of_f32() {
    for op in [
        "Exp", "Log", "Erf", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Sigmoid",
        "Softplus", "Mish", "Gelu",
    ] {
        one(op, Attrs::new(), floats(DType::F32, &[2500], 3));
    }
    one("Gelu", Attrs::new().with_str("approximate", "tanh"), floats(DType::F32, &[900], 3));
    one("Swish", Attrs::new().with_float("alpha", 1.7), floats(DType::F32, &[900], 4));
    one("Elu", Attrs::new().with_float("alpha", 0.9), floats(DType::F32, &[900], 4));
    one(
        "Selu",
        Attrs::new().with_float("alpha", 1.1).with_float("gamma", 1.2),
        floats(DType::F32, &[900], 4),
    );
    one("Celu", Attrs::new().with_float("alpha", 1.4), floats(DType::F32, &[900], 4));
}

#[test]
fn functions_through_f32_round_once_more() {
    for dtype in [DType::F16, DType::BF16] {
        for op in ["Exp", "Log", "Tanh", "Sigmoid", "Gelu", "Sin"] {
            one(op, Attrs::new(), floats(dtype, &[700], 5));
        }
    }
}

#[test]
fn functions_of_f64() {
    for op in [
        "Exp", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Sigmoid",
        "Softplus", "Mish",
    ] {
        one(op, Attrs::new(), floats(DType::F64, &[300], 6));
    }
}

#[test]
fn two_floats_broadcast() {
    for dtype in FLOATS {
        for op in ["Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Pow"] {
            Case::new(op, Attrs::new(), vec![floats(dtype, &[257], 1), floats(dtype, &[257], 2)]).check();
            Case::new(op, Attrs::new(), vec![floats(dtype, &[3, 5, 7], 3), floats(dtype, &[5, 1], 4)])
                .check();
        }
        for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
            Case::new(op, Attrs::new(), vec![floats(dtype, &[300], 5), floats(dtype, &[300], 5)]).check();
            Case::new(
                op,
                Attrs::new(),
                vec![floats(dtype, &[2, 1, 3, 1, 5], 6), floats(dtype, &[4, 1, 2, 1], 7)],
            )
            .check();
        }
        one("IsNaN", Attrs::new(), floats(dtype, &[300], 8));
        for (negative, positive) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let attrs =
                Attrs::new().with_int("detect_negative", negative).with_int("detect_positive", positive);
            one("IsInf", attrs, floats(dtype, &[300], 8));
        }
    }
}

#[test]
fn folds_and_limits() {
    for dtype in FLOATS {
        let of = |shape: &[usize], seed| floats(dtype, shape, seed);
        Case::new("Max", Attrs::new(), vec![of(&[4, 3], 1), of(&[3], 2), of(&[4, 1], 3)]).check();
        Case::new("Min", Attrs::new(), vec![of(&[4, 3], 1)]).check();
        Case::new("Sum", Attrs::new(), vec![of(&[4, 3], 1), of(&[3], 2)]).check();
        let (low, high) = (of(&[], 0), of(&[], 1));
        let x = || Some(of(&[500], 9));
        for limits in
            [[Some(low.clone()), Some(high.clone())], [None, Some(high)], [Some(low), None], [None, None]]
        {
            let [low, high] = limits;
            Case::with_optional("Clip", Attrs::new(), vec![x(), low, high]).check();
        }
    }
    Case::new("Sum", Attrs::new(), (0..4).map(|k| floats(DType::F32, &[200], k)).collect()).check();
}

#[test]
fn integers_wrap_and_divide() {
    for dtype in INTEGERS {
        for op in ["Add", "Sub", "Mul", "Max", "Min", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "PRelu"] {
            if op == "PRelu" && !matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64) {
                continue;
            }
            Case::new(op, Attrs::new(), vec![integers(dtype, &[4, 80], 1), integers(dtype, &[80], 2)])
                .check();
        }
        for (op, attrs) in
            [("Div", Attrs::new()), ("Mod", Attrs::new()), ("Mod", Attrs::new().with_int("fmod", 1))]
        {
            let divisor = tensors::without_zeros(integers(dtype, &[320], 3));
            Case::new(op, attrs.clone(), vec![integers(dtype, &[320], 4), divisor]).check();
            // A zero among the divisors is a fault, whether the host knows it or not.
            let pair = || vec![integers(dtype, &[320], 4), Tensor::zeros(dtype, &[]).unwrap()];
            Case::new(op, attrs.clone(), pair()).check();
            Case::new(op, attrs, pair()).on_host(&[1]).check();
        }
        for direction in ["LEFT", "RIGHT"] {
            let counts =
                tensors::bytes_of(dtype, &[200], |i| [0u8, 1, 7, 8, 15, 31, 33, 63, 64, 200][i % 10]);
            let attrs = Attrs::new().with_str("direction", direction);
            Case::new("BitShift", attrs, vec![integers(dtype, &[200], 5), counts]).check();
        }
        one("Abs", Attrs::new(), integers(dtype, &[100], 6));
        one("Sign", Attrs::new(), integers(dtype, &[100], 6));
        one("BitwiseNot", Attrs::new(), integers(dtype, &[100], 6));
        for op in ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"] {
            Case::new(op, Attrs::new(), vec![integers(dtype, &[150], 7), integers(dtype, &[150], 7)]).check();
            Case::new(op, Attrs::new(), vec![integers(dtype, &[150], 7), integers(dtype, &[1], 8)]).check();
        }
        let limits = vec![
            Some(integers(dtype, &[90], 9)),
            Some(integers(dtype, &[], 2)),
            Some(integers(dtype, &[], 1)),
        ];
        Case::with_optional("Clip", Attrs::new(), limits).check();
    }
    for dtype in [DType::I8, DType::I16, DType::I32, DType::I64] {
        one("Neg", Attrs::new(), integers(dtype, &[100], 6));
        one("Relu", Attrs::new(), integers(dtype, &[100], 6));
    }
}

#[test]
fn truth_values() {
    for op in ["And", "Or", "Xor"] {
        Case::new(op, Attrs::new(), vec![truths(&[7, 30], 1), truths(&[30], 2)]).check();
    }
    one("Not", Attrs::new(), truths(&[77], 3));
    Case::new("Equal", Attrs::new(), vec![truths(&[77], 3), truths(&[77], 4)]).check();
}

#[test]
fn selection_of_every_size() {
    for dtype in [DType::U8, DType::F16, DType::F32, DType::F64, DType::I4, DType::Bool] {
        let of = |shape: &[usize], byte: u8| {
            if dtype == DType::Bool {
                truths(shape, u64::from(byte))
            } else {
                tensors::bytes_of(dtype, shape, |i| (i as u8).wrapping_mul(byte) & 7)
            }
        };
        Case::new("Where", Attrs::new(), vec![truths(&[5, 1, 3], 1), of(&[4, 3], 3), of(&[5, 4, 1], 5)])
            .check();
        Case::new("Where", Attrs::new(), vec![truths(&[60], 1), of(&[], 3), of(&[60], 5)]).check();
    }
}

#[test]
fn casts_between_all_types() {
    let all = FLOATS.iter().chain(&INTEGERS).copied().chain([DType::Bool]);
    for from in all.clone() {
        for to in all.clone() {
            let x = match from {
                DType::Bool => truths(&[50], 1),
                dtype if dtype.is_float() => floats(dtype, &[600], 11),
                dtype => integers(dtype, &[400], 12),
            };
            one("Cast", Attrs::new().with_int("to", i64::from(to.code())), x);
        }
    }
}

#[test]
fn casts_round_once_at_ties() {
    let to = |dtype: DType| Attrs::new().with_int("to", i64::from(dtype.code()));
    // Midpoints between neighbours of f16 and bf16, and what is just off them, from f64.
    let mut values = Vec::new();
    for bits in (0..0x7c00u16).step_by(37) {
        let tie = (f16::from_bits(bits).to_f64() + f16::from_bits(bits + 1).to_f64()) / 2.0;
        values.extend([tie.next_down(), tie, tie.next_up(), -tie]);
    }
    for bits in (0..0x7f80u16).step_by(41) {
        let tie = (bf16::from_bits(bits).to_f64() + bf16::from_bits(bits + 1).to_f64()) / 2.0;
        values.extend([tie.next_down(), tie, -tie.next_up()]);
    }
    let x = Tensor::from_slice(&[values.len()], &values);
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        one("Cast", to(dtype), x.clone());
    }
    let wide: Vec<u64> = (0..64)
        .flat_map(|k| [1u64 << k, (1 << k) + 1, (1u64 << k) + (1u64 << k >> 9) + 1, u64::MAX >> k])
        .collect();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        one("Cast", to(dtype), Tensor::from_slice(&[wide.len()], &wide));
        let signed: Vec<i64> = wide.iter().map(|&v| (v as i64).wrapping_neg()).collect();
        one("Cast", to(dtype), Tensor::from_slice(&[signed.len()], &signed));
    }
}

#[test]
fn nothing_at_all() {
    one("Exp", Attrs::new(), floats(DType::F32, &[0, 3], 1));
    Case::new("Add", Attrs::new(), vec![floats(DType::F32, &[0, 3], 1), floats(DType::F32, &[3], 1)]).check();
    one("Exp", Attrs::new(), floats(DType::F32, &[], 1));
}
