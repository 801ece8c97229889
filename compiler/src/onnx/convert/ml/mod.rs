//! Operators of ai.onnx.ml: they become operators of the table. docs/ONNX.md says what each computes where ONNX leaves it open.

mod linear;
mod trees;

pub use linear::{linear_classifier, linear_regressor, svm_regressor};
pub use trees::{tree_ensemble, tree_ensemble_classifier, tree_ensemble_regressor};

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::packed::Strings;

use super::quantize::cast_value;
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

fn none() -> Attrs {
    Attrs::new()
}

fn two(call: &mut Call<'_, '_>, op: &str, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
    call.emit1(op, none(), &[Some(a), Some(b)])
}

/// The input as f32, which these operators compute in.
fn f32_input(call: &mut Call<'_, '_>) -> Result<ValueId, ImportError> {
    let x = call.input(0)?;
    as_f32(call, x)
}

fn as_f32(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId, ImportError> {
    match call.dtype(x) {
        Some(DType::F32) => Ok(x),
        _ => cast_value(call, x, DType::F32),
    }
}

/// The input as f64 if it is one, else as f32; whether it is f64.
fn wide_input(call: &mut Call<'_, '_>) -> Result<(ValueId, bool), ImportError> {
    let x = call.input(0)?;
    match call.dtype(x) {
        Some(DType::F64) => Ok((x, true)),
        _ => Ok((as_f32(call, x)?, false)),
    }
}

/// A list of floats as a vector, if it is there.
fn vector(call: &mut Call<'_, '_>, name: &str) -> Result<Option<ValueId>, ImportError> {
    let values = call.floats(name)?.filter(|values| !values.is_empty());
    Ok(values.map(|values| call.constant_floats(&[values.len()], &values)))
}

/// Binarizer: 1 above the threshold, else 0.
pub fn binarizer(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let threshold = call.float("threshold")?.unwrap_or(0.0);
    call.rest()?;
    let Some(dtype) = call.dtype(x) else { return Err(call.unsupported("the type is not known")) };
    let limit = call.scalar_like(threshold, x)?;
    let above = two(call, "Greater", x, limit)?;
    call.emit("Cast", none().with_int("to", i64::from(dtype.code())), &[Some(above)], 1)
}

/// ArrayFeatureExtractor: elements of the last axis; a vector counts as one row.
pub fn array_feature_extractor(call: &mut Call<'_, '_>) -> Outputs {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    let flat = call.constant_ints(&[-1]);
    let indices = two(call, "Reshape", indices, flat)?;
    let rank = call.ty(x).map(|ty| ty.shape.len());
    let y = call.emit1("Gather", attrs.with_int("axis", -1), &[Some(x), Some(indices)])?;
    match rank {
        Some(1) => {
            let row = call.constant_ints(&[1, -1]);
            Ok(vec![two(call, "Reshape", y, row)?])
        }
        Some(_) => Ok(vec![y]),
        None => Err(call.unsupported("the number of axes is not known")),
    }
}

/// Scaler: (X - offset) * scale, of f64 in f64.
pub fn scaler(call: &mut Call<'_, '_>) -> Outputs {
    let (mut y, is_double) = wide_input(call)?;
    for (name, op) in [("offset", "Sub"), ("scale", "Mul")] {
        if let Some(mut values) = vector(call, name)? {
            if is_double {
                values = cast_value(call, values, DType::F64)?;
            }
            y = two(call, op, y, values)?;
        }
    }
    call.rest()?;
    Ok(vec![as_f32(call, y)?])
}

/// Imputer: elements that equal the replaced value become those imputed, one for all columns or one for each.
pub fn imputer(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let floats = vector(call, "imputed_value_floats")?;
    let ints = call.ints("imputed_value_int64s")?.filter(|values| !values.is_empty());
    let replaced = call.float("replaced_value_float")?.unwrap_or(0.0);
    let replaced_int = call.int("replaced_value_int64")?.unwrap_or(0);
    call.rest()?;
    let (imputed, matches) = match (floats, ints) {
        (Some(floats), _) if replaced.is_nan() => (floats, call.emit1("IsNaN", none(), &[Some(x)])?),
        (Some(floats), _) => {
            let replaced = call.constant_floats(&[], &[replaced]);
            (floats, two(call, "Equal", x, replaced)?)
        }
        (None, Some(ints)) => {
            let (ints, replaced) = (call.constant_ints(&ints), call.constant_ints(&[replaced_int]));
            (ints, two(call, "Equal", x, replaced)?)
        }
        (None, None) => return Err(call.unsupported("nothing to impute")),
    };
    call.emit("Where", none(), &[Some(matches), Some(imputed), Some(x)], 1)
}

/// Normalizer: rows divided by their largest element (MAX), the sum of absolute values (L1), or the root of the sum of squares (L2).
pub fn normalizer(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let norm = call.string("norm")?.unwrap_or_else(|| "MAX".to_string());
    call.rest()?;
    let axis = none().with_int("axis", -1);
    match norm.as_str() {
        "L1" => call.emit("LpNormalization", axis.with_int("p", 1), &[Some(x)], 1),
        "L2" => call.emit("LpNormalization", axis.with_int("p", 2), &[Some(x)], 1),
        "MAX" => {
            let axes = call.constant_ints(&[-1]);
            let most = two(call, "ReduceMax", x, axes)?;
            Ok(vec![two(call, "Div", x, most)?])
        }
        other => Err(call.attribute_error("norm", format!("{other:?} is not known"))),
    }
}

/// FeatureVectorizer: the inputs side by side, as f32.
pub fn feature_vectorizer(call: &mut Call<'_, '_>) -> Outputs {
    let sizes = call.ints("inputdimensions")?.unwrap_or_default();
    call.rest()?;
    let mut parts = Vec::new();
    for (index, input) in call.inputs().into_iter().enumerate() {
        let Some(input) = input else { return Err(call.unsupported("an input is missing")) };
        let ty = call.ty(input).filter(|ty| ty.shape.len() == 2);
        let width = ty.and_then(|ty| ty.shape[1].as_const());
        if width.is_none() || width != sizes.get(index).copied() {
            return Err(call.unsupported("inputs that are not as wide as inputdimensions says"));
        }
        let to = none().with_int("to", i64::from(DType::F32.code()));
        parts.push(Some(call.emit1("Cast", to, &[Some(input)])?));
    }
    call.emit("Concat", none().with_int("axis", 1), &parts, 1)
}

/// OneHotEncoder: 1 at the place of the category that X equals, along a new last axis. Where there is none: zeros, or with
/// `zeros` of 0 a fault, as an index beyond the categories is one.
pub fn one_hot_encoder(call: &mut Call<'_, '_>) -> Outputs {
    let x = call.input(0)?;
    let ints = call.ints("cats_int64s")?.filter(|cats| !cats.is_empty());
    let texts = call.strings("cats_strings")?.filter(|cats| !cats.is_empty());
    let may_be_none = call.int("zeros")?.unwrap_or(1) != 0;
    call.rest()?;
    let (keys, count) = match (call.dtype(x), ints, texts) {
        (None, ..) => return Err(call.unsupported("the type is not known")),
        (Some(DType::Packed), _, Some(texts)) => {
            let count = texts.len();
            (string_constant(call, texts), count)
        }
        (Some(DType::I64), Some(ints), _) => (call.constant_ints(&ints), ints.len()),
        (Some(DType::Packed), ..) | (_, None, _) => {
            return Err(call.unsupported("no categories of the input's type"));
        }
        (Some(dtype), Some(ints), _) => {
            let keys = call.constant_ints(&ints);
            (cast_value(call, keys, dtype)?, ints.len())
        }
    };
    let numbers: Vec<i64> = (0..count as i64).collect();
    let numbers = call.constant_ints(&numbers);
    let unknown = call.constant_ints(&[count as i64]);
    let mut place = call.emit1("LabelEncoder", none(), &[x, keys, numbers, unknown].map(Some))?;
    if !may_be_none {
        place = call.emit1("Gather", none(), &[Some(numbers), Some(place)])?;
    }
    let (depth, values) = (call.constant_ints(&[count as i64]), call.constant_floats(&[2], &[0.0, 1.0]));
    call.emit("OneHot", none().with_int("axis", -1), &[place, depth, values].map(Some), 1)
}

/// CategoryMapper: strings to numbers or numbers to strings, by two lists of equal length.
pub fn category_mapper(call: &mut Call<'_, '_>) -> Outputs {
    let ints = call.ints("cats_int64s")?.unwrap_or_default();
    let texts = call.strings("cats_strings")?.unwrap_or_default();
    mapped(call, ints, texts)
}

/// LabelEncoder 1: strings to their places in a list, or places to strings.
pub fn label_encoder_1(call: &mut Call<'_, '_>) -> Outputs {
    let texts = call.strings("classes_strings")?.unwrap_or_default();
    let ints = (0..texts.len() as i64).collect();
    mapped(call, ints, texts)
}

fn mapped(call: &mut Call<'_, '_>, ints: Vec<i64>, texts: Vec<String>) -> Outputs {
    let x = call.input(0)?;
    let unknown = call.int("default_int64")?.unwrap_or(-1);
    let unnamed = call.string("default_string")?.unwrap_or_else(|| "_Unused".to_string());
    call.rest()?;
    if ints.len() != texts.len() {
        let (numbers, names) = (ints.len(), texts.len());
        return Err(call.unsupported(format!("{numbers} numbers stand beside {names} strings")));
    }
    let (numbers, names) = (call.constant_ints(&ints), string_constant(call, texts));
    let operands = match call.dtype(x) {
        None => return Err(call.unsupported("the type is not known")),
        Some(DType::Packed) => [x, names, numbers, call.constant_ints(&[unknown])],
        Some(_) => [x, numbers, names, string_constant(call, vec![unnamed])],
    };
    call.emit("LabelEncoder", none(), &operands.map(Some), 1)
}

fn string_constant(call: &mut Call<'_, '_>, texts: Vec<String>) -> ValueId {
    call.constant(&Strings::new(&[texts.len()], texts).into_tensor())
}

/// The labels of classes: a vector of i64 or strings, and how many they are.
fn labels(call: &mut Call<'_, '_>, ints: &str, texts: &str) -> Result<(ValueId, usize), ImportError> {
    let texts = call.strings(texts)?.filter(|labels| !labels.is_empty());
    let numbers = call.ints(ints)?.filter(|labels| !labels.is_empty());
    match (numbers, texts) {
        (Some(numbers), None) => Ok((call.constant_ints(&numbers), numbers.len())),
        (None, Some(texts)) => {
            let count = texts.len();
            Ok((string_constant(call, texts), count))
        }
        _ => Err(call.attribute_error(ints, "there must be labels, all integers or all strings")),
    }
}

/// The label of each row of scores: that of the largest, the first of several.
fn label_of_largest(
    call: &mut Call<'_, '_>,
    labels: ValueId,
    scores: ValueId,
) -> Result<ValueId, ImportError> {
    let attrs = none().with_int("axis", 1).with_int("keepdims", 0);
    let place = call.emit1("ArgMax", attrs, &[Some(scores)])?;
    two(call, "Gather", labels, place)
}

/// The label of each row of one score: the second where it is above the limit, else the first.
fn label_above(
    call: &mut Call<'_, '_>,
    labels: ValueId,
    score: ValueId,
    limit: f32,
) -> Result<ValueId, ImportError> {
    let limit = call.scalar_like(limit, score)?;
    let above = two(call, "Greater", score, limit)?;
    let flat = call.constant_ints(&[-1]);
    let above = two(call, "Reshape", above, flat)?;
    let place = cast_value(call, above, DType::I64)?;
    two(call, "Gather", labels, place)
}

/// Scores of two classes of which one score is known: [1 - s, s] or, if it is not like a probability, [-s, s]; with LOGISTIC
/// the sigmoid of [-s, s]. ONNX's reference and ONNX Runtime do not agree on other transforms.
fn both_of(call: &mut Call<'_, '_>, s: ValueId, transform: &str, is_probability: bool) -> Outputs {
    let negative = call.emit1("Neg", none(), &[Some(s)])?;
    let first = match (transform, is_probability) {
        ("NONE", true) => {
            let one = call.scalar_like(1.0, s)?;
            two(call, "Sub", one, s)?
        }
        ("NONE" | "LOGISTIC", _) => negative,
        _ => return Err(call.attribute_error("post_transform", format!("{transform} of a single score"))),
    };
    let both = call.emit1("Concat", none().with_int("axis", 1), &[Some(first), Some(s)])?;
    transformed(call, both, transform)
}

/// What is done with scores at the end.
fn transformed(call: &mut Call<'_, '_>, y: ValueId, transform: &str) -> Outputs {
    match transform {
        "NONE" => Ok(vec![y]),
        "SOFTMAX" => call.emit("Softmax", none().with_int("axis", -1), &[Some(y)], 1),
        "LOGISTIC" => call.emit("Sigmoid", none(), &[Some(y)], 1),
        "SOFTMAX_ZERO" => Ok(vec![softmax_zero(call, y)?]),
        "PROBIT" => Ok(vec![probit(call, y)?]),
        other => Err(call.attribute_error("post_transform", format!("{other} is not known"))),
    }
}

/// Softmax over a row's elements that are not within 1e-7 of 0; those that are become y * exp(-m), m being the row's maximum,
/// before the division by the sum of all. Rows whose sum is 0 become 0.5.
fn softmax_zero(call: &mut Call<'_, '_>, y: ValueId) -> Result<ValueId, ImportError> {
    let axes = call.constant_ints(&[-1]);
    let most = two(call, "ReduceMax", y, axes)?;
    let size = call.emit1("Abs", none(), &[Some(y)])?;
    let least = call.scalar_like(1e-7, y)?;
    let counts = two(call, "Greater", size, least)?;
    let shifted = two(call, "Sub", y, most)?;
    let exponential = call.emit1("Exp", none(), &[Some(shifted)])?;
    let negative = call.emit1("Neg", none(), &[Some(most)])?;
    let scale = call.emit1("Exp", none(), &[Some(negative)])?;
    let small = two(call, "Mul", y, scale)?;
    let weights = call.emit1("Where", none(), &[counts, exponential, small].map(Some))?;
    let sum = two(call, "ReduceSum", weights, axes)?;
    let (zero, half) = (call.scalar_like(0.0, y)?, call.scalar_like(0.5, y)?);
    let is_zero = two(call, "Equal", sum, zero)?;
    let divided = two(call, "Div", weights, sum)?;
    call.emit1("Where", none(), &[is_zero, half, divided].map(Some))
}

/// sqrt(2) * erfinv(2 * y - 1), erfinv by Winitzki's formula with a = 0.147, as ONNX's reference and ONNX Runtime have it.
fn probit(call: &mut Call<'_, '_>, y: ValueId) -> Result<ValueId, ImportError> {
    let number = |call: &mut Call<'_, '_>, value: f32| call.scalar_like(value, y);
    let (one, twice) = (number(call, 1.0)?, number(call, 2.0)?);
    let (zero, half) = (number(call, 0.0)?, number(call, 0.5)?);
    // 2 / (pi a), 1 / a, sqrt(2).
    let (first, inverse, root) =
        (number(call, 4.330_746_7)?, number(call, 6.802_721)?, number(call, std::f32::consts::SQRT_2)?);
    let doubled = two(call, "Mul", y, twice)?;
    let x = two(call, "Sub", doubled, one)?;
    let (below, above) = (two(call, "Sub", one, x)?, two(call, "Add", one, x)?);
    let product = two(call, "Mul", below, above)?;
    let log = call.emit1("Log", none(), &[Some(product)])?;
    let part = two(call, "Mul", half, log)?;
    let v = two(call, "Add", first, part)?;
    let scaled = two(call, "Mul", inverse, log)?;
    let square = two(call, "Mul", v, v)?;
    let inner = two(call, "Sub", square, scaled)?;
    let inner = call.emit1("Sqrt", none(), &[Some(inner)])?;
    let difference = two(call, "Sub", inner, v)?;
    let size = call.emit1("Sqrt", none(), &[Some(difference)])?;
    let size = two(call, "Mul", root, size)?;
    let opposite = call.emit1("Neg", none(), &[Some(size)])?;
    let is_negative = two(call, "Less", x, zero)?;
    call.emit1("Where", none(), &[is_negative, opposite, size].map(Some))
}
