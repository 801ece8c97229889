//! Attention of com.microsoft: Attention, MultiHeadAttention, GroupQueryAttention, QAttention, RotaryEmbedding.
//!
//! All become the operator Attention, with what masks the keys as its mask.

use repops::Tensor;
use repops::attrs::Attrs;
use repops::dtype::DType;

use super::{cast, extent, known_extent, none, part, range, rank, reshaped, transposed, two};
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

/// Queries, keys and values of three axes, and how they are attended to.
struct Heads {
    query: ValueId,
    key: ValueId,
    value: ValueId,
    attrs: Attrs,
    masks: Vec<ValueId>,
    past: Option<[ValueId; 2]>,
}

impl Heads {
    /// The output, and keys and values with those of the past.
    fn attend(self, call: &mut Call<'_, '_>) -> Result<[ValueId; 3], ImportError> {
        let mut mask = None;
        for other in self.masks {
            mask = Some(match mask {
                None => other,
                Some(mask) => two(call, "Add", mask, other)?,
            });
        }
        let [past_key, past_value] = self.past.map_or([None, None], |past| past.map(Some));
        let inputs = [Some(self.query), Some(self.key), Some(self.value), mask, past_key, past_value];
        let outputs = call.emit("Attention", self.attrs, &inputs, 3)?;
        Ok([outputs[0], outputs[1], outputs[2]])
    }
}

/// The attributes that all have. Another number of heads for keys is `kv`.
fn attributes(call: &mut Call<'_, '_>, kv: Option<i64>) -> Result<(Attrs, i64), ImportError> {
    let heads = call.required_int("num_heads")?;
    let mut attrs = none().with_int("q_num_heads", heads).with_int("kv_num_heads", kv.unwrap_or(heads));
    if let Some(scale) = call.float("scale")?.filter(|scale| scale.to_bits() << 1 != 0) {
        attrs = attrs.with_float("scale", scale);
    }
    Ok((attrs, heads))
}

/// A mask that is added: 0 where `keep` (bool) holds, else `filter`.
fn added(call: &mut Call<'_, '_>, keep: ValueId, filter: f32, like: ValueId) -> Result<ValueId, ImportError> {
    let (zero, filter) = (call.scalar_like(0.0, like)?, call.scalar_like(filter, like)?);
    call.emit1("Where", none(), &[Some(keep), Some(zero), Some(filter)])
}

/// The mask of keys as one that is added: [batch, keys], [batch, queries, keys], or the number of keys of each sequence.
fn key_mask(
    call: &mut Call<'_, '_>,
    mask: ValueId,
    keys: ValueId,
    filter: f32,
    like: ValueId,
) -> Result<ValueId, ImportError> {
    let keep = match rank(call, mask)? {
        1 => {
            let (position, count) = (range(call, keys)?, cast(call, mask, DType::I64)?);
            let count = reshaped(call, count, &[-1, 1, 1, 1])?;
            two(call, "Less", position, count)?
        }
        axes @ (2 | 3) => {
            let axes = call.constant_ints(if axes == 2 { &[1, 2] } else { &[1] });
            let mask = two(call, "Unsqueeze", mask, axes)?;
            cast(call, mask, DType::Bool)?
        }
        other => return Err(call.unsupported(format!("a mask of {other} axes"))),
    };
    added(call, keep, filter, like)
}

/// The mask of keys after a query: key j of `keys` is kept for query i of `queries` where j <= i + keys - queries.
fn causal(
    call: &mut Call<'_, '_>,
    queries: ValueId,
    keys: ValueId,
    like: ValueId,
) -> Result<ValueId, ImportError> {
    let before = two(call, "Sub", keys, queries)?;
    let (row, column) = (range(call, queries)?, range(call, keys)?);
    let row = two(call, "Add", row, before)?;
    let row = reshaped(call, row, &[-1, 1])?;
    let keep = two(call, "LessOrEqual", column, row)?;
    added(call, keep, f32::MIN, like)
}

