//! Convolutions of bytes, of 16-bit floats and of doubles, transposed ones, and Resize.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::elementwise::converted;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    bytes(&mut out);
    halves(&mut out);
    doubles(&mut out);
    transposed(&mut out);
    resized(&mut out);
    out
}

/// Trees of as many levels as a thread holds.
pub fn long() -> Vec<Case> {
    let mut draw = Draw::new(117);
    let mut out = Vec::new();
    for channels in [5000, 32_000, 105_000, 140_000] {
        let inputs = vec![draw.finite_tensor(&[1, channels, 2, 2]), draw.finite_tensor(&[1, channels, 2, 2])];
        out.push(Case::new("Conv", Attrs::new(), inputs).aligned());
        let inputs = vec![draw.finite_tensor(&[1, channels, 1, 1]), draw.finite_tensor(&[channels, 1, 2, 2])];
        let attrs = Attrs::new().with_ints("pads", &[1, 1, 0, 0]);
        out.push(Case::new("ConvTranspose", attrs, inputs).aligned());
    }
    // A last chunk that is not whole and completes a subtree of every height; and subtrees of every height that wait for others in
    // the end.
    for chunks in (1..12).map(|height| 1 << height).chain([2047, 2051]) {
        let channels = 256 * chunks - 100;
        for dtype in [DType::F32, DType::F64] {
            let [x, w] = [(1, channels), (channels, 1)]
                .map(|(images, planes)| converted(draw.plain_tensor(&[images, planes, 1, 1]), dtype));
            out.push(Case::new("ConvTranspose", Attrs::new(), vec![x, w]).aligned());
        }
    }
    out
}

type Window = (Vec<usize>, Vec<usize>, i64, Vec<i64>, Vec<i64>, Vec<i64>);

