//! Quantization: all granularities, limits, ties.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let mut draw = Draw::new(90);
    // Attributes, shape of X, shape of the scale.
    for (attrs, shape, scales) in [
        (Attrs::new(), vec![4, 77], vec![]),
        (Attrs::new(), vec![2, 5, 13], vec![5]),
        (Attrs::new().with_int("axis", 0).with_int("block_size", 3), vec![7, 11], vec![3, 11]),
    ] {
        for dtype in [DType::U8, DType::I8, DType::U16, DType::I16] {
            let scale = draw.plain_tensor(&scales);
            let zero = draw.any_tensor(dtype, &scales);
            let x = draw.tensor(&shape, |draw| draw.hard() * [1.0, 50.0, 3000.0][draw.below(3)]);
            out.push(Case::new("QuantizeLinear", attrs.clone(), vec![x.clone(), scale.clone(), zero]));
            let attrs = attrs.clone().with_int("output_dtype", i64::from(dtype.code()));
            out.push(Case::new("QuantizeLinear", attrs, vec![x, scale]));
        }
        for dtype in [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32] {
            for scale in [DType::F32, DType::F16, DType::BF16] {
                let (x, scale) = (draw.any_tensor(dtype, &shape), draw.any_tensor(scale, &scales));
                let zero = draw.any_tensor(dtype, &scales);
                out.push(Case::new("DequantizeLinear", attrs.clone(), vec![x, scale, zero]));
            }
        }
    }
    let ties: Vec<f32> = (-40..40).map(|i| i as f32 * 0.25).collect();
    let inputs = vec![Tensor::from_slice(&[80], &ties), Tensor::scalar(0.5f32), Tensor::scalar(3i8)];
    out.push(Case::new("QuantizeLinear", Attrs::new(), inputs));
    for x in [
        draw.plain_tensor(&[300]),
        draw.plain_tensor(&[4, 2048]),
        draw.hard_tensor(&[40]),
        Tensor::from_slice(&[3], &[1.0f32, 255.0, 3.5]),
        Tensor::from_slice(&[3], &[-1.0f32, -9.5, -0.0]),
        Tensor::from_slice(&[2], &[0.0f32, -0.0]),
        // A scale that is infinite, and one that is no number.
        Tensor::from_slice(&[3], &[1.0f32, f32::INFINITY, -2.0]),
        Tensor::from_slice(&[3], &[1.0f32, f32::NAN, -2.0]),
    ] {
        out.push(Case::new("DynamicQuantizeLinear", Attrs::new(), vec![x]).outputs(3));
    }
    for mode in ["DCR", "CRD"] {
        let attrs = Attrs::new().with_int("blocksize", 2).with_str("mode", mode);
        out.push(Case::new("DepthToSpace", attrs, vec![draw.any_tensor(DType::F32, &[2, 12, 3, 5])]));
    }
    out
}
