//! SequenceAttention over a whole sequence: keys are copied into panels, values are read where they lie.

use repops::dtype::DType;
use repops::ops::OpError;
use repops::tensor::TensorViewMut;

use super::super::require_row_major;
use super::heads::{Source, ask_for};
use super::{AttentionShape, PAGE, Sequence, attend_sequences, panels};
use crate::cpu::contract::pack::with_wide_moves;
use crate::cpu::contract::tile::PANEL;
use crate::parallel::{Shared, parallel_ranges};
use crate::scratch::with_scratch;
use crate::{Kernel, KernelCtx, Operand};

pub(crate) fn choose(dtypes: &[Option<DType>]) -> Option<Kernel> {
    (*dtypes.first()? == Some(DType::F32)).then_some(sequence_attention)
}

/// Keys of each head in panels one after the other, and values in rows.
pub(super) struct Whole<'a> {
    pub keys: &'a [f32],
    /// Elements of a head's keys.
    pub head_keys: usize,
    pub d: usize,
    pub values: &'a [f32],
    /// Where each head's values start.
    pub starts: Vec<usize>,
    /// Distance of the rows of values.
    pub row: usize,
}

impl Source for Whole<'_> {
    fn keys(&self, head: usize, page: usize) -> &[f32] {
        let keys = &self.keys[head * self.head_keys..][..self.head_keys];
        &keys[(page * PAGE * self.d).min(keys.len())..]
    }

    fn values(&self, head: usize, page: usize) -> (&[f32], usize) {
        let at = self.starts[head] + page * PAGE * self.row;
        (&self.values[at.min(self.values.len())..], self.row)
    }
}

/// Copies the keys of every head into panels, through `map`: `start(head)` is where its rows begin, `stride` apart.
pub(super) fn key_panels(
    keys: &[f32],
    heads: usize,
    (rows, stride, d): (usize, usize, usize),
    start: impl Fn(usize) -> usize + Sync,
    map: impl Fn(f32) -> f32 + Sync,
    to: &mut [f32],
) {
    let all = rows.div_ceil(PANEL);
    assert!(to.len() == heads * all * PANEL * d);
    if to.is_empty() {
        return;
    }
    let to = Shared::new(to);
    parallel_ranges(heads * all, 1, 4 * PANEL * d, |tasks| {
        for task in tasks {
            let (head, panel) = (task / all, task % all);
            // SAFETY: tasks write panels of their own.
            let to = unsafe { to.slice(task * PANEL * d..(task + 1) * PANEL * d) };
            let count = PANEL.min(rows - panel * PANEL);
            if count < PANEL {
                to.fill(0.0);
            }
            let from = &keys[start(head) + panel * PANEL * stride..];
            // Rows a few pages of memory apart: the processor does not foresee the next ones.
            for row in from.chunks(stride.max(1)).skip(PANEL).take(PANEL) {
                ask_for(&row[..d.min(row.len())]);
            }
            with_wide_moves(
                #[inline(always)]
                || {
                    panels(from, stride, count, d, 0, to);
                    to.iter_mut().for_each(|key| *key = map(*key));
                },
            );
        }
    });
}

fn sequence_attention(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<Operand<'_>>],
    outputs: &mut [TensorViewMut<'_>],
) -> Result<(), OpError> {
    let [q, k, v] = [0, 1, 2].map(|index| require_row_major(inputs, index));
    let (q, k, v) = (q?, k?, v?);
    let [heads, kv_heads, window] = ["heads", "kv_heads", "window"].map(|name| ctx.attrs.int(name) as usize);
    let rows = q.shape[0];
    let (d, e) = (q.shape[1] / heads, v.shape[1] / kv_heads);
    let (scale, softcap) = (ctx.attrs.float("scale"), ctx.attrs.float("softcap"));
    let shape = AttentionShape { heads, kv_heads, d, e, scale, window, softcap };
    let y = outputs[0].as_mut_slice::<f32>();
    if y.is_empty() {
        return Ok(());
    }
    let head_keys = rows.next_multiple_of(PANEL) * d;
    with_scratch(kv_heads * head_keys, |keys: &mut [f32]| {
        let from = k.as_slice::<f32>();
        key_panels(from, kv_heads, (rows, kv_heads * d, d), |head| head * d, |key| key, keys);
        let values = v.as_slice::<f32>();
        let starts = (0..kv_heads).map(|head| head * e).collect();
        let source = Whole { keys, head_keys, d, values, starts, row: kv_heads * e };
        let sequence = Sequence { rows: 0..rows, position: 0, source: &source };
        attend_sequences(ctx.isa, &shape, q.as_slice::<f32>(), Shared::new(y), &[sequence]);
    });
    Ok(())
}
