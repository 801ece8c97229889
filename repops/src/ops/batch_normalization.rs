//! BatchNormalization in its inference form.

use super::float::{Float, Real, wide_elements, with_float};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dtype::DType;
use crate::reduce::Accumulate;
use crate::tensor::{Tensor, element_count};

pub static DEF: OpDef = OpDef {
    id: 374,
    name: "BatchNormalization",
    version: 1,
    doc: "One multiply-add a channel (axis 1): s[c] = scale[c] / sqrt(var[c] + epsilon), t[c] = fma(-mean[c], \
          s[c], B[c]), each operation rounded; y = fma(x, s[c], t[c]). Inputs X, scale, B, input_mean, \
          input_var; the inference form only. f64 in f64, everything else in f32, rounded once at y. \
          Source: ONNX BatchNormalization-15.",
    inputs: Arity::exactly(5),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::default("epsilon", AttrKind::Float, || AttrValue::Float(1e-5), "Added to the variance."),
        AttrDef::default("momentum", AttrKind::Float, || AttrValue::Float(0.9), "Unused in inference."),
        AttrDef::default("training_mode", AttrKind::Int, || AttrValue::Int(0), "0 is the only one."),
    ],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, normalize(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    let channels = shape.get(1).ok_or_else(|| OpError::shape("X has no axis of channels"))?;
    if ctx.attrs.int("training_mode") != 0 {
        return Err(OpError::attr("training_mode", "training is not supported"));
    }
    for index in 1..5 {
        // An f64 parameter of a narrower X would have to be rounded first.
        ctx.require(index, "a float of X's precision", |d| d.is_float() && (d != DType::F64 || d == dtype))?;
        super::conv::check_bias(ctx.shape(index)?, channels)?;
    }
    Ok(vec![Inferred::new(dtype, shape.to_vec())])
}

fn normalize<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let [scale, bias, mean, var] = [1, 2, 3, 4].map(|i| wide_elements::<T::Wide>(ctx.input(i)));
    let epsilon = T::Wide::from_f64(f64::from(ctx.attrs.float("epsilon")));
    let folded: Vec<(T::Wide, T::Wide)> = (0..x.shape[1])
        .map(|c| {
            let factor = scale[c] / (var[c] + epsilon).sqrt();
            (factor, (-mean[c]).fma(factor, bias[c]))
        })
        .collect();
    let plane = element_count(&x.shape[2..]);
    let mut y = Tensor::zeros(T::DTYPE, x.shape)?;
    for (at, (out, value)) in y.as_mut_slice::<T>().iter_mut().zip(x.as_slice::<T>()).enumerate() {
        let (factor, shift) = folded[at / plane % x.shape[1]];
        *out = T::narrow(value.widen().fma(factor, shift));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};

    #[test]
    fn one_multiply_add_a_channel() {
        let x = noise(&[2, 3, 2], 1);
        let (scale, bias, mean) = (noise(&[3], 2), noise(&[3], 3), noise(&[3], 4));
        let var = Tensor::from_slice(&[3], &[0.5f32, 1.7, 3.0]);
        let y = output("BatchNormalization", &Attrs::new(), &[&x, &scale, &bias, &mean, &var]);
        let of = |t: &Tensor, c: usize| t.as_slice::<f32>()[c];
        let expected: Vec<f32> = (0..12)
            .map(|at| {
                let c = at / 2 % 3;
                let s = of(&scale, c) / (of(&var, c) + 1e-5f32).sqrt();
                of(&x, at).mul_add(s, (-of(&mean, c)).mul_add(s, of(&bias, c)))
            })
            .collect();
        assert_bits(&y, &[2, 3, 2], &expected);
    }

    #[test]
    fn half_inputs_may_have_single_parameters() {
        let x = Tensor::from_slice(&[1, 1], &[half::f16::from_f32(3.0)]);
        let one = |v: f32| Tensor::from_slice(&[1], &[v]);
        let inputs = [&x, &one(2.0), &one(0.5), &one(1.0), &one(4.0)];
        let y = output("BatchNormalization", &Attrs::new().with_float("epsilon", 0.0), &inputs);
        assert_bits(&y, &[1, 1], &[half::f16::from_f32(2.5)]);
        assert!(run("BatchNormalization", &Attrs::new().with_int("training_mode", 1), &inputs).is_err());
        let two = noise(&[2], 1);
        assert!(run("BatchNormalization", &Attrs::new(), &[&x, &two, &two, &two, &two]).is_err());
    }
}
