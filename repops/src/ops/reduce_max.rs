//! ReduceMax and ReduceMin: exact, so that no order enters.

use half::{bf16, f16};

use super::float::{Float, Real};
use super::reduce_sum::{ATTRS, infer, reduced_rows};
use super::{Arity, EvalCtx, OpClass, OpDef, OpError};
use crate::dtype::{DType, Element};
use crate::tensor::Tensor;

pub static MAX: OpDef = OpDef {
    id: 352,
    name: "ReduceMax",
    version: 1,
    doc: "y = the largest of the elements of the axes that the i64 input `axes` names (absent or empty: all, \
          or none with noop_with_empty_axes). Floats by IEEE 754-2019 maximum: NaN if there is one, +0 is \
          above -0. Of no elements -infinity, the type's least integer, or false. Source: ONNX \
          ReduceMax-20.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, "any type", |_| true),
    eval: |ctx| extreme(ctx, true),
};

pub static MIN: OpDef = OpDef {
    id: 353,
    name: "ReduceMin",
    version: 1,
    doc: "y = the smallest of the elements of the axes that the i64 input `axes` names (absent or empty: \
          all, or none with noop_with_empty_axes). Floats by IEEE 754-2019 minimum: NaN if there is one, -0 \
          is below +0. Of no elements +infinity, the type's greatest integer, or true. Source: ONNX \
          ReduceMin-20.",
    inputs: Arity::between(1, 2),
    outputs: Arity::exactly(1),
    attrs: ATTRS,
    class: OpClass::Reduction,
    infer: |ctx| infer(ctx, "any type", |_| true),
    eval: |ctx| extreme(ctx, false),
};

/// A type whose elements have a largest and a smallest.
pub(crate) trait Extremes: Element + PartialOrd {
    const LOWEST: Self;
    const HIGHEST: Self;
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
}

macro_rules! integer_extremes {
    ($($t:ident),*) => { $(impl Extremes for $t {
        const LOWEST: $t = $t::MIN;
        const HIGHEST: $t = $t::MAX;
        fn larger(self, other: $t) -> $t { self.max(other) }
        fn smaller(self, other: $t) -> $t { self.min(other) }
    })* };
}
integer_extremes!(u8, i8, u16, i16, u32, i32, u64, i64);

macro_rules! float_extremes {
    ($($t:ident),*) => { $(impl Extremes for $t {
        const LOWEST: $t = $t::NEG_INFINITY;
        const HIGHEST: $t = $t::INFINITY;
        // Widening is exact, so the choice is that of the type itself.
        fn larger(self, other: $t) -> $t { $t::narrow(Real::larger(self.widen(), other.widen())) }
        fn smaller(self, other: $t) -> $t { $t::narrow(Real::smaller(self.widen(), other.widen())) }
    })* };
}
float_extremes!(f16, bf16, f32, f64);

/// Calls a generic function with the Rust type of any dtype but bool.
macro_rules! with_extremes {
    ($dtype:expr, $f:ident($($arg:expr),* $(,)?)) => {
        match $dtype {
            crate::dtype::DType::F32 => $f::<f32>($($arg),*),
            crate::dtype::DType::F64 => $f::<f64>($($arg),*),
            crate::dtype::DType::F16 => $f::<half::f16>($($arg),*),
            crate::dtype::DType::BF16 => $f::<half::bf16>($($arg),*),
            crate::dtype::DType::U8 => $f::<u8>($($arg),*),
            crate::dtype::DType::I8 => $f::<i8>($($arg),*),
            crate::dtype::DType::U16 => $f::<u16>($($arg),*),
            crate::dtype::DType::I16 => $f::<i16>($($arg),*),
            crate::dtype::DType::U32 => $f::<u32>($($arg),*),
            crate::dtype::DType::I32 => $f::<i32>($($arg),*),
            crate::dtype::DType::U64 => $f::<u64>($($arg),*),
            crate::dtype::DType::I64 => $f::<i64>($($arg),*),
            found => Err(crate::ops::OpError::DType { index: 0, found, expected: "a number" }),
        }
    };
}
pub(crate) use with_extremes;

fn extreme(ctx: &EvalCtx<'_>, largest: bool) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    if x.dtype != DType::Bool {
        return with_extremes!(x.dtype, numbers(ctx, largest));
    }
    let (rows, shape) = reduced_rows(ctx)?;
    let mut y = Tensor::zeros(DType::Bool, &shape)?;
    for (out, base) in y.bytes_mut().iter_mut().zip(&rows.bases) {
        // The largest is true if any is; the smallest is false if any is.
        let found = rows.offsets.iter().any(|offset| x.bytes[base + offset] == u8::from(largest));
        *out = u8::from(found == largest);
    }
    Ok(vec![y])
}

fn numbers<T: Extremes>(ctx: &EvalCtx<'_>, largest: bool) -> Result<Vec<Tensor>, OpError> {
    let (rows, shape) = reduced_rows(ctx)?;
    let mut y = Tensor::zeros(T::DTYPE, &shape)?;
    let x = ctx.input(0).as_slice::<T>();
    let (start, choose): (T, fn(T, T) -> T) =
        if largest { (T::LOWEST, T::larger) } else { (T::HIGHEST, T::smaller) };
    for (out, base) in y.as_mut_slice::<T>().iter_mut().zip(&rows.bases) {
        *out = rows.offsets.iter().fold(start, |best, offset| choose(best, x[base + offset]));
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, output};

    #[test]
    fn zeros_nan_and_empty_rows() {
        let axes = Tensor::from_slice(&[1], &[1i64]);
        let x = Tensor::from_slice(&[3, 2], &[-0.0f32, 0.0, 1.0, f32::from_bits(0xffc0_0007), -3.0, 2.0]);
        let nan = crate::dtype::NAN_F32;
        let reduce =
            |name: &str, x: &Tensor| output(name, &Attrs::new().with_int("keepdims", 0), &[x, &axes]);
        assert_bits(&reduce("ReduceMax", &x), &[3], &[0.0, nan, 2.0]);
        assert_bits(&reduce("ReduceMin", &x), &[3], &[-0.0, nan, -3.0]);
        let empty = Tensor::zeros(DType::F16, &[1, 0]).unwrap();
        assert_bits(&reduce("ReduceMax", &empty), &[1], &[f16::NEG_INFINITY]);
        assert_bits(&reduce("ReduceMin", &Tensor::zeros(DType::I8, &[1, 0]).unwrap()), &[1], &[127i8]);
    }

    #[test]
    fn bools_are_or_and_and() {
        let x = Tensor::from_bools(&[2, 2], &[true, false, true, true]);
        let axes = Tensor::from_slice(&[1], &[-1i64]);
        assert_eq!(output("ReduceMax", &Attrs::new(), &[&x, &axes]).bytes(), [1, 1]);
        assert_eq!(output("ReduceMin", &Attrs::new(), &[&x, &axes]).bytes(), [0, 1]);
        let empty = Tensor::from_bools(&[0], &[]);
        assert_eq!(output("ReduceMax", &Attrs::new(), &[&empty]).bytes(), [0]);
        assert_eq!(output("ReduceMin", &Attrs::new(), &[&empty]).bytes(), [1]);
    }

    #[test]
    fn all_axes_by_default() {
        let x = Tensor::from_slice(&[2, 3], &[5u64, 1, u64::MAX, 7, 2, 9]);
        assert_bits(&output("ReduceMax", &Attrs::new(), &[&x]), &[1, 1], &[u64::MAX]);
        assert_bits(&output("ReduceMin", &Attrs::new(), &[&x]), &[1, 1], &[1u64]);
    }
}
