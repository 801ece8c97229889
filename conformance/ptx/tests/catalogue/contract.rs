//! Contractions: products by few rows and by tiles, splits of the terms, weights in blocks, embeddings, attention.

use repops::attrs::Attrs;
use repops::blocks::Format;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::images::double;
use super::{case, vector};

/// The right operand's types for a left one of f32; 16-bit floats go with their own.
pub const PAIRS: [(DType, DType); 5] = [
    (DType::F32, DType::F32),
    (DType::F32, DType::F16),
    (DType::F32, DType::BF16),
    (DType::F16, DType::F16),
    (DType::BF16, DType::BF16),
];

pub fn of(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let tensor = Draw::new(seed).finite_tensor(shape);
    if dtype == DType::F32 {
        return tensor;
    }
    let attrs = Attrs::new().with_int("to", i64::from(dtype.code()));
    let wanted = Case::new("Cast", attrs, vec![tensor]).wanted().expect("a cast");
    wanted.result.expect("no fault").remove(0)
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    few_rows(&mut out);
    tiles(&mut out);
    doubles_and_integers(&mut out);
    blocks(&mut out);
    bytes(&mut out);
    embeddings(&mut out);
    attention(&mut out);
    out
}

fn bytes(out: &mut Vec<Case>) {
    let mut draw = Draw::new(12);
    for (a, b) in
        [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::I8, DType::U8), (DType::U8, DType::U8)]
    {
        for (m, k, n) in [(3, 45, 139), (70, 64, 36), (19, 33, 20)] {
            let (x, w) = (draw.any_tensor(a, &[m, k]), draw.any_tensor(b, &[k, n]));
            let (row, column) = (draw.any_tensor(a, &[m]), draw.any_tensor(b, &[n]));
            out.push(case("MatMulInteger", vec![x.clone(), w.clone()]));
            out.push(case("MatMulInteger", vec![x.clone(), w.clone(), row, column]));
            let scale = |value: f32| Tensor::scalar(value);
            let scales = draw.tensor(&[n], |draw| draw.plain().abs() * 0.01);
            let inputs = vec![
                x,
                scale(0.037),
                draw.any_tensor(a, &[]),
                w,
                scales,
                draw.any_tensor(b, &[]),
                scale(1.7),
                draw.any_tensor(a, &[]),
            ];
            out.push(case("QLinearMatMul", inputs));
        }
    }
    let (x, w) = (draw.any_tensor(DType::U8, &[96, 65, 20]), draw.any_tensor(DType::I8, &[96, 20, 66]));
    out.push(case("MatMulInteger", vec![x.clone(), w.clone()]));
    let zero = Tensor::from_slice(&[], &[3u8]);
    let scale = Tensor::scalar(0.01f32);
    let inputs =
        vec![x, scale.clone(), zero.clone(), w, scale.clone(), Tensor::from_slice(&[], &[-5i8]), scale, zero];
    out.push(case("QLinearMatMul", inputs));
}

/// Cases of kernels that newer devices have a twin of.
pub fn twins() -> Vec<Case> {
    let mut out = Vec::new();
    bytes(&mut out);
    super::ways::bytes(&mut out);
    super::ways::bytes_by_large_tiles(&mut out);
    out
}

fn few_rows(out: &mut Vec<Case>) {
    for (a, b) in PAIRS {
        for m in [1, 3, 7] {
            for (k, n) in [(1029, 35), (260, 64)] {
                let inputs = || vec![of(a, &[m, k], 1), of(b, &[k, n], 2)];
                out.push(case("MatMul", inputs()));
                out.push(case("MatMul", inputs()).in_panels(&[1]));
                let attrs =
                    Attrs::new().with_int("transB", 1).with_float("alpha", 0.75).with_float("beta", 1.5);
                let inputs = vec![of(a, &[m, k], 3), of(b, &[n, k], 4), of(a, &[n], 5)];
                out.push(Case::new("Gemm", attrs, inputs));
            }
        }
    }
    let mut draw = Draw::new(9);
    out.push(case("MatMul", vec![draw.hard_tensor(&[3, 300]), draw.hard_tensor(&[300, 40])]));
    // Many chunks for a warp: the tree within a thread.
    out.push(case("MatMul", vec![of(DType::F32, &[6, 9001], 6), of(DType::F32, &[9001, 5], 7)]));
    out.push(case("MatMul", vec![of(DType::F32, &[1, 0], 6), of(DType::F32, &[0, 5], 7)]));
}

