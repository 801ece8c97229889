//! Operators that ONNX defines by others: they become those.

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dtype::DType;

use crate::onnx::call::{Call, Outputs};

/// SoftmaxCrossEntropyLoss, all versions: NegativeLogLikelihoodLoss of LogSoftmax over the classes, axis 1.
pub fn softmax_cross_entropy_loss(call: &mut Call<'_, '_>) -> Outputs {
    let (scores, labels, weights) = (call.input(0)?, call.input(1)?, call.optional(2));
    let attrs = call.rest()?;
    let log = call.emit1("LogSoftmax", Attrs::new().with_int("axis", 1), &[Some(scores)])?;
    let loss = call.emit1("NegativeLogLikelihoodLoss", attrs, &[Some(log), Some(labels), weights])?;
    Ok(vec![loss, log])
}

/// SwiGLU: Swish of the gate, times the other input.
pub fn swiglu(call: &mut Call<'_, '_>) -> Outputs {
    let (gate, value) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    let gate = call.emit1("Swish", attrs, &[Some(gate)])?;
    call.emit("Mul", Attrs::new(), &[Some(gate), Some(value)], 1)
}

/// CausalConvWithState: a depthwise Conv over the past positions and the new ones, then Swish if asked for; the
/// state is the last positions of both.
pub fn causal_conv_with_state(call: &mut Call<'_, '_>) -> Outputs {
    let (x, weight, bias, past) = (call.input(0)?, call.input(1)?, call.optional(2), call.optional(3));
    let activation = call.string("activation")?.unwrap_or_else(|| "none".to_string());
    if !["none", "silu", "swish"].contains(&activation.as_str()) {
        return Err(call.attribute_error("activation", format!("{activation:?} is not known")));
    }
    call.rest()?;
    let extents = call.ty(weight).filter(|ty| ty.shape.len() == 3).map(|ty| {
        let at = |axis: usize| ty.shape[axis].as_const();
        (at(0), at(2))
    });
    let Some((Some(channels), Some(kernel))) = extents.filter(|(_, k)| k.is_none_or(|k| k > 0)) else {
        return Err(call.unsupported("the weight's shape is not known"));
    };
    let padded = match past {
        Some(past) => call.emit1("Concat", Attrs::new().with_int("axis", 2), &[Some(past), Some(x)])?,
        None => {
            let pads = call.constant_ints(&[0, 0, kernel - 1, 0, 0, 0]);
            call.emit1("Pad", Attrs::new(), &[Some(x), Some(pads)])?
        }
    };
    let mut y =
        call.emit1("Conv", Attrs::new().with_int("group", channels), &[Some(padded), Some(weight), bias])?;
    if activation != "none" {
        y = call.emit1("Swish", Attrs::new(), &[Some(y)])?;
    }
    if !call.has_output(1) {
        return Ok(vec![y]);
    }
    // Without past positions to keep the slice is empty: `-0` would be everything.
    let start = if kernel == 1 { i64::MAX } else { 1 - kernel };
    let [start, end, axis] = [start, i64::MAX, 2].map(|v| call.constant_ints(&[v]));
    let state = call.emit1("Slice", Attrs::new(), &[Some(padded), Some(start), Some(end), Some(axis)])?;
    Ok(vec![y, state])
}

/// Dropout in training: elements are dropped, each where a uniform number is below the ratio, and the others divided by
/// 1 - ratio; with `training` false nothing is.
pub fn training_dropout(call: &mut Call<'_, '_>, seed: Option<i64>) -> Outputs {
    let (x, ratio, training) = (call.input(0)?, call.optional(1), call.input(2)?);
    let to_f32 = Attrs::new().with_int("to", i64::from(DType::F32.code()));
    let ratio = match ratio {
        Some(ratio) => call.emit1("Cast", to_f32, &[Some(ratio)])?,
        None => call.constant_floats(&[], &[0.5]),
    };
    let mut attrs = Attrs::new().with_int("dtype", i64::from(DType::F32.code()));
    if let Some(seed) = seed {
        attrs = attrs.with_float("seed", seed as f32);
    }
    let draw = call.emit1("RandomUniformLike", attrs, &[Some(x)])?;
    let below = call.emit1("Less", Attrs::new(), &[Some(draw), Some(ratio)])?;
    let dropped = call.emit1("And", Attrs::new(), &[Some(below), Some(training)])?;
    let mask = call.emit1("Not", Attrs::new(), &[Some(dropped)])?;
    let one = call.constant_floats(&[], &[1.0]);
    let kept = call.emit1("Sub", Attrs::new(), &[Some(one), Some(ratio)])?;
    let divisor = call.emit1("Where", Attrs::new(), &[Some(training), Some(kept), Some(one)])?;
    let divisor = call.emit1("CastLike", Attrs::new(), &[Some(divisor), Some(x)])?;
    let scaled = call.emit1("Div", Attrs::new(), &[Some(x), Some(divisor)])?;
    let zero = call.constant_floats(&[], &[0.0]);
    let zero = call.emit1("CastLike", Attrs::new(), &[Some(zero), Some(x)])?;
    let y = call.emit1("Where", Attrs::new(), &[Some(mask), Some(scaled), Some(zero)])?;
    Ok(vec![y, mask])
}

