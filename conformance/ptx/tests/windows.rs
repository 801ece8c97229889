//! Pools, batch normalization, scatters and TopK on the interpreter.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::Case;

mod tensors;
use tensors::{bytes_of, floats, indices, integers, tame};

const HALVES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Windows over images of one, two and three axes.
fn windows() -> Vec<(Attrs, Vec<usize>)> {
    let of = |kernel: &[i64]| Attrs::new().with_ints("kernel_shape", kernel);
    vec![
        (of(&[3]), vec![2, 3, 11]),
        (of(&[2, 2]).with_ints("strides", &[2, 2]), vec![1, 2, 7, 9]),
        (of(&[3, 3]).with_ints("pads", &[1, 1, 1, 1]).with_ints("strides", &[2, 1]), vec![2, 2, 8, 7]),
        (of(&[3, 2]).with_ints("dilations", &[2, 3]).with_ints("pads", &[2, 0, 1, 1]), vec![1, 2, 9, 8]),
        (of(&[9, 8]).with_ints("pads", &[4, 3, 4, 4]), vec![1, 1, 12, 11]),
        (of(&[12, 13]), vec![1, 2, 14, 15]),
        (of(&[3, 3]).with_str("auto_pad", "SAME_LOWER").with_ints("strides", &[2, 2]), vec![1, 1, 8, 9]),
        (of(&[2, 3, 2]).with_int("ceil_mode", 1).with_ints("strides", &[2, 2, 3]), vec![1, 2, 5, 6, 7]),
        (of(&[2, 2]), vec![0, 3, 4, 4]),
    ]
}

#[test]
fn averages() {
    for dtype in HALVES {
        for (attrs, shape) in windows() {
            for with_pads in [0, 1] {
                let attrs = attrs.clone().with_int("count_include_pad", with_pads);
                Case::new("AveragePool", attrs, vec![tame(dtype, &shape, 1)]).check();
            }
        }
    }
    let attrs = Attrs::new().with_ints("kernel_shape", &[3, 3]).with_ints("pads", &[1, 1, 1, 1]);
    Case::new("AveragePool", attrs, vec![floats(DType::F32, &[1, 3, 10, 10], 2)]).check();
}

#[test]
fn maxima_and_their_places() {
    for (attrs, shape) in windows() {
        for outputs in [1, 2] {
            for dtype in HALVES {
                Case::new("MaxPool", attrs.clone(), vec![floats(dtype, &shape, 3)]).outputs(outputs).check();
            }
            for dtype in [DType::I8, DType::U8, DType::I32] {
                Case::new("MaxPool", attrs.clone(), vec![integers(dtype, &shape, 4)])
                    .outputs(outputs)
                    .check();
            }
        }
    }
}

#[test]
fn batch_normalization() {
    for dtype in HALVES {
        let of = |seed| tame(dtype, &[5], seed);
        let var = bytes_of(DType::F32, &[5], |_| 0);
        let mut inputs = vec![tame(dtype, &[3, 5, 4, 6], 1), of(2), of(3), of(4), var];
        inputs[4] = Tensor::from_slice(&[5], &[0.5f32, 1.7, 3.0, 0.0, 1e-3]);
        Case::new("BatchNormalization", Attrs::new(), inputs).check();
        let inputs = vec![floats(dtype, &[7, 5], 1), of(2), of(3), of(4), of(5)];
        Case::new("BatchNormalization", Attrs::new().with_float("epsilon", 0.1), inputs).check();
    }
}

#[test]
fn the_last_of_several_updates_stays() {
    for dtype in [DType::U8, DType::I16, DType::F32, DType::I64] {
        let of = |shape: &[usize], seed| {
            if dtype == DType::F32 { floats(dtype, shape, seed) } else { integers(dtype, shape, seed) }
        };
        for axis in [0, 1, -1] {
            let inputs = vec![of(&[5, 5, 5], 1), indices(&[4, 5, 3], 5, 2), of(&[4, 5, 3], 3)];
            Case::new("ScatterElements", Attrs::new().with_int("axis", axis), inputs).check();
        }
        let inputs = vec![of(&[4, 4, 3], 1), indices(&[30, 2], 4, 2), of(&[30, 3], 3)];
        Case::new("ScatterND", Attrs::new(), inputs).check();
        let inputs = vec![of(&[4, 4], 1), indices(&[2, 5, 1], 4, 2), of(&[2, 5, 4], 3)];
        Case::new("ScatterND", Attrs::new(), inputs).check();
        let inputs = vec![of(&[4, 4], 1), indices(&[0, 1], 4, 2), of(&[0, 4], 3)];
        Case::new("ScatterND", Attrs::new(), inputs).check();
    }
    for bad in [4, -5, i64::MAX] {
        let index = || Tensor::from_slice(&[3, 1], &[1, bad, 2]);
        let data = || integers(DType::I32, &[4, 2], 1);
        Case::new("ScatterND", Attrs::new(), vec![data(), index(), integers(DType::I32, &[3, 2], 2)]).check();
        let updates = integers(DType::I32, &[3, 1], 2);
        Case::new("ScatterElements", Attrs::new(), vec![data(), index(), updates]).check();
    }
}

#[test]
fn the_first_of_a_row() {
    for largest in [0, 1] {
        for (axis, shape, k) in
            [(-1, vec![3, 40], 7i64), (1, vec![2, 30, 3], 30), (0, vec![50], 1), (0, vec![4, 3], 0)]
        {
            let attrs = Attrs::new().with_int("axis", axis).with_int("largest", largest);
            for dtype in HALVES {
                let inputs = vec![floats(dtype, &shape, 1), Tensor::from_slice(&[1], &[k])];
                Case::new("TopK", attrs.clone(), inputs).on_host(&[1]).outputs(2).check();
            }
            for dtype in [DType::I8, DType::U16, DType::U32, DType::I32] {
                let inputs = vec![integers(dtype, &shape, 1), Tensor::from_slice(&[1], &[k])];
                Case::new("TopK", attrs.clone(), inputs).on_host(&[1]).outputs(2).check();
            }
        }
    }
}