/// Image, weights, groups, strides, pads, dilations.
fn windows() -> Vec<Window> {
    let of =
        |image: &[usize], weights: &[usize], groups, strides: &[i64], pads: &[i64], dilations: &[i64]| {
            (image.to_vec(), weights.to_vec(), groups, strides.to_vec(), pads.to_vec(), dilations.to_vec())
        };
    vec![
        of(&[1, 3, 9, 10], &[9, 3, 3, 3], 1, &[1, 1], &[1, 1, 1, 1], &[1, 1]),
        of(&[2, 20, 6, 5], &[70, 20, 3, 3], 1, &[2, 1], &[0, 1, 2, 1], &[1, 2]),
        of(&[3, 16, 4, 4], &[12, 16, 1, 1], 1, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        of(&[1, 6, 7, 7], &[18, 3, 1, 2], 2, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        of(&[2, 4, 8, 8], &[4, 1, 3, 3], 4, &[1, 2], &[1, 1, 1, 1], &[1, 1]),
        of(&[2, 5, 12], &[3, 5, 4], 1, &[3], &[2, 1], &[2]),
        of(&[1, 1, 40], &[8, 1, 2], 1, &[1], &[1, 0], &[1]),
    ]
}

fn attrs(window: &Window) -> Attrs {
    let (_, _, groups, strides, pads, dilations) = window;
    Attrs::new()
        .with_int("group", *groups)
        .with_ints("strides", strides)
        .with_ints("pads", pads)
        .with_ints("dilations", dilations)
}

fn bytes(out: &mut Vec<Case>) {
    let mut draw = Draw::new(111);
    let kinds =
        [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::U8, DType::U8), (DType::I8, DType::U8)];
    for (at, window) in windows().into_iter().enumerate() {
        let (image, weights, ..) = &window;
        for (a, b) in kinds {
            let (x, w) = (draw.any_tensor(a, image), draw.any_tensor(b, weights));
            let channels = weights[0];
            let zeros = if at % 2 == 0 { vec![channels] } else { vec![] };
            let mut inputs = vec![x.clone(), w.clone()];
            if a == DType::U8 {
                inputs.push(draw.any_tensor(a, &[]));
            }
            if a == DType::U8 && b == DType::I8 {
                inputs.push(draw.any_tensor(b, &zeros));
            }
            out.push(Case::new("ConvInteger", attrs(&window), inputs));
            let scales = draw.tensor(&zeros, |draw| draw.plain().abs() * 0.02);
            let mut inputs = vec![
                x,
                Tensor::scalar(0.037f32),
                draw.any_tensor(a, &[]),
                w,
                scales,
                draw.any_tensor(b, &zeros),
                Tensor::scalar(1.7f32),
                Tensor::from_bytes(b, &[], &[0x83]).expect("a byte"),
            ];
            if at % 3 != 1 {
                inputs.push(draw.tensor(&[channels], |draw| draw.below(40_000) as i32 - 20_000));
            }
            out.push(Case::new("QLinearConv", attrs(&window), inputs));
        }
    }
    // Loops of threads, and results that are no numbers before they are rounded.
    let (x, w) = (draw.any_tensor(DType::U8, &[1, 1, 519]), draw.any_tensor(DType::I8, &[1, 1, 8]));
    out.push(Case::new("ConvInteger", Attrs::new(), vec![x.clone(), w.clone()]).aligned().in_blocks(1));
    let w8 = draw.any_tensor(DType::I8, &[8, 1, 8]);
    out.push(Case::new("ConvInteger", Attrs::new(), vec![draw.any_tensor(DType::U8, &[1, 1, 71]), w8]));
    for scale in [f32::NAN, f32::INFINITY, 1e30, 0.0] {
        let zero = || Tensor::scalar(3u8);
        let inputs = vec![
            x.clone(),
            Tensor::scalar(scale),
            zero(),
            w.clone(),
            Tensor::scalar(0.5f32),
            Tensor::scalar(-1i8),
            Tensor::scalar(0.25f32),
            zero(),
        ];
        out.push(Case::new("QLinearConv", Attrs::new(), inputs));
    }
}

fn halves(out: &mut Vec<Case>) {
    for (at, window) in windows().into_iter().enumerate() {
        let (image, weights, ..) = &window;
        for dtype in [DType::F16, DType::BF16] {
            let of = |shape: &[usize], seed| converted(Draw::new(seed).finite_tensor(shape), dtype);
            let mut inputs = vec![of(image, 1), of(weights, 2)];
            if at % 2 == 0 {
                inputs.push(of(&weights[..1], 3));
            }
            out.push(Case::new("Conv", attrs(&window), inputs));
        }
    }
}

/// A number with all bits of a double; now and then one that is no number, or infinite.
pub fn double(draw: &mut Draw) -> f64 {
    let bits = draw.bits();
    match draw.below(2000) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        _ => f64::from_bits(bits & 0x800f_ffff_ffff_ffff | (1003 + draw.below(40) as u64) << 52),
    }
}

fn doubles(out: &mut Vec<Case>) {
    let mut draw = Draw::new(118);
    for window in windows() {
        let (image, weights, ..) = &window;
        let mut inputs = vec![draw.tensor(image, double), draw.tensor(weights, double)];
        out.push(Case::new("Conv", attrs(&window), inputs.clone()));
        inputs.push(draw.tensor(&weights[..1], double));
        out.push(Case::new("Conv", attrs(&window), inputs));
    }
    // Three chunks and more, products of one pixel, loops of threads, zeros whose signs a chunk's end settles.
    let mut push = |op, image: &[usize], weights: &[usize], draw: &mut Draw| {
        let inputs = vec![draw.tensor(image, double), draw.tensor(weights, double)];
        out.push(Case::new(op, Attrs::new(), inputs).aligned().in_blocks(1));
    };
    push("Conv", &[1, 90, 3, 4], &[2, 90, 3, 3], &mut draw);
    push("Conv", &[2, 300, 2, 2], &[3, 300, 1, 1], &mut draw);
    push("Conv", &[1, 1, 17, 18], &[2, 1, 2, 2], &mut draw);
    push("ConvTranspose", &[1, 130, 2, 2], &[130, 2, 3, 2], &mut draw);
    push("ConvTranspose", &[1, 1, 16, 15], &[1, 2, 1, 2], &mut draw);
    // Products that are infinite.
    let mut great = |shape: &[usize]| draw.tensor(shape, |draw| 1e200 * (1.0 + draw.below(9) as f64));
    out.push(Case::new("Conv", Attrs::new(), vec![great(&[1, 2, 4, 4]), great(&[2, 2, 2, 2])]));
    out.push(Case::new("ConvTranspose", Attrs::new(), vec![great(&[1, 2, 4, 4]), great(&[2, 2, 2, 2])]));
    let mut tiny = |shape: &[usize]| {
        draw.tensor(shape, |draw| f64::from_bits(draw.bits() & 1 << 63 | 0x0010_0000_0000_0001))
    };
    out.push(Case::new("Conv", Attrs::new(), vec![tiny(&[1, 1, 6, 6]), tiny(&[2, 1, 2, 2])]));
    out.push(Case::new("ConvTranspose", Attrs::new(), vec![tiny(&[1, 1, 9, 9]), tiny(&[1, 2, 2, 2])]));
}