fn tiles(out: &mut Vec<Case>) {
    for (a, b) in PAIRS {
        out.push(case("MatMul", vec![of(a, &[11, 530], 1), of(b, &[530, 131], 2)]));
        out.push(case("MatMul", vec![of(a, &[21, 300], 1), of(b, &[300, 40], 2)]).in_panels(&[1]));
        let attrs = Attrs::new().with_int("transA", 1).with_float("alpha", -0.5);
        out.push(Case::new(
            "Gemm",
            attrs,
            vec![of(a, &[300, 68], 1), of(b, &[300, 70], 2), of(a, &[68, 1], 3)],
        ));
    }
    out.push(case("MatMul", vec![of(DType::F32, &[13, 9, 777], 1), of(DType::F32, &[777, 2], 2)]));
    for dtype in [DType::F32, DType::F16] {
        out.push(case("MatMul", vec![of(dtype, &[96, 65, 2], 1), of(dtype, &[96, 2, 66], 2)]));
    }
    let attrs = Attrs::new().with_float("beta", 0.25);
    let inputs =
        vec![of(DType::F32, &[40, 2100], 1), of(DType::F32, &[2100, 50], 2), of(DType::F32, &[40, 50], 3)];
    out.push(Case::new("Gemm", attrs, inputs));
    let mut draw = Draw::new(8);
    out.push(case("MatMul", vec![draw.hard_tensor(&[20, 300]), draw.hard_tensor(&[300, 40])]));
}

/// f64 and integers: edges of tiles, chunks and what is left of one, batches, operands that lie the other way.
fn doubles_and_integers(out: &mut Vec<Case>) {
    let mut draw = Draw::new(15);
    for dtype in [DType::F64, DType::I32, DType::U32, DType::I64, DType::U64] {
        let mut of = |shape: &[usize]| match dtype {
            DType::F64 => draw.tensor(shape, double),
            _ => draw.any_tensor(dtype, shape),
        };
        let mut matmul = |a: &[usize], b: &[usize]| out.push(case("MatMul", vec![of(a), of(b)]));
        matmul(&[5, 7], &[7, 9]);
        matmul(&[19, 530], &[530, 21]);
        matmul(&[2, 1, 3, 40], &[4, 40, 17]);
        matmul(&[3, 17, 5], &[5, 2]);
        matmul(&[600], &[600]);
        matmul(&[257], &[2, 257, 5]);
        matmul(&[3, 0], &[0, 4]);
        matmul(&[2, 2900], &[2900, 1]);
        out.push(case("MatMul", vec![of(&[3, 20, 6]), of(&[3, 6, 35])]).in_blocks(2));
        for (turn, c) in [(0, &[18, 1][..]), (1, &[20]), (2, &[18, 20]), (3, &[1, 20])] {
            let (trans_a, trans_b) = (turn % 2, turn / 2);
            let a = if trans_a == 1 { [300, 18] } else { [18, 300] };
            let b = if trans_b == 1 { [20, 300] } else { [300, 20] };
            let attrs = Attrs::new().with_int("transA", trans_a).with_int("transB", trans_b);
            let factors = attrs.clone().with_float("alpha", -3.0).with_float("beta", 7.0);
            out.push(Case::new("Gemm", attrs.clone(), vec![of(&a), of(&b), of(c)]));
            out.push(Case::new("Gemm", factors.clone(), vec![of(&a), of(&b), of(c)]));
            out.push(Case::new("Gemm", factors, vec![of(&a), of(&b)]));
        }
    }
    let attrs = Attrs::new().with_float("alpha", 0.1).with_float("beta", 0.7);
    let inputs = [[4, 260], [260, 5], [4, 5]].map(|shape| draw.tensor(&shape, double));
    out.push(Case::new("Gemm", attrs, inputs.to_vec()));
    // Chains that end at zeros of both signs.
    let mut tiny = |shape: &[usize]| draw.tensor(shape, |draw| f64::from_bits(draw.bits() & 1 << 63 | 1));
    out.push(case("MatMul", vec![tiny(&[3, 2]), tiny(&[2, 8])]));
    out.push(case("MatMul", vec![tiny(&[3, 258]), tiny(&[258, 8])]));
}

