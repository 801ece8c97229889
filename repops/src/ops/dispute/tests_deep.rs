//! Rules with terms beneath terms: pools, places, attention, recurrences, interpolation.

use super::tests::{bytes, cast, check, f, i, none};
use super::*;
use crate::attrs::AttrValue;
use crate::ops::by_name;

#[test]
fn pools_and_places() {
    let pool = none().with_ints("kernel_shape", &[2, 3]).with_ints("strides", &[2, 1]);
    let padded = pool.clone().with_ints("pads", &[1, 2, 0, 1]).with_ints("dilations", &[1, 2]);
    for attrs in [pool, padded.clone(), padded.with_int("ceil_mode", 1)] {
        let x = f(&[2, 3, 6, 7], 1);
        check("AveragePool", attrs.clone(), std::slice::from_ref(&x), 1);
        check("AveragePool", attrs.clone().with_int("count_include_pad", 1), std::slice::from_ref(&x), 1);
        for p in [1, 2, 3] {
            check("LpPool", attrs.clone().with_int("p", p), std::slice::from_ref(&x), 1);
        }
        check("MaxPool", attrs.clone(), std::slice::from_ref(&x), 2);
        check("MaxPool", attrs.clone().with_int("storage_order", 1), &[cast(x.clone(), DType::F64)], 2);
        check("MaxPool", attrs.with_int("storage_order", 1), &[bytes(&[2, 3, 6, 7], 3)], 2);
    }
    check("GlobalLpPool", none(), &[f(&[2, 3, 5, 5], 1)], 1);
    // Windows of more than a part, planes above what a crop may read.
    let large = none().with_ints("kernel_shape", &[80, 70]).with_ints("strides", &[60, 75]);
    check("AveragePool", large.clone(), &[f(&[1, 1, 200, 220], 1)], 1);
    check("MaxPool", none().with_ints("kernel_shape", &[9, 40]), &[f(&[1, 1, 10, 4000], 1)], 2);
    let row =
        Some(Tensor::from_slice(&[7], &[1.0f32, -0.0, f32::NAN, 0.0, f32::NAN, f32::NEG_INFINITY, 1.0]));
    let plain = Some(Tensor::from_slice(&[6], &[-1.0f32, 3.0, -0.0, 3.0, 0.0, -1.0]));
    for name in ["ArgMax", "ArgMin"] {
        for last in [0, 1] {
            let attrs = none().with_int("select_last_index", last);
            for keep in [0, 1] {
                check(
                    name,
                    attrs.clone().with_int("axis", 1).with_int("keepdims", keep),
                    &[f(&[3, 40, 5], 1)],
                    1,
                );
            }
            for x in [&row, &plain] {
                check(name, attrs.clone(), std::slice::from_ref(x), 1);
                check(name, attrs.clone(), &[cast(x.clone(), DType::F16)], 1);
                check(name, attrs.clone(), &[cast(x.clone(), DType::F64)], 1);
            }
            for dtype in [DType::I8, DType::U8, DType::I32, DType::U32, DType::I64] {
                check(name, attrs.clone(), &[cast(plain.clone(), dtype)], 1);
            }
            check(name, attrs.clone(), &[Some(Tensor::from_slice(&[3], &[1u32, u32::MAX, 1 << 31]))], 1);
            check(name, attrs, &[f(&[5000], 4)], 1);
        }
    }
    check("Hardmax", none().with_int("axis", 1), &[f(&[3, 40, 5], 1)], 1);
    check("DynamicQuantizeLinear", none(), &[f(&[7, 40], 1)], 3);
    check("DynamicQuantizeLinear", none(), &[f(&[0], 1)], 3);
    check("DynamicQuantizeLinear", none(), &[row], 3);
}

