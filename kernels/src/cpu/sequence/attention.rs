//! ONNX's Attention of f32.
//!
//! Queries and keys are scaled first, keys on their way into panels. A row looks only at the range of keys that the
//! causal order, the windows and the lengths leave it, which is exact where values are finite: weights of +0 add
//! nothing then. Else it looks at all of them.

use std::ops::Range;

use repops::dtype::DType;
use repops::ops::{self, OpError};
use repops::tensor::TensorViewMut;

use super::super::{by_reference, require_row_major};
use super::heads::{Rows, Shape, attend_rows, block_rows};
use super::stateless::{Whole, key_panels};
use crate::cpu::contract::pack::with_wide_moves;
use crate::cpu::contract::tile::PANEL;
use crate::parallel::{Shared, parallel};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32)).then_some(attention)
}

/// Where a tensor of three or four axes holds the rows of its heads.
#[derive(Clone, Copy)]
struct Heads {
    three: bool,
    heads: usize,
    sequence: usize,
    size: usize,
}

impl Heads {
    fn of(shape: &[usize], heads: i64) -> Heads {
        match *shape {
            [_, sequence, hidden] => {
                let heads = heads as usize;
                Heads { three: true, heads, sequence, size: hidden / heads }
            }
            _ => Heads { three: false, heads: shape[1], sequence: shape[2], size: shape[3] },
        }
    }

    fn start(&self, batch: usize, head: usize) -> usize {
        let row = match self.three {
            true => batch * self.sequence * self.heads + head,
            false => (batch * self.heads + head) * self.sequence,
        };
        row * self.size
    }

    /// Distance of rows.
    fn stride(&self) -> usize {
        if self.three { self.heads * self.size } else { self.size }
    }
}

/// Writes past and new rows of every head, one after the other.
fn present(new: &Operand<'_>, heads: Heads, past: Option<&Operand<'_>>, to: &mut [f32]) {
    let before = past.map_or(0, |past| past.shape[2]);
    let (size, total) = (heads.size, before + heads.sequence);
    if to.is_empty() {
        return;
    }
    for (pair, to) in to.chunks_exact_mut(total * size).enumerate() {
        let (old, to) = to.split_at_mut(before * size);
        if let Some(past) = past {
            old.copy_from_slice(&past.as_slice::<f32>()[pair * before * size..][..before * size]);
        }
        let start = heads.start(pair / heads.heads, pair % heads.heads);
        for (row, to) in to.chunks_exact_mut(size).enumerate() {
            to.copy_from_slice(&new.as_slice::<f32>()[start + row * heads.stride()..][..size]);
        }
    }
}

/// A mask that is added, or that blocks where it is false.
struct Mask<'a> {
    operand: Operand<'a>,
    /// Strides of batches, heads and queries; 0 where it repeats.
    strides: [usize; 3],
    columns: usize,
}

impl<'a> Mask<'a> {
    fn new(operand: Operand<'a>) -> Mask<'a> {
        let (&columns, leading) = operand.shape.split_last().unwrap_or((&1, &[]));
        let (mut strides, mut distance) = ([0; 3], columns);
        for (axis, &extent) in leading.iter().enumerate().rev() {
            strides[axis + 3 - leading.len()] = if extent == 1 { 0 } else { distance };
            distance *= extent;
        }
        Mask { operand, strides, columns }
    }

    /// Changes the scores of keys from `first` on.
    fn apply(&self, [batch, head, query]: [usize; 3], first: usize, scores: &mut [f32]) {
        let start = batch * self.strides[0] + head * self.strides[1] + query * self.strides[2];
        let own = self.columns.saturating_sub(first).min(scores.len());
        let (own, rest) = scores.split_at_mut(own);
        rest.fill(f32::NEG_INFINITY);
        if own.is_empty() {
            return;
        }
        if self.operand.dtype == DType::Bool {
            for (score, &may) in own.iter_mut().zip(&self.operand.bytes[start + first..]) {
                if may == 0 {
                    *score = f32::NEG_INFINITY;
                }
            }
        } else {
            for (score, added) in own.iter_mut().zip(&self.operand.as_slice::<f32>()[start + first..]) {
                *score += added;
            }
        }
    }
}

/// The keys that a query may see.
struct Sight<'a> {
    total: usize,
    queries: usize,
    past: Option<usize>,
    lengths: Option<&'a [i64]>,
    causal: bool,
    left: Option<i128>,
    right: Option<i128>,
}

