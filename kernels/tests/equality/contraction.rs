//! MatMul and the other products.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::{Case, Data, Random, random};

const FLOATS: [Data; 3] = [Data::Plain, Data::Finite, Data::Laden];

fn matmul(dtype: DType, a: &[usize], b: &[usize], data: Data, seed: u64) {
    let mut source = Random(seed);
    let inputs = vec![random(dtype, a, data, &mut source), random(dtype, b, data, &mut source)];
    let panels: &[usize] = if b.len() >= 2 { &[1] } else { &[] };
    Case::new("MatMul", Attrs::new(), inputs).check_with_panels(panels);
}

#[test]
fn matmul_shapes() {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[1, 1], &[1, 1]),
        (&[3, 5], &[5, 7]),
        (&[12, 256], &[256, 32]),
        (&[13, 257], &[257, 33]),
        (&[1, 700], &[700, 150]),
        (&[2, 1025], &[1025, 40]),
        (&[5, 513], &[513, 65]),
        (&[25, 1793], &[1793, 17]),
        (&[200, 300], &[300, 50]),
        (&[70, 600], &[600, 1]),
        (&[33, 520], &[520, 7]),
        (&[40, 30], &[30, 600]),
        (&[7], &[7, 9]),
        (&[9, 7], &[7]),
        (&[300], &[300]),
        (&[0, 7], &[7, 3]),
        (&[4, 0], &[0, 3]),
        (&[4, 3], &[3, 0]),
        (&[2, 3, 4, 5], &[5, 6]),
        (&[2, 1, 4, 300], &[3, 300, 20]),
        (&[3, 4, 5], &[2, 1, 5, 6]),
        (&[5], &[3, 5, 4]),
        (&[3, 4, 5], &[5]),
        (&[0, 4, 5], &[5, 2]),
    ];
    for (index, (a, b)) in shapes.iter().enumerate() {
        for data in FLOATS {
            matmul(DType::F32, a, b, data, index as u64);
        }
        for dtype in [DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U32, DType::U64] {
            matmul(dtype, a, b, Data::Laden, index as u64);
        }
    }
}

#[test]
fn matmul_drawn_shapes() {
    let mut source = Random(7);
    for seed in 0..60 {
        let m = source.pick(&[1, 2, 3, 4, 6, 7, 11, 12, 13, 24, 37]);
        let k = source.pick(&[1, 15, 255, 256, 257, 511, 512, 513, 770, 1281]);
        let n = 1 + source.below(70);
        matmul(DType::F32, &[m, k], &[k, n], source.pick(&FLOATS), seed);
    }
}

#[test]
fn gemm_options() {
    let mut source = Random(11);
    for seed in 0..90 {
        let dtype = if seed % 3 == 0 {
            source.pick(&[
                DType::F64,
                DType::F16,
                DType::BF16,
                DType::I32,
                DType::I64,
                DType::U32,
                DType::U64,
            ])
        } else {
            DType::F32
        };
        let m = source.pick(&[1, 2, 5, 12, 13, 40]);
        let k = source.pick(&[0, 1, 17, 256, 300, 1025]);
        let n = source.pick(&[1, 3, 8, 16, 31, 70]);
        let data = source.pick(&FLOATS);
        let (trans_a, trans_b) = (source.below(2), source.below(2));
        let factor = |source: &mut Random| {
            source.pick(if dtype.is_float() { &[1.0f32, 0.7, -2.0] } else { &[1.0, 3.0, -2.0] })
        };
        let attrs = Attrs::new()
            .with_int("transA", trans_a as i64)
            .with_int("transB", trans_b as i64)
            .with_float("alpha", factor(&mut source))
            .with_float("beta", factor(&mut source));
        let a = if trans_a == 1 { [k, m] } else { [m, k] };
        let b = if trans_b == 1 { [n, k] } else { [k, n] };
        let mut inputs = vec![random(dtype, &a, data, &mut source), random(dtype, &b, data, &mut source)];
        let c: &[usize] = match source.below(7) {
            0 => &[],
            1 => &[n],
            2 => &[1],
            3 => &[m, n],
            4 => &[m, 1],
            5 => &[1, n],
            _ => &[usize::MAX],
        };
        if c != [usize::MAX] {
            inputs.push(random(dtype, c, data, &mut source));
        }
        Case::new("Gemm", attrs, inputs).check_with_panels(if trans_b == 0 { &[1] } else { &[] });
    }
}

