//! Range: numbers at equal distances.

use super::convert::{Convert, Exact, exact_of};
use super::elementwise::{Accepts, Float};
use super::infer::{SYM_ELEMENTS_MAX, may_be_single};
use super::walk::known_shape;
use super::{
    Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError, SymTensor, symbolic,
};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::lane::FloatLane;
use crate::lane_op::Real;
use crate::tensor::{TENSOR_BYTES_MAX, Tensor, TensorView};

pub static DEF: OpDef = OpDef {
    id: 212,
    name: "Range",
    version: 1,
    doc: "Y[i] = start + i * delta for i below max(ceil((limit - start) / delta), 0); scalars of one type. \
          The count of floats is computed in f64 (difference, quotient, ceiling), that of integers exactly. \
          Elements: i rounded to the type, product rounded, sum rounded; f16 and bf16 in f32, rounded once; \
          integers wrap. A delta of 0, or a count that is NaN or too large, is fault 3. Source: ONNX \
          Range-11, -27.",
    inputs: Arity::exactly(3),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "stash_type",
        AttrKind::Int,
        || AttrValue::Int(1),
        "f16 and bf16 are computed in f32; 1 is the one possible value.",
    )],
    class: OpClass::General,
    infer,
    eval,
};

const TYPES: Accepts = Accepts {
    what: "a float, i16, i32 or i64",
    test: |d| d.is_float() || matches!(d, DType::I16 | DType::I32 | DType::I64),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, TYPES.what, TYPES.test)?;
    for index in 0..3 {
        ctx.require_same(index, dtype)?;
        let ty = ctx.input(index)?.ty;
        if !may_be_single(&ty.shape) {
            return Err(OpError::shape(format!("input {index} of Range is {ty}, not a scalar")));
        }
    }
    if ctx.attrs.int("stash_type") != 1 {
        return Err(OpError::attr("stash_type", "is not 1"));
    }
    let tensors = [0, 1, 2].map(|i| ctx.optional(i).and_then(|x| x.tensor));
    if let [Some(start), Some(limit), Some(delta)] = tensors {
        let n = count(start, limit, delta)?;
        let sym = values(ctx, n as usize);
        return Ok(vec![symbolic::with_value(Inferred::new(dtype, vec![DimExpr::from(n)]), sym)]);
    }
    let Some(n) = symbolic_count(ctx) else { return Ok(vec![Inferred::new(dtype, vec![ctx.fresh_dim()])]) };
    let sym = n.as_extent().and_then(|n| values(ctx, n));
    Ok(vec![symbolic::with_value(Inferred::new(dtype, vec![n]), sym)])
}

/// The number of elements of known inputs.
fn count(start: TensorView<'_>, limit: TensorView<'_>, delta: TensorView<'_>) -> Result<i64, Fault> {
    let read = |x| exact_of(x, 0).ok_or(Fault::BadSize);
    let max = (TENSOR_BYTES_MAX / start.dtype.size() as u64) as i128;
    let n = match (read(start)?, read(limit)?, read(delta)?) {
        (Exact::Int(_), Exact::Int(_), Exact::Int(0)) => return Err(Fault::BadSize),
        (Exact::Int(start), Exact::Int(limit), Exact::Int(delta)) => {
            let (span, step) = if delta > 0 { (limit - start, delta) } else { (start - limit, -delta) };
            if span <= 0 { 0 } else { (span + step - 1) / step }
        }
        (start, limit, delta) => {
            let n = ((limit.to_f64() - start.to_f64()) / delta.to_f64()).ceil();
            if n.is_nan() {
                return Err(Fault::BadSize);
            }
            // Saturates.
            n as i128
        }
    };
    if n > max { Err(Fault::BadSize) } else { Ok(n.max(0) as i64) }
}

/// The number of elements in terms of sizes, when the step is constant.
fn symbolic_count(ctx: &InferCtx<'_>) -> Option<DimExpr> {
    let [start, limit, delta] = [0, 1, 2].map(|i| ctx.sym(i).and_then(|s| s.elements.first().cloned()));
    let (start, limit, delta) = (start?, limit?, delta?.as_const()?);
    let span = if delta > 0 { limit.sub(&start) } else { start.sub(&limit) };
    let step = i64::try_from(delta.unsigned_abs()).ok().filter(|&step| step > 0)?;
    let zero = DimExpr::Const(0);
    let span = if span.is_nonnegative() { span } else { span.maximum(&zero) };
    Some(span.ceil_div(&DimExpr::Const(step)))
}

