//! Products and convolutions of bytes, and what makes bytes.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::digest::Layout;
use repops::dtype::DType;
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Random, cases, random};

const BYTES: [DType; 2] = [DType::U8, DType::I8];

/// A shape for a parameter of a matrix's rows or columns.
fn parameter(matrix: &[usize], columns: bool, source: &mut Random) -> Vec<usize> {
    let rank = matrix.len();
    let mut full = matrix.to_vec();
    full[if columns && rank > 1 { rank - 2 } else { rank - 1 }] = 1;
    match source.below(4) {
        0 => vec![],
        1 => vec![1],
        2 if rank > 1 => vec![matrix[if columns { rank - 1 } else { rank - 2 }]],
        _ => full,
    }
}

fn scale(dtype: DType, shape: &[usize], source: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (1 + source.below(1000)) as f32 * 1e-3).collect();
    match dtype {
        DType::F16 => {
            let values: Vec<half::f16> = values.into_iter().map(half::f16::from_f32).collect();
            Tensor::from_slice(shape, &values)
        }
        DType::BF16 => {
            let values: Vec<half::bf16> = values.into_iter().map(half::bf16::from_f32).collect();
            Tensor::from_slice(shape, &values)
        }
        _ => Tensor::from_slice(shape, &values),
    }
}

fn shapes(source: &mut Random, k_max: bool) -> (Vec<usize>, Vec<usize>) {
    let m = source.pick(&[1usize, 1, 2, 3, 4, 5, 8, 12, 13, 26]);
    let k = source.pick(if k_max { &[1usize, 2, 3, 7, 64, 255, 1025, 2051] } else { &[0usize, 5, 33, 130] });
    let n = source.pick(&[1usize, 15, 16, 17, 33, 64, 65, 130]);
    match source.below(8) {
        0 => (vec![k], vec![k, n]),
        1 => (vec![m, k], vec![k]),
        2 => (vec![2, 1, m, k], vec![3, k, n]),
        3 => (vec![3, m, k], vec![k, n]),
        4 => (vec![m, k], vec![2, k, n]),
        5 => (vec![k], vec![k]),
        _ => (vec![m, k], vec![k, n]),
    }
}

fn matmul_integer_case(seed: u64) -> TestCaseResult {
    let mut source = Random(seed);
    let seed = source.below(60);
    let (a, b) = shapes(&mut source, !seed.is_multiple_of(3));
    let (left, right) = (source.pick(&BYTES), source.pick(&BYTES));
    let mut inputs = vec![
        Some(random(left, &a, Data::Plain, &mut source)),
        Some(random(right, &b, Data::Plain, &mut source)),
    ];
    if source.below(4) > 0 {
        let (za, zb) = (parameter(&a, false, &mut source), parameter(&b, true, &mut source));
        let has_left = source.below(4) > 0;
        inputs.push(has_left.then(|| random(left, &za, Data::Plain, &mut source)));
        if source.below(2) > 0 {
            inputs.push(Some(random(right, &zb, Data::Plain, &mut source)));
        }
    }
    let case = Case { op: "MatMulInteger", attrs: Attrs::new(), inputs, outputs: 1 };
    case.check_in(Layout::Groups4, if b.len() > 1 { &[1] } else { &[] })
}

#[test]
fn matmul_integer_of_many_rows_and_columns() {
    let mut source = Random(22);
    for (m, k, n, left, right) in [
        (600, 70, 40, DType::U8, DType::I8),
        (40, 4100, 70, DType::I8, DType::I8),
        (130, 130, 700, DType::U8, DType::U8),
        (9, 2048, 300, DType::I8, DType::U8),
    ] {
        let inputs = vec![
            random(left, &[m, k], Data::Plain, &mut source),
            random(right, &[k, n], Data::Plain, &mut source),
            random(left, &[m], Data::Plain, &mut source),
            random(right, &[n], Data::Plain, &mut source),
        ];
        Case::new("MatMulInteger", Attrs::new(), inputs).check_in(Layout::Groups4, &[1]).unwrap();
    }
}

