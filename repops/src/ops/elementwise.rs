//! What the element-wise rows share: types, broadcasting, and the reference evaluation by type.
//!
//! Invariant: f32 and f64 compute in their own precision, f16 and bf16 widen to f32, compute there and
//! round once; integers wrap. Every stored NaN is the canonical one.

use bytemuck::Pod;
use half::{bf16, f16};

use super::infer::{broadcast, broadcast_extents};
use super::integers::{IntBinary, IntUnary};
use super::walk::Walk;
use super::{EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::{DType, Element};
use crate::lane_op::{BinaryOp, ClassifyOp, CompareOp, LaneOp, LogicOp, Math, Real, UnaryOp, clip};
use crate::tensor::{Tensor, TensorView};

/// A set of dtypes, with the words that errors use for it.
pub(super) struct Accepts {
    pub what: &'static str,
    pub test: fn(DType) -> bool,
}

pub(super) const FLOATS: Accepts = Accepts { what: "a float", test: DType::is_float };
pub(super) const INTS: Accepts = Accepts { what: "an integer", test: DType::is_int };
pub(super) const NUMBERS: Accepts = Accepts { what: "a number", test: DType::is_number };
pub(super) const SIGNED: Accepts =
    Accepts { what: "a float or signed integer", test: |d| d.is_float() || d.is_signed_int() };
pub(super) const BOOL: Accepts = Accepts { what: "bool", test: |d| d == DType::Bool };
pub(super) const ANY: Accepts =
    Accepts { what: "bool or a number", test: |d| d == DType::Bool || d.is_number() };

/// Inference of one input: Y has X's type.
pub(super) fn infer_unary(ctx: &InferCtx<'_>, accepts: &Accepts) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, accepts.what, accepts.test)?;
    Ok(vec![Inferred::new(dtype, ctx.shape(0)?.to_vec())])
}

/// Inference of any number of inputs of one type: Y has it too, and the broadcast shape.
pub(super) fn infer_broadcast(ctx: &InferCtx<'_>, accepts: &Accepts) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, accepts.what, accepts.test)?;
    let mut shapes = Vec::with_capacity(ctx.inputs.len());
    for index in 0..ctx.inputs.len() {
        ctx.require_same(index, dtype)?;
        shapes.push(ctx.shape(index)?);
    }
    Ok(vec![Inferred::new(dtype, broadcast(&shapes)?)])
}

/// As [`infer_broadcast`], with a bool result.
pub(super) fn infer_compare(ctx: &InferCtx<'_>, accepts: &Accepts) -> Result<Vec<Inferred>, OpError> {
    let mut inferred = infer_broadcast(ctx, accepts)?;
    inferred[0].ty.dtype = DType::Bool;
    Ok(inferred)
}

/// A float as stored, and the type it computes in.
pub(super) trait Float: Element {
    type Wide: Math + Pod;
    fn widen(self) -> Self::Wide;
    fn narrow(wide: Self::Wide) -> Self;
}

macro_rules! floats {
    ($($t:ty: $wide:ty, $widen:expr, $narrow:expr;)*) => { $(impl Float for $t {
        type Wide = $wide;
        fn widen(self) -> $wide { $widen(self) }
        fn narrow(wide: $wide) -> $t { $narrow(wide) }
    })* };
}
floats! {
    f32: f32, |v| v, |v| v;
    f64: f64, |v| v, |v| v;
    f16: f32, f16::to_f32, f16::from_f32;
    bf16: f32, bf16::to_f32, bf16::from_f32;
}

/// `$body` with `$t` as the Rust type of a float dtype; an error for others.
macro_rules! by_float {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $t = f64;
                $body
            }
            $crate::dtype::DType::F16 => {
                type $t = half::f16;
                $body
            }
            $crate::dtype::DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            found => Err($crate::ops::OpError::DType { index: 0, found, expected: "a float" }),
        }
    };
}
/// `$body` with `$t` as the Rust type of an integer dtype; an error for others.
macro_rules! by_int {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::dtype::DType::I8 => {
                type $t = i8;
                $body
            }
            $crate::dtype::DType::U16 => {
                type $t = u16;
                $body
            }
            $crate::dtype::DType::I16 => {
                type $t = i16;
                $body
            }
            $crate::dtype::DType::U32 => {
                type $t = u32;
                $body
            }
            $crate::dtype::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::dtype::DType::U64 => {
                type $t = u64;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            found => Err($crate::ops::OpError::DType { index: 0, found, expected: "an integer" }),
        }
    };
}
pub(super) use {by_float, by_int};