#[test]
fn equations_and_transposed_convolutions() {
    let einsum = |equation: &str, inputs: &[Option<Tensor>]| {
        check("Einsum", none().with_str("equation", equation), inputs, 1);
    };
    einsum("bij,bjk->bik", &[f(&[2, 3, 601], 1), f(&[2, 601, 4], 2)]);
    einsum("...ij,...jk", &[f(&[2, 1, 3, 7], 1), f(&[4, 7, 2], 2)]);
    einsum("ii->i", &[f(&[5, 5], 1)]);
    einsum("ij->", &[f(&[30, 20], 1)]);
    einsum("a,ab,b,b->a", &[f(&[4], 1), f(&[4, 300], 2), f(&[300], 3), f(&[300], 4)]);
    let ints = cast(bytes(&[4, 9], 3), DType::I32);
    einsum("ij,kj,ij->ik", &[ints.clone(), ints.clone(), ints]);
    einsum("ij,jk", &[cast(f(&[3, 40], 1), DType::F16), cast(f(&[40, 2], 2), DType::F16)]);
    let attrs = none()
        .with_int("group", 2)
        .with_ints("strides", &[2, 3])
        .with_ints("pads", &[1, 0, 2, 1])
        .with_ints("dilations", &[3, 1])
        .with_ints("output_padding", &[1, 0]);
    let inputs = [f(&[2, 180, 4, 3], 1), f(&[180, 3, 4, 2], 2), f(&[6], 3)];
    check("ConvTranspose", attrs, &inputs, 1);
    let same = none().with_str("auto_pad", "SAME_UPPER").with_ints("strides", &[2]);
    check("ConvTranspose", same, &[f(&[1, 3, 9], 1), f(&[3, 2, 3], 2)], 1);
    check("ConvTranspose", none().with_ints("output_shape", &[17]), &[f(&[1, 3, 9], 1), f(&[3, 2, 3], 2)], 1);
}

#[test]
fn attention() {
    let (q, k, v) = (f(&[2, 4, 5, 8], 1), f(&[2, 2, 7, 8], 2), f(&[2, 2, 7, 3], 3));
    let mut plain = vec![q.clone(), k.clone(), v.clone()];
    for mode in 0..4 {
        let attrs = none().with_int("qk_matmul_output_mode", mode).with_float("softcap", 1.5);
        check("Attention", attrs.clone().with_int("is_causal", 1), &plain, 4);
        // Rows in which nothing is seen.
        let unseen = attrs.with_int("left_window_size", 0).with_int("right_window_size", 1);
        plain.resize(7, None);
        plain[6] = i(&[2], &[3, 0]);
        check("Attention", unseen, &plain, 4);
        plain.truncate(3);
    }
    let past = [q.clone(), k.clone(), v.clone(), f(&[4, 5, 10], 9), f(&[2, 2, 4, 8], 5), f(&[2, 2, 4, 3], 6)];
    check("Attention", none().with_float("scale", 0.3), &past, 4);
    let mask: Vec<bool> = (0..35).map(|i| i % 3 != 1).collect();
    let masked = [q, k, v, Some(Tensor::from_bools(&[5, 7], &mask))];
    check("Attention", none(), &masked, 1);
    check(
        "Attention",
        none(),
        &masked.map(|t| {
            if t.as_ref().is_some_and(|t| t.dtype() == DType::F32) { cast(t, DType::F16) } else { t }
        }),
        3,
    );
    // Three axes, and more keys than a chunk holds.
    let heads = none().with_int("q_num_heads", 2).with_int("kv_num_heads", 1);
    check("Attention", heads, &[f(&[1, 3, 8], 1), f(&[1, 300, 4], 2), f(&[1, 300, 5], 3)], 1);
    let wide = [f(&[1, 1, 2, 300], 1), f(&[1, 1, 5, 300], 2), f(&[1, 1, 5, 2], 3)];
    check("Attention", none(), &wide.map(|t| cast(t, DType::F64)), 1);
}

#[test]
fn attention_of_sequences() {
    let plain = none().with_int("heads", 4).with_int("kv_heads", 2).with_float("scale", 0.3);
    let inputs = [f(&[9, 32], 1), f(&[9, 16], 2), f(&[9, 10], 3)];
    check("SequenceAttention", plain.clone(), &inputs, 1);
    let window = plain.with_int("window", 3).with_float("softcap", 2.0);
    check("SequenceAttention", window, &inputs, 1);
    let one = none().with_int("heads", 1).with_int("kv_heads", 1).with_float("scale", 1.0);
    check("SequenceAttention", one, &[f(&[300, 2], 1), f(&[300, 2], 2), f(&[300, 1], 3)], 1);
    for interleaved in [0, 1] {
        let attrs = none().with_int("heads", 3).with_int("interleaved", interleaved);
        check("SequenceRotary", attrs, &[f(&[4, 18], 1), f(&[4, 2], 2), f(&[4, 2], 3)], 1);
    }
}

