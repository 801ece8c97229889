//! Attention and rotary positions of sequences: in one piece, and in pieces over pages.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType::F32;
use repops::ops::{self, EvalCtx};
use repops::tensor::Tensor;
use repops_kernels::Isa;
use repops_kernels::sequence::{AttentionShape, PAGE, Page, Span, append, attend};

use super::draw::{Data, Fill, cases, extent, fill};
use super::{Case, POOLS, fail};

fn attrs(shape: &AttentionShape) -> Attrs {
    Attrs::new()
        .with_int("heads", shape.heads as i64)
        .with_int("kv_heads", shape.kv_heads as i64)
        .with_float("scale", shape.scale)
        .with_float("softcap", shape.softcap)
        .with_int("window", shape.window as i64)
}

fn operands(shape: &AttentionShape, rows: usize, fill: Fill) -> [Tensor; 3] {
    let mut source = fill.source();
    let AttentionShape { heads, kv_heads, d, e, .. } = *shape;
    [heads * d, kv_heads * d, kv_heads * e].map(|columns| source.tensor(F32, &[rows, columns]))
}

fn shapes() -> impl Strategy<Value = AttentionShape> {
    let heads = select(&[(1usize, 1usize), (3, 1), (4, 2), (2, 2), (6, 3), (14, 1)][..]);
    let size = || prop_oneof![2 => 1..=20usize, 2 => select(&[16usize, 32, 64][..])];
    let window =
        prop_oneof![2 => Just(0usize), 1 => 1..=9usize, 1 => select(&[64usize, 255, 256, 300, 600][..])];
    let softcap = prop_oneof![3 => Just(0.0f32), 1 => Just(5.0f32)];
    (heads, size(), size(), select(&[1.0f32, 0.125, 0.3][..]), window, softcap).prop_map(
        |((heads, kv_heads), d, e, scale, window, softcap)| AttentionShape {
            heads,
            kv_heads,
            d,
            e,
            scale,
            window,
            softcap,
        },
    )
}

/// A sequence whose reference does not take long.
fn bounded(shape: &AttentionShape, rows: usize) -> usize {
    let mut rows = rows;
    while rows * rows * shape.heads * (shape.d + shape.e) > 3_000_000 {
        rows = rows * 2 / 3;
    }
    rows
}

/// Runs the sequence over pages in pieces that `cuts` begin, two sequences at once, and compares with `wanted`.
fn paged(shape: &AttentionShape, [q, k, v]: &[Tensor; 3], cuts: &[usize], wanted: &[f32]) -> TestCaseResult {
    let rows = q.shape()[0];
    let [q, k, v] = [q, k, v].map(|t| t.as_slice::<f32>());
    let AttentionShape { heads, kv_heads, d, e, .. } = *shape;
    // What was not appended is never seen.
    let mut pages: Vec<(Vec<f32>, Vec<f32>)> = (0..rows.div_ceil(PAGE))
        .map(|_| (vec![f32::NAN; shape.key_page_len()], vec![f32::INFINITY; shape.value_page_len()]))
        .collect();
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % rows.max(1)).chain([0, rows]).collect();
    bounds.sort_unstable();
    for isa in Isa::available() {
        for pool in POOLS.iter() {
            let mut out = vec![f32::NAN; wanted.len()];
            for piece in bounds.windows(2) {
                let (first, end) = (piece[0], piece[1]);
                let mut row = first;
                while row < end {
                    let (page, at) = (row / PAGE, row % PAGE);
                    let count = (PAGE - at).min(end - row);
                    let k = &k[row * kv_heads * d..(row + count) * kv_heads * d];
                    let v = &v[row * kv_heads * e..(row + count) * kv_heads * e];
                    let (keys, values) = &mut pages[page];
                    append(shape, k, v, at, keys, values);
                    row += count;
                }
                let pages: Vec<Page<'_>> = pages.iter().map(|(keys, values)| Page { keys, values }).collect();
                // The piece as two spans, in the wrong order.
                let middle = first + (end - first) / 2;
                let spans = [middle..end, first..middle].map(|rows| Span {
                    position: rows.start,
                    rows,
                    pages: &pages,
                });
                pool.install(|| attend(isa, shape, q, &mut out, &spans));
            }
            if out.iter().map(|v| v.to_bits()).ne(wanted.iter().map(|v| v.to_bits())) {
                let at = out.iter().zip(wanted).position(|(a, b)| a.to_bits() != b.to_bits());
                let threads = pool.current_num_threads();
                return fail(format!(
                    "element {at:?} of {shape:?}, {rows} rows cut at {bounds:?}, {} on {threads} threads; columns {}",
                    isa.name(),
                    heads * e
                ));
            }
        }
    }
    Ok(())
}

fn check(shape: &AttentionShape, rows: usize, cuts: &[usize], fill: Fill) -> TestCaseResult {
    let operands = operands(shape, rows, fill);
    let attrs = attrs(shape);
    Case::new("SequenceAttention", attrs.clone(), operands.to_vec()).check()?;
    let def = ops::by_name("SequenceAttention").unwrap();
    let attrs = def.check_attrs(&attrs).unwrap();
    let inputs: Vec<_> = operands.iter().map(|t| Some(t.view())).collect();
    let wanted = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &inputs, outputs: 1 }).unwrap();
    paged(shape, &operands, cuts, wanted[0].as_slice::<f32>())
}