/// The number of keys, those of the past included.
fn all_keys(
    call: &mut Call<'_, '_>,
    key: ValueId,
    past: Option<[ValueId; 2]>,
) -> Result<ValueId, ImportError> {
    let new = extent(call, key, 1)?;
    match past {
        None => Ok(new),
        Some([past, _]) => {
            let past = extent(call, past, 2)?;
            two(call, "Add", past, new)
        }
    }
}

/// Attention: one projection gives queries, keys and values; past and present are [2, batch, heads, keys, size].
pub fn attention(call: &mut Call<'_, '_>) -> Outputs {
    let (x, weight, bias) = (call.input(0)?, call.input(1)?, call.optional(2));
    let (mask, past, attention_bias) = (call.optional(3), call.optional(4), call.optional(5));
    let mut qkv = two(call, "MatMul", x, weight)?;
    if let Some(bias) = bias {
        qkv = two(call, "Add", qkv, bias)?;
    }
    let width = known_extent(call, weight, 1)?;
    projected(call, qkv, width, mask, past, attention_bias)
}

/// What Attention and QAttention do after their projection, `width` elements wide.
fn projected(
    call: &mut Call<'_, '_>,
    qkv: ValueId,
    width: i64,
    mask: Option<ValueId>,
    past: Option<ValueId>,
    attention_bias: Option<ValueId>,
) -> Outputs {
    let (attrs, _) = attributes(call, None)?;
    let unidirectional = call.int("unidirectional")?.unwrap_or(0) != 0;
    let filter = call.float("mask_filter_value")?.unwrap_or(-10000.0);
    let sizes = match call.ints("qkv_hidden_sizes")? {
        Some(sizes) if sizes.len() == 3 && sizes.iter().all(|&size| size > 0) => sizes,
        Some(_) => return Err(call.attribute_error("qkv_hidden_sizes", "is not three sizes")),
        None => vec![width / 3; 3],
    };
    for name in ["do_rotary", "past_present_share_buffer"] {
        if call.int(name)?.unwrap_or(0) != 0 {
            return Err(call.attribute_error(name, "is not supported"));
        }
    }
    call.rest()?;
    let ends = [sizes[0], sizes[0].saturating_add(sizes[1]), i64::MAX];
    let query = part(call, qkv, 2, 0, ends[0])?;
    let key = part(call, qkv, 2, ends[0], ends[1])?;
    let value = part(call, qkv, 2, ends[1], ends[2])?;
    let past = match past {
        None => None,
        Some(past) => {
            let mut side = |at: i64| {
                let at = call.constant(&Tensor::scalar(at));
                two(call, "Gather", past, at)
            };
            Some([side(0)?, side(1)?])
        }
    };
    let keys = all_keys(call, key, past)?;
    let mut masks: Vec<ValueId> = attention_bias.into_iter().collect();
    if let Some(mask) = mask {
        masks.push(key_mask(call, mask, keys, filter, query)?);
    }
    if unidirectional {
        let queries = extent(call, query, 1)?;
        masks.push(causal(call, queries, keys, query)?);
    }
    let has_present = call.has_output(1);
    let [y, key, value] = Heads { query, key, value, attrs, masks, past }.attend(call)?;
    if !has_present {
        return Ok(vec![y]);
    }
    let axis = call.constant_ints(&[0]);
    let (key, value) = (two(call, "Unsqueeze", key, axis)?, two(call, "Unsqueeze", value, axis)?);
    let present = call.emit1("Concat", none().with_int("axis", 0), &[Some(key), Some(value)])?;
    Ok(vec![y, present])
}

/// QAttention: the projection is of bytes, its result scaled.
pub fn qattention(call: &mut Call<'_, '_>) -> Outputs {
    let (x, weight, bias) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (x_scale, weight_scale, mask) = (call.input(3)?, call.input(4)?, call.optional(5));
    let (x_zero, weight_zero, past) = (call.optional(6), call.optional(7), call.optional(8));
    let product = call.emit1("MatMulInteger", none(), &[Some(x), Some(weight), x_zero, weight_zero])?;
    let product = cast(call, product, DType::F32)?;
    let scale = two(call, "Mul", x_scale, weight_scale)?;
    let scaled = two(call, "Mul", product, scale)?;
    let qkv = two(call, "Add", scaled, bias)?;
    let width = known_extent(call, weight, 1)?;
    projected(call, qkv, width, mask, past, None)
}