#[test]
fn recurrences() {
    let (seq, batch, input, hidden) = (5, 2, 17, 3);
    for (name, gates, outputs) in [("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3)] {
        for direction in ["forward", "reverse", "bidirectional"] {
            let dirs = if direction == "bidirectional" { 2 } else { 1 };
            let attrs = none().with_str("direction", direction);
            let (w, r) = (f(&[dirs, gates * hidden, input], 2), f(&[dirs, gates * hidden, hidden], 3));
            let plain = [f(&[seq, batch, input], 1), w.clone(), r.clone()];
            check(name, attrs.clone(), &plain, outputs);
            let lengths = Some(Tensor::from_slice(&[2], &[0i32, 3]));
            let state = f(&[dirs, batch, hidden], 5);
            let bias = f(&[dirs, 2 * gates * hidden], 4);
            let mut full = vec![plain[0].clone(), w, r, bias, lengths, state.clone()];
            let mut attrs = attrs.with_float("clip", 0.4);
            if name == "LSTM" {
                full.extend([state, f(&[dirs, 3 * hidden], 7)]);
            }
            check(name, attrs.clone(), &full, outputs);
            for input in [0, 1, 2, 3, 5, 6, 7] {
                if let Some(tensor) = full.get_mut(input) {
                    *tensor = cast(tensor.clone(), DType::F16);
                }
            }
            attrs = match name {
                "GRU" => attrs.with_int("linear_before_reset", 1),
                "LSTM" => attrs.with_int("input_forget", 1),
                _ => attrs.with("activations", AttrValue::Strs(vec!["Relu".to_string(); dirs])),
            };
            check(name, attrs, &full, outputs);
        }
        let batch_first = [
            f(&[batch, seq, input], 1),
            f(&[1, gates * hidden, input], 2),
            f(&[1, gates * hidden, hidden], 3),
        ];
        check(name, none().with_int("layout", 1), &batch_first, outputs);
    }
}

#[test]
fn states_on_the_way_bisect_the_steps() {
    // 250 steps: about eight rounds of states lead to one step, whichever is wrong.
    let def = by_name("GRU").unwrap();
    let attrs = def.check_attrs(&none()).unwrap();
    let inputs = [f(&[250, 1, 3], 1), f(&[1, 12, 3], 2), f(&[1, 12, 4], 3)];
    let types: Vec<_> =
        inputs.iter().map(|t| t.as_ref().map(|t| TensorType::new(t.dtype(), t.shape()))).collect();
    let outputs = [TensorType::new(DType::F32, &[250, 1, 1, 4])];
    let subject = Subject { def, attrs: &attrs, region: None, inputs: &types, outputs: &outputs };
    let mut open = OpenInputs(&inputs);
    let mut honest = Evaluator::default();
    honest.run_ahead(&subject, &inputs).unwrap();
    for wrong in [1u64, 2, 127, 128, 129, 249, 250] {
        let mut liar = Evaluator::default();
        let state =
            Term::Part { series: 0, row: wrong * 4 + 2, level: wrong.trailing_zeros() as u8, index: 0 };
        let bits = honest.value(&subject, state, &mut open).unwrap();
        liar.set(state, bits ^ 1 << 20);
        let mut term = Term::Output { output: 0, element: 249 * 4 + 1 };
        // The last element is right where the last step alone is wrong in another one.
        if wrong == 250 {
            term = state;
        }
        let mut rounds = 0;
        loop {
            let finer = claims(&subject, term, &mut open).unwrap();
            let differs = |t: &Term| {
                let pair = [&mut honest, &mut liar]
                    .map(|party| party.value(&subject, *t, &mut OpenInputs(&inputs)).unwrap());
                pair[0] != pair[1]
            };
            let mut differs = differs;
            let Some(next) = finer.iter().find(|t| differs(t)) else { break };
            (term, rounds) = (*next, rounds + 1);
        }
        // Errors die out in a network that forgets, and then there is nothing to dispute.
        assert!(rounds <= 14, "{rounds} rounds");
        if rounds > 0 {
            let found = matches!(term, Term::Part { series: 0, row, .. } if row == wrong * 4 + 2);
            assert!(found, "{term:?} for step {wrong}");
        }
    }
}

#[test]
fn interpolation() {
    let resize = |attrs: Attrs, x: Option<Tensor>, scales: &[f32]| {
        let scales = Some(Tensor::from_slice(&[scales.len()], scales));
        check("Resize", attrs, &[x, None, scales], 1);
    };
    let sizes = |attrs: Attrs, x: Option<Tensor>, roi: Option<Tensor>, sizes: &[i64]| {
        check("Resize", attrs, &[x, roi, None, i(&[sizes.len()], sizes)], 1);
    };
    for mode in ["nearest", "linear", "cubic"] {
        let attrs = none().with_str("mode", mode);
        resize(attrs.clone(), f(&[1, 2, 5, 6], 1), &[1.0, 1.0, 2.0, 1.7]);
        resize(attrs.clone(), f(&[3, 5, 6], 1), &[0.7, 2.5, 0.5]);
        sizes(attrs.clone(), f(&[4, 5], 1), None, &[4, 5]);
        sizes(attrs.clone(), cast(f(&[4, 5], 1), DType::F16), None, &[7, 3]);
        sizes(attrs.clone(), cast(f(&[4, 5], 1), DType::F64), None, &[7, 3]);
        let crop = attrs.with_str("coordinate_transformation_mode", "tf_crop_and_resize");
        let roi = Some(Tensor::from_slice(&[4], &[-0.2f32, 0.1, 0.9, 1.3]));
        sizes(crop.with_float("extrapolation_value", 2.5), f(&[6, 7], 1), roi, &[5, 9]);
    }
    for mode in ["linear", "cubic"] {
        let attrs = none().with_str("mode", mode).with_int("antialias", 1);
        resize(attrs.clone().with_int("exclude_outside", 1), f(&[30, 40], 1), &[0.3, 0.11]);
        // More taps than a chunk has.
        sizes(attrs, f(&[2, 900], 1), None, &[2, 2]);
    }
    sizes(none(), bytes(&[4, 5], 1), None, &[7, 3]);
}

#[test]
fn elements_from_a_few() {
    for to in [DType::I8, DType::F16, DType::Bool] {
        check("CastLike", none(), &[f(&[3, 40], 1), cast(f(&[2], 1), to)], 1);
    }
    let ids = i(&[2, 4], &[0, 3, 8, 1, 2, 2, 7, 4]);
    for interleaved in [0, 1] {
        let attrs = none().with_int("interleaved", interleaved);
        let partial = attrs.clone().with_int("rotary_embedding_dim", 4);
        check(
            "RotaryEmbedding",
            partial,
            &[f(&[2, 3, 4, 6], 1), f(&[9, 2], 2), f(&[9, 2], 3), ids.clone()],
            1,
        );
        let three = attrs.with_int("num_heads", 3);
        check("RotaryEmbedding", three, &[f(&[2, 4, 18], 1), f(&[2, 4, 3], 2), f(&[2, 4, 3], 3)], 1);
    }
    for reduction in ["none", "add", "mul", "max", "min"] {
        let attrs = none().with_str("reduction", reduction);
        let indices = i(&[3, 2], &[1, 0, -1, 1, 1, 1]);
        check("ScatterND", attrs.clone(), &[f(&[4, 5, 3], 1), indices, f(&[3, 3], 2)], 1);
        check("ScatterND", attrs.clone(), &[f(&[4, 5], 1), i(&[3, 1], &[1, 0, 1]), f(&[3, 5], 2)], 1);
        let elements = i(&[2, 3], &[1, 0, -1, 1, 1, 0]);
        check("ScatterElements", attrs.with_int("axis", 1), &[f(&[4, 5], 1), elements, f(&[2, 3], 2)], 1);
    }
    // The data may be of any size.
    check("ScatterND", none(), &[f(&[400, 500], 1), i(&[3, 1], &[1, 0, 1]), f(&[3, 500], 2)], 1);
}

#[test]
fn numbers_of_a_generator_and_embeddings() {
    for name in ["RandomUniform", "RandomNormal"] {
        for dtype in [1, 10, 11, 16] {
            let attrs = none().with_ints("shape", &[7, 9]).with_float("seed", 2.5).with_int("dtype", dtype);
            check(name, attrs.with_int("stream", 3), &[], 1);
        }
        check(&format!("{name}Like"), none().with_float("seed", 1.5), &[f(&[4, 5], 1)], 1);
    }
    for dtype in [1, 6, 9, 11] {
        check("Bernoulli", none().with_int("dtype", dtype), &[f(&[60], 3)], 1);
    }
    let tokens = i(&[4], &[3, 0, 18, 3]);
    let dense = none().with_int("columns", 19);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        check("Embedding", dense.clone(), &[tokens.clone(), cast(f(&[5, 19], 1), dtype)], 1);
        let turned = dense.clone().with_int("transposed", 1);
        check("Embedding", turned, &[tokens.clone(), cast(f(&[19, 5], 1), dtype)], 1);
    }
    for format in crate::blocks::Format::ALL {
        let shape = [2, 512 / format.positions(), format.bytes()];
        let count = shape.iter().product::<usize>();
        let weights: Vec<u8> = (0..count).map(|i| (i * 29 % 64) as u8).collect();
        let inputs = [tokens.clone(), Some(Tensor::from_slice(&shape, &weights))];
        check("Embedding", dense.clone().with_str("format", format.name()), &inputs, 1);
    }
}