/// BatchNormalization in training: mean and variance of the input, and the running ones.
pub fn training_batch_normalization(call: &mut Call<'_, '_>) -> Outputs {
    let [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map(|index| call.input(index));
    let (x, scale, bias, mean, variance) = (x?, scale?, bias?, mean?, variance?);
    let momentum = call.float("momentum")?.unwrap_or(0.9);
    let attrs = call.rest()?;
    let Some(rank) = call.ty(x).map(|ty| ty.shape.len()).filter(|rank| *rank >= 2) else {
        return Err(call.unsupported("the number of axes is not known"));
    };
    if call.dtype(x).is_none() || call.dtype(x) != call.dtype(mean) {
        return Err(call.unsupported("training with statistics of another type than the input's"));
    }
    let axes: Vec<i64> = (0..rank as i64).filter(|axis| *axis != 1).collect();
    let axes = call.constant_ints(&axes);
    let keep = |keep: i64| Attrs::new().with_int("keepdims", keep);
    let own_mean = call.emit1("ReduceMean", keep(1), &[Some(x), Some(axes)])?;
    let off = call.emit1("Sub", Attrs::new(), &[Some(x), Some(own_mean)])?;
    let square = call.emit1("Mul", Attrs::new(), &[Some(off), Some(off)])?;
    let own_variance = call.emit1("ReduceMean", keep(0), &[Some(square), Some(axes)])?;
    let flat = call.constant_ints(&[-1]);
    let own_mean = call.emit1("Reshape", Attrs::new(), &[Some(own_mean), Some(flat)])?;
    let inputs = [Some(x), Some(scale), Some(bias), Some(own_mean), Some(own_variance)];
    let mut outputs = vec![call.emit1("BatchNormalization", attrs, &inputs)?];
    #[allow(clippy::float_arithmetic, reason = "the constant that the converted form holds")]
    let new_share = 1.0 - momentum;
    let (old_share, new_share) = (call.scalar_like(momentum, x)?, call.scalar_like(new_share, x)?);
    for (old, new) in [(mean, own_mean), (variance, own_variance)] {
        let old = call.emit1("Mul", Attrs::new(), &[Some(old), Some(old_share)])?;
        let new = call.emit1("Mul", Attrs::new(), &[Some(new), Some(new_share)])?;
        outputs.push(call.emit1("Add", Attrs::new(), &[Some(old), Some(new)])?);
    }
    Ok(outputs)
}

/// FlexAttention of ai.onnx.preview: MatMul, Softmax and MatMul with the graphs in its attributes between them. The
/// products are of both operands times the square root of the scale.
pub fn flex_attention(call: &mut Call<'_, '_>) -> Outputs {
    let (query, key, value) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (precision, scale) = (call.int("softmax_precision")?, call.float("scale")?);
    let shape = |call: &Call<'_, '_>, x| call.ty(x).filter(|ty| ty.shape.len() == 4).cloned();
    let (Some(q), Some(k)) = (shape(call, query), shape(call, key)) else {
        return Err(call.unsupported("inputs whose four axes are not known"));
    };
    let wide = if q.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let precision = precision.unwrap_or(i64::from(wide.code()));
    let scale = match (scale, q.shape[3].as_extent()) {
        (Some(scale), _) => call.constant_floats(&[], &[scale]),
        (None, Some(size)) => {
            let size = call.constant(&Tensor::scalar(size as f32));
            let root = call.emit1("Sqrt", Attrs::new(), &[Some(size)])?;
            call.emit1("Reciprocal", Attrs::new(), &[Some(root)])?
        }
        (None, None) => return Err(call.unsupported("a size of heads that is not known")),
    };
    let factor = call.emit1("Sqrt", Attrs::new(), &[Some(scale)])?;
    let factor = call.emit1("CastLike", Attrs::new(), &[Some(factor), Some(query)])?;
    let (key, value) = match (q.shape[1].as_extent(), k.shape[1].as_extent()) {
        (Some(heads), Some(shared)) if shared > 0 && heads % shared == 0 && heads <= HEADS_MAX => {
            let of_head: Vec<i64> = (0..heads).map(|head| (head / (heads / shared)) as i64).collect();
            let of_head = call.constant_ints(&of_head);
            let mut spread =
                |x| call.emit1("Gather", Attrs::new().with_int("axis", 1), &[Some(x), Some(of_head)]);
            if heads == shared { (key, value) } else { (spread(key)?, spread(value)?) }
        }
        _ => return Err(call.unsupported("numbers of heads that are not known, or do not divide")),
    };
    let query = call.emit1("Mul", Attrs::new(), &[Some(query), Some(factor)])?;
    let key = call.emit1("Mul", Attrs::new(), &[Some(key), Some(factor)])?;
    let turned = Attrs::new().with_ints("perm", &[0, 1, 3, 2]);
    let key = call.emit1("Transpose", turned, &[Some(key)])?;
    let scores = call.emit1("MatMul", Attrs::new(), &[Some(query), Some(key)])?;
    let to = |code: i64| Attrs::new().with_int("to", code);
    let mut weights = call.emit1("Cast", to(precision), &[Some(scores)])?;
    if call.has_attribute("score_mod") {
        weights = call.apply_graph("score_mod", weights)?;
    }
    weights = call.emit1("Softmax", Attrs::new().with_int("axis", -1), &[Some(weights)])?;
    if call.has_attribute("prob_mod") {
        weights = call.apply_graph("prob_mod", weights)?;
    }
    call.rest()?;
    let value = call.emit1("Cast", to(precision), &[Some(value)])?;
    let y = call.emit1("MatMul", Attrs::new(), &[Some(weights), Some(value)])?;
    call.emit("Cast", to(i64::from(q.dtype.code())), &[Some(y)], 1)
}

/// No more heads are spread: their numbers become a constant.
const HEADS_MAX: usize = 1 << 16;
