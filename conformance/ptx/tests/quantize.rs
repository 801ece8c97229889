//! Quantization on the interpreter: all granularities, limits, ties.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::Case;

mod tensors;
use tensors::{floats, integers, tame};

const SMALL: [DType; 4] = [DType::U8, DType::I8, DType::U16, DType::I16];

/// Attributes, shape of X, shape of the scale.
fn grains() -> Vec<(Attrs, Vec<usize>, Vec<usize>)> {
    vec![
        (Attrs::new(), vec![4, 77], vec![]),
        (Attrs::new(), vec![2, 5, 13], vec![5]),
        (Attrs::new().with_int("axis", 0).with_int("block_size", 3), vec![7, 11], vec![3, 11]),
    ]
}

#[test]
fn floats_become_integers() {
    for dtype in SMALL {
        for (attrs, shape, scales) in grains() {
            let scale = tame(DType::F32, &scales, 1);
            for x in [floats(DType::F32, &shape, 2), tame(DType::F32, &shape, 3)] {
                Case::new(
                    "QuantizeLinear",
                    attrs.clone(),
                    vec![x.clone(), scale.clone(), integers(dtype, &scales, 4)],
                )
                .check();
                let attrs = attrs.clone().with_int("output_dtype", i64::from(dtype.code()));
                Case::new("QuantizeLinear", attrs, vec![x, scale.clone()]).check();
            }
        }
    }
    let ties: Vec<f32> = (-40..40).map(|i| i as f32 * 0.25).collect();
    let inputs = vec![Tensor::from_slice(&[80], &ties), Tensor::scalar(0.5f32), Tensor::scalar(3i8)];
    Case::new("QuantizeLinear", Attrs::new(), inputs).check();
}

#[test]
fn integers_become_floats() {
    for dtype in [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32] {
        for scale in [DType::F32, DType::F16, DType::BF16] {
            for (attrs, shape, scales) in grains() {
                let x = integers(dtype, &shape, 1);
                let scale = floats(scale, &scales, 2);
                Case::new(
                    "DequantizeLinear",
                    attrs.clone(),
                    vec![x.clone(), scale.clone(), integers(dtype, &scales, 3)],
                )
                .check();
                Case::new("DequantizeLinear", attrs.with_int("output_dtype", 16), vec![x, scale]).check();
            }
        }
    }
}

#[test]
fn scales_from_the_values() {
    for x in [
        tame(DType::F32, &[300], 1),
        tame(DType::F32, &[4, 2048], 2),
        floats(DType::F32, &[40], 3),
        Tensor::from_slice(&[3], &[1.0f32, 255.0, 3.5]),
        Tensor::from_slice(&[3], &[-1.0f32, f32::NEG_INFINITY, -0.0]),
        Tensor::from_slice(&[2], &[0.0f32, -0.0]),
        Tensor::from_slice::<f32>(&[0], &[]),
    ] {
        Case::new("DynamicQuantizeLinear", Attrs::new(), vec![x]).outputs(3).check();
    }
}
