//! Reductions of rows and what is made of them.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::elementwise::converted;
use super::{case, vector};

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

pub fn floats(dtype: DType, shape: &[usize], seed: u64, hard: bool) -> Tensor {
    let mut draw = Draw::new(seed);
    let tensor = if hard { draw.hard_tensor(shape) } else { draw.finite_tensor(shape) };
    if dtype == DType::F32 {
        return tensor;
    }
    let attrs = Attrs::new().with_int("to", i64::from(dtype.code()));
    let wanted = Case::new("Cast", attrs, vec![tensor]).wanted().expect("a cast");
    wanted.result.expect("no fault").remove(0)
}

fn reduce(out: &mut Vec<Case>, op: &'static str, x: Tensor, axes: &[i64]) {
    out.push(Case::new(op, Attrs::new(), vec![x, vector(axes)]).on_host(&[1]));
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    reductions(&mut out);
    for dtype in FLOATS {
        let of = |shape: &[usize], seed| floats(dtype, shape, seed, false);
        for op in ["Softmax", "LogSoftmax"] {
            out.push(case(op, vec![of(&[9, 45], 1)]));
            out.push(Case::new(op, Attrs::new().with_int("axis", 1), vec![of(&[2, 30, 3], 2)]));
            out.push(case(op, vec![floats(dtype, &[12, 5], 3, true)]));
        }
        let norm = vec![of(&[7, 50], 1), of(&[50], 2), of(&[50], 3)];
        out.push(case("LayerNormalization", norm).outputs(3));
        let attrs = Attrs::new().with_int("axis", 1);
        out.push(Case::new("LayerNormalization", attrs, vec![of(&[3, 4, 5], 1), of(&[4, 1], 2)]));
        out.push(case("RMSNormalization", vec![of(&[7, 50], 1), of(&[50], 2)]));
        let channels = || vec![of(&[2, 6, 3, 5], 4), of(&[6], 5), of(&[6], 6)];
        out.push(case("InstanceNormalization", channels()));
        out.push(Case::new("GroupNormalization", Attrs::new().with_int("num_groups", 2), channels()));
        out.push(case("GlobalAveragePool", vec![of(&[2, 3, 7, 9], 1)]));
        out.push(case("GlobalMaxPool", vec![floats(dtype, &[2, 3, 7, 9], 1, true)]));
    }
    let of = |shape: &[usize], seed| floats(DType::F32, shape, seed, false);
    out.push(case("Softmax", vec![of(&[1, 4099], 4)]));
    out.push(case("LayerNormalization", vec![of(&[2, 4500], 7), of(&[4500], 8), of(&[4500], 9)]).outputs(3));
    out.push(case("RMSNormalization", vec![of(&[2, 4500], 7), of(&[4500], 8)]));
    extremes_and_chains(&mut out);
    out
}

fn reductions(out: &mut Vec<Case>) {
    let mut draw = Draw::new(60);
    let all = [
        "ReduceSum",
        "ReduceMean",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "ReduceProd",
        "ReduceMax",
        "ReduceMin",
    ];
    for op in all {
        for dtype in FLOATS {
            reduce(out, op, floats(dtype, &[9, 70], 1, false), &[1]);
            reduce(out, op, floats(dtype, &[2, 3, 5, 4], 2, false), &[0, 2]);
            reduce(out, op, floats(dtype, &[20, 33], 3, true), &[-1]);
        }
        reduce(out, op, floats(DType::F32, &[1, 4200], 4, false), &[1]);
    }
    for length in [4095, 4097, 9 * 4096 + 77] {
        reduce(out, "ReduceSum", floats(DType::F32, &[2, length], 5, false), &[1]);
    }
    reduce(out, "ReduceSum", floats(DType::F64, &[5000, 1], 7, false), &[0]);
    // Zeros of both signs, which compare alike: in each row another one is the extreme.
    for (op, most) in [("ReduceMax", 0.0f32), ("ReduceMin", -0.0)] {
        let zeros: Vec<f32> = (0..70 * 70).map(|at| if at / 70 == at % 70 { most } else { -most }).collect();
        for dtype in FLOATS {
            reduce(out, op, converted(Tensor::from_slice(&[70, 70], &zeros), dtype), &[1]);
        }
    }
    for dtype in [DType::I32, DType::I64, DType::U32, DType::U64] {
        for op in ["ReduceSum", "ReduceL1", "ReduceSumSquare", "ReduceProd"] {
            reduce(out, op, draw.any_tensor(dtype, &[5, 77]), &[1]);
        }
    }
    for dtype in
        [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32, DType::U32, DType::I64, DType::U64]
    {
        reduce(out, "ReduceMax", draw.any_tensor(dtype, &[5, 77]), &[1]);
        reduce(out, "ReduceMin", draw.any_tensor(dtype, &[5, 77]), &[1]);
    }
    reduce(out, "ReduceMax", draw.any_tensor(DType::I32, &[5000, 2]), &[0]);
    reduce(out, "ReduceMax", draw.any_tensor(DType::Bool, &[40, 3]), &[1]);
}

fn extremes_and_chains(out: &mut Vec<Case>) {
    let mut draw = Draw::new(61);
    for op in ["ArgMax", "ArgMin"] {
        for last in [0, 1] {
            let attrs = |axis| Attrs::new().with_int("axis", axis).with_int("select_last_index", last);
            for dtype in [DType::F32, DType::F16, DType::BF16] {
                out.push(Case::new(op, attrs(1), vec![floats(dtype, &[9, 135], 1, false)]));
                out.push(Case::new(op, attrs(0), vec![floats(dtype, &[40, 5], 2, true)]));
            }
            for dtype in [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32] {
                out.push(Case::new(op, attrs(1), vec![draw.any_tensor(dtype, &[9, 135])]));
            }
            for dtype in [DType::I64, DType::U64, DType::F64] {
                out.push(Case::new(op, attrs(1), vec![draw.any_tensor(dtype, &[9, 135])]));
                out.push(Case::new(op, attrs(0), vec![draw.any_tensor(dtype, &[40, 5])]));
                out.push(Case::new(op, attrs(0), vec![draw.any_tensor(dtype, &[5000])]));
            }
            // Extremes at several places, and zeros of both signs.
            let few = draw.tensor(&[12, 70], |draw| [0.0f64, -0.0, 1.0, -1.0][draw.below(4)]);
            out.push(Case::new(op, attrs(1), vec![few.clone()]));
            let few = few.as_slice::<f64>().iter().map(|value| *value as i64).collect::<Vec<_>>();
            out.push(Case::new(op, attrs(1), vec![Tensor::from_slice(&[12, 70], &few)]));
        }
    }
    for op in ["CumSum", "CumProd"] {
        for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let attrs = Attrs::new().with_int("exclusive", exclusive).with_int("reverse", reverse);
            let integers =
                [DType::I64, DType::U32, DType::I32, DType::U64].map(|d| draw.any_tensor(d, &[20, 30]));
            let floats = [DType::F32, DType::F16, DType::BF16].map(|d| floats(d, &[20, 30], 3, false));
            let doubles = [0, 1].map(|_| draw.any_tensor(DType::F64, &[20, 30]));
            for (at, x) in integers.into_iter().chain(floats).chain(doubles).enumerate() {
                let axis = Tensor::scalar(if at % 2 == 0 { 0i64 } else { -1 });
                out.push(Case::new(op, attrs.clone(), vec![x, axis]).on_host(&[1]));
            }
        }
    }
}