fn values(ctx: &InferCtx<'_>, n: usize) -> Option<SymTensor> {
    if n > SYM_ELEMENTS_MAX {
        return None;
    }
    let (start, delta) = (ctx.sym(0)?, ctx.sym(2)?);
    let (start, delta) = (start.elements.first()?, delta.elements.first()?);
    Some(SymTensor::vector((0..n).map(|i| start.add(&delta.mul(&DimExpr::from(i)))).collect()))
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let mut y = Tensor::zeros(ctx.input(0).dtype, &known_shape(&DEF, ctx)?)?;
    let (start, delta) = (ctx.input(0), ctx.input(2));
    match y.dtype() {
        DType::F32 => floats::<f32>(start, delta, &mut y),
        DType::F64 => floats::<f64>(start, delta, &mut y),
        DType::F16 => floats::<half::f16>(start, delta, &mut y),
        DType::BF16 => floats::<half::bf16>(start, delta, &mut y),
        DType::I16 => integers::<i16>(start, delta, &mut y),
        DType::I32 => integers::<i32>(start, delta, &mut y),
        DType::I64 => integers::<i64>(start, delta, &mut y),
        found => return Err(OpError::DType { index: 0, found, expected: TYPES.what }),
    }
    Ok(vec![y])
}

fn floats<T: Float>(start: TensorView<'_>, delta: TensorView<'_>, y: &mut Tensor) {
    let (start, delta) = (start.as_slice::<T>()[0].widen(), delta.as_slice::<T>()[0].widen());
    for (i, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        *out = T::narrow(start.add(T::Wide::constant(i as f64).mul(delta))).canonical();
    }
}

fn integers<T: Convert>(start: TensorView<'_>, delta: TensorView<'_>, y: &mut Tensor) {
    let whole = |x: TensorView<'_>| match x.as_slice::<T>()[0].exact() {
        Exact::Int(v) => v,
        Exact::Float(_) => 0,
    };
    let (start, delta) = (whole(start), whole(delta));
    for (i, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        *out = T::of(Exact::Int(start + i as i128 * delta));
    }
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::dtype::Element;
    use crate::ops::check::try_run;
    use crate::ops::{Fault, OpError};
    use crate::tensor::Tensor;

    fn range<T: Element>(start: T, limit: T, delta: T) -> Result<Vec<T>, OpError> {
        let inputs = [start, limit, delta].map(Tensor::scalar);
        let y = try_run("Range", Attrs::new(), &[&inputs[0], &inputs[1], &inputs[2]])?;
        Ok(y.as_slice::<T>().to_vec())
    }

    #[test]
    fn integers() {
        assert_eq!(range(3i64, 9, 3), Ok(vec![3, 6]));
        assert_eq!(range(10i32, 4, -2), Ok(vec![10, 8, 6]));
        assert_eq!(range(5i16, 5, 1), Ok(vec![]));
        assert_eq!(range(0i64, i64::MIN, 1), Ok(vec![]));
        assert_eq!(range(i64::MIN, i64::MAX, i64::MAX), Ok(vec![i64::MIN, -1, i64::MAX - 1]));
    }

    #[test]
    fn floats_multiply() {
        let y = range(0.0f32, 1.0, 0.1).unwrap();
        assert_eq!(y.len(), 10);
        // 7 * 0.1f is 0.70000005 in f32; adding 0.1f seven times would give 0.70000005 or 0.6999999.
        assert_eq!(y[7].to_bits(), (7.0f32 * 0.1).to_bits());
        assert_eq!(range(1.0f64, 0.0, -0.25), Ok(vec![1.0, 0.75, 0.5, 0.25]));
        let h = half::f16::from_f32;
        assert_eq!(
            range(h(2047.0), h(2052.0), h(1.0)).unwrap().iter().map(|v| v.to_f32()).collect::<Vec<_>>(),
            [2047.0, 2048.0, 2048.0, 2050.0, 2052.0]
        );
    }

    #[test]
    fn bad_counts_are_faults() {
        let bad = Err(OpError::Fault(Fault::BadSize));
        assert_eq!(range(0i64, 1, 0), bad);
        assert_eq!(range(0i64, i64::MAX, 1), bad);
        assert_eq!(
            range(0.0f32, f32::INFINITY, 1.0).map(|_| vec![]),
            Err(OpError::Fault(Fault::BadSize)) as Result<Vec<f32>, _>
        );
        assert!(range(0.0f32, 1.0, 0.0).is_err() && range(0.0f32, 0.0, 0.0).is_err());
        assert!(range(f32::NAN, 1.0, 1.0).is_err());
        assert_eq!(range(0.0f32, 1.0, f32::INFINITY), Ok(vec![]) as Result<Vec<f32>, _>);
    }
}