/// One of `of` tensors that lie beside each other in axis 3, as [batch, rows, heads * size].
fn packed_part(
    call: &mut Call<'_, '_>,
    packed: ValueId,
    index: i64,
    of: i64,
) -> Result<ValueId, ImportError> {
    if rank(call, packed)? != 5 || known_extent(call, packed, 3)? != of {
        return Err(call.unsupported(format!(
            "an input that holds {of} tensors and has not five axes, the fourth {of}"
        )));
    }
    let index = call.constant(&Tensor::scalar(index));
    let part = call.emit1("Gather", none().with_int("axis", 3), &[Some(packed), Some(index)])?;
    reshaped(call, part, &[0, 0, -1])
}

/// MultiHeadAttention: queries, keys and values come apart or in one input, their biases in one.
pub fn multi_head_attention(call: &mut Call<'_, '_>) -> Outputs {
    let (mut query, bias) = (call.input(0)?, call.optional(3));
    let (mask, attention_bias) = (call.optional(4), call.optional(5));
    let past = match (call.optional(6), call.optional(7)) {
        (Some(key), Some(value)) => Some([key, value]),
        (None, None) => None,
        _ => return Err(call.unsupported("past_key without past_value")),
    };
    let (mut key, mut value) = match (call.optional(1), call.optional(2)) {
        (Some(key), Some(value)) => (key, value),
        // [batch, keys, heads, 2, size]
        (Some(packed), None) => (packed_part(call, packed, 0, 2)?, packed_part(call, packed, 1, 2)?),
        // [batch, queries, heads, 3, size]
        (None, _) => {
            let packed = query;
            query = packed_part(call, packed, 0, 3)?;
            (packed_part(call, packed, 1, 3)?, packed_part(call, packed, 2, 3)?)
        }
    };
    let (attrs, _) = attributes(call, None)?;
    // Keys and values of other sequences may come as [batch, heads, keys, size].
    for x in [&mut key, &mut value] {
        if rank(call, *x)? == 4 {
            let turned = transposed(call, *x, &[0, 2, 1, 3])?;
            *x = reshaped(call, turned, &[0, 0, -1])?;
        }
    }
    if [query, key, value].iter().any(|x| call.ty(*x).is_none_or(|ty| ty.shape.len() != 3)) {
        return Err(call.unsupported("queries, keys and values that have not three axes"));
    }
    let unidirectional = call.int("unidirectional")?.unwrap_or(0) != 0;
    let filter = call.float("mask_filter_value")?.unwrap_or(-10000.0);
    call.rest()?;
    if let Some(bias) = bias {
        let (q, k) = (known_extent(call, query, 2)?, known_extent(call, key, 2)?);
        for (x, from, to) in [(&mut query, 0, q), (&mut key, q, q + k), (&mut value, q + k, i64::MAX)] {
            let bias = part(call, bias, 0, from, to)?;
            *x = two(call, "Add", *x, bias)?;
        }
    }
    let keys = all_keys(call, key, past)?;
    let mut masks: Vec<ValueId> = attention_bias.into_iter().collect();
    if let Some(mask) = mask {
        masks.push(key_mask(call, mask, keys, filter, query)?);
    }
    if unidirectional {
        let queries = extent(call, query, 1)?;
        masks.push(causal(call, queries, keys, query)?);
    }
    Ok(Heads { query, key, value, attrs, masks, past }.attend(call)?.to_vec())
}

