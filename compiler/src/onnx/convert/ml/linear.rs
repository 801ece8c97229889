//! Linear models and support vectors of ai.onnx.ml: products, and what becomes of the scores.

use repops::Tensor;

use super::{both_of, f32_input, label_above, label_of_largest, labels, none, transformed, two, vector};
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

/// X * coefficients' + intercepts, a row of coefficients for each of `count` scores.
fn scores(
    call: &mut Call<'_, '_>,
    x: ValueId,
    coefficients: &[f32],
    count: usize,
    intercepts: Option<ValueId>,
) -> Result<ValueId, ImportError> {
    if count == 0 || coefficients.is_empty() || !coefficients.len().is_multiple_of(count) {
        let problem = format!("{} coefficients are not those of {count} scores", coefficients.len());
        return Err(call.attribute_error("coefficients", problem));
    }
    let weights = call.constant_floats(&[count, coefficients.len() / count], coefficients);
    call.emit1("Gemm", none().with_int("transB", 1), &[Some(x), Some(weights), intercepts])
}

/// LinearRegressor.
pub fn linear_regressor(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let coefficients = call.floats("coefficients")?.unwrap_or_default();
    let targets = call.int("targets")?.unwrap_or(1);
    let intercepts = vector(call, "intercepts")?;
    let transform = call.string("post_transform")?;
    call.rest()?;
    let Ok(targets) = usize::try_from(targets) else {
        return Err(call.attribute_error("targets", format!("{targets} is negative")));
    };
    let y = scores(call, x, &coefficients, targets, intercepts)?;
    transformed(call, y, transform.as_deref().unwrap_or("NONE"))
}

/// LinearClassifier: the label of the largest score, and the scores. One score of two classes is the second's.
pub fn linear_classifier(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let coefficients = call.floats("coefficients")?.unwrap_or_default();
    let (labels, classes) = labels(call, "classlabels_ints", "classlabels_strings")?;
    let intercepts = call.floats("intercepts")?.filter(|values| !values.is_empty());
    let transform = call.string("post_transform")?.unwrap_or_else(|| "NONE".to_string());
    // Says how the classifier was trained.
    call.ignore("multi_class");
    call.rest()?;
    let count = intercepts.as_ref().map_or(classes, Vec::len);
    if classes < 2 || (count != classes && (count, classes) != (1, 2)) {
        return Err(call.unsupported(format!("{classes} labels of {count} scores")));
    }
    let intercepts = intercepts.map(|values| call.constant_floats(&[values.len()], &values));
    let y = scores(call, x, &coefficients, count, intercepts)?;
    if count == 1 {
        let label = label_above(call, labels, y, 0.0)?;
        return Ok(vec![label, both_of(call, y, &transform, true)?[0]]);
    }
    let label = label_of_largest(call, labels, y)?;
    Ok(vec![label, transformed(call, y, &transform)?[0]])
}

/// SVMRegressor: a weighted sum of the kernel of X and each support vector, plus rho; without support vectors a product.
pub fn svm_regressor(call: &mut Call<'_, '_>) -> Outputs {
    let x = f32_input(call)?;
    let coefficients = call.floats("coefficients")?.unwrap_or_default();
    let rho = call.floats("rho")?.unwrap_or_default();
    let supports = call.int("n_supports")?.unwrap_or(0);
    let vectors = call.floats("support_vectors")?.unwrap_or_default();
    let kernel = call.string("kernel_type")?.unwrap_or_else(|| "LINEAR".to_string());
    let params = call.floats("kernel_params")?.unwrap_or_default();
    let is_one_class = call.int("one_class")?.unwrap_or(0) != 0;
    let transform = call.string("post_transform")?.unwrap_or_else(|| "NONE".to_string());
    call.rest()?;
    let [rho] = rho[..] else { return Err(call.attribute_error("rho", "is not one number")) };
    let rho = call.constant_floats(&[1], &[rho]);
    let x = match usize::try_from(supports) {
        Ok(0) => x,
        Ok(count) => {
            let [gamma, shift, degree] = params.get(..3).map_or([0.0; 3], |p| [p[0], p[1], p[2]]);
            match kernel.as_str() {
                "LINEAR" => scores(call, x, &vectors, count, None)?,
                "RBF" => radial(call, x, &vectors, count, gamma)?,
                "POLY" | "SIGMOID" => {
                    let product = scores(call, x, &vectors, count, None)?;
                    let (gamma, shift) =
                        (call.constant(&Tensor::scalar(gamma)), call.constant(&Tensor::scalar(shift)));
                    let scaled = two(call, "Mul", product, gamma)?;
                    let shifted = two(call, "Add", scaled, shift)?;
                    match kernel.as_str() {
                        "POLY" => {
                            let degree = call.constant(&Tensor::scalar(degree));
                            two(call, "Pow", shifted, degree)?
                        }
                        _ => call.emit1("Tanh", none(), &[Some(shifted)])?,
                    }
                }
                other => return Err(call.attribute_error("kernel_type", format!("{other:?} is not known"))),
            }
        }
        Err(_) => return Err(call.attribute_error("n_supports", format!("{supports} is negative"))),
    };
    let y = scores(call, x, &coefficients, 1, Some(rho))?;
    if is_one_class {
        let [zero, one, minus] = [0.0, 1.0, -1.0].map(|value: f32| call.constant(&Tensor::scalar(value)));
        let inside = two(call, "Greater", y, zero)?;
        return call.emit("Where", none(), &[inside, one, minus].map(Some), 1);
    }
    transformed(call, y, &transform)
}

/// exp(-gamma * the sum of (x - v)^2) for each support vector v.
fn radial(
    call: &mut Call<'_, '_>,
    x: ValueId,
    vectors: &[f32],
    count: usize,
    gamma: f32,
) -> Result<ValueId, ImportError> {
    if vectors.is_empty() || !vectors.len().is_multiple_of(count) {
        let problem = format!("{} elements are not {count} vectors", vectors.len());
        return Err(call.attribute_error("support_vectors", problem));
    }
    let vectors = call.constant_floats(&[1, count, vectors.len() / count], vectors);
    let (middle, last) = (call.constant_ints(&[1]), call.constant_ints(&[2]));
    let x = two(call, "Unsqueeze", x, middle)?;
    let difference = two(call, "Sub", x, vectors)?;
    let square = two(call, "Mul", difference, difference)?;
    let attrs = none().with_int("keepdims", 0);
    let distance = call.emit1("ReduceSum", attrs, &[Some(square), Some(last)])?;
    let gamma = call.constant(&Tensor::scalar(gamma));
    let scaled = two(call, "Mul", distance, gamma)?;
    let negative = call.emit1("Neg", none(), &[Some(scaled)])?;
    call.emit1("Exp", none(), &[Some(negative)])
}
