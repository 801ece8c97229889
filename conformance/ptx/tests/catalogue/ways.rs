//! Cases for the ways that only certain shapes take: aligned rows, full tiles, all sizes of tiles, trees within a block,
//! many axes, rows of several blocks, long tuples of indices.

use repops::attrs::Attrs;
use repops::blocks::Format;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_cuda::launch::contract::integer::Way;
use repops_cuda::launch::contract::product::Tiles;
use repops_ptx::suite::{Case, Draw};

use super::contract::{PAIRS, of, weights};
use super::elementwise::floats;
use super::{case, vector};

/// Tiles with their rows and columns.
const TILES: [(Tiles, usize, usize); 3] =
    [(Tiles::Of16x128, 16, 128), (Tiles::Of64x64, 64, 64), (Tiles::Of128x128, 128, 128)];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    rows_of_products(&mut out);
    tiny(&mut out);
    axes(&mut out);
    tuples(&mut out);
    out
}

/// Cases of many operations.
pub fn long() -> Vec<Case> {
    let mut out = Vec::new();
    products(&mut out);
    many_tiles(&mut out);
    convolutions(&mut out);
    long_rows(&mut out);
    bytes(&mut out);
    bytes_by_large_tiles(&mut out);
    functions(&mut out);
    reductions(&mut out);
    out
}

fn gemm(
    a: DType,
    b: DType,
    (m, k, n): (usize, usize, usize),
    trans: (i64, i64),
    c: Option<Vec<usize>>,
) -> Case {
    // Every layout and type with each of them, in one case or another.
    let turn = m + n + k + trans.0 as usize + 2 * trans.1 as usize + usize::from(c.is_some());
    let (alpha, beta) = match turn % 3 {
        0 => (1.0, 1.0),
        1 => (0.75, 1.0),
        _ => (1.0, -1.5),
    };
    let attrs = Attrs::new()
        .with_int("transA", trans.0)
        .with_int("transB", trans.1)
        .with_float("alpha", alpha)
        .with_float("beta", beta);
    let a_shape = if trans.0 == 1 { [k, m] } else { [m, k] };
    let b_shape = if trans.1 == 1 { [n, k] } else { [k, n] };
    let mut inputs = vec![of(a, &a_shape, 1), of(b, &b_shape, 2)];
    inputs.extend(c.map(|shape| of(a, &shape, 3)));
    Case::new("Gemm", attrs, inputs)
}

/// Every size of tiles, every type and layout, rows that are aligned and rows that are not, whole tiles and parts.
fn products(out: &mut Vec<Case>) {
    for (tiles, rows, columns) in TILES {
        for (at, (a, b)) in PAIRS.into_iter().enumerate() {
            for trans in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                // The first a tile and a little more; the second less than a tile, of odd sizes.
                let wide = (rows + 4, 20, columns + 8);
                let odd = (rows - 3, 13, columns - 5);
                for (m, k, n) in [wide, odd] {
                    let c = match (at + trans.0 as usize) % 4 {
                        0 => Some(vec![m, n]),
                        1 => Some(vec![n]),
                        2 => Some(vec![m, 1]),
                        _ => None,
                    };
                    out.push(gemm(a, b, (m, k, n), trans, c.clone()).cut(tiles, false));
                    if trans.1 == 0 {
                        out.push(gemm(a, b, (m, k, n), trans, c).in_panels(&[1]).cut(tiles, false));
                    }
                }
            }
        }
        // Ends behind each row and column that a thread has: what lies behind them is not read, either.
        for dtype in [DType::F32, DType::BF16] {
            for end in 1..4 {
                for at in (0..rows).step_by(16) {
                    let (m, n) = (at + end, columns);
                    out.push(gemm(dtype, dtype, (m, 3, n), (0, 0), Some(vec![m, 1])).cut(tiles, true));
                }
                for at in (0..columns).step_by(32) {
                    let (m, n) = (rows, at + end);
                    out.push(gemm(dtype, dtype, (m, 3, n), (0, 0), Some(vec![n])).cut(tiles, true));
                }
            }
        }
        // Trees of four levels in a block; parts of the last chunk.
        for (a, b) in [(DType::F32, DType::F32), (DType::BF16, DType::BF16)] {
            out.push(gemm(a, b, (rows - 2, 5 * 256 + 12, columns - 4), (0, 0), None).cut(tiles, true));
        }
        let mut draw = Draw::new(15);
        let inputs = vec![draw.hard_tensor(&[rows, 40]), draw.hard_tensor(&[40, columns])];
        out.push(Case::new("Gemm", Attrs::new(), inputs).cut(tiles, true));
        for format in Format::ALL {
            let n = columns + 3;
            let attrs = Attrs::new().with_int("columns", n as i64).with_str("format", format.name());
            let inputs = vec![of(DType::F32, &[rows + 1, 256], 1), weights(format, 256, n, 2)];
            out.push(Case::new("MatMulBlocks", attrs, inputs).aligned().cut(tiles, false));
        }
    }
}