proptest! {
    #![proptest_config(cases(50))]

    #[test]
    fn attention(
        shape in shapes(),
        rows in extent(60, &[256, 512, 600]),
        cuts in prop::collection::vec(any::<usize>(), 0..4),
        fill in fill(),
    ) {
        check(&shape, bounded(&shape, rows), &cuts, fill)?;
    }

    #[test]
    fn rotary(
        (rows, heads, d) in (extent(20, &[64]), 1..=4usize, 1..=40usize),
        part in 0..=8usize,
        interleaved in any::<bool>(),
        fill in fill(),
    ) {
        let half = (d / 2).min(if part == 8 { d } else { part * 3 });
        let mut source = fill.source();
        let inputs = vec![
            source.tensor(F32, &[rows, heads * d]),
            source.tensor(F32, &[rows, half]),
            source.tensor(F32, &[rows, half]),
        ];
        let attrs = Attrs::new().with_int("heads", heads as i64).with_int("interleaved", i64::from(interleaved));
        Case::new("SequenceRotary", attrs, inputs).check()?;
    }
}

/// Several pages with a short window; long rows of sums; queries longer than a span of terms.
#[test]
fn corners() -> TestCaseResult {
    let base = AttentionShape { heads: 1, kv_heads: 1, d: 4, e: 3, scale: 0.5, window: 0, softcap: 0.0 };
    for (shape, rows) in [
        (AttentionShape { window: 300, ..base }, 900),
        (AttentionShape { window: 1, ..base }, 520),
        (AttentionShape { d: 1100, e: 16, ..base }, 40),
        (AttentionShape { heads: 2, d: 2, e: 1, ..base }, 1100),
    ] {
        for data in [Data::Plain, Data::Laden] {
            check(&shape, rows, &[rows / 2, rows - 1, rows - 2], Fill::new(data, 3))?;
        }
    }
    Ok(())
}

/// ONNX's Attention: its shapes and options.
#[derive(Clone, Debug)]
struct Onnx {
    three: bool,
    batch: usize,
    heads: (usize, usize),
    sizes: (usize, usize),
    queries: usize,
    new: usize,
    past: Option<usize>,
    /// None, bool or f32; how many columns less than there are keys; which leading axes are 1 or left out.
    mask: Option<(bool, usize, [bool; 3], usize)>,
    causal: bool,
    windows: (i64, i64),
    lengths: Option<Vec<i64>>,
    scale: Option<f32>,
    softcap: f32,
    outputs: usize,
}

fn onnx() -> impl Strategy<Value = Onnx> {
    let size = || prop_oneof![1..=20usize, Just(16usize), Just(64usize)];
    let extents = (1..=2usize, select(&[(1usize, 1usize), (2, 2), (4, 2), (3, 1)][..]), size(), size());
    let sequences = (1..=40usize, extent(60, &[256, 300]), prop::option::of(0..=30usize));
    let mask = prop::option::of((any::<bool>(), 0..=3usize, any::<[bool; 3]>(), 0..=3usize));
    let window = || prop_oneof![2 => Just(-1i64), 1 => 0..=40i64];
    let lengths = prop::option::weighted(0.2, prop::collection::vec(-3..=300i64, 2));
    let numbers = (prop::option::of(select(&[0.3f32, 1.0][..])), select(&[0.0f32, 0.0, 4.0][..]), 1..=4usize);
    (any::<bool>(), extents, sequences, mask, any::<bool>(), (window(), window()), lengths, numbers).prop_map(
        |(three, (batch, heads, d, e), (queries, new, past), mask, causal, windows, lengths, numbers)| {
            let (scale, softcap, outputs) = numbers;
            let new = new.min(30_000 / (queries * batch * heads.0));
            let sizes = (d, e);
            Onnx {
                three,
                batch,
                heads,
                sizes,
                queries,
                new,
                past,
                mask,
                causal,
                windows,
                lengths,
                scale,
                softcap,
                outputs,
            }
        },
    )
}

impl Onnx {
    fn check(&self, fill: Fill) -> TestCaseResult {
        let Onnx { batch, heads: (heads, kv), sizes: (d, e), queries, new, .. } = *self;
        let mut source = fill.source();
        let mut rows = |heads: usize, sequence: usize, size: usize| match self.three {
            true => source.tensor(F32, &[batch, sequence, heads * size]),
            false => source.tensor(F32, &[batch, heads, sequence, size]),
        };
        let mut inputs = vec![Some(rows(heads, queries, d)), Some(rows(kv, new, d)), Some(rows(kv, new, e))];
        let total = new + self.past.unwrap_or(0);
        inputs.push(self.mask.map(|(boolean, less, ones, left_out)| {
            let mut shape = [batch, heads, queries, total.saturating_sub(less)];
            for (axis, one) in ones.into_iter().enumerate() {
                if one {
                    shape[axis] = 1;
                }
            }
            let shape = &shape[left_out..];
            source.tensor(if boolean { repops::dtype::DType::Bool } else { F32 }, shape)
        }));
        for size in [d, e] {
            inputs.push(self.past.map(|past| source.tensor(F32, &[batch, kv, past, size])));
        }
        inputs.push(self.lengths.as_ref().map(|lengths| Tensor::from_slice(&[batch], &lengths[..batch])));
        let mut attrs = Attrs::new()
            .with_int("is_causal", i64::from(self.causal))
            .with_int("left_window_size", self.windows.0)
            .with_int("right_window_size", self.windows.1)
            .with_float("softcap", self.softcap);
        if self.three {
            attrs = attrs.with_int("q_num_heads", heads as i64).with_int("kv_num_heads", kv as i64);
        }
        if let Some(scale) = self.scale {
            attrs = attrs.with_float("scale", scale);
        }
        Case { op: "Attention", attrs, inputs, outputs: self.outputs }.check()
    }
}

proptest! {
    #![proptest_config(cases(120))]

    #[test]
    fn onnx_attention(case in onnx(), fill in fill()) {
        case.check(fill)?;
    }
}