struct Conv {
    x: Vec<usize>,
    w: Vec<usize>,
    group: i64,
    strides: Vec<i64>,
    pads: Vec<i64>,
    dilations: Vec<i64>,
}

impl Conv {
    fn check(&self, dtype: DType, data: Data, seed: u64) {
        let mut source = Random(seed);
        let attrs = Attrs::new()
            .with_int("group", self.group)
            .with_ints("strides", &self.strides)
            .with_ints("pads", &self.pads)
            .with_ints("dilations", &self.dilations);
        let mut inputs =
            vec![random(dtype, &self.x, data, &mut source), random(dtype, &self.w, data, &mut source)];
        if source.below(2) == 0 {
            inputs.push(random(dtype, &[self.w[0]], data, &mut source));
        }
        Case::new("Conv", attrs, inputs).check();
    }
}

#[test]
fn conv_two_axes() {
    let mut source = Random(5);
    for seed in 0..70 {
        let group = source.pick(&[1usize, 1, 1, 2, 3]);
        let channels = group * source.pick(&[1, 2, 5, 30]);
        let out = group * source.pick(&[1, 3, 8, 14]);
        let kernel = [source.pick(&[1usize, 2, 3, 5]), source.pick(&[1usize, 3, 4])];
        let dilations = [source.pick(&[1i64, 1, 2]), source.pick(&[1i64, 1, 3])];
        let least = |axis: usize| (kernel[axis] - 1) * dilations[axis] as usize + 1;
        let case = Conv {
            x: vec![source.pick(&[1, 2]), channels, least(0) + source.below(12), least(1) + source.below(20)],
            w: vec![out, channels / group, kernel[0], kernel[1]],
            group: group as i64,
            strides: vec![source.pick(&[1, 1, 2, 3]), source.pick(&[1, 1, 2, 3])],
            pads: (0..4).map(|_| source.pick(&[0, 0, 1, 2])).collect(),
            dilations: dilations.to_vec(),
        };
        let dtype =
            if seed % 7 == 6 { source.pick(&[DType::F64, DType::F16, DType::BF16]) } else { DType::F32 };
        case.check(dtype, source.pick(&FLOATS), seed);
    }
}

#[test]
fn conv_depthwise() {
    let mut source = Random(6);
    for seed in 0..60 {
        let channels = source.pick(&[1usize, 2, 5]);
        let kernel = [source.pick(&[1usize, 3, 5]), source.pick(&[1usize, 3, 7])];
        let dilations = [source.pick(&[1i64, 1, 2]), source.pick(&[1i64, 1, 2])];
        let least = |axis: usize| (kernel[axis] - 1) * dilations[axis] as usize + 1;
        let case = Conv {
            x: vec![source.pick(&[1, 2]), channels, least(0) + source.below(30), least(1) + source.below(40)],
            w: vec![channels * source.pick(&[1, 2]), 1, kernel[0], kernel[1]],
            group: channels as i64,
            strides: vec![source.pick(&[1, 2, 3]), source.pick(&[1, 2, 3])],
            pads: (0..4).map(|_| source.pick(&[0, 1, 3])).collect(),
            dilations: dilations.to_vec(),
        };
        case.check(DType::F32, source.pick(&FLOATS), seed);
    }
}

#[test]
fn conv_one_and_three_axes_and_chunks() {
    let one = |x: &[usize], w: &[usize], group: i64, stride: i64, pad: i64| {
        let axes = x.len() - 2;
        let case = Conv {
            x: x.to_vec(),
            w: w.to_vec(),
            group,
            strides: vec![stride; axes],
            pads: vec![pad; 2 * axes],
            dilations: vec![1; axes],
        };
        for data in FLOATS {
            case.check(DType::F32, data, 3);
        }
    };
    one(&[2, 6, 40], &[4, 6, 3], 1, 1, 1);
    one(&[1, 6, 41], &[6, 2, 5], 3, 2, 2);
    one(&[1, 2, 5, 6, 7], &[3, 2, 3, 2, 3], 1, 1, 1);
    one(&[1, 4, 6, 6, 6], &[4, 2, 2, 2, 2], 2, 2, 0);
    // Several chunks: 70 * 9 and 600 terms; 31 * 17 taps of a depthwise kernel.
    one(&[1, 70, 9, 11], &[13, 70, 3, 3], 1, 1, 1);
    one(&[2, 600, 5, 7], &[20, 600, 1, 1], 1, 1, 0);
    one(&[1, 2, 31, 40], &[2, 1, 31, 17], 2, 1, 5);
    one(&[1, 3, 64, 64], &[16, 3, 3, 3], 1, 2, 1);
    one(&[0, 3, 6, 6], &[2, 3, 3, 3], 1, 1, 0);
}