/// More tiles than blocks, so that a block has several.
fn many_tiles(out: &mut Vec<Case>) {
    for (tiles, rows, _) in TILES {
        for dtype in [DType::F32, DType::BF16] {
            let inputs = vec![of(dtype, &[521, 3, 9], 1), of(dtype, &[521, 9, 2], 2)];
            out.push(case("MatMul", inputs).aligned().cut(tiles, true));
        }
        let image = of(DType::F32, &[260, 2, 2, 3], 3);
        let attrs = Attrs::new().with_int("group", 2);
        let inputs = vec![image, of(DType::F32, &[rows.min(16), 1, 2, 2], 4)];
        out.push(Case::new("Conv", attrs, inputs).aligned().cut(tiles, true));
    }
    for (rows, heads) in [(2, 530), (17, 130)] {
        let attrs =
            Attrs::new().with_int("heads", heads).with_int("kv_heads", heads).with_float("scale", 0.6);
        let columns = 4 * heads as usize;
        let inputs = (0..3).map(|seed| of(DType::F32, &[rows, columns], seed)).collect();
        out.push(Case::new("SequenceAttention", attrs, inputs).aligned());
    }
}

/// Few rows with everything that happens as results are stored.
fn rows_of_products(out: &mut Vec<Case>) {
    for (a, b) in PAIRS {
        for m in [1, 4, 8] {
            for trans in [(0, 0), (0, 1)] {
                out.push(gemm(a, b, (m, 272, 36), trans, Some(vec![m, 36])));
                out.push(gemm(a, b, (m, 44, 35), trans, Some(vec![m, 1])));
                out.push(gemm(a, b, (m, 44, 34), trans, Some(vec![])));
            }
        }
    }
    let mut draw = Draw::new(16);
    for m in [1, 4, 8] {
        for trans in [0, 1] {
            let w = if trans == 1 { [40, 300] } else { [300, 40] };
            let attrs = Attrs::new().with_int("transB", trans);
            let inputs = vec![draw.hard_tensor(&[m, 300]), draw.hard_tensor(&w)];
            out.push(Case::new("Gemm", attrs, inputs));
        }
    }
}

