//! Scatters that combine, and ONNX's Attention.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::elementwise::converted;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    scatters(&mut out);
    attention(&mut out);
    out
}

const REDUCTIONS: [&str; 4] = ["add", "mul", "max", "min"];

fn scatters(out: &mut Vec<Case>) {
    let mut draw = Draw::new(121);
    let types = [
        DType::F32,
        DType::F16,
        DType::BF16,
        DType::F64,
        DType::U8,
        DType::I8,
        DType::U16,
        DType::I16,
        DType::U32,
        DType::I32,
        DType::U64,
        DType::I64,
    ];
    for dtype in types {
        for reduction in REDUCTIONS {
            let attrs = Attrs::new().with_str("reduction", reduction);
            // Few places for many updates, some with none.
            let indices = draw.tensor(&[41], |draw| draw.below(10) as i64 - 5);
            let inputs = vec![draw.any_tensor(dtype, &[7]), indices, draw.any_tensor(dtype, &[41])];
            out.push(Case::new("ScatterElements", attrs.clone(), inputs));
            let indices = draw.tensor(&[30, 2], |draw| draw.below(6) as i64 - 3);
            let inputs = vec![draw.any_tensor(dtype, &[3, 4, 3]), indices, draw.any_tensor(dtype, &[30, 3])];
            out.push(Case::new("ScatterND", attrs, inputs));
        }
    }
    // Of zeros the greater one is +0.
    for dtype in [DType::F32, DType::F64] {
        for reduction in REDUCTIONS {
            let signs = |draw: &mut Draw| draw.tensor(&[64], |draw| [0.0f32, -0.0][draw.below(2)]);
            let indices = draw.tensor(&[64], |draw| draw.below(64) as i64);
            let inputs =
                vec![converted(signs(&mut draw), dtype), indices, converted(signs(&mut draw), dtype)];
            out.push(Case::new("ScatterElements", Attrs::new().with_str("reduction", reduction), inputs));
        }
    }
    // Sums whose order shows in every bit; one place for all; more places than threads.
    let attrs = Attrs::new().with_str("reduction", "add");
    for (places, updates) in [(1, 700), (3, 900), (1500, 1400), (300, 2)] {
        let indices = draw.tensor(&[updates], |draw| draw.below(places) as i64);
        let inputs = vec![draw.plain_tensor(&[places]), indices.clone(), draw.plain_tensor(&[updates])];
        out.push(Case::new("ScatterElements", attrs.clone(), inputs.clone()));
        out.push(Case::new("ScatterElements", attrs.clone(), inputs).aligned().in_blocks(1));
        let narrow: Vec<i32> = indices.as_slice::<i64>().iter().map(|&index| index as i32).collect();
        let inputs = vec![
            draw.plain_tensor(&[places]),
            Tensor::from_slice(&[updates, 1], &narrow),
            draw.plain_tensor(&[updates]),
        ];
        out.push(Case::new("ScatterND", attrs.clone(), inputs).aligned().in_blocks(2));
    }
    for (dtype, n) in [(DType::F64, 512), (DType::I32, 512), (DType::F32, 512)] {
        let indices = draw.tensor(&[n], |draw| draw.below(n) as i64);
        let inputs = vec![draw.any_tensor(dtype, &[n]), indices, draw.any_tensor(dtype, &[n])];
        out.push(Case::new("ScatterElements", attrs.clone(), inputs).aligned().in_blocks(1));
    }
    for dtype in [DType::F64, DType::I64, DType::U8, DType::F16] {
        for places in [1, 2] {
            let indices = draw.tensor(&[300], |draw| draw.below(places) as i64);
            let inputs = vec![draw.any_tensor(dtype, &[places]), indices, draw.any_tensor(dtype, &[300])];
            out.push(Case::new("ScatterElements", Attrs::new().with_str("reduction", "max"), inputs));
            let near = |draw: &mut Draw, n: usize| converted(draw.plain_tensor(&[n]), dtype);
            let indices = draw.tensor(&[300], |draw| draw.below(places) as i64);
            let inputs = vec![near(&mut draw, places), indices, near(&mut draw, 300)];
            out.push(Case::new("ScatterElements", attrs.clone(), inputs));
        }
    }
    // Every axis of six, and tuples of every length.
    let indices = draw.tensor(&[2; 6], |draw| draw.below(6) as i64 - 3);
    for axis in 0..6 {
        let inputs = vec![draw.plain_tensor(&[3; 6]), indices.clone(), draw.plain_tensor(&[2; 6])];
        out.push(Case::new("ScatterElements", attrs.clone().with_int("axis", axis), inputs));
    }
    let extents = [3, 2, 4, 2, 3, 2];
    for length in 1..=6 {
        let data: Vec<usize> = extents[..length].iter().copied().chain([2]).collect();
        let tuples: Vec<i64> = (0..20 * length)
            .map(|at| draw.below(2 * extents[at % length]) as i64 - extents[at % length] as i64)
            .collect();
        let of = |tuples: &[i64]| Tensor::from_slice(&[20, length], tuples);
        let inputs = vec![draw.plain_tensor(&data), of(&tuples), draw.plain_tensor(&[20, 2])];
        out.push(Case::new("ScatterND", attrs.clone(), inputs));
        for bad in [extents[length - 1] as i64, -1 - extents[length - 1] as i64] {
            let mut wrong = tuples.clone();
            wrong[4 * length - 1] = bad;
            let inputs = vec![draw.plain_tensor(&data), of(&wrong), draw.plain_tensor(&[20, 2])];
            out.push(Case::new("ScatterND", attrs.clone(), inputs));
        }
    }
    for bad in [7, -8, i64::MAX, i64::MIN] {
        let inputs =
            vec![draw.plain_tensor(&[7]), Tensor::from_slice(&[3], &[1, bad, 2]), draw.plain_tensor(&[3])];
        out.push(Case::new("ScatterElements", attrs.clone(), inputs));
    }
}

