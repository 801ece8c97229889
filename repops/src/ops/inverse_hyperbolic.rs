//! Acosh, Asinh and Atanh.

use half::{bf16, f16};

use super::elementwise::{FLOATS, infer_unary, map1};
use super::{Arity, EvalCtx, InferCtx, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::scalar::{self, f64_};
use crate::tensor::Tensor;

macro_rules! row {
    ($def:ident, $id:literal, $name:literal, $function:ident, $doc:literal) => {
        pub static $def: OpDef = OpDef {
            id: $id,
            name: $name,
            version: 1,
            doc: $doc,
            inputs: Arity::exactly(1),
            outputs: Arity::exactly(1),
            attrs: &[],
            class: OpClass::Elementwise(None),
            infer: |ctx: &InferCtx<'_>| infer_unary(ctx, &FLOATS),
            eval: |ctx: &EvalCtx<'_>| eval(ctx, scalar::$function, f64_::$function),
        };
    };
}

row!(
    ACOSH,
    102,
    "Acosh",
    acosh,
    "Y = the inverse hyperbolic cosine of X, not negative, correctly rounded to nearest, ties to even (f64: \
     docs/SCALAR.md, S.2). acosh(1) = +0, NaN below 1. f16 and bf16 through f32. Source: ONNX Acosh-9, -22."
);
row!(
    ASINH,
    106,
    "Asinh",
    asinh,
    "Y = the inverse hyperbolic sine of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). Zeros \
     keep their sign. f16 and bf16 through f32. Source: ONNX Asinh-9, -22."
);
row!(
    ATANH,
    108,
    "Atanh",
    atanh,
    "Y = the inverse hyperbolic tangent of X, correctly rounded to nearest, ties to even (f64: docs/SCALAR.md, S.2). Zeros \
     keep their sign, +-1 give infinities, NaN outside of [-1, 1]. f16 and bf16 through f32. Source: ONNX Atanh-9, -22."
);

fn eval(ctx: &EvalCtx<'_>, narrow: fn(f32) -> f32, wide: fn(f64) -> f64) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    Ok(vec![match x.dtype {
        DType::F64 => map1(x.dtype, x, wide)?,
        DType::F16 => map1(x.dtype, x, |v: f16| f16::from_f32(narrow(v.to_f32())))?,
        DType::BF16 => map1(x.dtype, x, |v: bf16| bf16::from_f32(narrow(v.to_f32())))?,
        _ => map1(x.dtype, x, narrow)?,
    }])
}

#[cfg(test)]
mod tests {
    use half::f16;

    use crate::attrs::Attrs;
    use crate::ops::check::{check_unary, run};
    use crate::tensor::Tensor;

    #[test]
    fn edges() {
        let none = Attrs::new();
        check_unary(
            "Acosh",
            &none,
            &[(0x3f80_0000, 0), (0x3f00_0000, 0x7fc0_0000), (0x7f80_0000, 0x7f80_0000)],
        );
        check_unary(
            "Asinh",
            &none,
            &[(0x8000_0000, 0x8000_0000), (0xff80_0000, 0xff80_0000), (0x7fc0_0001, 0x7fc0_0000)],
        );
        check_unary(
            "Atanh",
            &none,
            &[(0x3f80_0000, 0x7f80_0000), (0xc000_0000, 0x7fc0_0000), (0x0000_0001, 0x0000_0001)],
        );
        let y = run("Asinh", none, &[&Tensor::scalar(f16::from_f32(1.0))]);
        assert_eq!(y.as_slice::<f16>()[0], f16::from_f32(0.881_373_6));
    }
}