/// Staged pixels in every size of tiles: padding with weights that are no numbers, neighbours that are aligned, trees.
fn convolutions(out: &mut Vec<Case>) {
    let mut draw = Draw::new(84);
    for (tiles, rows, _) in TILES {
        // Image, weights, groups, pads, dilations.
        for (image, weights, groups, pads, dilations) in [
            (&[2, 3, 12, 12][..], &[rows - 3, 3, 3, 3][..], 1, &[1, 1, 1, 1][..], &[1, 1][..]),
            (&[1, 8, 9, 9], &[2 * (rows / 2 + 4), 4, 2, 3], 2, &[0, 1, 2, 0], &[2, 1]),
            (&[1, 45, 8, 4], &[rows, 45, 5, 5], 1, &[2, 2, 2, 2], &[1, 1]),
            (&[1, 1, 14, 15], &[rows - 8, 1, 2, 2], 1, &[0, 0, 0, 0], &[1, 1]),
        ] {
            let attrs = Attrs::new().with_int("group", groups).with_ints("pads", pads);
            let attrs = attrs.with_ints("dilations", dilations);
            let (x, w) = (draw.finite_tensor(image), draw.finite_tensor(weights));
            let bias = draw.finite_tensor(&weights[..1]);
            out.push(Case::new("Conv", attrs.clone(), vec![x.clone(), w.clone(), bias]).cut(tiles, true));
            let mut infinite = w;
            for element in infinite.as_mut_slice::<f32>().iter_mut().step_by(29) {
                *element = f32::INFINITY;
            }
            out.push(Case::new("Conv", attrs, vec![x, infinite]).cut(tiles, true));
        }
    }
    // Many images for few outputs.
    let attrs = Attrs::new().with_int("group", 3).with_ints("pads", &[1, 1, 1, 1]);
    let inputs = vec![draw.hard_tensor(&[2, 6, 5, 7]), draw.hard_tensor(&[9, 2, 3, 3])];
    out.push(Case::new("Conv", attrs, inputs));
    out.push(case("Conv", vec![draw.finite_tensor(&[1, 600, 3, 3]), draw.finite_tensor(&[3, 600, 3, 3])]));
}

/// Products of numbers so small that theirs are none: sums are zeros whose signs the end of a chunk settles.
fn tiny(out: &mut Vec<Case>) {
    let mut draw = Draw::new(18);
    let mut of = |dtype, shape: &[usize]| {
        let x = draw.tensor(shape, |draw| f32::from_bits(draw.bits() as u32 & 0x8000_0000 | 0x0d80_0000));
        Case::new("Cast", Attrs::new().with_int("to", i64::from(DType::code(dtype))), vec![x])
            .wanted()
            .expect("a cast")
            .result
            .expect("no fault")
            .remove(0)
    };
    for dtype in [DType::F32, DType::BF16] {
        for (tiles, rows, columns) in TILES {
            let inputs = vec![of(dtype, &[rows, 3]), of(dtype, &[3, columns])];
            out.push(Case::new("Gemm", Attrs::new(), inputs).cut(tiles, true));
        }
        for (m, k, trans) in [(1, 3, 0), (3, 70, 0), (8, 260, 0), (1, 260, 1), (3, 3, 1), (8, 70, 1)] {
            let w = if trans == 1 { [5, k] } else { [k, 5] };
            let attrs = Attrs::new().with_int("transB", trans);
            out.push(Case::new("Gemm", attrs, vec![of(dtype, &[m, k]), of(dtype, &w)]));
        }
    }
    for (tiles, rows, _) in TILES {
        let inputs = vec![of(DType::F32, &[1, 1, 11, 12]), of(DType::F32, &[rows, 1, 1, 2])];
        out.push(Case::new("Conv", Attrs::new(), inputs).cut(tiles, true));
    }
    out.push(case("Conv", vec![of(DType::F32, &[1, 2, 6, 6]), of(DType::F32, &[2, 2, 1, 2])]));
}

/// So many chunks that a warp has several: every number of them that the last one can have.
fn long_rows(out: &mut Vec<Case>) {
    for (at, (a, b)) in PAIRS.into_iter().enumerate() {
        for (m, chunks) in [(1, 131), (1, 134), (4, 133), (4, 135), (8, 67), (8, 69), (8, 70)] {
            for trans in [0, 1] {
                let k = chunks * 256 - 3 * at;
                out.push(gemm(a, b, (m, k, 3), (0, trans), None));
            }
        }
    }
    for format in Format::ALL {
        for (m, chunks) in [(1, 131), (1, 134), (4, 133), (4, 135), (8, 67), (8, 69), (8, 70)] {
            let attrs = Attrs::new().with_int("columns", 3).with_str("format", format.name());
            let inputs = vec![of(DType::F32, &[m, chunks * 256], 1), weights(format, chunks * 256, 3, 2)];
            out.push(Case::new("MatMulBlocks", attrs, inputs).aligned());
        }
    }
}

