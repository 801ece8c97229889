//! Resize against hand-computed values.

use super::*;
use crate::ops::testing::{assert_bits, noise, run_optional};
use crate::ops::{InferInput, SymTensor, SymType};

fn resized(attrs: &Attrs, x: &Tensor, roi: Option<&[f32]>, by: By<'_>) -> Result<Tensor, OpError> {
    let vector = |v: &[f32]| Tensor::from_slice(&[v.len()], v);
    let roi = roi.map(vector);
    let (scales, sizes) = match by {
        By::Scales(s) => (Some(vector(s)), None),
        By::Sizes(s) => (None, Some(Tensor::from_slice(&[s.len()], s))),
    };
    let inputs = [Some(x), roi.as_ref(), scales.as_ref(), sizes.as_ref()];
    run_optional("Resize", attrs, &inputs, 1).map(|mut y| y.swap_remove(0))
}

enum By<'a> {
    Scales(&'a [f32]),
    Sizes(&'a [i64]),
}

fn modes(mode: &str, coordinates: &str) -> Attrs {
    Attrs::new().with_str("mode", mode).with_str("coordinate_transformation_mode", coordinates)
}

#[test]
fn nearest_in_every_mode() {
    let x = Tensor::from_slice(&[4], &[0i32, 1, 2, 3]);
    let go = |coordinates: &str, rounding: &str, by: By<'_>| {
        let attrs = modes("nearest", coordinates).with_str("nearest_mode", rounding);
        resized(&attrs, &x, None, by).unwrap().as_slice::<i32>().to_vec()
    };
    assert_eq!(go("asymmetric", "floor", By::Scales(&[2.0])), [0, 0, 1, 1, 2, 2, 3, 3]);
    assert_eq!(go("asymmetric", "ceil", By::Scales(&[2.0])), [0, 1, 1, 2, 2, 3, 3, 3]);
    assert_eq!(go("asymmetric", "round_prefer_floor", By::Scales(&[2.0])), [0, 0, 1, 1, 2, 2, 3, 3]);
    assert_eq!(go("asymmetric", "round_prefer_ceil", By::Scales(&[2.0])), [0, 1, 1, 2, 2, 3, 3, 3]);
    assert_eq!(go("half_pixel", "round_prefer_floor", By::Sizes(&[2])), [0, 2]);
    assert_eq!(go("half_pixel", "round_prefer_ceil", By::Sizes(&[2])), [1, 3]);
    assert_eq!(go("align_corners", "floor", By::Sizes(&[7])), [0, 0, 1, 1, 2, 2, 3]);
    assert_eq!(go("tf_half_pixel_for_nn", "floor", By::Sizes(&[2])), [1, 3]);
}

#[test]
fn linear_follows_the_formula() {
    let x = noise(&[3, 5], 1);
    let v = x.as_slice::<f32>();
    let y = resized(&modes("linear", "half_pixel"), &x, None, By::Sizes(&[4, 7])).unwrap();
    let along = |o: usize, from: usize, to: usize, at: &dyn Fn(usize) -> f32| {
        let c = ((o as f32 + 0.5) / (to as f32 / from as f32) - 0.5).clamp(0.0, (from - 1) as f32);
        let (i, w) = (c.floor() as usize, c - c.floor());
        if w == 0.0 { at(i) } else { w.mul_add(at(i + 1) - at(i), at(i)) }
    };
    let expected: Vec<f32> = (0..28)
        .map(|o| along(o / 7, 3, 4, &|row| along(o % 7, 5, 7, &|column| v[row * 5 + column])))
        .collect();
    assert_bits(&y, &[4, 7], &expected);
}

#[test]
fn linear_keeps_constants_and_untouched_axes() {
    let c = Tensor::from_slice(&[1, 2, 3], &[0.1f32; 6]);
    let y = resized(&modes("linear", "half_pixel"), &c, None, By::Scales(&[1.0, 2.7, 3.3])).unwrap();
    assert_bits(&y, &[1, 5, 9], &[0.1f32; 45]);
    // An infinity beside an untouched axis is not multiplied by a weight of zero.
    let x = Tensor::from_slice(&[2, 2], &[1.0f32, f32::INFINITY, 3.0, 4.0]);
    let y = resized(&modes("linear", "asymmetric"), &x, None, By::Scales(&[2.0, 1.0])).unwrap();
    let inf = f32::INFINITY;
    assert_bits(
        &y,
        &[4, 2],
        &[1.0, inf, 2.0, f32::NEG_INFINITY, 3.0, 4.0, 3.0, 4.0].map(|v: f32| {
            // inf + 0.5 * (4 - inf) is a NaN.
            if v == f32::NEG_INFINITY { crate::dtype::NAN_F32 } else { v }
        }),
    );
}

#[test]
fn cubic_weights_and_exclusion() {
    let x = noise(&[4], 2);
    let v = x.as_slice::<f32>();
    let y = resized(&modes("cubic", "asymmetric"), &x, None, By::Scales(&[2.0])).unwrap();
    // Output 3 lies at 1.5 between all four elements.
    let near = ((-0.75f32 + 2.0) * 0.5 - (-0.75 + 3.0)) * 0.5 * 0.5 + 1.0;
    let far = ((-0.75f32 * 1.5 - 5.0 * -0.75) * 1.5 + 8.0 * -0.75) * 1.5 - 4.0 * -0.75;
    let chain = [far, near, near, far].iter().zip(v).fold(0.0f32, |s, (w, v)| v.mul_add(*w, s));
    assert_eq!(y.as_slice::<f32>()[3].to_bits(), (chain + 0.0).to_bits());
    let attrs = modes("cubic", "asymmetric").with_int("exclude_outside", 1);
    let y = resized(&attrs, &x, None, By::Scales(&[2.0])).unwrap();
    // Output 1 lies at 0.5: the tap at -1 is left out.
    let sum = 0.0 + near + near + far;
    let chain = [near, near, far].iter().zip(v).fold(0.0f32, |s, (w, v)| v.mul_add(w / sum, s));
    assert_eq!(y.as_slice::<f32>()[1].to_bits(), (chain + 0.0).to_bits());
}

