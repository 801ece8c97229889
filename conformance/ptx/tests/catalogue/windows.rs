//! Convolutions, pools, scatters, OneHot and TopK.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::elementwise::converted;
use super::vector;

const HALVES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    convolutions(&mut out);
    pools(&mut out);
    scatters(&mut out);
    let mut draw = Draw::new(80);
    one_hot(&mut out);
    for largest in [0, 1] {
        // Numbers that are none, and zeros of both signs.
        let attrs = Attrs::new().with_int("largest", largest);
        let few = draw.tensor(&[12, 30], |draw| [0.0f64, -0.0, 1.0, -1.0, f64::NAN][draw.below(5)]);
        out.push(Case::new("TopK", attrs, vec![few, vector(&[17])]).on_host(&[1]).outputs(2));
        for (axis, shape, k) in [(-1, vec![3, 40], 7i64), (1, vec![2, 30, 3], 30)] {
            let attrs = Attrs::new().with_int("axis", axis).with_int("largest", largest);
            let integers = [DType::I8, DType::U16, DType::U32, DType::I32, DType::I64, DType::U64];
            for dtype in HALVES.into_iter().chain(integers).chain([DType::F64]) {
                let inputs = vec![draw.any_tensor(dtype, &shape), vector(&[k])];
                out.push(Case::new("TopK", attrs.clone(), inputs).on_host(&[1]).outputs(2));
            }
        }
    }
    out
}

fn one_hot(out: &mut Vec<Case>) {
    let mut draw = Draw::new(82);
    for (indices, values) in [
        (DType::I64, DType::F32),
        (DType::U64, DType::F16),
        (DType::F32, DType::I8),
        (DType::F16, DType::F64),
        (DType::I8, DType::Bool),
        (DType::I32, DType::I64),
        (DType::F64, DType::U16),
    ] {
        for (axis, depth) in [(-1, 7i64), (0, 1), (1, 30)] {
            // In and out of range, between integers, and anything.
            let near = draw.tensor(&[5, 3], |draw| draw.below(46) as f32 / 2.0 - 11.0);
            for places in [converted(near, indices), draw.any_tensor(indices, &[5, 3])] {
                let attrs = Attrs::new().with_int("axis", axis);
                let inputs = vec![places, Tensor::scalar(depth), draw.any_tensor(values, &[2])];
                out.push(Case::new("OneHot", attrs, inputs).on_host(&[1]));
            }
        }
    }
    let places = Tensor::from_slice(&[4], &[u64::MAX, u64::MAX - 2, 1 << 63, 2]);
    let inputs = vec![places, Tensor::scalar(3i64), Tensor::from_slice(&[2], &[0.0f32, 1.0])];
    out.push(Case::new("OneHot", Attrs::new(), inputs).on_host(&[1]));
}

