//! Products on the interpreter: every kernel of matrices, of weights in blocks, of bytes, and of attention, over several
//! chunks, odd remainders, layouts, batches and splits.

use half::{bf16, f16};
use repops::attrs::{AttrValue, Attrs};
use repops::blocks::{COLUMNS, Format};
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_cuda::launch::contract::product::{Cut, Finish, Matrix, Place, Product, Tiles};
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;
use repops_ptx::suite::{Case, Draw};

fn check(case: Case) {
    case.check();
}

fn matmul(a: Tensor, b: Tensor) -> Case {
    Case::new("MatMul", Attrs::new(), vec![a, b])
}

/// A tensor of numbers of modest size in one of the types that products take.
fn floats(draw: &mut Draw, dtype: DType, shape: &[usize]) -> Tensor {
    match dtype {
        DType::F16 => draw.tensor(shape, |draw| f16::from_f32(draw.plain())),
        DType::BF16 => draw.tensor(shape, |draw| bf16::from_f32(draw.plain())),
        _ => draw.plain_tensor(shape),
    }
}

const TYPES: [(DType, DType); 5] = [
    (DType::F32, DType::F32),
    (DType::F32, DType::F16),
    (DType::F32, DType::BF16),
    (DType::F16, DType::F16),
    (DType::BF16, DType::BF16),
];

#[test]
fn few_rows_of_all_types_and_layouts() {
    let mut draw = Draw::new(1);
    for (a, b) in TYPES {
        for (m, k, n) in [(1, 1030, 40), (3, 300, 33), (8, 513, 5)] {
            let case = matmul(floats(&mut draw, a, &[m, k]), floats(&mut draw, b, &[k, n]));
            check(case.clone());
            check(case.in_panels(&[1]));
        }
    }
    check(matmul(draw.plain_tensor(&[0, 5]), draw.plain_tensor(&[5, 3])));
    check(matmul(draw.plain_tensor(&[5]), draw.plain_tensor(&[5])));
    check(matmul(draw.hard_tensor(&[2, 600]), draw.hard_tensor(&[600, 9])));
}

#[test]
fn tiles_of_all_types_and_layouts() {
    let mut draw = Draw::new(2);
    for (a, b) in TYPES {
        for (m, k, n) in [(12, 600, 130), (67, 40, 36), (20, 9, 20)] {
            let case = matmul(floats(&mut draw, a, &[m, k]), floats(&mut draw, b, &[k, n]));
            check(case.clone());
            check(case.in_panels(&[1]));
        }
    }
    check(matmul(draw.hard_tensor(&[17, 300]), draw.hard_tensor(&[300, 19])));
    check(matmul(draw.plain_tensor(&[17, 0]), draw.plain_tensor(&[0, 19])));
}

#[test]
fn batches_repeat_and_follow_each_other() {
    let mut draw = Draw::new(3);
    for (a, b) in [
        (&[2, 3, 9, 20][..], &[2, 3, 20, 12][..]),
        (&[2, 3, 9, 20], &[3, 20, 12]),
        (&[2, 1, 9, 20], &[3, 20, 12]),
        (&[4, 9, 20], &[20, 12]),
        (&[4, 2, 20], &[20]),
        (&[20], &[3, 20, 12]),
        (&[1, 9, 20], &[3, 20, 12]),
    ] {
        check(matmul(draw.plain_tensor(a), draw.plain_tensor(b)));
    }
}