/// Products of bytes by large tiles with all signs, aligned and not.
pub fn bytes(out: &mut Vec<Case>) {
    let mut draw = Draw::new(17);
    for (a, b) in
        [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::I8, DType::U8), (DType::U8, DType::U8)]
    {
        for (k, n) in [(37, 67), (48, 68)] {
            let (x, w) = (draw.any_tensor(a, &[96, 65, k]), draw.any_tensor(b, &[96, k, n]));
            out.push(case("MatMulInteger", vec![x, w, draw.any_tensor(a, &[]), draw.any_tensor(b, &[])]));
        }
        if a != b {
            // All parts of a step of terms, and a second step.
            let (x, w) = (draw.any_tensor(a, &[96, 65, 131]), draw.any_tensor(b, &[96, 131, 66]));
            out.push(case("MatMulInteger", vec![x, w, draw.any_tensor(a, &[]), draw.any_tensor(b, &[])]));
            // Parameters of each row and column.
            let mut scales = |n: usize| draw.tensor(&[n], |draw| draw.plain().abs() * 0.1);
            let (of_rows, of_columns, of_result) = (scales(65), scales(66), scales(65));
            let inputs = vec![
                draw.any_tensor(a, &[96, 65, 20]),
                of_rows,
                draw.any_tensor(a, &[65]),
                draw.any_tensor(b, &[96, 20, 66]),
                of_columns,
                draw.any_tensor(b, &[66]),
                of_result,
                draw.any_tensor(a, &[65]),
            ];
            out.push(case("QLinearMatMul", inputs));
        }
        let scale = |value: f32| Tensor::scalar(value);
        for shape in [&[96, 65, 20][..], &[70, 130], &[7, 600]] {
            let k = shape[shape.len() - 1];
            let w: Vec<usize> = shape[..shape.len() - 2].iter().copied().chain([k, 66]).collect();
            let inputs = vec![
                draw.any_tensor(a, shape),
                scale(0.037),
                draw.any_tensor(a, &[]),
                draw.any_tensor(b, &w),
                scale(0.02),
                draw.any_tensor(b, &[]),
                scale(1.7),
                Tensor::from_bytes(a, &[], &[0xf3]).expect("a byte"),
            ];
            out.push(case("QLinearMatMul", inputs));
        }
        for m in [1, 2, 8] {
            for (k, n) in [(100, 7), (516, 64)] {
                let (x, w) = (draw.any_tensor(a, &[m, k]), draw.any_tensor(b, &[k, n]));
                out.push(case(
                    "MatMulInteger",
                    vec![x, w, draw.any_tensor(a, &[]), draw.any_tensor(b, &[n])],
                ));
            }
        }
    }
}

/// Tiles that end behind each of the rows and columns that a thread has; and so many terms that every part of the sums of rows and
/// columns has some.
pub fn bytes_by_large_tiles(out: &mut Vec<Case>) {
    let mut draw = Draw::new(19);
    let (a, b) = (DType::U8, DType::I8);
    let ends = (0..16).flat_map(|group| [8 * group, 8 * group + 1]).skip(1).map(|end| (end, 3));
    for (end, k) in ends.chain([(125, 300)]) {
        let (x, w) = (draw.any_tensor(a, &[end, k]), draw.any_tensor(b, &[k, end]));
        let (of_x, of_w) = (draw.any_tensor(a, &[]), draw.any_tensor(b, &[]));
        let sums = case("MatMulInteger", vec![x.clone(), w.clone(), of_x.clone(), of_w.clone()]);
        out.push(sums.aligned().by(Way::LargeTiles));
        // Results of which few are the least or the greatest byte.
        let scale = Tensor::scalar(0.03f32);
        let of_result = (Tensor::scalar(if k > 100 { 20.0f32 } else { 0.3 }), Tensor::scalar(113u8));
        let inputs = vec![x, scale.clone(), of_x, w, scale, of_w, of_result.0, of_result.1];
        out.push(case("QLinearMatMul", inputs).aligned().by(Way::LargeTiles));
    }
}