fn convolutions(out: &mut Vec<Case>) {
    let mut draw = Draw::new(81);
    // Image, weights, groups, strides, pads, dilations.
    for (image, weights, groups, strides, pads, dilations) in [
        (&[1, 3, 9, 10][..], &[9, 3, 3, 3][..], 1, &[1, 1][..], &[1, 1, 1, 1][..], &[1, 1][..]),
        (&[2, 32, 6, 5], &[20, 32, 3, 3], 1, &[2, 1], &[0, 1, 2, 1], &[1, 2]),
        (&[1, 6, 7, 7], &[18, 3, 1, 2], 2, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        (&[1, 4, 8, 8], &[4, 1, 3, 3], 4, &[1, 1], &[1, 1, 1, 1], &[1, 1]),
        (&[2, 5, 12], &[3, 5, 4], 1, &[3], &[2, 1], &[2]),
        (&[1, 300, 3, 3], &[2, 300, 1, 1], 1, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
        (&[1, 70, 3, 3], &[2, 70, 3, 3], 1, &[1, 1], &[1, 1, 1, 1], &[1, 1]),
        (&[1, 3, 9, 9], &[66, 3, 2, 3], 1, &[1, 1], &[1, 0, 1, 0], &[1, 1]),
        (&[96, 1, 10, 10], &[65, 1, 2, 2], 1, &[1, 1], &[0, 0, 0, 0], &[1, 1]),
    ] {
        let attrs = Attrs::new().with_int("group", groups).with_ints("strides", strides);
        let attrs = attrs.with_ints("pads", pads).with_ints("dilations", dilations);
        let (x, w) = (draw.finite_tensor(image), draw.finite_tensor(weights));
        out.push(Case::new(
            "Conv",
            attrs.clone(),
            vec![x.clone(), w.clone(), draw.finite_tensor(&weights[..1])],
        ));
        if image[0] == 1 {
            // A weight that is not finite and meets no pixel changes nothing.
            let mut infinite = w;
            let last = infinite.len() - 1;
            infinite.as_mut_slice::<f32>()[last] = f32::INFINITY;
            out.push(Case::new("Conv", attrs, vec![x, infinite]));
        }
    }
}

fn pools(out: &mut Vec<Case>) {
    let mut draw = Draw::new(82);
    let of = |kernel: &[i64]| Attrs::new().with_ints("kernel_shape", kernel);
    for (attrs, shape) in [
        (of(&[3]), vec![2, 3, 11]),
        (of(&[3, 3]).with_ints("pads", &[1, 1, 1, 1]).with_ints("strides", &[2, 1]), vec![2, 2, 8, 7]),
        (of(&[3, 2]).with_ints("dilations", &[2, 3]).with_ints("pads", &[2, 0, 1, 1]), vec![1, 2, 9, 8]),
        (of(&[12, 13]), vec![1, 2, 14, 15]),
        (of(&[2, 3, 2]).with_int("ceil_mode", 1).with_ints("strides", &[2, 2, 3]), vec![1, 2, 5, 6, 7]),
    ] {
        for dtype in HALVES {
            for with_pads in [0, 1] {
                let attrs = attrs.clone().with_int("count_include_pad", with_pads);
                out.push(Case::new("AveragePool", attrs, vec![plain(&mut draw, dtype, &shape)]));
            }
        }
        for dtype in HALVES.into_iter().chain([DType::I8, DType::U8, DType::I32]) {
            out.push(Case::new("MaxPool", attrs.clone(), vec![draw.any_tensor(dtype, &shape)]).outputs(2));
        }
    }
}

fn plain(draw: &mut Draw, dtype: DType, shape: &[usize]) -> Tensor {
    let tensor = draw.finite_tensor(shape);
    if dtype == DType::F32 {
        return tensor;
    }
    let attrs = Attrs::new().with_int("to", i64::from(dtype.code()));
    let wanted = Case::new("Cast", attrs, vec![tensor]).wanted().expect("a cast");
    wanted.result.expect("no fault").remove(0)
}

fn scatters(out: &mut Vec<Case>) {
    let mut draw = Draw::new(83);
    for dtype in [DType::U8, DType::I16, DType::F32, DType::I64] {
        for axis in [0, 1, -1] {
            let indices = draw.tensor(&[4, 5, 3], |draw| draw.below(10) as i64 - 5);
            let inputs =
                vec![draw.any_tensor(dtype, &[5, 5, 5]), indices, draw.any_tensor(dtype, &[4, 5, 3])];
            out.push(Case::new("ScatterElements", Attrs::new().with_int("axis", axis), inputs));
        }
        for (data, indices, updates) in
            [(&[4, 4, 3][..], &[30, 2][..], &[30, 3][..]), (&[4, 4], &[2, 5, 1], &[2, 5, 4])]
        {
            let indices = draw.tensor(indices, |draw| draw.below(8) as i64 - 4);
            let inputs = vec![draw.any_tensor(dtype, data), indices, draw.any_tensor(dtype, updates)];
            out.push(Case::new("ScatterND", Attrs::new(), inputs));
        }
    }
    for bad in [4, -5, i64::MAX] {
        let indices = || Tensor::from_slice(&[3, 1], &[1, bad, bad]);
        let data = || draw.clone().any_tensor(DType::I32, &[4, 2]);
        let rows = draw.clone().any_tensor(DType::I32, &[3, 2]);
        out.push(Case::new("ScatterND", Attrs::new(), vec![data(), indices(), rows]));
        let updates = draw.clone().any_tensor(DType::I32, &[3, 1]);
        out.push(Case::new("ScatterElements", Attrs::new(), vec![data(), indices(), updates]));
    }
}