fn transposed(out: &mut Vec<Case>) {
    let mut draw = Draw::new(112);
    let ints = |name: &str, values: &[i64]| Attrs::new().with_ints(name, values);
    // Image, weights, attributes.
    for (image, weights, attrs) in [
        (&[1, 2, 5, 6][..], &[2, 3, 3, 2][..], Attrs::new()),
        (&[2, 3, 4, 5], &[3, 2, 3, 3], ints("strides", &[2, 3]).with_ints("pads", &[1, 0, 1, 2])),
        (
            &[1, 4, 5, 4],
            &[4, 3, 2, 3],
            ints("strides", &[3, 1])
                .with_int("group", 2)
                .with_ints("dilations", &[1, 2])
                .with_ints("output_padding", &[2, 0]),
        ),
        (&[2, 3, 7], &[3, 2, 4], ints("strides", &[2]).with_ints("output_shape", &[15])),
        (&[1, 90, 3, 3], &[90, 2, 2, 3], ints("pads", &[0, 1, 1, 1])),
        (&[1, 2, 6], &[2, 1, 3], Attrs::new().with_str("auto_pad", "SAME_UPPER").with_ints("strides", &[2])),
    ] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let groups = usize::try_from(attrs.opt_int("group").unwrap_or(1)).expect("small");
            let bias = converted(draw.finite_tensor(&[weights[1] * groups]), dtype);
            let (x, w) =
                (converted(draw.finite_tensor(image), dtype), converted(draw.finite_tensor(weights), dtype));
            out.push(Case::new("ConvTranspose", attrs.clone(), vec![x.clone(), w.clone()]));
            out.push(Case::new("ConvTranspose", attrs.clone(), vec![x, w, bias]));
        }
        let groups = usize::try_from(attrs.opt_int("group").unwrap_or(1)).expect("small");
        let inputs = [image, weights, &[weights[1] * groups]].map(|shape| draw.tensor(shape, double));
        out.push(Case::new("ConvTranspose", attrs.clone(), inputs.into()));
    }
    // What is not finite, zeros whose signs a chunk's end settles, loops of threads.
    let inputs = vec![draw.hard_tensor(&[1, 2, 4, 4]), draw.hard_tensor(&[2, 2, 3, 3])];
    out.push(Case::new("ConvTranspose", Attrs::new(), inputs));
    let mut tiny = |shape: &[usize]| {
        draw.tensor(shape, |draw| f32::from_bits(draw.bits() as u32 & 0x8000_0000 | 0x0d80_0000))
    };
    out.push(Case::new("ConvTranspose", Attrs::new(), vec![tiny(&[1, 1, 9, 9]), tiny(&[1, 2, 2, 2])]));
    let inputs = vec![tiny(&[1, 1, 16, 15]), tiny(&[1, 2, 1, 2])];
    out.push(Case::new("ConvTranspose", Attrs::new(), inputs).aligned().in_blocks(1));
}