/// Y[i] = f(X[i]), stored as `dtype`.
pub(super) fn map1<T: Pod, U: Pod>(
    dtype: DType,
    x: TensorView<'_>,
    f: impl Fn(T) -> U,
) -> Result<Tensor, OpError> {
    let mut y = Tensor::zeros(dtype, x.shape)?;
    let values: &[T] = bytemuck::cast_slice(x.bytes);
    for (out, &value) in bytemuck::cast_slice_mut::<u8, U>(y.bytes_mut()).iter_mut().zip(values) {
        *out = f(value);
    }
    y.canonicalize();
    Ok(y)
}

/// Y[i] = f(A[i], B[i]) over the broadcast of both, stored as `dtype`; ends at the first fault.
pub(super) fn try_map2<A: Pod, B: Pod, U: Pod>(
    dtype: DType,
    a: TensorView<'_>,
    b: TensorView<'_>,
    f: impl Fn(A, B) -> Result<U, Fault>,
) -> Result<Tensor, OpError> {
    let shape = broadcast_extents(&[a.shape, b.shape])?;
    let mut y = Tensor::zeros(dtype, &shape)?;
    let from = Walk::broadcast(a.shape, &shape).zip(Walk::broadcast(b.shape, &shape));
    let (a, b): (&[A], &[B]) = (bytemuck::cast_slice(a.bytes), bytemuck::cast_slice(b.bytes));
    for (out, (i, j)) in bytemuck::cast_slice_mut::<u8, U>(y.bytes_mut()).iter_mut().zip(from) {
        *out = f(a[i], b[j])?;
    }
    y.canonicalize();
    Ok(y)
}

/// [`try_map2`] of a function that has no faults.
pub(super) fn map2<A: Pod, B: Pod, U: Pod>(
    dtype: DType,
    a: TensorView<'_>,
    b: TensorView<'_>,
    f: impl Fn(A, B) -> U,
) -> Result<Tensor, OpError> {
    try_map2(dtype, a, b, |a, b| Ok(f(a, b)))
}

/// Y[i] = f(A[i], B[i], C[i]) over the broadcast of the three, stored as `dtype`.
pub(super) fn map3<A: Pod, B: Pod, C: Pod, U: Pod>(
    dtype: DType,
    a: TensorView<'_>,
    b: TensorView<'_>,
    c: TensorView<'_>,
    f: impl Fn(A, B, C) -> U,
) -> Result<Tensor, OpError> {
    let shape = broadcast_extents(&[a.shape, b.shape, c.shape])?;
    let mut y = Tensor::zeros(dtype, &shape)?;
    let from = Walk::broadcast(a.shape, &shape)
        .zip(Walk::broadcast(b.shape, &shape))
        .zip(Walk::broadcast(c.shape, &shape));
    let (a, b): (&[A], &[B]) = (bytemuck::cast_slice(a.bytes), bytemuck::cast_slice(b.bytes));
    let c: &[C] = bytemuck::cast_slice(c.bytes);
    for (out, ((i, j), k)) in bytemuck::cast_slice_mut::<u8, U>(y.bytes_mut()).iter_mut().zip(from) {
        *out = f(a[i], b[j], c[k]);
    }
    y.canonicalize();
    Ok(y)
}

/// The reference evaluation of a row with a [`LaneOp`], for floats and bools.
pub(super) fn eval_lane(def: &OpDef, ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let OpClass::Elementwise(Some(lane)) = def.class else {
        return Err(OpError::Unsupported(format!("{} has no lane operator", def.name)));
    };
    let x = ctx.input(0);
    let y = match lane(ctx.attrs) {
        LaneOp::Unary(op) => float_unary(op, x)?,
        LaneOp::Binary(op) => float_binary(op, x, ctx.input(1))?,
        LaneOp::Compare(op) => float_compare(op, x, ctx.input(1))?,
        LaneOp::Classify(op) => float_classify(op, x)?,
        LaneOp::Logic(op) => logic(op, x, ctx.input(1))?,
        LaneOp::Not => map1(DType::Bool, x, |v: u8| u8::from(v == 0))?,
        LaneOp::Clip => float_clip(x, ctx.optional(1), ctx.optional(2))?,
        LaneOp::Where | LaneOp::BoolToF32 | LaneOp::F32ToBool | LaneOp::Unfusable => {
            return Err(OpError::Unsupported(format!("{} evaluates otherwise", def.name)));
        }
    };
    Ok(vec![y])
}

fn float_unary(op: UnaryOp, x: TensorView<'_>) -> Result<Tensor, OpError> {
    by_float!(x.dtype, T => map1(x.dtype, x, |v: T| T::narrow(op.apply(v.widen()))))
}

/// A binary operator on floats of any of the types.
pub(super) fn float_binary(op: BinaryOp, a: TensorView<'_>, b: TensorView<'_>) -> Result<Tensor, OpError> {
    by_float!(a.dtype, T => {
        map2(a.dtype, a, b, |a: T, b: T| T::narrow(op.apply(a.widen(), b.widen())))
    })
}