#[test]
fn gemm_scales_and_adds_in_its_order() {
    let mut draw = Draw::new(4);
    for (m, n, k) in [(1, 33, 260), (5, 7, 40), (18, 5, 260)] {
        for (trans_a, trans_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for (c, alpha, beta) in [
                (None, 0.7, 1.0),
                (Some(vec![m, n]), 1.0, 1.0),
                (Some(vec![n]), 0.7, 0.9),
                (Some(vec![m, 1]), 1.0, -2.5),
                (Some(vec![]), 1.0, 1.0),
            ] {
                let attrs = Attrs::new()
                    .with_int("transA", trans_a)
                    .with_int("transB", trans_b)
                    .with_float("alpha", alpha)
                    .with_float("beta", beta);
                let a = if trans_a == 1 { [k, m] } else { [m, k] };
                let b = if trans_b == 1 { [n, k] } else { [k, n] };
                let dtype = if trans_a == trans_b { DType::F32 } else { DType::BF16 };
                let mut inputs = vec![floats(&mut draw, dtype, &a), floats(&mut draw, dtype, &b)];
                inputs.extend(c.map(|shape| floats(&mut draw, dtype, &shape)));
                check(Case::new("Gemm", attrs, inputs));
            }
        }
    }
}

/// The tiles that are chosen for large matrices only, on small ones.
#[test]
fn every_size_of_tiles_gives_the_same_bits() {
    let mut draw = Draw::new(5);
    for (a_type, b_type) in [(DType::F32, DType::F32), (DType::F32, DType::BF16)] {
        for (m, k, n) in [(130, 520, 132), (129, 7, 3)] {
            let case = matmul(floats(&mut draw, a_type, &[m, k]), floats(&mut draw, b_type, &[k, n]));
            let wanted = case.wanted().unwrap().result.unwrap();
            for tiles in [Tiles::Of128x128, Tiles::Of64x64, Tiles::Of16x128] {
                let device = Interpreter::new();
                let inputs: Vec<_> = case
                    .inputs
                    .iter()
                    .flatten()
                    .map(|input| {
                        let buffer = device.alloc(input.bytes().len()).unwrap();
                        device.write(&buffer, 0, input.bytes()).unwrap();
                        buffer
                    })
                    .collect();
                let out = device.alloc(m * n * 4).unwrap();
                let view = |buffer, dtype| View { buffer, offset: 0, dtype, shape: &[] };
                let product = Product {
                    a: Matrix {
                        view: view(&inputs[0], a_type),
                        place: Place::Terms { stride: k },
                        batch: [0; 3],
                    },
                    b: Matrix {
                        view: view(&inputs[1], b_type),
                        place: Place::Outers { stride: n },
                        batch: [0; 3],
                    },
                    out: view(&out, DType::F32),
                    finish: Finish::NOTHING,
                    batch: [1; 3],
                    m,
                    n,
                    k,
                };
                product.launch_cut(&device, Some(Cut { tiles, unsplit: false })).unwrap();
                let mut found = vec![0; m * n * 4];
                device.read(&out, 0, &mut found).unwrap();
                assert!(found == wanted[0].bytes(), "{tiles:?} {m} {k} {n}");
            }
        }
    }
}

/// Blocks of every pattern of bytes but with scales of modest size.
fn blocks(draw: &mut Draw, format: Format, k: usize, n: usize) -> Tensor {
    let shape = [n.div_ceil(COLUMNS), k / format.positions(), format.bytes()];
    let mut bytes: Vec<u8> = (0..shape.iter().product()).map(|_| draw.bits() as u8).collect();
    let halves = if matches!(format, Format::Q4_1 | Format::Q4K) { 32 } else { 16 };
    for block in bytes.chunks_exact_mut(format.bytes()) {
        for scale in block[..2 * halves].chunks_exact_mut(2) {
            scale.copy_from_slice(&f16::from_f32(draw.plain() * 0.01).to_le_bytes());
        }
    }
    Tensor::from_slice(&shape, &bytes)
}

#[test]
fn weights_in_blocks() {
    let mut draw = Draw::new(6);
    for format in Format::ALL {
        for (m, k, n) in [(1, 768, 19), (4, 256, 33), (7, 512, 16), (21, 512, 19)] {
            let attrs = Attrs::new().with_int("columns", n as i64).with_str("format", format.name());
            let w = blocks(&mut draw, format, k, n);
            check(Case::new("MatMulBlocks", attrs.clone(), vec![draw.plain_tensor(&[m, k]), w.clone()]));
            let tokens = Tensor::from_slice(&[3], &[0i64, n as i64 - 1, 7]);
            check(Case::new("Embedding", attrs, vec![tokens, w]));
        }
    }
}