/// GroupQueryAttention: causal, heads of keys shared, each sequence of its own length. `seqlens_k` is the length of each
/// sequence less one; its new rows follow the `seqlens_k + 1 - queries` of its past, whatever the past's extent is.
pub fn group_query_attention(call: &mut Call<'_, '_>) -> Outputs {
    let (mut query, lengths, total) = (call.input(0)?, call.input(5)?, call.input(6)?);
    let kv = call.required_int("kv_num_heads")?;
    let (mut attrs, heads) = attributes(call, Some(kv))?;
    let (mut key, mut value) = match (call.optional(1), call.optional(2)) {
        (Some(key), Some(value)) => (key, value),
        (None, None) => {
            let (packed, width) = (query, known_extent(call, query, 2)?);
            let all = heads.checked_add(kv.saturating_mul(2)).filter(|all| *all > 0 && width % all == 0);
            let Some(size) = all.map(|all| width / all) else {
                return Err(
                    call.unsupported("queries, keys and values in one input that the heads do not divide")
                );
            };
            let (first, second) = (heads.saturating_mul(size), (heads + kv).saturating_mul(size));
            query = part(call, packed, 2, 0, first)?;
            (part(call, packed, 2, first, second)?, part(call, packed, 2, second, i64::MAX)?)
        }
        _ => return Err(call.unsupported("keys without values")),
    };
    let past = match (call.optional(3), call.optional(4)) {
        (Some(key), Some(value)) => Some([key, value]),
        _ => None,
    };
    let (cos, sin) = (call.optional(7), call.optional(8));
    let (position_ids, attention_bias) = (call.optional(9), call.optional(10));
    if (11..call.inputs().len()).any(|index| call.optional(index).is_some()) {
        return Err(call.unsupported("head_sink"));
    }
    if let Some(softcap) = call.float("softcap")? {
        attrs = attrs.with_float("softcap", softcap);
    }
    let rotary = call.int("do_rotary")?.unwrap_or(0) != 0;
    let interleaved = call.int("rotary_interleaved")?.unwrap_or(0);
    let window = call.int("local_window_size")?.unwrap_or(-1);
    if call.int("smooth_softmax")?.unwrap_or(0) > 0 {
        return Err(call.attribute_error("smooth_softmax", "is not supported"));
    }
    for name in ["k_quant_type", "v_quant_type"] {
        if call.string(name)?.is_some_and(|kind| kind != "NONE") {
            return Err(call.attribute_error(name, "other than NONE is not supported"));
        }
    }
    call.rest()?;
    let queries = extent(call, query, 1)?;
    let (one, batch) = (call.constant_ints(&[1]), extent(call, query, 0)?);
    // Of each sequence, how many rows it has before the new ones: [batch, 1]; the first run may be shorter than its rows.
    let lengths = cast(call, lengths, DType::I64)?;
    let lengths = reshaped(call, lengths, &[-1, 1])?;
    let before = two(call, "Add", lengths, one)?;
    let before = two(call, "Sub", before, queries)?;
    let before = match past {
        Some(_) => {
            let zero = call.constant_ints(&[0]);
            two(call, "Max", before, zero)?
        }
        None => two(call, "Sub", before, before)?,
    };
    let row = range(call, queries)?;
    // [batch, queries]
    let positions = two(call, "Add", before, row)?;
    if rotary {
        let (Some(cos), Some(sin)) = (cos, sin) else {
            return Err(call.unsupported("do_rotary without cos_cache and sin_cache"));
        };
        for (x, heads) in [(&mut query, heads), (&mut key, kv)] {
            let attrs = none().with_int("interleaved", interleaved).with_int("num_heads", heads);
            let at = Some(position_ids.unwrap_or(positions));
            *x = call.emit1("RotaryEmbedding", attrs, &[Some(*x), Some(cos), Some(sin), at])?;
        }
    }
    // Keys and values as [batch, heads, sequence, size], those of each sequence without a gap.
    let total = cast(call, total, DType::I64)?;
    let total = reshaped(call, total, &[1])?;
    let column = range(call, total)?;
    for (side, x) in [&mut key, &mut value].into_iter().enumerate() {
        let four = reshaped(call, *x, &[0, 0, kv, -1])?;
        *x = transposed(call, four, &[0, 2, 1, 3])?;
        let Some(past) = past else { continue };
        let joined = call.emit1("Concat", none().with_int("axis", 2), &[Some(past[side]), Some(*x)])?;
        let (old, rows) = (extent(call, past[side], 2)?, extent(call, joined, 2)?);
        let gap = two(call, "Sub", old, before)?;
        let moved = two(call, "Add", column, gap)?;
        let is_old = two(call, "Less", column, before)?;
        let at = call.emit1("Where", none(), &[Some(is_old), Some(column), Some(moved)])?;
        let last = two(call, "Sub", rows, one)?;
        let at = two(call, "Min", at, last)?;
        // [batch, total] for every head and element.
        let axes = call.constant_ints(&[1, 3]);
        let at = two(call, "Unsqueeze", at, axes)?;
        let (heads, size) = (extent(call, joined, 1)?, extent(call, joined, 3)?);
        let shape = [Some(batch), Some(heads), Some(total), Some(size)];
        let shape = call.emit1("Concat", none().with_int("axis", 0), &shape)?;
        let at = two(call, "Expand", at, shape)?;
        *x = call.emit1("GatherElements", none().with_int("axis", 2), &[Some(joined), Some(at)])?;
    }
    let keys = extent(call, key, 2)?;
    let column = range(call, keys)?;
    let (row, axes) = (positions, call.constant_ints(&[1, 3]));
    let row = two(call, "Unsqueeze", row, axes)?;
    let mut keep = two(call, "LessOrEqual", column, row)?;
    if window > 0 {
        let window = call.constant_ints(&[window]);
        let first = two(call, "Sub", row, window)?;
        let near = two(call, "Greater", column, first)?;
        keep = two(call, "And", keep, near)?;
    }
    let four = reshaped(call, query, &[0, 0, heads, -1])?;
    let query = transposed(call, four, &[0, 2, 1, 3])?;
    for name in ["q_num_heads", "kv_num_heads"] {
        attrs.remove(name);
    }
    let mask = match attention_bias {
        None => keep,
        Some(bias) => {
            let mask = added(call, keep, f32::NEG_INFINITY, bias)?;
            two(call, "Add", mask, bias)?
        }
    };
    let inputs = [Some(query), Some(key), Some(value), Some(mask)];
    let y = call.emit1("Attention", attrs, &inputs)?;
    let y = transposed(call, y, &[0, 2, 1, 3])?;
    let y = reshaped(call, y, &[0, 0, -1])?;
    Ok(vec![y, key, value])
}

