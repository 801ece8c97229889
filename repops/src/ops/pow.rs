//! Pow: powers.

use super::convert::{Exact, convert, exact_of};
use super::elementwise::{Accepts, NUMBERS, eval_lane, map2, try_map2};
use super::infer::broadcast;
use super::{Arity, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::lane_op::{BinaryOp, LaneOp, Math};
use crate::tensor::{Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 147,
    name: "Pow",
    version: 1,
    doc: "Z = X to the power Y, broadcast, of X's type. Two floats of one type: that type's pow, correctly \
          rounded for f32 (f64: docs/SCALAR.md, S.2), f16 and bf16 through f32; pow(x, +-0) = pow(1, y) = 1 also \
          for NaN, NaN for x < 0 with y no integer. Two integers: the product of Y factors, wrapping; with \
          negative Y the quotient 1 / X^|Y| toward zero, and 0 to it is fault 1. Any other pair: both to f64, \
          its pow, the result converted as by Cast. Source: ONNX Pow-7 to -15.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::Elementwise(Some(|_| LaneOp::Binary(BinaryOp::Pow))),
    infer,
    eval,
};

const BASES: Accepts =
    Accepts { what: "a float, i32 or i64", test: |d| d.is_float() || matches!(d, DType::I32 | DType::I64) };

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, BASES.what, BASES.test)?;
    ctx.require(1, NUMBERS.what, NUMBERS.test)?;
    Ok(vec![Inferred::new(dtype, broadcast(&[ctx.shape(0)?, ctx.shape(1)?])?)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, y) = (ctx.input(0), ctx.input(1));
    if x.dtype.is_float() && x.dtype == y.dtype {
        return eval_lane(&DEF, ctx);
    }
    if x.dtype.is_int() && y.dtype.is_int() {
        return Ok(vec![integers(x, y)?]);
    }
    let (wide_x, wide_y) = (convert(x, DType::F64)?, convert(y, DType::F64)?);
    let z = map2(DType::F64, wide_x.view(), wide_y.view(), |x: f64, y: f64| x.pow(y))?;
    Ok(vec![convert(z.view(), x.dtype)?])
}

fn integers(x: TensorView<'_>, y: TensorView<'_>) -> Result<Tensor, OpError> {
    // Exponents of any integer type fit i128; they are taken from a tensor of their positions.
    let positions: Vec<u64> = (0..y.len() as u64).collect();
    let positions = Tensor::from_slice(y.shape, &positions);
    let exponent = |at: u64| match exact_of(y, at as usize) {
        Some(Exact::Int(v)) => v,
        _ => 0,
    };
    match x.dtype {
        DType::I32 => try_map2(x.dtype, x, positions.view(), |x: i32, at: u64| {
            // Modulo 2^64 and then 2^32 is modulo 2^32.
            Ok(power(i64::from(x), exponent(at))? as i32)
        }),
        DType::I64 => try_map2(x.dtype, x, positions.view(), |x: i64, at: u64| power(x, exponent(at))),
        found => Err(OpError::DType { index: 0, found, expected: BASES.what }),
    }
}

/// `x^y` modulo 2^64.
fn power(x: i64, y: i128) -> Result<i64, Fault> {
    if y < 0 {
        return match x {
            0 => Err(Fault::DivisionByZero),
            1 => Ok(1),
            -1 => Ok(if y % 2 == 0 { 1 } else { -1 }),
            _ => Ok(0),
        };
    }
    let (mut result, mut square, mut rest) = (1i64, x, y);
    while rest > 0 {
        if rest & 1 == 1 {
            result = result.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        rest >>= 1;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::dtype::Element;
    use crate::ops::check::{check_binary, run, try_run};
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    fn pow<X: Element, Y: Element>(x: X, y: Y) -> X {
        run("Pow", Attrs::new(), &[&Tensor::scalar(x), &Tensor::scalar(y)]).as_slice::<X>()[0]
    }

    #[test]
    fn floats() {
        check_binary(
            "Pow",
            &Attrs::new(),
            &[
                (0x4000_0000, 0x4120_0000, 0x4480_0000), // 2^10
                (0x7fc0_0000, 0x0000_0000, 0x3f80_0000), // NaN^0 = 1
                (0x3f80_0000, 0x7fc0_0000, 0x3f80_0000), // 1^NaN = 1
                (0xbf80_0000, 0x3f00_0000, 0x7fc0_0000), // (-1)^0.5
                (0xc000_0000, 0x4040_0000, 0xc100_0000), // (-2)^3 = -8
                (0x8000_0000, 0xbf80_0000, 0xff80_0000), // (-0)^-1 = -inf
                (0x4000_0000, 0x3f00_0000, 0x3fb5_04f3), // sqrt 2
            ],
        );
        let h = half::f16::from_f32;
        assert_eq!(pow(h(3.0), h(2.0)).to_bits(), h(9.0).to_bits());
        assert_eq!(pow(2.0f64, 0.5f64).to_bits(), 0x3ff6_a09e_667f_3bcd);
    }

    #[test]
    fn integers() {
        assert_eq!(pow(3i32, 4i64), 81);
        assert_eq!(pow(-2i64, 63u8), i64::MIN);
        assert_eq!(pow(3i32, 21i32), 3i64.pow(21) as i32);
        assert_eq!(pow(2i64, u64::MAX), 0);
        assert_eq!([pow(1i64, -3i8), pow(-1, -3i8), pow(-1, -4i8), pow(5, -1i8)], [1, -1, 1, 0]);
        let y = try_run("Pow", Attrs::new(), &[&Tensor::scalar(0i32), &Tensor::scalar(-1i32)]);
        assert_eq!(y, Err(OpError::Fault(Fault::DivisionByZero)));
    }

    #[test]
    fn mixed_types_meet_in_f64() {
        assert_eq!(pow(3.0f32, 2i64), 9.0);
        assert_eq!(pow(9i32, 0.5f32), 3);
        assert_eq!(pow(2i32, 31.0f32), i32::MAX);
        assert_eq!(pow(-8i64, 0.5f64), 0);
        assert_eq!(pow(half::f16::from_f32(2.0), 0.5f32).to_bits(), 0x3da8);
        // 2^24 + 1 is odd, which f32 cannot say.
        assert_eq!(pow(-1.0f32, 16_777_217i32), -1.0);
    }

    #[test]
    fn broadcasts() {
        let x = Tensor::from_slice(&[2, 1], &[2i64, 3]);
        let y = Tensor::from_slice(&[3], &[0i32, 1, 2]);
        let z = run("Pow", Attrs::new(), &[&x, &y]);
        assert_eq!((z.shape(), z.as_slice::<i64>()), (&[2, 3][..], &[1, 2, 4, 1, 3, 9][..]));
    }
}