impl Sight<'_> {
    /// Whether every query sees all keys.
    fn is_whole(&self) -> bool {
        self.lengths.is_none() && !self.causal && self.left.is_none() && self.right.is_none()
    }

    fn seen(&self, batch: usize, query: usize) -> Range<usize> {
        let length = self.lengths.map(|lengths| i128::from(lengths[batch]));
        let before = match (self.past, length) {
            (Some(past), _) => past as i128,
            (None, Some(length)) => length - self.queries as i128,
            (None, None) => 0,
        };
        let at = query as i128 + before;
        let mut end = self.total as i128;
        for limit in [length, self.causal.then_some(at + 1), self.right.map(|right| at + right + 1)] {
            end = limit.map_or(end, |limit| end.min(limit));
        }
        let start = self.left.map_or(0, |left| at - left);
        let within = |position: i128| position.clamp(0, self.total as i128) as usize;
        within(start)..within(end).max(within(start))
    }
}

fn attention(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let optional = |index: usize| match inputs.get(index).copied().flatten() {
        Some(_) => require_row_major(inputs, index).map(Some),
        None => Ok(None),
    };
    let (q, k, v) =
        (require_row_major(inputs, 0)?, require_row_major(inputs, 1)?, require_row_major(inputs, 2)?);
    let (mask, past_k, past_v, lengths) = (optional(3)?, optional(4)?, optional(5)?, optional(6)?);
    let q_heads = Heads::of(q.shape, ctx.attrs.int("q_num_heads"));
    let k_heads = Heads::of(k.shape, ctx.attrs.int("kv_num_heads"));
    let v_heads = Heads::of(v.shape, ctx.attrs.int("kv_num_heads"));
    let (batches, queries, d, e) = (q.shape[0], q_heads.sequence, q_heads.size, v_heads.size);
    let before = past_k.map(|past| past.shape[2]);
    let total = before.unwrap_or(0) + k_heads.sequence;
    let (heads, kv_heads) = (q_heads.heads, k_heads.heads);
    // What shows scores, and what has none.
    if outputs.len() > 3 || total == 0 || kv_heads == 0 || d == 0 {
        let def = ops::by_name("Attention").ok_or_else(|| OpError::Unsupported("Attention".to_string()))?;
        return by_reference(def, ctx, inputs, outputs);
    }
    let (y, presents) = outputs.split_at_mut(1);
    let mut presents = presents.iter_mut();
    if let Some(keys) = presents.next() {
        present(&k, k_heads, past_k.as_ref(), keys.as_mut_slice::<f32>());
    }
    if let Some(values) = presents.next() {
        present(&v, v_heads, past_v.as_ref(), values.as_mut_slice::<f32>());
    }
    let y = y[0].as_mut_slice::<f32>();
    if y.is_empty() {
        return Ok(());
    }
    // With a past, keys and values are joined first.
    let joined = |new: &Operand<'_>, heads: Heads, past: Option<&Operand<'_>>| {
        past.map(|past| {
            let mut data = vec![0.0f32; batches * kv_heads * total * heads.size];
            present(new, heads, Some(past), &mut data);
            (data, Heads { three: false, sequence: total, ..heads })
        })
    };
    let (joined_k, joined_v) = (joined(&k, k_heads, past_k.as_ref()), joined(&v, v_heads, past_v.as_ref()));
    let (keys, k_heads) = match &joined_k {
        Some((data, heads)) => (&data[..], *heads),
        None => (k.as_slice::<f32>(), k_heads),
    };
    let (values, v_heads) = match &joined_v {
        Some((data, heads)) => (&data[..], *heads),
        None => (v.as_slice::<f32>(), v_heads),
    };

    let scale = ctx.attrs.opt_float("scale").unwrap_or_else(|| 1.0 / (d as f32).sqrt());
    let factor = scale.sqrt();
    let softcap = Some(ctx.attrs.float("softcap")).filter(|cap| *cap > 0.0).unwrap_or(0.0);
    let side = |name: &str| Some(i128::from(ctx.attrs.int(name))).filter(|size| *size >= 0);
    let sight = Sight {
        total,
        queries,
        past: before,
        lengths: lengths.as_ref().map(|lengths| lengths.as_slice::<i64>()),
        causal: ctx.attrs.int("is_causal") != 0,
        left: side("left_window_size"),
        right: side("right_window_size"),
    };
    let mask = mask.map(Mask::new);
    // In blocks, so that registers are compared.
    let is_finite = |values: &[f32]| values.iter().fold(true, |all, value| all & value.is_finite());
    let finite = with_wide_moves(
        #[inline(always)]
        || values.chunks(1024).all(is_finite),
    );
    let shape = Shape { d, e, scale: 1.0, softcap, blocked_is_zero: true };
    let group = heads / kv_heads;
    let block = (block_rows(total) / group).max(1);
    let blocks = queries.div_ceil(block);
    let y_heads = Heads { size: e, ..q_heads };
    let (q, y) = (q.as_slice::<f32>(), Shared::new(y));
    let head_keys = total.next_multiple_of(PANEL) * d;
    with_scratch(batches * kv_heads * head_keys, |panels: &mut [f32]| {
        let start = |pair: usize| k_heads.start(pair / kv_heads, pair % kv_heads);
        let rows = (total, k_heads.stride(), d);
        key_panels(keys, batches * kv_heads, rows, start, |key| key * factor, panels);
        let starts = (0..batches * kv_heads).map(|pair| v_heads.start(pair / kv_heads, pair % kv_heads));
        let source =
            Whole { keys: panels, head_keys, d, values, starts: starts.collect(), row: v_heads.stride() };
        parallel(batches * kv_heads * blocks, |task| {
            let (pair, block_start) = (task / blocks, task % blocks * block);
            let (batch, kv_head) = (pair / kv_heads, pair % kv_heads);
            let count = block.min(queries - block_start);
            let place = |row: usize| (kv_head * group + row % group, block_start + row / group);
            let visible = |row: usize| sight.seen(batch, place(row).1);
            let seen: Vec<Range<usize>> = if sight.is_whole() {
                vec![0..total; count * group]
            } else {
                (0..count * group)
                    .map(|row| match visible(row) {
                        // A row that sees nothing looks at one key, which is then hidden.
                        seen if finite && !seen.is_empty() => seen,
                        seen if finite => {
                            let at = seen.start.min(total - 1);
                            at..at + 1
                        }
                        _ => 0..total,
                    })
                    .collect()
            };
            let hide = |row: usize, scores: &mut [f32]| {
                let (first, visible) = (seen[row].start, visible(row));
                if let Some(mask) = &mask {
                    let (head, query) = place(row);
                    mask.apply([batch, head, query], first, scores);
                }
                if visible != seen[row] {
                    for (at, score) in scores.iter_mut().enumerate() {
                        if !visible.contains(&(first + at)) {
                            *score = f32::NEG_INFINITY;
                        }
                    }
                }
            };
            let hides =
                mask.is_some() || !sight.is_whole() && (0..seen.len()).any(|row| visible(row) != seen[row]);
            let rows = Rows {
                seen: &seen,
                query: &|row, to| {
                    let (head, query) = place(row);
                    let from = &q[q_heads.start(batch, head) + query * q_heads.stride()..][..d];
                    with_wide_moves(
                        #[inline(always)]
                        || to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor),
                    );
                },
                mask: if hides { Some(&hide) } else { None },
                store: &|row, result| {
                    let (head, query) = place(row);
                    let at = y_heads.start(batch, head) + query * y_heads.stride();
                    // SAFETY: a row of the result, which one task computes once.
                    unsafe { y.slice(at..at + e) }.copy_from_slice(result);
                },
            };
            attend_rows(ctx.isa, &shape, &source, pair, &rows);
        });
    });
    Ok(())
}
