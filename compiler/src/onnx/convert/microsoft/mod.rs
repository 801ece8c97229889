//! Operators of com.microsoft, which optimized exports hold: they become those of the table that they stand for.
//!
//! Source: ONNX Runtime's documentation of its contrib operators. What a conversion computes is what the operators that
//! it becomes compute, to the bit; with ONNX Runtime it agrees within the tolerance of `conformance/microsoft_cases.py`.

pub mod attention;
pub mod lstm;
pub mod quantized;

use repops::attrs::Attrs;
use repops::dtype::DType;

use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

pub(super) fn none() -> Attrs {
    Attrs::new()
}

/// `op` of two values.
pub(super) fn two(call: &mut Call<'_, '_>, op: &str, a: ValueId, b: ValueId) -> Result<ValueId, ImportError> {
    call.emit1(op, none(), &[Some(a), Some(b)])
}

/// `x` with its axes in the order `perm`.
pub(super) fn transposed(call: &mut Call<'_, '_>, x: ValueId, perm: &[i64]) -> Result<ValueId, ImportError> {
    call.emit1("Transpose", none().with_ints("perm", perm), &[Some(x)])
}

/// `x` in the shape `shape`; 0 keeps an extent, -1 is what is left.
pub(super) fn reshaped(call: &mut Call<'_, '_>, x: ValueId, shape: &[i64]) -> Result<ValueId, ImportError> {
    let shape = call.constant_ints(shape);
    two(call, "Reshape", x, shape)
}

/// Elements `from` to `to` of an axis.
pub(super) fn part(
    call: &mut Call<'_, '_>,
    x: ValueId,
    axis: i64,
    from: i64,
    to: i64,
) -> Result<ValueId, ImportError> {
    let [from, to, axis] = [from, to, axis].map(|v| call.constant_ints(&[v]));
    call.emit1("Slice", none(), &[Some(x), Some(from), Some(to), Some(axis)])
}

/// The extent of an axis, i64 of one element.
pub(super) fn extent(call: &mut Call<'_, '_>, x: ValueId, axis: i64) -> Result<ValueId, ImportError> {
    let attrs = none().with_int("start", axis).with_int("end", axis + 1);
    call.emit1("Shape", attrs, &[Some(x)])
}

pub(super) fn cast(call: &mut Call<'_, '_>, x: ValueId, to: DType) -> Result<ValueId, ImportError> {
    call.emit1("Cast", none().with_int("to", i64::from(to.code())), &[Some(x)])
}

/// The number of axes, which conversions that name axes need.
pub(super) fn rank(call: &Call<'_, '_>, x: ValueId) -> Result<usize, ImportError> {
    let rank = call.ty(x).map(|ty| ty.shape.len());
    rank.ok_or_else(|| call.unsupported("the number of axes is not known"))
}

/// An extent that must be known here.
pub(super) fn known_extent(call: &Call<'_, '_>, x: ValueId, axis: usize) -> Result<i64, ImportError> {
    let extent = call.ty(x).and_then(|ty| ty.shape.get(axis)).and_then(|dim| dim.as_const());
    extent.ok_or_else(|| call.unsupported(format!("the extent of axis {axis} is not known")))
}

/// FusedMatMul and TransposeMatMul: alpha * A' B', the last two axes of either perhaps swapped.
pub fn fused_matmul(call: &mut Call<'_, '_>) -> Outputs {
    let alpha = call.float("alpha")?.unwrap_or(1.0);
    let mut factors = Vec::new();
    for (index, name) in [(0, "A"), (1, "B")] {
        let mut x = call.input(index)?;
        if call.int(&format!("transBatch{name}"))?.unwrap_or(0) != 0 {
            return Err(call.attribute_error(&format!("transBatch{name}"), "is not supported"));
        }
        let axes =
            if call.int(&format!("trans{name}"))?.unwrap_or(0) != 0 { rank(call, x)? as i64 } else { 0 };
        if axes >= 2 {
            let mut perm: Vec<i64> = (0..axes).collect();
            perm.swap(axes as usize - 1, axes as usize - 2);
            x = transposed(call, x, &perm)?;
        }
        factors.push(x);
    }
    call.rest()?;
    let product = two(call, "MatMul", factors[0], factors[1])?;
    if alpha.to_bits() == 1.0f32.to_bits() {
        return Ok(vec![product]);
    }
    let alpha = call.scalar_like(alpha, product)?;
    Ok(vec![two(call, "Mul", product, alpha)?])
}

/// FusedConv and FusedGemm: the operator, plus Z where there is one, then the activation.
pub fn fused(call: &mut Call<'_, '_>) -> Outputs {
    let is_conv = call.op_type() == "FusedConv";
    let activation = call.string("activation")?.unwrap_or_default();
    let mut params = call.floats("activation_params")?.unwrap_or_default();
    for name in ["activation_alpha", "activation_beta", "activation_gamma"] {
        params.extend(call.float(name)?);
    }
    let inputs = call.inputs();
    let attrs = call.rest()?;
    let mut y = call.emit1(if is_conv { "Conv" } else { "Gemm" }, attrs, &inputs[..inputs.len().min(3)])?;
    if let Some(z) = inputs.get(3).copied().flatten() {
        y = two(call, "Add", y, z)?;
    }
    let given = |index: usize, default: f32| params.get(index).copied().unwrap_or(default);
    let attrs = match activation.as_str() {
        "" => return Ok(vec![y]),
        "Relu" | "Tanh" | "Sigmoid" => none(),
        "LeakyRelu" => none().with_float("alpha", given(0, 0.01)),
        "HardSigmoid" => none().with_float("alpha", given(0, 0.2)).with_float("beta", given(1, 0.5)),
        "Clip" => {
            let (low, high) = (given(0, f32::MIN), given(1, f32::MAX));
            let (low, high) = (call.scalar_like(low, y)?, call.scalar_like(high, y)?);
            return call.emit("Clip", none(), &[Some(y), Some(low), Some(high)], 1);
        }
        other => return Err(call.attribute_error("activation", format!("{other:?} is not supported"))),
    };
    call.emit(&activation, attrs, &[Some(y)], 1)
}

