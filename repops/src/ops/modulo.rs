//! Mod: remainders.

use super::elementwise::{NUMBERS, by_float, infer_broadcast, map2};
use super::integers::IntBinary;
use super::symbolic;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 141,
    name: "Mod",
    version: 1,
    doc: "C = the remainder of A by B, broadcast. fmod 0: with the sign of B. fmod 1: with the \
          sign of A; for floats the exact A - n * B with n = trunc(A / B), which needs no rounding: NaN if A \
          is infinite or B is 0, A if B is infinite, and a zero has A's sign. fmod 0 of floats: that remainder if it has B's \
          sign, else B's zero where it is 0, else remainder + B, rounded (f16 and bf16: in f32, rounded twice). An integer divisor of 0 is \
          fault 1. Source: ONNX Mod-10, -13, -28.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "fmod",
        AttrKind::Int,
        || AttrValue::Int(0),
        "0: the sign of the divisor. 1: the sign of the dividend.",
    )],
    class: OpClass::Elementwise(None),
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let inferred = infer_broadcast(ctx, &NUMBERS)?;
    let fmod = match ctx.attrs.int("fmod") {
        0 => false,
        1 => true,
        other => return Err(OpError::attr("fmod", format!("is {other}; 0 or 1 is needed"))),
    };
    let remainder = |a: &DimExpr, b: &DimExpr| match (a.as_const(), b.as_const()) {
        (_, Some(0)) => None,
        (Some(a), Some(b)) if fmod => Some(DimExpr::Const(a.wrapping_rem(b))),
        _ if fmod && !(a.is_nonnegative() && b.is_nonnegative()) => None,
        _ => Some(a.modulo(b)),
    };
    let sym = symbolic::map2(ctx, remainder);
    Ok(inferred.into_iter().map(|y| symbolic::with_value(y, sym.clone())).collect())
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (ctx.input(0), ctx.input(1));
    if a.dtype.is_float() {
        use super::elementwise::Float;
        // The remainder of floats is exact, so that every implementation gives the same.
        let floored = ctx.attrs.int("fmod") == 0;
        let y = by_float!(a.dtype, T => map2(a.dtype, a, b, |a: T, b: T| {
            let (b, rest) = (b.widen(), a.widen() % b.widen());
            T::narrow(match floored && rest.is_sign_negative() != b.is_sign_negative() {
                true if rest == 0.0 => -rest,
                true => rest + b,
                false => rest,
            })
        }));
        return Ok(vec![y?]);
    }
    let op = if ctx.attrs.int("fmod") == 0 { IntBinary::Mod } else { IntBinary::Rem };
    Ok(vec![op.eval(a, b)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{check_binary, run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    #[test]
    fn floats_take_the_dividends_sign() {
        let fmod = Attrs::new().with_int("fmod", 1);
        check_binary(
            "Mod",
            &fmod,
            &[
                (0x40b0_0000, 0xc000_0000, 0x3fc0_0000), // 5.5 mod -2 = 1.5
                (0xc0b0_0000, 0x4000_0000, 0xbfc0_0000), // -5.5 mod 2 = -1.5
                (0xc080_0000, 0x4000_0000, 0x8000_0000), // -4 mod 2 = -0
                (0x3f80_0000, 0x7f80_0000, 0x3f80_0000), // 1 mod inf = 1
                (0x7f80_0000, 0x3f80_0000, 0x7fc0_0000), // inf mod 1
                (0x3f80_0000, 0x0000_0000, 0x7fc0_0000), // 1 mod 0
                (0x7f7f_ffff, 0x3eaa_aaab, 0x3540_0000), // the quotient has 129 bits
            ],
        );
    }

    #[test]
    fn integers_take_either() {
        let a = Tensor::from_slice(&[4], &[7i32, -7, 7, -7]);
        let b = Tensor::from_slice(&[4], &[3i32, 3, -3, -3]);
        assert_eq!(run("Mod", Attrs::new(), &[&a, &b]).as_slice::<i32>(), [1, 2, -2, -1]);
        let fmod = Attrs::new().with_int("fmod", 1);
        assert_eq!(run("Mod", fmod, &[&a, &b]).as_slice::<i32>(), [1, -1, 1, -1]);
        let zero = try_run("Mod", Attrs::new(), &[&a, &Tensor::scalar(0i32)]);
        assert_eq!(zero, Err(OpError::Fault(Fault::DivisionByZero)));
        let floored = |a: f32, b: f32| {
            run("Mod", Attrs::new(), &[&Tensor::scalar(a), &Tensor::scalar(b)]).as_slice::<f32>()[0].to_bits()
        };
        let inf = f32::INFINITY;
        for (a, b, want) in [
            (-7.0, 3.0, 2.0),
            (7.0, -3.0, -2.0),
            (-0.0, 3.0, 0.0),
            (6.0, -3.0, -0.0),
            (1.0, -inf, -inf),
            (-1.0, -inf, -1.0),
            (inf, 1.0, f32::NAN),
            (1.0, 0.0, f32::NAN),
        ] {
            assert_eq!(floored(a, b), want.to_bits(), "{a} {b}");
        }
    }
}