/// Functions on so many inputs that what is little shows in some.
fn functions(out: &mut Vec<Case>) {
    for op in [
        "Exp", "Log", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Sigmoid",
        "Softplus", "Mish", "Erf", "Gelu", "Elu",
    ] {
        out.push(case(op, vec![spread(DType::F32, 60_000, 1)]).aligned());
        if !matches!(op, "Erf" | "Gelu") {
            out.push(case(op, vec![spread(DType::F64, 16_000, 2)]).aligned());
        }
    }
    for (dtype, count) in [(DType::F32, 60_000), (DType::F64, 20_000)] {
        let (a, b) = (spread(dtype, count, 3), spread(dtype, count, 4));
        out.push(case(
            "Pow",
            vec![case("Abs", vec![a]).wanted().expect("one").result.expect("one").remove(0), b],
        ));
    }
}

/// Numbers of all magnitudes between 2^-30 and 2^7, and powers of two themselves.
pub fn spread(dtype: DType, count: usize, seed: u64) -> Tensor {
    let mut draw = Draw::new(seed);
    let values: Vec<f64> = (0..count)
        .map(|at| {
            let bits = draw.bits();
            let small = if at % 3 == 0 { 37 } else { 6 };
            let exponent = 1023 + 7 - (bits >> 53) % small;
            let fraction = if at % 50 == 0 { 0 } else { bits & ((1 << 52) - 1) };
            f64::from_bits(bits & 1 << 63 | exponent << 52 | fraction)
        })
        .collect();
    match dtype {
        DType::F64 => Tensor::from_slice(&[count], &values),
        _ => Tensor::from_slice(&[count], &values.iter().map(|&value| value as f32).collect::<Vec<_>>()),
    }
}

/// Six axes of which no two can be merged.
fn axes(out: &mut Vec<Case>) {
    let (a, b) = (&[2, 1, 3, 1, 2, 1][..], &[1, 2, 1, 3, 1, 2][..]);
    for dtype in [DType::F32, DType::F64] {
        for op in ["Sub", "Less", "Pow"] {
            out.push(case(op, vec![floats(dtype, a, 1), floats(dtype, b, 2)]));
        }
    }
    // Four and five, and elements named along one.
    for rank in [4, 5] {
        let (a, b) = (&a[..rank], &b[..rank]);
        for dtype in [DType::F32, DType::F64] {
            for op in ["Sub", "Less", "Pow"] {
                out.push(case(op, vec![floats(dtype, a, 1), floats(dtype, b, 2)]));
            }
        }
        let mut draw = Draw::new(52);
        for op in ["Sub", "Less", "Max"] {
            out.push(case(op, vec![draw.any_tensor(DType::I32, a), draw.any_tensor(DType::I32, b)]));
        }
        out.push(case("Xor", vec![draw.any_tensor(DType::Bool, a), draw.any_tensor(DType::Bool, b)]));
        let (c, x) = (draw.any_tensor(DType::Bool, a), draw.any_tensor(DType::I32, a));
        out.push(case("Where", vec![c, x, draw.any_tensor(DType::I32, b)]));
    }
    let mut draw = Draw::new(51);
    for dtype in [DType::U8, DType::I16, DType::F32, DType::F64] {
        let indices = draw.tensor(&[9], |draw| draw.below(26) as i64 - 13);
        let x = draw.any_tensor(dtype, &[13]);
        out.push(case("GatherElements", vec![x.clone(), indices.clone()]));
        let updates = draw.any_tensor(dtype, &[9]);
        let narrow: Vec<i32> = indices.as_slice::<i64>().iter().map(|&index| index as i32).collect();
        out.push(case("ScatterElements", vec![x.clone(), indices, updates.clone()]));
        out.push(case("ScatterElements", vec![x, Tensor::from_slice(&[9], &narrow), updates]));
    }
    for op in ["Sub", "Less", "Max"] {
        out.push(case(op, vec![draw.any_tensor(DType::I32, a), draw.any_tensor(DType::I32, b)]));
    }
    for dtype in [DType::U32, DType::U64, DType::I64] {
        out.push(case("PRelu", vec![draw.any_tensor(dtype, b), draw.any_tensor(dtype, &[2])]));
    }
    out.push(case("Xor", vec![draw.any_tensor(DType::Bool, a), draw.any_tensor(DType::Bool, b)]));
    let (c, x) = (draw.any_tensor(DType::Bool, &[2, 1, 1, 1, 2, 1]), draw.any_tensor(DType::I32, a));
    out.push(case("Where", vec![c, x, draw.any_tensor(DType::I32, b)]));
    for dtype in [DType::U8, DType::I16, DType::F32, DType::F64] {
        let shape = [2, 3, 2, 2, 3, 2];
        let perm = Attrs::new().with_ints("perm", &[5, 2, 4, 0, 3, 1]);
        out.push(Case::new("Transpose", perm, vec![draw.any_tensor(dtype, &shape)]));
        let indices = draw.tensor(&[2, 2, 2, 2, 2, 2], |draw| draw.below(4) as i64 - 2);
        for axis in [0, 3, 5] {
            let attrs = Attrs::new().with_int("axis", axis);
            let x = draw.any_tensor(dtype, &shape);
            out.push(Case::new("GatherElements", attrs.clone(), vec![x.clone(), indices.clone()]));
            let updates = draw.any_tensor(dtype, &[2, 2, 2, 2, 2, 2]);
            out.push(Case::new("ScatterElements", attrs, vec![x, indices.clone(), updates]));
        }
    }
}

