//! One entry for the operators' tests: attributes checked, types inferred, the reference evaluated, and
//! what both say compared.

use super::{EvalCtx, OpError, by_name, infer_known};
use crate::attrs::Attrs;
use crate::dtype::Element;
use crate::tensor::{Tensor, TensorView};

/// Evaluates the newest operator `name`; checks that inference foretold the outputs and that their NaNs
/// are canonical.
pub(crate) fn run_optional(
    name: &str,
    attrs: &Attrs,
    inputs: &[Option<&Tensor>],
    outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let def = by_name(name).expect("a row of the table");
    let attrs = def.check_attrs(attrs)?;
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.map(Tensor::view)).collect();
    let inferred = infer_known(def, &attrs, &views, outputs)?;
    let found = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &views, outputs })?;
    assert!(found.len() >= outputs, "{name} gives every declared output");
    for (output, inferred) in found.iter().zip(&inferred) {
        assert_eq!(output.dtype(), inferred.ty.dtype, "{name}");
        assert_eq!(output.shape().len(), inferred.ty.shape.len(), "{name}");
        for (&extent, dim) in output.shape().iter().zip(&inferred.ty.shape) {
            assert!(dim.as_const().is_none_or(|d| d == extent as i64), "{name}: {dim} is {extent}");
        }
        let mut canonical = output.clone();
        canonical.canonicalize();
        assert!(canonical == *output, "{name} stores canonical NaNs");
    }
    Ok(found)
}

/// [`run_optional`] with all inputs present.
pub(crate) fn run(name: &str, attrs: &Attrs, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    run_optional(name, attrs, &inputs, 1)
}

/// The first output of [`run`], which must succeed.
#[track_caller]
pub(crate) fn output(name: &str, attrs: &Attrs, inputs: &[&Tensor]) -> Tensor {
    run(name, attrs, inputs).expect(name).swap_remove(0)
}

/// Asserts shape and bits.
#[track_caller]
pub(crate) fn assert_bits<T: Element>(found: &Tensor, shape: &[usize], expected: &[T]) {
    assert_eq!(found.shape(), shape);
    let expected = Tensor::from_slice(shape, expected);
    let (left, right) = (found.as_slice::<T>(), expected.as_slice::<T>());
    assert!(found.bytes() == expected.bytes(), "found {left:?}, expected {right:?}");
}

/// Pseudo-random f32 in (-1, 1) with all bits of the significand used, the same in every run.
pub(crate) fn noise(shape: &[usize], seed: u32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (f64::from(state as i32) / 2_147_483_649.0) as f32
        })
        .collect();
    Tensor::from_slice(shape, &values)
}