fn float_compare(op: CompareOp, a: TensorView<'_>, b: TensorView<'_>) -> Result<Tensor, OpError> {
    by_float!(a.dtype, T => {
        map2(DType::Bool, a, b, |a: T, b: T| u8::from(op.apply(a.widen(), b.widen())))
    })
}

fn float_classify(op: ClassifyOp, x: TensorView<'_>) -> Result<Tensor, OpError> {
    by_float!(x.dtype, T => map1(DType::Bool, x, |v: T| u8::from(op.apply(v.widen()))))
}

fn logic(op: LogicOp, a: TensorView<'_>, b: TensorView<'_>) -> Result<Tensor, OpError> {
    map2(DType::Bool, a, b, |a: u8, b: u8| u8::from(op.apply(a != 0, b != 0)))
}

/// Limits; one that is absent limits nothing.
fn float_clip(
    x: TensorView<'_>,
    low: Option<TensorView<'_>>,
    high: Option<TensorView<'_>>,
) -> Result<Tensor, OpError> {
    match (low, high) {
        (None, None) => Ok(x.to_tensor()?),
        (Some(low), None) => float_binary(BinaryOp::Max, x, low),
        (None, Some(high)) => float_binary(BinaryOp::Min, x, high),
        (Some(low), Some(high)) => by_float!(x.dtype, T => {
            map3(x.dtype, x, low, high, |x: T, low: T, high: T| {
                T::narrow(clip(x.widen(), low.widen(), high.widen()))
            })
        }),
    }
}

/// [`eval_lane`] for floats, `int` for integers.
pub(super) fn eval_lane_or_int1(
    def: &OpDef,
    ctx: &EvalCtx<'_>,
    int: IntUnary,
) -> Result<Vec<Tensor>, OpError> {
    if ctx.input(0).dtype.is_int() { int.eval(ctx.input(0)).map(|y| vec![y]) } else { eval_lane(def, ctx) }
}

/// [`eval_lane`] for floats, `int` for integers.
pub(super) fn eval_lane_or_int2(
    def: &OpDef,
    ctx: &EvalCtx<'_>,
    int: IntBinary,
) -> Result<Vec<Tensor>, OpError> {
    if ctx.input(0).dtype.is_int() {
        int.eval(ctx.input(0), ctx.input(1)).map(|y| vec![y])
    } else {
        eval_lane(def, ctx)
    }
}

/// A comparison of two inputs of one type, bool (false below true) among them.
pub(super) fn eval_compare(def: &OpDef, ctx: &EvalCtx<'_>, op: CompareOp) -> Result<Vec<Tensor>, OpError> {
    let (a, b) = (ctx.input(0), ctx.input(1));
    fn holds<T: PartialOrd>(op: CompareOp, a: T, b: T) -> u8 {
        u8::from(match op {
            CompareOp::Equal => a == b,
            CompareOp::Less => a < b,
            CompareOp::LessOrEqual => a <= b,
            CompareOp::Greater => a > b,
            CompareOp::GreaterOrEqual => a >= b,
        })
    }
    let y = match a.dtype {
        dtype if dtype.is_float() => return eval_lane(def, ctx),
        DType::Bool => map2(DType::Bool, a, b, |a: u8, b: u8| holds(op, a, b)),
        dtype => by_int!(dtype, T => map2(DType::Bool, a, b, |a: T, b: T| holds(op, a, b))),
    };
    Ok(vec![y?])
}

/// The left fold of all inputs: `op(op(input 0, input 1), input 2) ...`, floats in their computing
/// precision, then divided by `divisor` if there is one, then rounded once.
pub(super) fn float_fold(
    ctx: &EvalCtx<'_>,
    op: BinaryOp,
    divisor: Option<usize>,
) -> Result<Vec<Tensor>, OpError> {
    let inputs: Vec<TensorView<'_>> = (0..ctx.inputs.len()).map(|i| ctx.input(i)).collect();
    let shapes: Vec<&[usize]> = inputs.iter().map(|x| x.shape).collect();
    let shape = broadcast_extents(&shapes)?;
    let dtype = inputs[0].dtype;
    by_float!(dtype, T => {
        let mut walks: Vec<Walk> = shapes.iter().map(|s| Walk::broadcast(s, &shape)).collect();
        let mut y = Tensor::zeros(dtype, &shape)?;
        for out in y.as_mut_slice::<T>() {
            // Every walk is as long as the output.
            let mut element = |i: usize| inputs[i].as_slice::<T>()[walks[i].next().unwrap_or(0)].widen();
            let mut value = element(0);
            for i in 1..inputs.len() {
                value = op.apply(value, element(i));
            }
            if let Some(n) = divisor {
                value = BinaryOp::Div.apply(value, Real::constant(n as f64));
            }
            *out = T::narrow(value).canonical();
        }
        Ok(vec![y])
    })
}