/// Rows of one block, of several, of more than a team; kept and reduced axes in turn.
fn reductions(out: &mut Vec<Case>) {
    let mut draw = Draw::new(62);
    let of = |dtype, shape: &[usize], seed| super::rows::floats(dtype, shape, seed, false);
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        for op in ["ReduceSum", "ReduceProd", "ReduceL2", "ReduceLogSumExp", "ReduceMax"] {
            let x = of(dtype, &[2, 3, 2, 3, 2, 3, 2], 1);
            out.push(Case::new(op, Attrs::new(), vec![x, vector(&[1, 3, 5])]).on_host(&[1]));
            let x = of(dtype, &[2, 8, 2, 8, 2, 9], 1);
            out.push(Case::new(op, Attrs::new(), vec![x, vector(&[1, 3, 5])]).on_host(&[1]));
            for length in [300, 4097, 5 * 4096 + 900, 9 * 4096 + 1] {
                let x = of(dtype, &[1, length], 2);
                out.push(Case::new(op, Attrs::new(), vec![x, vector(&[1])]).on_host(&[1]));
            }
        }
        // Products that stay numbers.
        for length in [2 * 4096 + 5, 7 * 4096 + 900, 11 * 4096 + 1] {
            let near =
                draw.tensor(&[1, length], |draw| f32::from_bits(0x3f7f_8000 + draw.bits() as u32 % 0xc000));
            let to = Attrs::new().with_int("to", i64::from(dtype.code()));
            let near = Case::new("Cast", to, vec![near]).wanted().expect("a cast").result.expect("no fault");
            let inputs = vec![near[0].clone(), vector(&[1])];
            out.push(Case::new("ReduceProd", Attrs::new(), inputs).on_host(&[1]));
        }
        for length in [300, 9 * 4096 + 300] {
            let of = |shape: &[usize], seed| of(dtype, shape, seed);
            for op in ["Softmax", "LogSoftmax"] {
                out.push(case(op, vec![of(&[2, length], 4)]));
            }
            let norm = vec![of(&[2, length], 1), of(&[length], 2), of(&[length], 3)];
            out.push(case("LayerNormalization", norm.clone()).outputs(3));
            out.push(case("RMSNormalization", norm[..2].to_vec()));
        }
        if dtype != DType::F64 {
            let x = of(dtype, &[2, 9 * 4096 + 5], 7);
            out.push(Case::new("ArgMax", Attrs::new().with_int("axis", 1), vec![x]));
        }
    }
    for dtype in [DType::I32, DType::I64, DType::U8] {
        let x = draw.any_tensor(dtype, &[2, 3, 2, 3, 2, 3, 2]);
        out.push(Case::new("ReduceMin", Attrs::new(), vec![x, vector(&[1, 3, 5])]).on_host(&[1]));
        let x = draw.any_tensor(dtype, &[1, 9 * 4096 + 77]);
        out.push(Case::new("ReduceMax", Attrs::new(), vec![x, vector(&[1])]).on_host(&[1]));
    }
}

