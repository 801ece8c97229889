//! Cases for what kernels do again: threads that take one element after another, a block with nothing left exactly at the
//! end, subtrees of every number of blocks, tiles that end at every place.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_cuda::launch::contract::product::Tiles;
use repops_ptx::suite::{Case, Draw};

use super::elementwise::{converted, floats};
use super::{case, vector};

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    elements(&mut out);
    moves(&mut out);
    others(&mut out);
    turns(&mut out);
    out
}

pub fn long() -> Vec<Case> {
    let mut out = Vec::new();
    subtrees(&mut out);
    images(&mut out);
    edges(&mut out);
    out
}

/// Lengths with as many blocks as they are run in: whole rounds of all threads, and some left over.
const ROUNDS: [(usize, u32); 2] = [(2048, 1), (2700, 2)];

fn elements(out: &mut Vec<Case>) {
    let mut draw = Draw::new(101);
    for (n, blocks) in ROUNDS {
        let mut push = |case: Case| out.push(case.aligned().in_blocks(blocks));
        for dtype in [DType::F32, DType::F16, DType::F64] {
            let of = |seed| floats(dtype, &[n], seed);
            push(case("Neg", vec![of(1)]));
            push(case("Tanh", vec![of(2)]));
            push(case("IsNaN", vec![of(3)]));
            push(case("Clip", vec![of(4), floats(dtype, &[], 5), floats(dtype, &[], 6)]));
            for op in ["Add", "Pow", "Less"] {
                push(case(op, vec![of(7), of(8)]));
                push(case(op, vec![of(9), floats(dtype, &[], 10)]));
            }
        }
        for dtype in [DType::U8, DType::I32, DType::I64] {
            push(case("Abs", vec![draw.any_tensor(dtype, &[n])]));
            push(case("Max", vec![draw.any_tensor(dtype, &[n]), draw.any_tensor(dtype, &[n])]));
            push(case("Less", vec![draw.any_tensor(dtype, &[n]), draw.any_tensor(dtype, &[n])]));
            let to = Attrs::new().with_int("to", i64::from(DType::F32.code()));
            push(Case::new("Cast", to, vec![draw.any_tensor(dtype, &[n])]));
        }
        push(case("Not", vec![draw.any_tensor(DType::Bool, &[n])]));
        push(case("And", vec![draw.any_tensor(DType::Bool, &[n]), draw.any_tensor(DType::Bool, &[n])]));
        for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
            let c = draw.any_tensor(DType::Bool, &[n]);
            push(case("Where", vec![c, draw.any_tensor(dtype, &[n]), draw.any_tensor(dtype, &[n])]));
        }
        for dtype in [DType::F32, DType::BF16, DType::F64] {
            let mut inputs = vec![floats(dtype, &[1, 4, n / 4], 11)];
            inputs.extend((0..3).map(|seed| floats(dtype, &[4], 12 + seed)));
            inputs.push(converted(Tensor::from_slice(&[4], &[0.5f32, 1.25, 1e-3, 7.0]), dtype));
            push(Case::new("BatchNormalization", Attrs::new().with_float("epsilon", 1e-3), inputs));
        }
    }
    // So many that a result which two roundings change is among them.
    let plain = |draw: &mut Draw, shape: &[usize]| draw.plain_tensor(shape);
    let inputs = vec![
        plain(&mut draw, &[1, 8, 1500]),
        plain(&mut draw, &[8]),
        plain(&mut draw, &[8]),
        plain(&mut draw, &[8]),
        draw.tensor(&[8], |draw| draw.plain().abs()),
    ];
    out.push(Case::new("BatchNormalization", Attrs::new().with_float("epsilon", 1e-3), inputs));
}