#[test]
fn embeddings_of_dense_weights_and_tokens_out_of_range() {
    let mut draw = Draw::new(7);
    let tokens = Tensor::from_slice(&[4], &[4i64, 0, 18, 2]);
    let attrs = || Attrs::new().with_int("columns", 19);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let case =
            Case::new("Embedding", attrs(), vec![tokens.clone(), floats(&mut draw, dtype, &[300, 19])]);
        check(case.clone());
        check(case.clone().on_host(&[0]));
        check(case.in_panels(&[1]));
        let transposed = attrs().with_int("transposed", 1);
        check(Case::new("Embedding", transposed, vec![tokens.clone(), floats(&mut draw, dtype, &[19, 300])]));
    }
    for token in [19, -1] {
        let tokens = Tensor::from_slice(&[2], &[0i64, token]);
        let case = Case::new("Embedding", attrs(), vec![tokens, draw.plain_tensor(&[3, 19])]);
        check(case.clone());
        check(case.on_host(&[0]));
    }
}

fn bytes(draw: &mut Draw, signed: bool, shape: &[usize]) -> Tensor {
    if signed {
        draw.tensor(shape, |draw| draw.bits() as i8)
    } else {
        draw.tensor(shape, |draw| draw.bits() as u8)
    }
}

#[test]
fn products_of_bytes() {
    each_product_of_bytes(&Interpreter::new());
}

#[test]
fn products_of_bytes_by_larger_instructions() {
    each_product_of_bytes(&Interpreter::of_architecture(80));
}

fn each_product_of_bytes(device: &Interpreter) {
    let check = |case: Case| case.check_on(device).unwrap_or_else(|failure| panic!("{failure}"));
    let mut draw = Draw::new(8);
    for (index, (m, k, n)) in
        [(1, 150, 130), (8, 70, 7), (67, 66, 5), (9, 130, 66), (2, 0, 3)].into_iter().enumerate()
    {
        for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
            let (x, w) = (bytes(&mut draw, a, &[m, k]), bytes(&mut draw, b, &[k, n]));
            check(Case::new("MatMulInteger", Attrs::new(), vec![x.clone(), w.clone()]));
            let zeros = if index % 2 == 0 {
                (bytes(&mut draw, a, &[]), bytes(&mut draw, b, &[n]))
            } else {
                (bytes(&mut draw, a, &[m]), bytes(&mut draw, b, &[1]))
            };
            check(Case::new(
                "MatMulInteger",
                Attrs::new(),
                vec![x.clone(), w.clone(), zeros.0.clone(), zeros.1.clone()],
            ));
            let by_row = index % 2 == 1;
            let scale = |draw: &mut Draw, many: Option<usize>| {
                let shape: Vec<usize> = many.into_iter().collect();
                draw.tensor(&shape, |draw| (draw.plain() * 0.01).abs() + 0.001)
            };
            let inputs = vec![
                x,
                scale(&mut draw, by_row.then_some(m)),
                zeros.0,
                w,
                scale(&mut draw, (!by_row).then_some(n)),
                zeros.1,
                scale(&mut draw, by_row.then_some(m)),
                bytes(&mut draw, b, &[]),
            ];
            check(Case::new("QLinearMatMul", Attrs::new(), inputs));
        }
    }
    // Batches, and matrices of the large tile.
    let (x, w) = (bytes(&mut draw, false, &[2, 3, 9, 20]), bytes(&mut draw, true, &[3, 20, 12]));
    check(Case::new("MatMulInteger", Attrs::new(), vec![x, w]));
    let (x, w) = (bytes(&mut draw, false, &[96, 65, 2]), bytes(&mut draw, true, &[2, 66]));
    let zero = bytes(&mut draw, false, &[65]);
    check(Case::new("MatMulInteger", Attrs::new(), vec![x, w, zero]));
}