/// GatherND: tuples of every length, parts that data and indices share, indices out of range.
fn slices(out: &mut Vec<Case>, draw: &mut Draw) {
    let extents = [3, 2, 4, 2, 3, 2];
    for dtype in [DType::U8, DType::BF16, DType::F32, DType::I64] {
        for length in 1..=6 {
            let data: Vec<usize> = extents[..length].iter().copied().chain([3]).collect();
            let tuples: Vec<i64> = (0..14 * length)
                .map(|at| draw.below(2 * extents[at % length]) as i64 - extents[at % length] as i64)
                .collect();
            let indices = Tensor::from_slice(&[2, 7, length], &tuples);
            out.push(case("GatherND", vec![draw.any_tensor(dtype, &data), indices]));
            if length > 1 {
                let narrow: Vec<i32> = tuples.iter().map(|&index| index as i32).collect();
                let own = Tensor::from_slice(&[14, length], &narrow);
                out.push(case("GatherND", vec![draw.any_tensor(dtype, &data[..length]), own]));
            }
        }
        for batch in [1, 2] {
            let indices = draw.tensor(&[3, 2, 5, 1], |draw| draw.below(4) as i64 - 2);
            let attrs = Attrs::new().with_int("batch_dims", batch);
            out.push(Case::new("GatherND", attrs, vec![draw.any_tensor(dtype, &[3, 2, 4, 3]), indices]));
        }
        for bad in [4, -5, i64::MAX, i64::MIN] {
            let indices = Tensor::from_slice(&[2, 2], &[1, 3, 2, bad]);
            out.push(case("GatherND", vec![draw.any_tensor(dtype, &[3, 4, 2]), indices]));
        }
    }
}

/// Tuples of every length, indices of both types, elements of every size, out of range at every place.
fn tuples(out: &mut Vec<Case>) {
    let mut draw = Draw::new(85);
    for length in 1..=6 {
        let extents = [3, 2, 4, 2, 3, 2];
        let data: Vec<usize> = extents[..length].iter().copied().chain([2]).collect();
        let tuples: Vec<i64> = (0..20)
            .flat_map(|_| {
                extents[..length].iter().map(|&e| draw.below(2 * e) as i64 - e as i64).collect::<Vec<_>>()
            })
            .collect();
        for dtype in [DType::U8, DType::I16, DType::F32, DType::F64] {
            let inputs = vec![
                draw.any_tensor(dtype, &data),
                Tensor::from_slice(&[20, length], &tuples),
                draw.any_tensor(dtype, &[20, 2]),
            ];
            out.push(Case::new("ScatterND", Attrs::new(), inputs));
        }
        for at in 0..length {
            for bad in [extents[at] as i64, -1 - extents[at] as i64] {
                let mut wrong = tuples.clone();
                wrong[3 * length + at] = bad;
                let inputs = vec![
                    draw.any_tensor(DType::I32, &data),
                    Tensor::from_slice(&[20, length], &wrong),
                    draw.any_tensor(DType::I32, &[20, 2]),
                ];
                out.push(Case::new("ScatterND", Attrs::new(), inputs));
            }
        }
    }
    slices(out, &mut draw);
    // Rows of more than one block, ties at its end.
    for dtype in [DType::F32, DType::I16, DType::U8] {
        let x = draw.tensor(&[2, 700], |draw| (draw.below(90) as f32 - 45.0) * 0.5);
        let attrs = Attrs::new().with_int("to", i64::from(dtype.code()));
        let x = if dtype == DType::F32 {
            x
        } else {
            let cast = Case::new("Cast", attrs, vec![x]).wanted().expect("a cast");
            cast.result.expect("no fault").remove(0)
        };
        out.push(case("TopK", vec![x, vector(&[33])]).on_host(&[1]).outputs(2));
    }
}