fn moves(out: &mut Vec<Case>) {
    let mut draw = Draw::new(102);
    for (n, blocks) in [(512, 1), (690, 2)] {
        let mut push = |case: Case| out.push(case.aligned().in_blocks(blocks));
        for dtype in [DType::U8, DType::BF16, DType::I32, DType::I64] {
            let mut of = |shape: &[usize]| draw.any_tensor(dtype, shape);
            push(Case::new("Transpose", Attrs::new().with_ints("perm", &[1, 0]), vec![of(&[n / 2, 2])]));
            push(Case::new("Expand", Attrs::new(), vec![of(&[n / 2, 1]), vector(&[1, 2])]).on_host(&[1]));
            push(Case::new("Pad", Attrs::new(), vec![of(&[n - 12]), vector(&[5, 7]), of(&[])]).on_host(&[1]));
            push(Case::new("Pad", Attrs::new(), vec![of(&[n - 12]), vector(&[5, 7])]).on_host(&[1]));
            for upper in [0, 1] {
                let inputs = vec![of(&[2, n / 4, 2]), Tensor::scalar(-1i64)];
                push(Case::new("Trilu", Attrs::new().with_int("upper", upper), inputs).on_host(&[1]));
            }
            let mut draw = Draw::new(103);
            let indices = draw.tensor(&[n / 2], |draw| draw.below(26) as i64 - 13);
            push(case("Gather", vec![of(&[13, 2]), indices]));
            let indices = draw.tensor(&[n], |draw| draw.below(26) as i64 - 13);
            push(case("GatherElements", vec![of(&[13]), indices.clone()]));
            push(case("ScatterElements", vec![of(&[13]), indices, of(&[n])]));
            let tuples = draw.tensor(&[n / 2, 1], |draw| draw.below(26) as i64 - 13);
            push(case("GatherND", vec![of(&[13, 2]), tuples.clone()]));
            push(case("ScatterND", vec![of(&[13, 2]), tuples, of(&[n / 2, 2])]));
            // As many tuples, and as many slices, as threads.
            let tuples = draw.tensor(&[n, 1], |draw| draw.below(2 * n) as i64 - n as i64);
            push(case("ScatterND", vec![of(&[n]), tuples, of(&[n])]));
            if dtype != DType::I64 {
                push(
                    Case::new("TopK", Attrs::new(), vec![of(&[2, n / 2]), vector(&[9])])
                        .on_host(&[1])
                        .outputs(2),
                );
            }
        }
        // No two of six axes can be merged; rank and position of each show.
        for dtype in [DType::U8, DType::I32] {
            let indices = draw.tensor(&[2; 6], |draw| draw.below(6) as i64 - 3);
            for axis in [0, 2, 5] {
                let attrs = Attrs::new().with_int("axis", axis);
                let x = draw.any_tensor(dtype, &[3; 6]);
                push(
                    Case::new("GatherElements", attrs.clone(), vec![x.clone(), indices.clone()]).in_blocks(0),
                );
                let inputs = vec![x, indices.clone(), draw.any_tensor(dtype, &[2; 6])];
                push(Case::new("ScatterElements", attrs, inputs).in_blocks(0));
            }
        }
    }
}

fn others(out: &mut Vec<Case>) {
    let mut draw = Draw::new(104);
    for (n, blocks) in [(512, 1), (690, 2)] {
        let mut push = |case: Case| out.push(case.aligned().in_blocks(blocks));
        for dtype in [DType::U8, DType::I16] {
            let x = draw.tensor(&[n], |draw| draw.hard() * [1.0, 50.0, 3000.0][draw.below(3)]);
            let inputs = vec![x, Tensor::scalar(0.37f32), draw.any_tensor(dtype, &[])];
            push(Case::new("QuantizeLinear", Attrs::new(), inputs));
            let inputs = vec![draw.any_tensor(dtype, &[n]), Tensor::scalar(0.37f32)];
            push(Case::new("DequantizeLinear", Attrs::new(), inputs));
        }
        push(Case::new("DynamicQuantizeLinear", Attrs::new(), vec![draw.plain_tensor(&[n])]).outputs(3));
        let window = Attrs::new().with_ints("kernel_shape", &[3]).with_ints("pads", &[1, 1]);
        for dtype in [DType::F32, DType::F16] {
            push(Case::new("AveragePool", window.clone(), vec![floats(dtype, &[1, 2, n / 2], 3)]));
            push(Case::new("MaxPool", window.clone(), vec![floats(dtype, &[1, 2, n / 2], 4)]).outputs(2));
        }
        // Windows that take nothing.
        let empty = Attrs::new().with_ints("kernel_shape", &[1]).with_ints("pads", &[1, 1]);
        push(Case::new("MaxPool", empty.clone(), vec![floats(DType::F32, &[1, 2, 5], 4)]).outputs(2));
        push(Case::new("MaxPool", empty, vec![draw.any_tensor(DType::I8, &[1, 2, 5])]).outputs(2));
        push(Case::new("MaxPool", window, vec![draw.any_tensor(DType::U8, &[1, 2, n / 2])]).outputs(2));
        let inputs = vec![draw.finite_tensor(&[1, 2, n + 2]), draw.finite_tensor(&[1, 2, 3])];
        push(Case::new("Conv", Attrs::new(), inputs));
        for interleaved in [0, 1] {
            let attrs = Attrs::new().with_int("heads", 2).with_int("interleaved", interleaved);
            let inputs = vec![
                draw.plain_tensor(&[n / 4, 4]),
                draw.plain_tensor(&[n / 4, 1]),
                draw.plain_tensor(&[n / 4, 1]),
            ];
            push(Case::new("SequenceRotary", attrs, inputs));
        }
    }
}