/// Gelu, BiasGelu: by erf, the bias added before. FastGelu: by tanh.
pub fn gelu(call: &mut Call<'_, '_>) -> Outputs {
    let approximate = if call.op_type() == "FastGelu" { "tanh" } else { "none" };
    let (mut x, bias) = (call.input(0)?, call.optional(1));
    call.rest()?;
    if let Some(bias) = bias {
        x = two(call, "Add", x, bias)?;
    }
    call.emit("Gelu", none().with_str("approximate", approximate), &[Some(x)], 1)
}

/// QuickGelu: x * sigmoid(alpha * x), which is Swish.
pub fn quick_gelu(call: &mut Call<'_, '_>) -> Outputs {
    let (x, alpha) = (call.input(0)?, call.float("alpha")?.unwrap_or(1.702));
    call.rest()?;
    call.emit("Swish", none().with_float("alpha", alpha), &[Some(x)], 1)
}

/// SimplifiedLayerNormalization: RMSNormalization.
pub fn simplified_layer_normalization(call: &mut Call<'_, '_>) -> Outputs {
    if call.has_output(1) {
        return Err(call.unsupported("the second output is for training"));
    }
    let (attrs, inputs) = (call.rest()?, call.inputs());
    call.emit("RMSNormalization", attrs, &inputs, 1)
}

/// SkipLayerNormalization (input, skip, gamma, beta, bias) and SkipSimplifiedLayerNormalization (input, skip, gamma, bias): the
/// norm of input + skip + bias, which is the fourth output.
pub fn skip_layer_normalization(call: &mut Call<'_, '_>) -> Outputs {
    let is_simple = call.op_type() == "SkipSimplifiedLayerNormalization";
    let (x, skip, gamma) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (beta, bias) =
        if is_simple { (None, call.optional(3)) } else { (call.optional(3), call.optional(4)) };
    let epsilon = call.float("epsilon")?.unwrap_or(1e-12);
    call.rest()?;
    let mut sum = two(call, "Add", x, skip)?;
    if let Some(bias) = bias {
        sum = two(call, "Add", sum, bias)?;
    }
    let attrs = none().with_int("axis", -1).with_float("epsilon", epsilon);
    let mut outputs = match is_simple {
        true if call.has_output(1) || call.has_output(2) => {
            return Err(call.unsupported("the second and third outputs are for training"));
        }
        // What nothing names.
        true => vec![call.emit1("RMSNormalization", attrs, &[Some(sum), Some(gamma)])?; 3],
        false => call.emit("LayerNormalization", attrs, &[Some(sum), Some(gamma), beta], 3)?,
    };
    outputs.push(sum);
    Ok(outputs)
}

/// EmbedLayerNormalization: the sum of word, position and segment embeddings, normalized; the number of positions that the
/// mask has, for each sequence.
pub fn embed_layer_normalization(call: &mut Call<'_, '_>) -> Outputs {
    let (ids, segments, words) = (call.input(0)?, call.optional(1), call.input(2)?);
    let (positions, segment_table) = (call.input(3)?, call.optional(4));
    let (gamma, beta, mask, position_ids) =
        (call.input(5)?, call.input(6)?, call.optional(7), call.optional(8));
    let epsilon = call.float("epsilon")?.unwrap_or(1e-12);
    call.int("mask_index_type")?;
    call.rest()?;
    let word = two(call, "Gather", words, ids)?;
    let position_ids = match position_ids {
        Some(given) => given,
        None => {
            let length = extent(call, ids, 1)?;
            range(call, length)?
        }
    };
    let position = two(call, "Gather", positions, position_ids)?;
    let mut sum = two(call, "Add", word, position)?;
    if let (Some(table), Some(segments)) = (segment_table, segments) {
        let segment = two(call, "Gather", table, segments)?;
        sum = two(call, "Add", sum, segment)?;
    }
    let attrs = none().with_int("axis", -1).with_float("epsilon", epsilon);
    let y = call.emit1("LayerNormalization", attrs, &[Some(sum), Some(gamma), Some(beta)])?;
    let counted = match mask {
        Some(mask) => mask,
        None => two(call, "Sub", ids, ids)?,
    };
    let counted = cast(call, counted, DType::I32)?;
    let axis = call.constant_ints(&[1]);
    let attrs = none().with_int("keepdims", 0);
    let count = call.emit1("ReduceSum", attrs, &[Some(counted), Some(axis)])?;
    Ok(vec![y, count, sum])
}

/// 0, 1, ... below `end`, which has one element.
pub(super) fn range(call: &mut Call<'_, '_>, end: ValueId) -> Result<ValueId, ImportError> {
    let zero = call.constant(&repops::Tensor::scalar(0i64));
    let one = call.constant(&repops::Tensor::scalar(1i64));
    let shape = call.constant_ints(&[]);
    let end = cast(call, end, DType::I64)?;
    let end = two(call, "Reshape", end, shape)?;
    call.emit1("Range", none(), &[Some(zero), Some(end), Some(one)])
}
