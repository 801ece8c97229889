//! Det: determinants.

use super::float::{Float, Real, with_float};
use super::{Arity, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 431,
    name: "Det",
    version: 1,
    doc: "The determinants of the square matrices of the last two axes, by Gaussian elimination in the wide type. For column k, \
          ascending: the pivot is the first element of greatest magnitude in rows k and below (a NaN is never greater); its row is exchanged \
          with row k. Unless it is 0: for each row i below, f = -(a[i][k] / a[k][k]), a[i][j] = fma(f, a[k][j], a[i][j]) for j > k. The \
          result is the product of the pivots in ascending order, starting from 1, then negated once for each exchange. \
          Rounded once. Source: ONNX Det-11, -22.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer,
    eval: |ctx| with_float!(ctx.input(0).dtype, determinants(ctx)),
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, "a float", DType::is_float)?;
    let shape = ctx.shape(0)?;
    let square = match shape {
        [.., m, n] => m.as_const().zip(n.as_const()).is_none_or(|(m, n)| m == n),
        _ => false,
    };
    if !square {
        return Err(OpError::shape(format!("{} holds no square matrices", ctx.input(0)?.ty)));
    }
    Ok(vec![Inferred::new(dtype, shape[..shape.len() - 2].to_vec())])
}

fn determinants<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let (batch, m) = (&x.shape[..x.shape.len() - 2], x.shape[x.shape.len() - 1]);
    let values = x.as_slice::<T>();
    let mut y = Tensor::zeros(T::DTYPE, batch)?;
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let mut a: Vec<T::Wide> = values[at * m * m..][..m * m].iter().map(|v| v.widen()).collect();
        *out = T::narrow(determinant(&mut a, m));
    }
    Ok(vec![y])
}

fn determinant<W: Real>(a: &mut [W], m: usize) -> W {
    let (mut product, mut negated) = (W::ONE, false);
    for k in 0..m {
        let mut pivot = k;
        for i in k + 1..m {
            if a[i * m + k].abs() > a[pivot * m + k].abs() {
                pivot = i;
            }
        }
        if pivot != k {
            for j in 0..m {
                a.swap(k * m + j, pivot * m + j);
            }
            negated = !negated;
        }
        let head = a[k * m + k];
        product = product * head;
        if head == W::ZERO {
            continue;
        }
        for i in k + 1..m {
            let f = -(a[i * m + k] / head);
            for j in k + 1..m {
                a[i * m + j] = f.fma(a[k * m + j], a[i * m + j]);
            }
        }
    }
    if negated { -product } else { product }
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn small_matrices() {
        let x = Tensor::from_slice(&[2, 2, 2], &[0.0f32, 2.0, 3.0, 4.0, 1.0, 2.0, 2.0, 4.0]);
        let y = run("Det", Attrs::new(), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<f32>()), (&[2][..], &[-6.0, -0.0][..]));
        let one = Tensor::from_slice::<f64>(&[0, 0], &[]);
        assert_eq!(run("Det", Attrs::new(), &[&one]).as_slice::<f64>(), [1.0]);
        assert!(try_run("Det", Attrs::new(), &[&Tensor::from_slice(&[1, 2], &[0f32; 2])]).is_err());
    }
}
