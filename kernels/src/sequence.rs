//! Attention over keys and values that are kept in pages, one row at a time.
//!
//! The plain form: the operator's own formulas over paged rows.

use crate::Isa;
use repops::reduce::{contract, row_sum};
use repops::scalar;
use std::ops::Range;
/// Positions of a page.
pub const PAGE: usize = 256;
/// Sizes of a SequenceAttention, and its attributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    pub heads: usize,
    pub kv_heads: usize,
    pub d: usize,
    pub e: usize,
    pub scale: f32,
    pub window: usize,
    pub softcap: f32,
}
impl AttentionShape {
    /// Floats of a page of keys: [kv_heads][PAGE / 16][d][16].
    pub fn key_page_len(&self) -> usize {
        self.kv_heads * PAGE * self.d
    }
    /// Floats of a page of values: [kv_heads][PAGE][e].
    pub fn value_page_len(&self) -> usize {
        self.kv_heads * PAGE * self.e
    }
}
/// Writes rows of keys and values from position `at` of a page on.
pub fn append(s: &AttentionShape, k: &[f32], v: &[f32], at: usize, keys: &mut [f32], values: &mut [f32]) {
    let n = k.len() / (s.kv_heads * s.d);
    for i in 0..n {
        for h in 0..s.kv_heads {
            let p = at + i;
            for t in 0..s.d {
                keys[((h * PAGE / 16 + p / 16) * s.d + t) * 16 + p % 16] = k[(i * s.kv_heads + h) * s.d + t];
            }
            for t in 0..s.e {
                values[(h * PAGE + p) * s.e + t] = v[(i * s.kv_heads + h) * s.e + t];
            }
        }
    }
}
/// Keys and values of [`PAGE`] positions.
pub struct Page<'a> {
    pub keys: &'a [f32],
    pub values: &'a [f32],
}
/// Rows of one sequence, the first at `position`.
pub struct Span<'a> {
    pub rows: Range<usize>,
    pub position: usize,
    pub pages: &'a [Page<'a>],
}
/// Computes SequenceAttention for the rows of every span.
pub fn attend(_isa: Isa, s: &AttentionShape, q: &[f32], out: &mut [f32], spans: &[Span<'_>]) {
    for span in spans {
        for (i, row) in span.rows.clone().enumerate() {
            let pos = span.position + i;
            let first = if s.window == 0 { 0 } else { (pos + 1).saturating_sub(s.window) };
            for head in 0..s.heads {
                let g = head / (s.heads / s.kv_heads);
                let q = &q[(row * s.heads + head) * s.d..][..s.d];
                let key = |j: usize, t: usize| {
                    span.pages[j / PAGE].keys[((g * PAGE / 16 + j % PAGE / 16) * s.d + t) * 16 + j % 16]
                };
                let mut w: Vec<f32> = (first..=pos)
                    .map(|j| {
                        let x = contract(s.d, |t| Some((q[t], key(j, t)))) * s.scale;
                        if s.softcap > 0.0 { scalar::tanh(x / s.softcap) * s.softcap } else { x }
                    })
                    .collect();
                let m = w.iter().fold(f32::NEG_INFINITY, |m, v| {
                    if m.is_nan() || v.is_nan() {
                        f32::NAN
                    } else if *v > m {
                        *v
                    } else {
                        m
                    }
                });
                for v in &mut w {
                    *v = scalar::exp(*v - m);
                }
                let sum = row_sum(pos + 1, |j| if j < first { 0.0 } else { w[j - first] });
                for v in &mut w {
                    *v /= sum;
                }
                for t in 0..s.e {
                    let value = contract(pos + 1, |j| {
                        (j >= first).then(|| {
                            (w[j - first], span.pages[j / PAGE].values[(g * PAGE + j % PAGE) * s.e + t])
                        })
                    });
                    out[(row * s.heads + head) * s.e + t] =
                        if value.is_nan() { f32::from_bits(0x7fc0_0000) } else { value };
                }
            }
        }
    }
}