fn qlinear_matmul_case(seed: u64) -> TestCaseResult {
    let mut source = Random(seed);
    let seed = source.below(60);
    let (a, b) = shapes(&mut source, !seed.is_multiple_of(3));
    let (left, right, out) = (source.pick(&BYTES), source.pick(&BYTES), source.pick(&BYTES));
    let floats = source.pick(&[DType::F32, DType::F32, DType::F16, DType::BF16]);
    let lead = if a.len() > b.len() { &a[..a.len() - 2] } else { &b[..b.len().saturating_sub(2)] };
    let mut y = match (a.len(), b.len()) {
        (4, 3) => vec![2, 3, a[2], 1],
        _ => lead.to_vec(),
    };
    if y.len() < 4 {
        y.extend(if a.len() > 1 { &a[a.len() - 2..a.len() - 1] } else { &[] });
        y.extend(if b.len() > 1 { &[1usize][..] } else { &[] });
    }
    // The last axis of the result has extent 1 in its parameters.
    if let Some(last) = y.last_mut() {
        *last = 1;
    }
    if source.below(2) == 0 {
        y.clear();
    }
    let shape = |matrix: &[usize], columns: bool, source: &mut Random| parameter(matrix, columns, source);
    let (sa, za) = (shape(&a, false, &mut source), shape(&a, false, &mut source));
    let (sb, zb) = (shape(&b, true, &mut source), shape(&b, true, &mut source));
    let mut scales = [&sa, &sb, &y].map(|shape| scale(floats, shape, &mut source));
    if seed % 10 == 9 && floats == DType::F32 {
        scales[0].as_mut_slice::<f32>().fill(f32::NAN);
    }
    if seed % 10 == 4 && floats == DType::F32 {
        scales[1].as_mut_slice::<f32>().fill(-f32::INFINITY);
    }
    let [a_scale, b_scale, y_scale] = scales;
    let inputs = vec![
        random(left, &a, Data::Plain, &mut source),
        a_scale,
        random(left, &za, Data::Plain, &mut source),
        random(right, &b, Data::Plain, &mut source),
        b_scale,
        random(right, &zb, Data::Plain, &mut source),
        y_scale,
        random(out, &y, Data::Plain, &mut source),
    ];
    let case = Case::new("QLinearMatMul", Attrs::new(), inputs);
    case.check_in(Layout::Groups4, if b.len() > 1 { &[3] } else { &[] })
}

fn conv_case(source: &mut Random, axes: usize) -> (Vec<usize>, Vec<usize>, Attrs) {
    let group = source.pick(&[1usize, 1, 1, 2, 5]);
    let channels = source.pick(&[1usize, 1, 3, 30]);
    let out = group * source.pick(&[1usize, 3, 14]);
    let (mut x, mut w) = (vec![source.pick(&[1usize, 2]), group * channels], vec![out, channels]);
    let (mut strides, mut dilations) = (Vec::new(), Vec::new());
    let plain = source.below(4) == 0;
    for _ in 0..axes {
        let kernel = if plain { 1 } else { source.pick(&[1usize, 2, 3]) };
        let dilation = source.pick(&[1usize, 1, 2, 3]);
        x.push((kernel - 1) * dilation + 1 + source.below(if axes == 1 { 60 } else { 11 }));
        w.push(kernel);
        dilations.push(dilation as i64);
        strides.push(if plain { 1 } else { source.pick(&[1i64, 1, 2, 3]) });
    }
    let pads: Vec<i64> = (0..2 * axes).map(|_| if plain { 0 } else { source.pick(&[0, 1, 2]) }).collect();
    let attrs = Attrs::new()
        .with_int("group", group as i64)
        .with_ints("strides", &strides)
        .with_ints("pads", &pads)
        .with_ints("dilations", &dilations);
    (x, w, attrs)
}

fn conv_integer_case(seed: u64) -> TestCaseResult {
    let mut source = Random(seed);
    let seed = source.below(60);
    let (x, w, attrs) = conv_case(&mut source, [2, 2, 2, 1, 3][seed % 5]);
    let (left, right) = (source.pick(&BYTES), source.pick(&BYTES));
    let zeros = [vec![], vec![1], vec![w[0]]][source.below(3)].clone();
    let mut inputs = vec![
        Some(random(left, &x, Data::Plain, &mut source)),
        Some(random(right, &w, Data::Plain, &mut source)),
    ];
    match source.below(3) {
        0 => {}
        1 => inputs.push(Some(random(left, &[1], Data::Plain, &mut source))),
        _ => {
            inputs.push(source.pick(&[None, Some(())]).map(|()| random(left, &[], Data::Plain, &mut source)));
            inputs.push(Some(random(right, &zeros, Data::Plain, &mut source)));
        }
    }
    Case { op: "ConvInteger", attrs, inputs, outputs: 1 }.check()
}

#[test]
fn conv_integer_of_padding_alone() {
    let mut source = Random(26);
    let attrs = Attrs::new()
        .with_ints("strides", &[300, 1 << 20])
        .with_ints("pads", &[1 << 20, 1 << 20, 1 << 20, 1 << 20])
        .with_ints("dilations", &[1 << 20, 1 << 20]);
    let inputs = vec![
        random(DType::U8, &[1, 2, 3, 3], Data::Plain, &mut source),
        random(DType::I8, &[2, 2, 3, 3], Data::Plain, &mut source),
        random(DType::U8, &[], Data::Plain, &mut source),
    ];
    Case::new("ConvInteger", attrs, inputs).check().unwrap();
}