/// RotaryEmbedding: one position is that of the first row.
pub fn rotary_embedding(call: &mut Call<'_, '_>) -> Outputs {
    let (x, positions, cos, sin) = (call.input(0)?, call.input(1)?, call.input(2)?, call.input(3)?);
    if call.int("is_packed_batching")?.unwrap_or(0) != 0 {
        return Err(call.attribute_error("is_packed_batching", "is not supported"));
    }
    let scale = call.float("scale")?.unwrap_or(1.0);
    if scale.to_bits() != 1.0f32.to_bits() {
        return Err(call.attribute_error("scale", "other than 1 is not supported"));
    }
    let mut attrs = none().with_int("interleaved", call.int("interleaved")?.unwrap_or(0));
    let (heads, rotated) =
        (call.int("num_heads")?.unwrap_or(0), call.int("rotary_embedding_dim")?.unwrap_or(0));
    call.rest()?;
    let axes = rank(call, x)?;
    if axes == 3 {
        let heads = match heads {
            0 => known_extent(call, x, 2)? / (2 * known_extent(call, cos, 1)?).max(1),
            heads => heads,
        };
        attrs = attrs.with_int("num_heads", heads);
    }
    attrs = attrs.with_int("rotary_embedding_dim", rotated);
    let positions = match rank(call, positions)? {
        1 => {
            let (batch, length) = (extent(call, x, 0)?, extent(call, x, if axes == 4 { 2 } else { 1 })?);
            let row = range(call, length)?;
            let row = two(call, "Add", row, positions)?;
            let shape = call.emit1("Concat", none().with_int("axis", 0), &[Some(batch), Some(length)])?;
            two(call, "Expand", row, shape)?
        }
        _ => positions,
    };
    call.emit("RotaryEmbedding", attrs, &[Some(x), Some(cos), Some(sin), Some(positions)], 1)
}
