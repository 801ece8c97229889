//! Whether two tensors agree as ONNX's own runner demands: floats within 1e-3 relative (bf16: 2^-6) and
//! 1e-7 absolute, everything else exactly.

use half::{bf16, f16};
use repops::{DType, Tensor};

const RELATIVE: f64 = 1e-3;
/// Two units in the last place of bf16.
const RELATIVE_BF16: f64 = 0.015625;
const ABSOLUTE: f64 = 1e-7;

/// What differs first, if anything does.
pub fn close(expected: &Tensor, found: &Tensor) -> Result<(), String> {
    if expected.dtype() != found.dtype() || expected.shape() != found.shape() {
        return Err(format!(
            "{}{:?} is expected, found {}{:?}",
            expected.dtype(),
            expected.shape(),
            found.dtype(),
            found.shape()
        ));
    }
    let dtype = expected.dtype();
    let (expected, found) = match (floats(expected), floats(found)) {
        (Some(expected), Some(found)) => (expected, found),
        _ if expected.bytes() == found.bytes() => return Ok(()),
        _ => {
            let size = expected.dtype().size();
            let at = expected.bytes().chunks(size).zip(found.bytes().chunks(size)).position(|(a, b)| a != b);
            let at = at.unwrap_or(0);
            let shown = |t: &Tensor| format!("{:02x?}", &t.bytes()[at * size..][..size]);
            return Err(format!("element {at} is {}; {} is expected", shown(found), shown(expected)));
        }
    };
    let relative = if dtype == DType::BF16 { RELATIVE_BF16 } else { RELATIVE };
    let is_close = |a: f64, b: f64| is_close(a, b, relative);
    let mut different = expected.iter().zip(&found).enumerate().filter(|(_, (a, b))| !is_close(**a, **b));
    match different.next() {
        None => Ok(()),
        Some((at, (expected, found))) => {
            let more = different.count();
            Err(format!("element {at} is {found:e}; {expected:e} is expected ({more} more differ)"))
        }
    }
}

#[expect(clippy::float_arithmetic, reason = "a tolerance, in the suite that ONNX compares with one")]
fn is_close(expected: f64, found: f64, relative: f64) -> bool {
    if expected.is_nan() || found.is_nan() {
        return expected.is_nan() && found.is_nan();
    }
    if expected.is_infinite() || found.is_infinite() {
        return expected == found;
    }
    (expected - found).abs() <= ABSOLUTE + relative * expected.abs()
}

/// The elements of a float tensor.
fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().iter().map(|&v| f64::from(v)).collect(),
        DType::F64 => tensor.as_slice::<f64>().to_vec(),
        DType::F16 => tensor.as_slice::<f16>().iter().map(|v| v.to_f64()).collect(),
        DType::BF16 => tensor.as_slice::<bf16>().iter().map(|v| v.to_f64()).collect(),
        dtype if dtype.is_narrow_float() => {
            tensor.bytes().iter().map(|&b| repops::dtype::narrow::value(dtype, b)).collect()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerances() {
        let tensor = |v: &[f32]| Tensor::from_slice(&[v.len()], v);
        assert!(close(&tensor(&[1.0, f32::NAN]), &tensor(&[1.0009, f32::NAN])).is_ok());
        assert!(close(&tensor(&[1.0]), &tensor(&[1.002])).unwrap_err().contains("element 0"));
        assert!(close(&tensor(&[f32::INFINITY]), &tensor(&[f32::NEG_INFINITY])).is_err());
        assert!(close(&tensor(&[1.0]), &tensor(&[f32::NAN])).is_err());
        assert!(close(&tensor(&[1.0]), &tensor(&[1.0, 1.0])).unwrap_err().contains("expected"));
        let ints = |v: &[i64]| Tensor::from_slice(&[v.len()], v);
        assert!(close(&ints(&[1000]), &ints(&[1001])).is_err());
    }
}