/// Random weights whose scales are numbers of moderate size.
pub fn weights(format: Format, k: usize, n: usize, seed: u64) -> Tensor {
    let blocks = n.div_ceil(16) * (k / format.positions());
    let shape = [n.div_ceil(16), k / format.positions(), format.bytes()];
    let mut draw = Draw::new(seed);
    let mut bytes: Vec<u8> = (0..blocks * format.bytes()).map(|_| draw.bits() as u8).collect();
    let scales = if matches!(format, Format::Q4_1 | Format::Q4K) { 64 } else { 32 };
    for block in bytes.chunks_mut(format.bytes()) {
        for half in block[..scales].chunks_mut(2) {
            half[1] = half[1] & 0x83 | 0x28;
        }
    }
    Tensor::from_bytes(DType::U8, &shape, &bytes).expect("bytes")
}

fn blocks(out: &mut Vec<Case>) {
    for format in Format::ALL {
        for m in [1, 3, 6, 19] {
            let (k, n) = (if m == 3 { 1280 } else { 512 }, 35);
            let attrs = Attrs::new().with_int("columns", n as i64).with_str("format", format.name());
            let inputs = vec![of(DType::F32, &[m, k], 1), weights(format, k, n, 2)];
            out.push(Case::new("MatMulBlocks", attrs, inputs).aligned());
        }
    }
}

fn embeddings(out: &mut Vec<Case>) {
    // Columns of every place among the four that are decoded together.
    let tokens = || vector(&[0, 34, 7, 7, 13, 20]);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let attrs = || Attrs::new().with_int("columns", 35);
        out.push(Case::new("Embedding", attrs(), vec![tokens(), of(dtype, &[70, 35], 1)]));
        out.push(Case::new("Embedding", attrs(), vec![tokens(), of(dtype, &[70, 35], 1)]).in_panels(&[1]));
        let turned = attrs().with_int("transposed", 1);
        out.push(Case::new("Embedding", turned, vec![tokens(), of(dtype, &[35, 70], 1)]));
    }
    for bad in [35, -1] {
        let attrs = Attrs::new().with_int("columns", 35);
        out.push(Case::new("Embedding", attrs, vec![vector(&[3, bad]), of(DType::F32, &[70, 35], 1)]));
    }
    for format in Format::ALL {
        let attrs = Attrs::new().with_int("columns", 35).with_str("format", format.name());
        out.push(Case::new("Embedding", attrs, vec![tokens(), weights(format, 512, 35, 3)]).aligned());
    }
}

fn attention(out: &mut Vec<Case>) {
    let attrs = |heads, kv_heads, window, softcap| {
        Attrs::new()
            .with_int("heads", heads)
            .with_int("kv_heads", kv_heads)
            .with_int("window", window)
            .with_float("scale", 0.37)
            .with_float("softcap", softcap)
    };
    // Rows, heads, heads of keys, elements of a key and of a value.
    for (s, h, kv, d, e, window, softcap) in [
        (1, 4, 2, 9, 5, 0, 0.0),
        (5, 4, 2, 16, 12, 0, 0.0),
        (21, 2, 1, 20, 70, 0, 3.0),
        (280, 1, 1, 8, 4, 100, 0.0),
        (40, 1, 1, 260, 3, 0, 1.5),
    ] {
        let inputs = vec![
            of(DType::F32, &[s, h * d], 1),
            of(DType::F32, &[s, kv * d], 2),
            of(DType::F32, &[s, kv * e], 3),
        ];
        out.push(Case::new("SequenceAttention", attrs(h as i64, kv as i64, window, softcap), inputs));
    }
    let mut draw = Draw::new(14);
    let inputs = vec![draw.hard_tensor(&[6, 8]), draw.hard_tensor(&[6, 4]), draw.hard_tensor(&[6, 4])];
    out.push(Case::new("SequenceAttention", attrs(2, 1, 3, 0.0), inputs));
    for interleaved in [0, 1] {
        let attrs = Attrs::new().with_int("heads", 3).with_int("interleaved", interleaved);
        let inputs =
            vec![of(DType::F32, &[9, 30], 1), of(DType::F32, &[9, 4], 2), of(DType::F32, &[9, 4], 3)];
        out.push(Case::new("SequenceRotary", attrs, inputs));
    }
}
