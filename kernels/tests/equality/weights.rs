//! Products with weights stored compactly: 16-bit floats and blocks of small integers; columns of them.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::blocks::{COLUMNS, Format};
use repops::dtype::DType;
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Fill, Random, cases, extent, fill};

/// Blocks of arbitrary integers, whose scales are like the elements of a tensor. Columns past the last are zero.
fn blocks(format: Format, k: usize, n: usize, fill: Fill) -> Tensor {
    let (panels, count, bytes) = (n.div_ceil(COLUMNS), k / format.positions(), format.bytes());
    let halves = if matches!(format, Format::Q4_1 | Format::Q4K) { 2 } else { 1 };
    let scales = fill.source().tensor(DType::F16, &[panels * count * halves * COLUMNS]);
    let mut scales = scales.bytes().chunks_exact(2 * halves * COLUMNS);
    let mut random = Random(fill.seed ^ 0x5ca1e);
    let mut data: Vec<u8> = (0..panels * count * bytes).map(|_| random.draw() as u8).collect();
    for (index, block) in data.chunks_exact_mut(bytes).enumerate() {
        block[..2 * halves * COLUMNS].copy_from_slice(scales.next().unwrap());
        let first = index / count * COLUMNS;
        // One scale a column comes first, then rows of one byte a column.
        for column in n.saturating_sub(first)..COLUMNS {
            for half in 0..halves {
                block[2 * (half * COLUMNS + column)..][..2].fill(0);
            }
            block[2 * halves * COLUMNS + column..].iter_mut().step_by(COLUMNS).for_each(|byte| *byte = 0);
        }
    }
    Tensor::from_slice(&[panels, count, bytes], &data)
}

fn attrs(format: Format, n: usize) -> Attrs {
    Attrs::new().with_int("columns", n as i64).with_str("format", format.name())
}

fn matmul_blocks(
    format: Format,
    leading: &[usize],
    blocks_of_k: usize,
    n: usize,
    fill: Fill,
) -> TestCaseResult {
    let k = blocks_of_k * format.positions();
    let x = fill.source().tensor(DType::F32, &[leading, &[k]].concat());
    Case::new("MatMulBlocks", attrs(format, n), vec![x, blocks(format, k, n, fill)]).check()
}

/// Rows: those of decoding, and next to what tiles and the ways of few and of many rows take.
fn rows() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 1..=9usize, 1 => select(&[12usize, 16, 17, 31, 32, 33, 70][..])]
}

proptest! {
    #![proptest_config(cases(80))]

    #[test]
    fn products_with_blocks(
        format in select(&Format::ALL[..]),
        rows in rows(),
        (blocks, n) in (1..=9usize, extent(40, &[16, 64, 80, 128])),
        fill in fill(),
    ) {
        let n = n.max(1);
        // The reference is slow.
        let most = (400_000 / (rows * n * format.positions())).max(1);
        let blocks = blocks * 32 / format.positions();
        matmul_blocks(format, &[rows], blocks.clamp(1, most), n, fill)?;
    }

    #[test]
    fn products_with_halves(
        dtype in select(&[DType::F16, DType::BF16][..]),
        rows in rows(),
        (k, n) in (extent(300, &[256, 512, 768, 1280]), extent(40, &[16, 64, 80, 128])),
        batch in prop::option::of((1..=3usize, any::<bool>())),
        fill in fill(),
    ) {
        let mut n = n;
        while rows * k * n > 400_000 {
            n = n.div_ceil(2);
        }
        let mut source = fill.source();
        let (a, b) = match batch {
            None => (vec![rows, k], vec![k, n]),
            Some((count, true)) => (vec![count, rows.min(9), k], vec![count, k, n.min(20)]),
            Some((count, false)) => (vec![rows.min(9), k], vec![count, k, n.min(20)]),
        };
        let inputs = vec![source.tensor(DType::F32, &a), source.tensor(dtype, &b)];
        Case::new("MatMul", Attrs::new(), inputs).check_with_panels(&[1])?;
    }

    #[test]
    fn gemms_with_halves(
        dtype in select(&[DType::F16, DType::BF16][..]),
        (rows, k, n) in (rows(), extent(300, &[256, 512]), extent(40, &[16, 64])),
        (trans_a, trans_b, bias) in (any::<bool>(), any::<bool>(), any::<bool>()),
        alpha in select(&[1.0f32, 0.5][..]),
        fill in fill(),
    ) {
        let mut source = fill.source();
        let a = if trans_a { [k, rows] } else { [rows, k] };
        let b = if trans_b { [n, k] } else { [k, n] };
        let mut inputs = vec![source.tensor(DType::F32, &a), source.tensor(dtype, &b)];
        if bias {
            inputs.push(source.tensor(DType::F32, &[n]));
        }
        let attrs = Attrs::new()
            .with_int("transA", i64::from(trans_a))
            .with_int("transB", i64::from(trans_b))
            .with_float("alpha", alpha);
        Case::new("Gemm", attrs, inputs).check_with_panels(if trans_b { &[] } else { &[1] })?;
    }

    #[test]
    fn embeddings(
        form in 0..8usize,
        (k, n) in (extent(70, &[256]), extent(40, &[16, 64])),
        tokens in prop::collection::vec(any::<u64>(), 0..20),
        transposed in any::<bool>(),
        wrong in prop::bool::weighted(0.1),
        fill in fill(),
    ) {
        let n = n.max(1);
        let mut tokens: Vec<i64> = tokens.into_iter().map(|token| (token % n as u64) as i64).collect();
        if wrong {
            tokens.push(if fill.seed % 2 == 0 { -1 } else { n as i64 });
        }
        let tokens = Tensor::from_slice(&[tokens.len()], &tokens);
        if let Some(&format) = Format::ALL.get(form) {
            let k = k.div_ceil(64) * format.positions();
            Case::new("Embedding", attrs(format, n), vec![tokens, blocks(format, k, n, fill)]).check()?;
        } else {
            let dtype = [DType::F32, DType::F16, DType::BF16][form - Format::ALL.len()];
            let shape = if transposed { [n, k] } else { [k, n] };
            let w = fill.source().tensor(dtype, &shape);
            let attrs = Attrs::new().with_int("columns", n as i64).with_int("transposed", i64::from(transposed));
            Case::new("Embedding", attrs, vec![tokens, w]).check_with_panels(if transposed { &[] } else { &[1] })?;
        }
    }
}

/// Whole groups of panels and one more; several chunks; rows with two leading axes; sizes without elements.
#[test]
fn corners() -> TestCaseResult {
    for format in Format::ALL {
        let per_chunk = 256 / format.positions();
        for (leading, blocks, n) in [
            (&[1][..], 7 * per_chunk, 64),
            (&[2, 3], 2 * per_chunk, 81),
            (&[], per_chunk, 33),
            (&[8], 3 * per_chunk, 16),
            (&[40], 5 * per_chunk, 17),
            (&[0], per_chunk, 16),
            (&[3], 0, 16),
        ] {
            for data in [Data::Plain, Data::Laden] {
                matmul_blocks(format, leading, blocks, n, Fill::new(data, 7))?;
            }
        }
    }
    Ok(())
}