/// Tiles of a turned matrix that end at each of the four rows and columns of a thread.
fn turns(out: &mut Vec<Case>) {
    let mut draw = Draw::new(105);
    for extent in [40, 47, 48, 55, 56, 63, 64, 65] {
        for shape in [[extent, 33], [33, extent]] {
            let perm = Attrs::new().with_ints("perm", &[1, 0]);
            out.push(Case::new("Transpose", perm, vec![draw.any_tensor(DType::F32, &shape)]).aligned());
        }
    }
}

/// Rows of each number of blocks from two on: what waits at each level, and what is left at the end.
fn subtrees(out: &mut Vec<Case>) {
    let of = |dtype, shape: &[usize], seed| converted(Draw::new(seed).plain_tensor(shape), dtype);
    for dtype in [DType::F32, DType::F64] {
        for blocks in 2..=9 {
            let n = blocks * 4096 - [0, 77][blocks % 2];
            let x = of(dtype, &[1, n], blocks as u64);
            for op in ["ReduceSum", "ReduceL2"] {
                out.push(Case::new(op, Attrs::new(), vec![x.clone(), vector(&[1])]).on_host(&[1]).aligned());
            }
            let near: Vec<f64> = (0..n).map(|at| 1.0 + (at % 97) as f64 / 97e3 - 5e-4).collect();
            let near = converted(Tensor::from_slice(&[1, n], &near), dtype);
            out.push(Case::new("ReduceProd", Attrs::new(), vec![near, vector(&[1])]).on_host(&[1]).aligned());
            let norm = vec![x.clone(), of(dtype, &[n], 2), of(dtype, &[n], 3)];
            out.push(case("LayerNormalization", norm.clone()).outputs(3).aligned());
            out.push(case("RMSNormalization", norm[..2].to_vec()).aligned());
            // Functions of f64 take a thousand operations.
            if dtype == DType::F32 || matches!(blocks, 3 | 6 | 7) {
                out.push(case("Softmax", vec![x.clone()]).aligned());
                let attrs = Attrs::new();
                out.push(Case::new("ReduceLogSumExp", attrs, vec![x, vector(&[1])]).on_host(&[1]).aligned());
            }
        }
    }
}

/// Whole tiles of convolutions of several chunks, each number of which leaves other subtrees waiting.
fn images(out: &mut Vec<Case>) {
    let mut draw = Draw::new(106);
    for (tiles, rows) in [(Tiles::Of128x128, 128), (Tiles::Of64x64, 64), (Tiles::Of16x128, 16)] {
        for channels in [21, 29, 50] {
            let attrs = Attrs::new().with_ints("pads", &[2, 2, 2, 2]);
            let inputs =
                vec![draw.finite_tensor(&[1, channels, 12, 12]), draw.finite_tensor(&[rows, channels, 5, 5])];
            out.push(Case::new("Conv", attrs, inputs).aligned().cut(tiles, true));
        }
    }
}

/// Tiles that end at each of their rows and columns.
fn edges(out: &mut Vec<Case>) {
    let mut draw = Draw::new(107);
    for (tiles, rows, columns) in
        [(Tiles::Of128x128, 128, 128), (Tiles::Of64x64, 64, 64), (Tiles::Of16x128, 16, 128)]
    {
        for extent in 1..=columns {
            for dtype in [DType::F32, DType::BF16] {
                let m = extent.min(rows);
                let inputs = vec![
                    converted(draw.plain_tensor(&[m, 3]), dtype),
                    converted(draw.plain_tensor(&[3, extent]), dtype),
                ];
                out.push(case("MatMul", inputs).aligned().cut(tiles, true));
            }
            let inputs =
                vec![draw.plain_tensor(&[1, 2, extent]), draw.plain_tensor(&[extent.min(rows), 2, 1])];
            let attrs = Attrs::new().with_ints("pads", &[1, 0]);
            out.push(Case::new("Conv", attrs, inputs).aligned().cut(tiles, true));
        }
    }
    // Products of bytes, whose terms and columns are staged by words.
    for extent in 1..=68 {
        for (m, k, n) in [(9, extent, 5), (9, 5, extent), (2, extent, 5), (2, 5, 2 * extent)] {
            let inputs = vec![draw.any_tensor(DType::U8, &[m, k]), draw.any_tensor(DType::I8, &[k, n])];
            out.push(case("MatMulInteger", inputs).aligned());
        }
    }
    // The last row of a step at each of its places, where columns end with a word.
    for k in 1..=32 {
        for (m, n) in [(9, 8), (9, 60), (2, 12)] {
            let inputs = vec![draw.any_tensor(DType::U8, &[m, k]), draw.any_tensor(DType::I8, &[k, n])];
            out.push(case("MatMulInteger", inputs).aligned());
        }
    }
}