#[test]
fn antialias_averages_when_shrinking() {
    let x = Tensor::from_slice(&[4], &[1.0f32, 2.0, 3.0, 4.0]);
    let attrs = modes("linear", "half_pixel").with_int("antialias", 1);
    let y = resized(&attrs, &x, None, By::Scales(&[0.5])).unwrap();
    // Weights 0.25, 0.75, 0.75, 0.25 of elements -1 .. 2 and 1 .. 4, edges repeated.
    assert_bits(&y, &[2], &[1.625f32, 3.375]);
    let attrs = attrs.with_int("exclude_outside", 1);
    let y = resized(&attrs, &x, None, By::Scales(&[0.5])).unwrap();
    assert!((y.as_slice::<f32>()[0] - 12.0 / 7.0).abs() < 1e-6);
}

#[test]
fn crops_extrapolate() {
    let x = Tensor::from_slice(&[3], &[1.0f32, 2.0, 3.0]);
    let attrs = modes("linear", "tf_crop_and_resize").with_float("extrapolation_value", 9.0);
    let y = resized(&attrs, &x, Some(&[0.5, 1.5]), By::Sizes(&[3])).unwrap();
    assert_bits(&y, &[3], &[2.0f32, 3.0, 9.0]);
    let nan = resized(&attrs, &x, Some(&[f32::NAN, 1.5]), By::Sizes(&[2])).unwrap();
    assert_bits(&nan, &[2], &[9.0f32, 9.0]);
    let ints = Tensor::from_slice(&[3], &[1u8, 2, 3]);
    let attrs = modes("nearest", "tf_crop_and_resize").with_float("extrapolation_value", 300.0);
    let y = resized(&attrs, &ints, Some(&[0.5, 1.5]), By::Sizes(&[3])).unwrap();
    assert_bits(&y, &[3], &[2u8, 3, 255]);
}

#[test]
fn aspect_ratio_is_kept() {
    let x = noise(&[1, 1, 2, 4], 1);
    let shape = |policy: &str, sizes: &[i64]| {
        let attrs = modes("nearest", "half_pixel").with_str("keep_aspect_ratio_policy", policy);
        resized(&attrs.with_ints("axes", &[3, 2]), &x, None, By::Sizes(sizes)).unwrap().shape().to_vec()
    };
    assert_eq!(shape("not_larger", &[7, 8]), [1, 1, 4, 7]);
    assert_eq!(shape("not_smaller", &[7, 8]), [1, 1, 8, 16]);
    assert_eq!(shape("stretch", &[7, 8]), [1, 1, 8, 7]);
}

#[test]
fn symbolic_extents() {
    let def = crate::ops::by_name("Resize").unwrap();
    let attrs = def.check_attrs(&Attrs::new()).unwrap();
    let fresh = std::cell::Cell::new(0);
    let (h, w) = (DimExpr::sym("h"), DimExpr::sym("w"));
    let x = SymType::new(DType::F32, vec![h.clone(), w.clone()]);
    let scales = Tensor::from_slice(&[2], &[2.0f32, 0.3]);
    let scales_type = SymType::of(DType::F32, &[2]);
    let input = |ty, tensor, sym| Some(InferInput { ty, tensor, sym });
    let inputs = [input(&x, None, None), None, input(&scales_type, Some(scales.view()), None)];
    let ctx = InferCtx { attrs: &attrs, inputs: &inputs, outputs: 1, fresh: &fresh };
    let shape = def.infer(&ctx).unwrap()[0].ty.to_string();
    assert_eq!(shape, "f32[2*h, ?0]");
    let sizes = SymTensor::vector(vec![w, h]);
    let sizes_type = SymType::of(DType::I64, &[2]);
    let inputs = [input(&x, None, None), None, None, input(&sizes_type, None, Some(&sizes))];
    let ctx = InferCtx { attrs: &attrs, inputs: &inputs, outputs: 1, fresh: &fresh };
    assert_eq!(def.infer(&ctx).unwrap()[0].ty.to_string(), "f32[w, h]");
}

#[test]
fn hostile_sizes_and_scales_are_errors() {
    let x = noise(&[2, 2], 1);
    let attrs = Attrs::new();
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e20] {
        assert!(resized(&attrs, &x, None, By::Scales(&[scale, 1.0])).is_err(), "{scale}");
    }
    assert!(resized(&attrs, &x, None, By::Scales(&[1.0])).is_err());
    assert!(resized(&attrs, &x, None, By::Sizes(&[-1, 2])).is_err());
    assert!(resized(&attrs, &x, None, By::Sizes(&[i64::MAX, i64::MAX])).is_err());
    assert!(resized(&attrs.clone().with_ints("axes", &[0, 0]), &x, None, By::Sizes(&[1, 1])).is_err());
    assert!(resized(&attrs.clone().with_str("mode", "sharp"), &x, None, By::Sizes(&[1, 1])).is_err());
    assert!(run_optional("Resize", &attrs, &[Some(&x)], 1).is_err());
    let empty = Tensor::zeros(DType::F32, &[0, 2]).unwrap();
    assert!(resized(&attrs, &empty, None, By::Sizes(&[1, 2])).is_err());
    assert_eq!(resized(&attrs, &empty, None, By::Sizes(&[0, 5])).unwrap().shape(), [0, 5]);
}