#[test]
fn a_weight_that_is_not_finite_is_not_multiplied_outside_of_the_image() {
    for weight in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for channels in [1, 3] {
            let mut source = Random(1);
            let x = random(DType::F32, &[1, channels, 6, 7], Data::Plain, &mut source);
            for groups in [1, channels] {
                let mut w =
                    random(DType::F32, &[channels, channels / groups, 3, 3], Data::Plain, &mut source);
                w.as_mut_slice::<f32>()[1] = weight;
                w.canonicalize();
                let attrs = Attrs::new().with_ints("pads", &[1; 4]).with_int("group", groups as i64);
                Case::new("Conv", attrs, vec![x.clone(), w]).check();
            }
        }
    }
}

#[test]
fn conv_transpose() {
    let mut source = Random(8);
    for seed in 0..35 {
        let axes = source.pick(&[1usize, 2, 2, 2]);
        let group = source.pick(&[1usize, 1, 2]);
        let channels = group * source.pick(&[1, 3, 24, 70]);
        let mut x = vec![source.pick(&[1, 2]), channels];
        x.extend((0..axes).map(|_| 1 + source.below(12)));
        let mut w = vec![channels, source.pick(&[1, 2, 13])];
        w.extend((0..axes).map(|_| source.pick(&[1, 2, 3, 4])));
        let mut list =
            |from: &[i64], count: usize| (0..count).map(|_| source.pick(from)).collect::<Vec<i64>>();
        let mut attrs = Attrs::new()
            .with_int("group", group as i64)
            .with_ints("strides", &list(&[1, 2, 2, 3], axes))
            .with_ints("dilations", &list(&[1, 1, 2], axes))
            .with_ints("output_padding", &list(&[0, 0, 1], axes));
        if seed % 5 == 4 {
            attrs = attrs.with_str("auto_pad", "SAME_UPPER");
        }
        let dtype = if seed % 7 == 6 { source.pick(&[DType::F64, DType::F16]) } else { DType::F32 };
        let data = FLOATS[seed % 3];
        let mut inputs = vec![random(dtype, &x, data, &mut source), random(dtype, &w, data, &mut source)];
        if source.below(2) == 0 {
            inputs.push(random(dtype, &[group * w[1]], data, &mut source));
        }
        Case::new("ConvTranspose", attrs, inputs).check();
    }
}

#[test]
fn few_rows() {
    for (m, k, n) in [(1, 1300, 1100), (2, 257, 1025), (3, 6, 64), (4, 771, 333), (4, 3, 17), (1, 0, 40)] {
        for data in FLOATS {
            matmul(DType::F32, &[m, k], &[k, n], data, 9);
        }
    }
}

#[test]
fn matmul_integer() {
    let mut source = Random(12);
    for (a, b) in [(&[3, 5][..], &[5, 7][..]), (&[2, 9, 300], &[300, 33]), (&[1, 40], &[40, 200])] {
        for (left, right) in [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::U8, DType::U8)] {
            let x = Some(random(left, a, Data::Plain, &mut source));
            let w = Some(random(right, b, Data::Plain, &mut source));
            let zero =
                |dtype, shape: &[usize], source: &mut Random| Some(random(dtype, shape, Data::Plain, source));
            let one = zero(left, &[], &mut source);
            let columns = zero(right, &[b[1]], &mut source);
            let other = zero(right, &[1], &mut source);
            for inputs in [
                vec![x.clone(), w.clone()],
                vec![x.clone(), w.clone(), one.clone(), other],
                vec![x.clone(), w.clone(), one, columns],
            ] {
                Case { op: "MatMulInteger", attrs: Attrs::new(), inputs, outputs: 1 }.check();
            }
        }
    }
}