#[test]
fn grids_regions_and_offsets() {
    for mode in ["linear", "nearest", "cubic"] {
        for padding in ["zeros", "border", "reflection"] {
            let attrs = none().with_str("mode", mode).with_str("padding_mode", padding);
            let grid = f(&[2, 3, 4, 2], 2);
            check("GridSample", attrs.clone(), &[f(&[2, 3, 5, 4], 1), grid.clone()], 1);
            let (x, grid) = (cast(f(&[2, 3, 5, 4], 1), DType::F16), cast(grid, DType::F16));
            check("GridSample", attrs.with_int("align_corners", 1), &[x, grid], 1);
        }
    }
    let hostile = Some(Tensor::from_slice(&[1, 2, 1, 2], &[f32::NAN, 0.0, f32::INFINITY, 0.5]));
    check("GridSample", none(), &[f(&[1, 1, 5, 4], 1), hostile], 1);
    let corners = [0.3f32, 1.0, 6.5, 7.2, -3.0, 2.0, 4.0, 20.0, 5.0, 5.0, 5.0, 5.0];
    let rois = Some(Tensor::from_slice(&[3, 4], &corners));
    let indices = i(&[3], &[1, 0, 1]);
    for mode in ["avg", "max"] {
        for ratio in [0, 2] {
            let attrs = none()
                .with_str("mode", mode)
                .with_int("sampling_ratio", ratio)
                .with_int("output_height", 2)
                .with_int("output_width", 3);
            check("RoiAlign", attrs, &[f(&[2, 3, 8, 9], 1), rois.clone(), indices.clone()], 1);
        }
    }
    let attrs = none()
        .with_int("group", 2)
        .with_int("offset_group", 2)
        .with_ints("pads", &[1, 0, 1, 1])
        .with_ints("strides", &[2, 1])
        .with_ints("dilations", &[1, 2]);
    let inputs = |channels: usize, dtype: DType| {
        let all = [
            f(&[2, channels, 6, 7], 1),
            f(&[6, channels / 2, 3, 2], 2),
            f(&[2, 24, 3, 6], 3),
            f(&[6], 4),
            f(&[2, 12, 3, 6], 5),
        ];
        all.map(|tensor| cast(tensor, dtype))
    };
    check("DeformConv", attrs.clone(), &inputs(4, DType::F32), 1);
    check("DeformConv", attrs.clone(), &inputs(4, DType::F16), 1);
    // More than a chunk.
    check("DeformConv", attrs, &inputs(100, DType::F32)[..3], 1);
}

#[test]
fn transforms() {
    let axis = |axis: i64| i(&[], &[axis]);
    for (inverse, one_sided, parts) in [(0, 0, 1), (0, 0, 2), (1, 0, 2), (0, 1, 1), (1, 1, 2), (1, 0, 1)] {
        let attrs = none().with_int("inverse", inverse).with_int("onesided", one_sided);
        let x = f(&[2, 9, 3, parts], 1);
        check("DFT", attrs.clone(), &[x.clone(), None, axis(1)], 1);
        check("DFT", attrs.clone(), &[x.clone(), axis(12), axis(1)], 1);
        check("DFT", attrs.clone(), &[cast(x, DType::F64), axis(5)], 1);
        check("DFT", attrs, &[f(&[600, parts], 2)], 1);
    }
    check("STFT", none(), &[f(&[2, 40, 1], 1), axis(7), f(&[10], 2)], 1);
    check("STFT", none().with_int("onesided", 0), &[f(&[2, 40, 2], 1), axis(7), None, axis(12)], 1);
}
