//! One way to test a row: inference and evaluation together, with every promise of the row checked.

use super::{EvalCtx, OpError, by_name, infer_known};
use crate::attrs::Attrs;
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorView};

/// Evaluates a row with as many outputs as it infers, checking types and canonical NaNs.
#[track_caller]
pub fn run_outputs(
    name: &str,
    attrs: Attrs,
    inputs: &[Option<&Tensor>],
    outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let def = by_name(name).expect("a row of the table");
    let attrs = def.check_attrs(&attrs)?;
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.map(Tensor::view)).collect();
    let inferred = infer_known(def, &attrs, &views, outputs)?;
    let found = def.evaluate(&EvalCtx { attrs: &attrs, inputs: &views, outputs })?;
    assert!(found.len() >= outputs, "{name} gives every output");
    for (tensor, inferred) in found.iter().zip(&inferred) {
        assert_eq!(tensor.dtype(), inferred.ty.dtype, "{name}: dtype");
        if let Some(shape) = inferred.ty.extents() {
            assert_eq!(tensor.shape(), shape, "{name}: shape");
        }
        if let (Some(sym), Some(values)) = (&inferred.sym, tensor.view().to_i64s()) {
            assert_eq!(sym.elements.len(), values.len(), "{name}: the length of the promised value");
            for (element, value) in sym.elements.iter().zip(values) {
                // An opaque element promises nothing.
                assert_eq!(element.as_const().unwrap_or(value), value, "{name}: the promised value");
            }
        }
        let mut canonical = tensor.clone();
        canonical.canonicalize();
        assert_eq!(canonical.bytes(), tensor.bytes(), "{name}: canonical NaNs");
        if tensor.dtype() == DType::Bool {
            assert!(tensor.bytes().iter().all(|&b| b <= 1), "{name}: bools are 0 or 1");
        }
    }
    Ok(found)
}

/// The first output of a row.
#[track_caller]
pub fn try_run(name: &str, attrs: Attrs, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    Ok(run_outputs(name, attrs, &inputs, 1)?.remove(0))
}

/// The first output of a row that must succeed.
#[track_caller]
pub fn run(name: &str, attrs: Attrs, inputs: &[&Tensor]) -> Tensor {
    match try_run(name, attrs, inputs) {
        Ok(y) => y,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Checks a function of one f32 by bits; it must give the canonical NaN for every NaN.
#[track_caller]
pub fn check_unary(name: &str, attrs: &Attrs, cases: &[(u32, u32)]) {
    for &(x, want) in cases {
        let y = run(name, attrs.clone(), &[&Tensor::scalar(f32::from_bits(x))]);
        let got = y.as_slice::<f32>()[0].to_bits();
        assert_eq!(got, want, "{name}({x:#010x}) = {got:#010x}, expected {want:#010x}");
    }
}

/// Checks a function of two f32 by bits.
#[track_caller]
pub fn check_binary(name: &str, attrs: &Attrs, cases: &[(u32, u32, u32)]) {
    for &(a, b, want) in cases {
        let inputs = [Tensor::scalar(f32::from_bits(a)), Tensor::scalar(f32::from_bits(b))];
        let y = run(name, attrs.clone(), &[&inputs[0], &inputs[1]]);
        let got = y.as_slice::<f32>()[0].to_bits();
        assert_eq!(got, want, "{name}({a:#010x}, {b:#010x}) = {got:#010x}, expected {want:#010x}");
    }
}
