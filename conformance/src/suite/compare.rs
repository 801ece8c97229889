//! Whether tensors agree: bit for bit, or as ONNX's own runner demands: floats within 1e-3 relative (bf16: 2^-6)
//! and 1e-7 absolute, everything else exactly.

use half::{bf16, f16};
use repops::packed::Value;
use repops::{DType, Tensor};

use super::Difference;

const RELATIVE: f64 = 1e-3;
/// Two units in the last place of bf16.
const RELATIVE_BF16: f64 = 0.015625;
const ABSOLUTE: f64 = 1e-7;

/// How tensors do not agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mismatch {
    /// Types or shapes: what is expected, what was found.
    Type {
        expected: String,
        found: String,
    },
    Elements(Difference),
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mismatch::Type { expected, found } => write!(f, "is {found}; {expected} is expected"),
            Mismatch::Elements(d) => write!(
                f,
                "element {} is {}; {} is expected ({} of {} differ)",
                d.element, d.found, d.expected, d.differing, d.elements
            ),
        }
    }
}

/// A tensor's type as reports name it.
pub fn type_of(tensor: &Tensor) -> String {
    let extents: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    format!("{}[{}]", tensor.dtype(), extents.join(","))
}

/// Whether two tensors are the same.
pub fn same(expected: &Tensor, found: &Tensor) -> Result<(), Mismatch> {
    of_one_type(expected, found)?;
    if expected.bytes() == found.bytes() {
        return Ok(());
    }
    let size = expected.dtype().size();
    let pairs = expected.bytes().chunks(size).zip(found.bytes().chunks(size));
    let differing: Vec<usize> = pairs.enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
    Err(mismatch(expected, found, &differing))
}

/// Whether two tensors are close; of packed ones, whether what they pack is.
pub fn close(expected: &Tensor, found: &Tensor) -> Result<(), Mismatch> {
    if expected.dtype() == DType::Packed && found.dtype() == DType::Packed {
        return match (Value::of(expected), Value::of(found)) {
            (Ok(expected), Ok(found)) => close_values(&expected, &found),
            (Err(error), _) | (_, Err(error)) => Err(kinds("a packed value", &error.to_string())),
        };
    }
    of_one_type(expected, found)?;
    let relative = if expected.dtype() == DType::BF16 { RELATIVE_BF16 } else { RELATIVE };
    let (Some(a), Some(b)) = (floats(expected), floats(found)) else { return same(expected, found) };
    let pairs = a.iter().zip(&b).enumerate();
    let differing: Vec<usize> =
        pairs.filter(|(_, (a, b))| !is_close(**a, **b, relative)).map(|(at, _)| at).collect();
    if differing.is_empty() { Ok(()) } else { Err(mismatch(expected, found, &differing)) }
}

fn kinds(expected: &str, found: &str) -> Mismatch {
    Mismatch::Type { expected: expected.to_string(), found: found.to_string() }
}

fn close_values(expected: &Value, found: &Value) -> Result<(), Mismatch> {
    match (expected, found) {
        (Value::Tensor(a), Value::Tensor(b)) => close(a, b),
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => close_values(a, b),
        (Value::Sequence(a), Value::Sequence(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| close_values(a, b))
        }
        (a, b) if a == b => Ok(()),
        (a, b) => Err(kinds(&format!("{a:?}"), &format!("{b:?}"))),
    }
}

fn of_one_type(expected: &Tensor, found: &Tensor) -> Result<(), Mismatch> {
    if expected.dtype() == found.dtype() && expected.shape() == found.shape() {
        return Ok(());
    }
    Err(Mismatch::Type { expected: type_of(expected), found: type_of(found) })
}

/// What differs first.
fn mismatch(expected: &Tensor, found: &Tensor, differing: &[usize]) -> Mismatch {
    let at = differing.first().copied().unwrap_or(0);
    let mut position = vec![0; expected.shape().len()];
    let mut rest = at;
    for (index, &extent) in position.iter_mut().zip(expected.shape()).rev() {
        *index = rest % extent.max(1);
        rest /= extent.max(1);
    }
    Mismatch::Elements(Difference {
        between: String::new(),
        output: String::new(),
        element: at,
        position,
        found: bits(found, at),
        expected: bits(expected, at),
        differing: differing.len(),
        elements: expected.len(),
    })
}

/// The bits of an element as a number in hexadecimal.
fn bits(tensor: &Tensor, at: usize) -> String {
    let size = tensor.dtype().size();
    let bytes = tensor.bytes().chunks(size).nth(at).unwrap_or_default();
    bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect()
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
        assert!(same(&tensor(&[1.0, f32::NAN]), &tensor(&[1.0009, f32::NAN])).is_err());
        assert!(close(&tensor(&[1.0]), &tensor(&[1.002])).is_err());
        assert!(close(&tensor(&[f32::INFINITY]), &tensor(&[f32::NEG_INFINITY])).is_err());
        assert!(close(&tensor(&[1.0]), &tensor(&[f32::NAN])).is_err());
        let found = close(&tensor(&[1.0]), &tensor(&[1.0, 1.0])).unwrap_err();
        assert_eq!(found.to_string(), "is f32[2]; f32[1] is expected");
        let ints = |v: &[i64]| Tensor::from_slice(&[v.len()], v);
        assert!(close(&ints(&[1000]), &ints(&[1001])).is_err());
    }

    #[test]
    fn the_first_difference_is_named() {
        let tensor = |v: [f32; 6]| Tensor::from_slice(&[2, 3], &v);
        let (a, b) = (tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), tensor([1.0, 2.0, 3.0, 4.0, 5.5, 6.5]));
        let Err(Mismatch::Elements(d)) = same(&a, &b) else { panic!("they differ") };
        assert_eq!((d.element, d.position, d.differing, d.elements), (4, vec![1, 1], 2, 6));
        assert_eq!((d.expected.as_str(), d.found.as_str()), ("40a00000", "40b00000"));
    }
}