/// Images that tiles read in groups of four channels under every tap: several blocks of terms and of columns, channels that
/// do not fill a group, strides, groups.
#[test]
fn convolutions_in_groups_of_channels() {
    let mut source = Random(31);
    for (channels, groups, out, image, kernel, stride, left, right) in [
        (8, 1, 3, [21, 23], [3, 3], 1, DType::U8, DType::I8),
        (7, 1, 13, [17, 18], [3, 2], 1, DType::U8, DType::U8),
        (15, 2, 5, [25, 30], [3, 3], 2, DType::I8, DType::I8),
        (300, 1, 2, [9, 7], [3, 3], 1, DType::I8, DType::U8),
        (20, 1, 14, [7, 40], [5, 5], 1, DType::U8, DType::U8),
        (12, 1, 26, [40, 40], [1, 1], 2, DType::I8, DType::I8),
        (32, 1, 25, [30, 60], [3, 3], 1, DType::U8, DType::I8),
        (8, 3, 1, [12, 8], [1, 3], 3, DType::U8, DType::U8),
    ] {
        let attrs = Attrs::new()
            .with_int("group", groups as i64)
            .with_ints("strides", &[stride, stride])
            .with_ints("pads", &[1, 1, 0, 1]);
        let (x, w) = (
            vec![2, groups * channels, image[0], image[1]],
            vec![groups * out, channels, kernel[0], kernel[1]],
        );
        let each: &[usize] = if out % 2 == 0 { &[w[0]] } else { &[] };
        let (image, filters) =
            (random(left, &x, Data::Plain, &mut source), random(right, &w, Data::Plain, &mut source));
        let zeros =
            [random(left, &[], Data::Plain, &mut source), random(right, each, Data::Plain, &mut source)];
        let [x_zero, w_zero] = zeros.clone();
        Case::new("ConvInteger", attrs.clone(), vec![image.clone(), filters.clone(), x_zero, w_zero])
            .check()
            .unwrap();
        let [x_zero, w_zero] = zeros;
        let inputs = vec![
            image,
            scale(DType::F32, &[], &mut source),
            x_zero,
            filters,
            scale(DType::F32, each, &mut source),
            w_zero,
            Tensor::from_slice(&[], &[100.0f32]),
            random(left, &[1], Data::Plain, &mut source),
            random(DType::I32, &[w[0]], Data::Plain, &mut source),
        ];
        Case::new("QLinearConv", attrs, inputs).check().unwrap();
    }
}

fn qlinear_conv_case(seed: u64) -> TestCaseResult {
    let mut source = Random(seed);
    let seed = source.below(60);
    let (x, w, attrs) = conv_case(&mut source, [2, 2, 1, 2, 3][seed % 5]);
    let (left, right, out) = (source.pick(&BYTES), source.pick(&BYTES), source.pick(&BYTES));
    let each = [vec![], vec![1], vec![w[0]]][source.below(3)].clone();
    let mut inputs = vec![
        random(left, &x, Data::Plain, &mut source),
        scale(DType::F32, &[], &mut source),
        random(left, &[], Data::Plain, &mut source),
        random(right, &w, Data::Plain, &mut source),
        scale(DType::F32, &each, &mut source),
        random(right, &each, Data::Plain, &mut source),
        scale(DType::F32, &[1], &mut source),
        random(out, &[1], Data::Plain, &mut source),
    ];
    if source.below(2) == 0 {
        inputs.push(random(DType::I32, &[w[0]], Data::Plain, &mut source));
    }
    Case::new("QLinearConv", attrs, inputs).check()
}

#[test]
fn dynamic_quantize_linear() {
    let mut source = Random(27);
    let case = |x: Tensor| {
        Case { op: "DynamicQuantizeLinear", attrs: Attrs::new(), inputs: vec![Some(x)], outputs: 3 }
            .check()
            .unwrap()
    };
    for count in [0, 1, 63, 64, 65, 1000, 70_001] {
        for data in [Data::Plain, Data::Finite, Data::Laden] {
            case(random(DType::F32, &[count], data, &mut source));
        }
    }
    let extremes: &[&[f32]] = &[
        &[0.0, -0.0],
        &[3.0, 255.0],
        &[-255.0, -1.0],
        &[f32::INFINITY, 1.0],
        &[f32::NEG_INFINITY, 1.0],
        &[f32::MAX, f32::MIN],
        &[1e-45, 0.0],
        &[-1.0, f32::NAN, 2.0],
    ];
    for values in extremes {
        case(Tensor::from_slice(&[values.len()], values));
    }
    let halves: Vec<f32> = (0..512).map(|i| i as f32 * 0.5).chain([255.0]).collect();
    case(Tensor::from_slice(&[halves.len()], &halves));
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn matmul_integer(seed in any::<u64>()) {
        matmul_integer_case(seed)?;
    }

    #[test]
    fn qlinear_matmul(seed in any::<u64>()) {
        qlinear_matmul_case(seed)?;
    }

    #[test]
    fn conv_integer(seed in any::<u64>()) {
        conv_integer_case(seed)?;
    }

    #[test]
    fn qlinear_conv(seed in any::<u64>()) {
        qlinear_conv_case(seed)?;
    }
}
