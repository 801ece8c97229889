//! Row reductions and what is made of them, on the interpreter: rows of one block, of several, of odd remainders.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::Case;

mod tensors;
use tensors::{floats, integers, tame, truths};

const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

fn axes(list: &[i64]) -> Tensor {
    Tensor::from_slice(&[list.len()], list)
}

fn reduce(op: &'static str, x: Tensor, list: &[i64]) {
    Case::new(op, Attrs::new(), vec![x, axes(list)]).on_host(&[1]).check();
}

const ALL: [&str; 10] = [
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

#[test]
fn every_reduction_of_every_float() {
    for dtype in FLOATS {
        for op in ALL {
            reduce(op, tame(dtype, &[9, 70], 1), &[1]);
            reduce(op, tame(dtype, &[2, 3, 5, 4], 2), &[0, 2]);
            reduce(op, floats(dtype, &[20, 33], 3), &[-1]);
            Case::new(op, Attrs::new().with_int("keepdims", 0), vec![tame(dtype, &[3, 50], 4)]).check();
        }
    }
}

#[test]
fn rows_of_several_blocks() {
    for length in [4095, 4096, 4097, 3 * 4096, 9 * 4096 + 77] {
        reduce("ReduceSum", tame(DType::F32, &[2, length], 5), &[1]);
    }
    reduce("ReduceMean", tame(DType::F32, &[8200, 2], 6), &[0]);
    reduce("ReduceProd", tame(DType::F64, &[5000], 7), &[0]);
    reduce("ReduceL2", tame(DType::BF16, &[3, 2, 2100], 8), &[0, 2]);
    reduce("ReduceLogSumExp", tame(DType::F32, &[1, 4200], 9), &[1]);
    reduce("ReduceMax", floats(DType::F32, &[2, 4200], 9), &[1]);
}

#[test]
fn nothing_to_reduce() {
    for op in ALL {
        reduce(op, Tensor::zeros(DType::F32, &[3, 0]).unwrap(), &[1]);
        reduce(op, Tensor::zeros(DType::F16, &[0, 3]).unwrap(), &[1]);
        Case::new(
            op,
            Attrs::new().with_int("noop_with_empty_axes", 1),
            vec![floats(DType::F32, &[40], 1), axes(&[])],
        )
        .on_host(&[1])
        .check();
    }
    for op in ["ReduceMax", "ReduceMin"] {
        for dtype in [DType::I8, DType::U8, DType::I64, DType::U64, DType::Bool] {
            reduce(op, Tensor::zeros(dtype, &[3, 0]).unwrap(), &[1]);
        }
    }
}

#[test]
fn integers_wrap() {
    for dtype in [DType::I32, DType::I64, DType::U32, DType::U64] {
        for op in ["ReduceSum", "ReduceL1", "ReduceSumSquare", "ReduceProd"] {
            reduce(op, integers(dtype, &[5, 77], 1), &[1]);
            reduce(op, integers(dtype, &[5000, 2], 2), &[0]);
        }
    }
    for dtype in
        [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32, DType::U32, DType::I64, DType::U64]
    {
        reduce("ReduceMax", integers(dtype, &[5, 77], 3), &[1]);
        reduce("ReduceMin", integers(dtype, &[5, 77], 3), &[1]);
    }
    reduce("ReduceMax", truths(&[40, 3], 4), &[1]);
    reduce("ReduceMin", truths(&[40, 3], 4), &[1]);
}

#[test]
fn softmax_along_any_axis() {
    for dtype in FLOATS {
        for op in ["Softmax", "LogSoftmax"] {
            Case::new(op, Attrs::new(), vec![tame(dtype, &[9, 45], 1)]).check();
            Case::new(op, Attrs::new().with_int("axis", 1), vec![tame(dtype, &[2, 30, 3], 2)]).check();
            Case::new(op, Attrs::new(), vec![floats(dtype, &[12, 5], 3)]).check();
        }
    }
    Case::new("Softmax", Attrs::new(), vec![tame(DType::F32, &[1, 4099], 4)]).check();
    let masked: Vec<f32> =
        (0..64).map(|i| if i % 3 == 0 { f32::NEG_INFINITY } else { i as f32 * 0.1 }).collect();
    Case::new("Softmax", Attrs::new(), vec![Tensor::from_slice(&[2, 32], &masked)]).check();
}

#[test]
fn normalizations_of_last_axes() {
    for dtype in FLOATS {
        let of = |shape: &[usize], seed| tame(dtype, shape, seed);
        Case::new("LayerNormalization", Attrs::new(), vec![of(&[7, 50], 1), of(&[50], 2), of(&[50], 3)])
            .outputs(3)
            .check();
        Case::new(
            "LayerNormalization",
            Attrs::new().with_int("axis", 1),
            vec![of(&[3, 4, 5], 1), of(&[4, 1], 2)],
        )
        .check();
        Case::new("RMSNormalization", Attrs::new(), vec![of(&[7, 50], 1), of(&[50], 2)]).check();
        Case::new("RMSNormalization", Attrs::new().with_int("axis", 0), vec![of(&[3, 4], 1), of(&[], 2)])
            .check();
        let channels = || vec![of(&[2, 6, 3, 5], 4), of(&[6], 5), of(&[6], 6)];
        Case::new("InstanceNormalization", Attrs::new(), channels()).check();
        Case::new("GroupNormalization", Attrs::new().with_int("num_groups", 2), channels()).check();
    }
    let long =
        vec![tame(DType::F32, &[2, 4500], 7), tame(DType::F32, &[4500], 8), tame(DType::F32, &[4500], 9)];
    Case::new("LayerNormalization", Attrs::new(), long.clone()).outputs(3).check();
    Case::new("RMSNormalization", Attrs::new(), long[..2].to_vec()).check();
    let mixed = vec![tame(DType::F16, &[4, 20], 1), tame(DType::F32, &[20], 2)];
    Case::new("RMSNormalization", Attrs::new(), mixed).check();
}

#[test]
fn global_pools() {
    for dtype in FLOATS {
        Case::new("GlobalAveragePool", Attrs::new(), vec![tame(dtype, &[2, 3, 7, 9], 1)]).check();
        Case::new("GlobalMaxPool", Attrs::new(), vec![floats(dtype, &[2, 3, 7, 9], 1)]).check();
    }
}

#[test]
fn places_of_extremes() {
    for op in ["ArgMax", "ArgMin"] {
        for last in [0, 1] {
            for axis in [0, 1] {
                let attrs = Attrs::new().with_int("axis", axis).with_int("select_last_index", last);
                for dtype in [DType::F32, DType::F16, DType::BF16] {
                    Case::new(op, attrs.clone(), vec![floats(dtype, &[40, 35], 1)]).check();
                    Case::new(op, attrs.clone(), vec![tame(dtype, &[40, 35], 1)]).check();
                }
                for dtype in [DType::I8, DType::U8, DType::I16, DType::U16, DType::I32, DType::U32] {
                    Case::new(op, attrs.clone(), vec![integers(dtype, &[40, 35], 1)]).check();
                }
            }
        }
        Case::new(op, Attrs::new().with_int("axis", 1), vec![tame(DType::F32, &[2, 5000], 1)]).check();
    }
}

#[test]
fn chains_along_an_axis() {
    for op in ["CumSum", "CumProd"] {
        for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let attrs = Attrs::new().with_int("exclusive", exclusive).with_int("reverse", reverse);
            for axis in [0i64, -1] {
                for x in [
                    tame(DType::F32, &[20, 30], 1),
                    tame(DType::F16, &[20, 30], 1),
                    integers(DType::I64, &[20, 30], 2),
                    integers(DType::U32, &[20, 30], 2),
                ] {
                    Case::new(op, attrs.clone(), vec![x, Tensor::scalar(axis)]).on_host(&[1]).check();
                }
            }
        }
    }
}