fn resized(out: &mut Vec<Case>) {
    let mut draw = Draw::new(113);
    let sizes = |values: &[i64]| Tensor::from_slice(&[values.len()], values);
    let text = |name: &str, value: &str| Attrs::new().with_str(name, value);
    let mut push =
        |attrs: Attrs, x: Tensor, roi: Option<Tensor>, scales: Option<Tensor>, sizes: Option<Tensor>| {
            let case = Case::with_optional("Resize", attrs, vec![Some(x), roi, scales, sizes]);
            out.push(case.on_host(&[1, 2, 3]));
        };
    for dtype in [DType::U8, DType::I16, DType::F32, DType::F64] {
        for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            let x = draw.any_tensor(dtype, &[1, 2, 5, 6]);
            push(text("nearest_mode", rounding), x.clone(), None, None, Some(sizes(&[1, 2, 8, 4])));
            let scales = Tensor::from_slice(&[4], &[1.0f32, 2.0, 0.6, 1.7]);
            push(text("nearest_mode", rounding), x, None, Some(scales), None);
        }
    }
    let crop = |mode: &str| {
        text("mode", mode)
            .with_str("coordinate_transformation_mode", "tf_crop_and_resize")
            .with_float("extrapolation_value", 7.5)
    };
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let x = converted(draw.hard_tensor(&[2, 2, 7, 6]), dtype);
        for mode in ["linear", "cubic"] {
            for coordinates in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
                let attrs = text("mode", mode).with_str("coordinate_transformation_mode", coordinates);
                push(attrs, x.clone(), None, None, Some(sizes(&[2, 2, 9, 4])));
            }
            for antialias in [0, 1] {
                let attrs =
                    text("mode", mode).with_int("antialias", antialias).with_int("exclude_outside", 1);
                push(attrs, x.clone(), None, None, Some(sizes(&[2, 2, 3, 11])));
            }
            push(text("mode", mode), x.clone(), None, None, Some(sizes(&[3, 2, 7, 13])));
            let roi = Tensor::from_slice(&[8], &[0.0f32, 0.0, -0.3, 0.2, 1.0, 1.0, 1.2, 0.9]);
            push(crop(mode), x.clone(), Some(roi), None, Some(sizes(&[2, 2, 6, 9])));
        }
        let roi = Tensor::from_slice(&[8], &[0.0f32, 0.0, -0.3, 0.2, 1.0, 1.0, 1.2, 0.9]);
        push(crop("nearest"), x, Some(roi), None, Some(sizes(&[2, 2, 6, 9])));
    }
    for dtype in [DType::U8, DType::I32, DType::Bool] {
        let roi = Tensor::from_slice(&[4], &[-0.5f32, 0.0, 1.0, 1.5]);
        let x = draw.any_tensor(dtype, &[5, 4]);
        push(crop("nearest"), x, Some(roi), None, Some(sizes(&[7, 9])));
    }
    // Numbers so small that theirs times a weight are none: zeros whose signs the end of the sum settles.
    for dtype in [DType::F32, DType::F64] {
        let least: Vec<f64> = (0..96)
            .map(|_| if draw.bits() >> 63 == 0 { 1.0 } else { -1.0 })
            .map(|sign| if dtype == DType::F64 { sign * 5e-324 } else { sign * 1e-45 })
            .collect();
        let x = match dtype {
            DType::F64 => Tensor::from_slice(&[1, 96], &least),
            _ => Tensor::from_slice(&[1, 96], &least.iter().map(|&v| v as f32).collect::<Vec<_>>()),
        };
        push(text("mode", "cubic"), x, None, None, Some(sizes(&[1, 700])));
    }
    // Six axes; loops of threads.
    let x = draw.any_tensor(DType::I16, &[2, 1, 2, 2, 1, 3]);
    push(Attrs::new(), x, None, None, Some(sizes(&[3, 2, 2, 4, 2, 5])));
    // Along each axis a position outside, a first element and a second one.
    let x = draw.any_tensor(DType::I16, &[2; 6]);
    let roi = Tensor::from_slice(&[12], &[[-1.0f32; 6], [1.0; 6]].concat());
    push(crop("nearest"), x, Some(roi), None, Some(sizes(&[3; 6])));
    for (mode, dtype) in [("nearest", DType::F32), ("linear", DType::F32), ("cubic", DType::F64)] {
        let x = converted(draw.plain_tensor(&[1, 1, 20, 20]), dtype);
        let case = Case::with_optional(
            "Resize",
            text("mode", mode),
            vec![Some(x), None, None, Some(sizes(&[1, 1, 16, 32]))],
        );
        out.push(case.on_host(&[1, 2, 3]).aligned().in_blocks(1));
    }
}