#[test]
fn attention_of_sequences() {
    let mut draw = Draw::new(9);
    for (rows, heads, kv_heads, d, e) in
        [(1, 4, 2, 8, 12), (5, 2, 1, 64, 65), (40, 3, 3, 6, 4), (290, 1, 1, 4, 8)]
    {
        for (window, softcap) in [(0, 0.0), (7, 0.0), (260, 3.0)] {
            let attrs = Attrs::new()
                .with_int("heads", heads as i64)
                .with_int("kv_heads", kv_heads as i64)
                .with_float("scale", 0.25)
                .with_float("softcap", softcap)
                .with_int("window", window);
            let mut values = draw.plain_tensor(&[rows, kv_heads * e]);
            // What a row does not see may be anything.
            values.as_mut_slice::<f32>()[(rows - 1) * kv_heads * e..].fill(f32::INFINITY);
            let inputs =
                vec![draw.plain_tensor(&[rows, heads * d]), draw.plain_tensor(&[rows, kv_heads * d]), values];
            check(Case::new("SequenceAttention", attrs, inputs));
        }
    }
}

#[test]
fn rotary_positions() {
    let mut draw = Draw::new(10);
    for (rows, heads, d, half) in [(3, 2, 8, 4), (5, 3, 6, 2), (1, 1, 4, 0)] {
        for interleaved in [0, 1] {
            let attrs = Attrs::new().with_int("heads", heads as i64).with_int("interleaved", interleaved);
            let inputs = vec![
                draw.hard_tensor(&[rows, heads * d]),
                draw.plain_tensor(&[rows, half]),
                draw.plain_tensor(&[rows, half]),
            ];
            check(Case::new("SequenceRotary", attrs, inputs));
        }
    }
}

#[test]
fn convolutions() {
    let mut draw = Draw::new(11);
    let ints = |attrs: Attrs, name: &str, values: &[i64]| attrs.with(name, AttrValue::Ints(values.to_vec()));
    // Image, weights, groups, strides, pads, dilations.
    for (image, weights, groups, strides, pads, dilations) in [
        (&[1, 3, 9, 10][..], &[9, 3, 3, 3][..], 1, &[1, 1][..], &[1, 1, 1, 1][..], &[1, 1][..]),
        (&[2, 32, 6, 5], &[20, 32, 3, 3], 1, &[2, 1], &[0, 1, 2, 1], &[1, 2]),
        (&[1, 6, 7, 7], &[18, 3, 1, 2], 2, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        (&[1, 4, 8, 8], &[4, 1, 3, 3], 4, &[1, 1], &[1, 1, 1, 1], &[1, 1]),
        (&[2, 5, 12], &[3, 5, 4], 1, &[3], &[2, 1], &[2]),
        (&[1, 300, 3, 3], &[2, 300, 1, 1], 1, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        (&[1, 40, 3, 3], &[2, 40, 3, 3], 1, &[1, 1], &[1, 1, 1, 1], &[1, 1]),
    ] {
        let attrs = ints(Attrs::new().with_int("group", groups), "strides", strides);
        let attrs = ints(ints(attrs, "pads", pads), "dilations", dilations);
        let (x, w) = (draw.plain_tensor(image), draw.plain_tensor(weights));
        check(Case::new("Conv", attrs.clone(), vec![x.clone(), w.clone(), draw.plain_tensor(&weights[..1])]));
        // A weight that is not finite and meets no pixel changes nothing.
        let mut infinite = w;
        let last = infinite.as_slice::<f32>().len() - 1;
        infinite.as_mut_slice::<f32>()[last] = f32::INFINITY;
        check(Case::new("Conv", attrs, vec![x, infinite]));
    }
    let same = Attrs::new().with_str("auto_pad", "SAME_LOWER");
    check(Case::new("Conv", same, vec![draw.hard_tensor(&[1, 3, 6, 5]), draw.plain_tensor(&[8, 3, 2, 2])]));
}