/// With more digits than an f32 has.
fn long(draw: &mut Draw) -> f64 {
    f64::from(draw.plain()) * (1.0 + draw.below(1 << 20) as f64 * 1e-13)
}

fn attention(out: &mut Vec<Case>) {
    let mut draw = Draw::new(122);
    let none = Attrs::new;
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let mut of = |shape: &[usize]| match dtype {
            DType::F64 => draw.tensor(shape, long),
            _ => converted(draw.finite_tensor(shape), dtype),
        };
        let mut push = |attrs: Attrs, inputs: Vec<Option<Tensor>>, outputs: usize| {
            out.push(Case::with_optional("Attention", attrs, inputs).outputs(outputs));
        };
        // Four axes, heads that share keys, every stage shown.
        for mode in 0..4 {
            let attrs = none().with_int("qk_matmul_output_mode", mode).with_float("softcap", 1.5);
            let attrs = attrs.with_int("is_causal", mode % 2);
            let inputs = vec![of(&[2, 4, 3, 5]), of(&[2, 2, 7, 5]), of(&[2, 2, 7, 6])];
            push(attrs, inputs.into_iter().map(Some).collect(), 4);
        }
        // Three axes, a past, masks of both kinds and of fewer axes and columns.
        let three = || none().with_int("q_num_heads", 4).with_int("kv_num_heads", 2).with_float("scale", 0.3);
        let float_mask = of(&[3, 9]);
        let bool_mask = Draw::new(123).any_tensor(DType::Bool, &[2, 1, 3, 8]);
        let (by_head, by_all) = (of(&[4, 1, 9]), Draw::new(124).any_tensor(DType::Bool, &[2, 4, 3, 9]));
        for mask in [None, Some(float_mask), Some(bool_mask), Some(by_head), Some(by_all)] {
            let inputs = vec![
                Some(of(&[2, 3, 20])),
                Some(of(&[2, 5, 10])),
                Some(of(&[2, 5, 8])),
                mask,
                Some(of(&[2, 2, 4, 5])),
                Some(of(&[2, 2, 4, 4])),
            ];
            push(three().with_int("is_causal", 1), inputs.clone(), 3);
            push(three(), inputs, 1);
        }
        // Lengths that are counted, windows, rows that see nothing.
        for (left, right) in [(-1, -1), (1, 0), (0, 2), (2, i64::MAX)] {
            let attrs = none().with_int("left_window_size", left).with_int("right_window_size", right);
            let lengths = Tensor::from_slice(&[3], &[0i64, 4, 9]);
            let mut inputs: Vec<Option<Tensor>> =
                [of(&[3, 1, 5, 4]), of(&[3, 1, 9, 4]), of(&[3, 1, 9, 2])].into_iter().map(Some).collect();
            push(attrs.clone().with_int("qk_matmul_output_mode", 3), inputs.clone(), 4);
            inputs.extend([None, None, None, Some(lengths)]);
            push(attrs.clone().with_int("is_causal", 1), inputs.clone(), 1);
            push(attrs, inputs, 1);
        }
        // Several chunks of positions, more of them than a block has threads.
        let inputs = vec![of(&[1, 2, 6, 8]), of(&[1, 1, 530, 8]), of(&[1, 1, 530, 3])];
        push(none(), inputs.into_iter().map(Some).collect(), 1);
    }
    // Numbers that are none, and zeros of both signs as raw scores.
    for mode in 0..4 {
        let attrs = none().with_int("qk_matmul_output_mode", mode);
        let inputs = vec![
            draw.hard_tensor(&[1, 2, 6, 4]),
            draw.hard_tensor(&[1, 2, 6, 4]),
            draw.hard_tensor(&[1, 2, 6, 3]),
        ];
        out.push(Case::new("Attention", attrs.clone(), inputs.clone()).outputs(4));
        // Capped, and with a mask that holds such numbers, too.
        let mut inputs = inputs;
        inputs.push(draw.hard_tensor(&[6, 6]));
        let attrs = attrs.with_float("softcap", 1.5);
        out.push(Case::new("Attention", attrs.clone(), inputs.clone()).outputs(4));
        let inputs = inputs.into_iter().map(|input| converted(input, DType::F64)).collect();
        out.push(Case::new("Attention", attrs, inputs).outputs(4));
    }
    let inputs = vec![
        draw.plain_tensor(&[1, 2, 32, 16]),
        draw.plain_tensor(&[1, 2, 32, 16]),
        draw.plain_tensor(&[1, 2, 32, 8]),
    ];
    out.push(Case::new("Attention", none().with_float("softcap", 2.0), inputs).aligned().in_blocks(0));
    let mut of = |size: usize| draw.tensor(&[1, 2, 32, size], long);
    let inputs = vec![of(16), of(16), of(8)];
    out.push(Case::new("Attention", none().with_float("softcap", 2.0), inputs).aligned().in_blocks(0));
    // Scores whose hyperbolic tangents are so near the middle of two doubles that the last bits of what stands for e^x decide.
    let near = [
        0x3f65_5084_e980_7aca_u64,
        0x3f65_51fa_c030_e992,
        0x3f65_52dc_f73d_547e,
        0x3f65_5777_59f1_ae0f,
        0x3f65_5a64_5700_4ac9,
        0x3f65_6413_fd4d_cb06,
    ]
    .map(f64::from_bits);
    let of = |values: &[f64]| Tensor::from_slice(&[1, 1, values.len(), 1], values);
    let attrs =
        none().with_float("scale", 1.0).with_float("softcap", 1.0).with_int("qk_matmul_output_mode", 1);
    let inputs = vec![of(&[1.0]), of(&near), of(&near)];
    out.push(Case::new("Attention", attrs, inputs).outputs(4));
}
