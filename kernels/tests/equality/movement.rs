//! Operators that move elements.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Fill, any_dtype, cases, fill_any, shape, shrink_to, signed_axis};

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values)
}

/// A shape with its axes in some order.
fn permuted() -> impl Strategy<Value = (Vec<usize>, Vec<i64>)> {
    shape(0, 5, 20_000).prop_flat_map(|shape| {
        let axes: Vec<i64> = (0..shape.len() as i64).collect();
        (Just(shape), Just(axes).prop_shuffle())
    })
}

/// One axis of a Slice: start, end, step, and whether the axis is named at all.
fn part() -> impl Strategy<Value = (i64, i64, i64, bool)> {
    let bound = || prop_oneof![6 => -45..=45i64, 1 => select(&[i64::MIN, i64::MAX, -1 << 40][..])];
    (bound(), bound(), select(&[1i64, 1, 2, 3, -1, -2, 7, i64::MAX, i64::MIN][..]), any::<bool>())
}

/// Extents that sum to an axis.
fn extents() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..=9usize, Just(0usize), 20..=70usize], 1..=5)
}

/// A shape of one to four axes, one of which a test decides.
fn around() -> impl Strategy<Value = (Vec<usize>, usize, i64)> {
    (shape(1, 4, 600), any::<Index>(), any::<bool>()).prop_map(|(shape, index, from_back)| {
        let axis = index.index(shape.len());
        let signed = signed_axis(axis, shape.len(), from_back);
        (shape, axis, signed)
    })
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn transpose((shape, perm) in permuted(), dtype in any_dtype(), reverses in any::<bool>(), fill in fill_any()) {
        let x = fill.source().tensor(dtype, &shape);
        let attrs = if reverses { Attrs::new() } else { Attrs::new().with_ints("perm", &perm) };
        Case::new("Transpose", attrs, vec![x]).check()?;
    }

    #[test]
    fn slice(
        shape in shape(0, 5, 20_000),
        parts in any::<[Index; 5]>().prop_flat_map(|_| prop::collection::vec(part(), 5)),
        backward in any::<[bool; 5]>(),
        dtype in any_dtype(),
        fill in fill_any(),
    ) {
        let rank = shape.len();
        let named: Vec<usize> = (0..rank).rev().filter(|&axis| parts[axis].3).collect();
        let list = |value: &dyn Fn(usize) -> i64| ints(&named.iter().map(|&a| value(a)).collect::<Vec<_>>());
        let inputs = vec![
            fill.source().tensor(dtype, &shape),
            list(&|axis| parts[axis].0),
            list(&|axis| parts[axis].1),
            list(&|axis| signed_axis(axis, rank, backward[axis])),
            list(&|axis| parts[axis].2),
        ];
        Case::new("Slice", Attrs::new(), inputs).check()?;
    }

    /// `to` has more axes and other extents wherever X has 1.
    #[test]
    fn expand(
        (full, ones) in (shape(0, 5, 20_000), any::<[u8; 5]>()),
        dropped in 0..=5usize,
        dtype in any_dtype(),
        fill in fill_any(),
    ) {
        let own = full.iter().zip(&ones).map(|(&extent, bits)| if bits & 1 == 1 { 1 } else { extent });
        let own: Vec<usize> = own.skip(dropped.saturating_sub(2)).collect();
        let to: Vec<i64> =
            full.iter().zip(&ones).map(|(&e, bits)| if bits & 3 == 2 && own.len() == full.len() { 1 } else { e as i64 }).collect();
        Case::new("Expand", Attrs::new(), vec![fill.source().tensor(dtype, &own), ints(&to)]).check()?;
    }

    #[test]
    fn concat((shape, at, axis) in around(), extents in extents(), dtype in any_dtype(), fill in fill_any()) {
        let mut source = fill.source();
        let inputs = extents.iter().map(|&extent| {
            let mut shape = shape.clone();
            shape[at] = extent;
            source.tensor(dtype, &shape)
        });
        Case::new("Concat", Attrs::new().with_int("axis", axis), inputs.collect()).check()?;
    }

    #[test]
    fn split((shape, at, axis) in around(), extents in extents(), dtype in any_dtype(), is_even in any::<bool>(), fill in fill_any()) {
        let mut shape = shape;
        shape[at] = extents.iter().sum();
        let mut inputs = vec![Some(fill.source().tensor(dtype, &shape))];
        if !is_even {
            inputs.push(Some(ints(&extents.iter().map(|&e| e as i64).collect::<Vec<_>>())));
        }
        let attrs = Attrs::new().with_int("axis", axis);
        // Without extents the last part may be smaller, but is there.
        let step = shape[at].div_ceil(extents.len());
        prop_assume!(!is_even || (shape[at] > 0 && step * (extents.len() - 1) <= shape[at]));
        Case { op: "Split", attrs, inputs, outputs: extents.len() }.check()?;
    }

    #[test]
    fn gather(
        (shape, at, axis) in around(),
        indices in prop::collection::vec(any::<Index>(), 0..=40),
        (rows, is_narrow, backward) in (1..=4usize, any::<bool>(), any::<bool>()),
        outside in prop::option::weighted(0.1, any::<Index>()),
        dtype in any_dtype(),
        fill in fill_any(),
    ) {
        let extent = shape[at];
        let mut values: Vec<i64> = if extent == 0 {
            Vec::new()
        } else {
            let span = if backward { 2 * extent } else { extent };
            indices.iter().map(|index| index.index(span) as i64 - (span - extent) as i64).collect()
        };
        values.truncate(values.len() / rows * rows);
        // Faults are those of the reference.
        if let Some(index) = outside
            && !values.is_empty()
        {
            let at = index.index(values.len());
            values[at] = if backward { -(extent as i64) - 1 } else { extent as i64 };
        }
        let narrow: Vec<i32> = values.iter().map(|&v| v as i32).collect();
        let columns = [values.len() / rows, rows];
        let indices = if is_narrow { Tensor::from_slice(&columns, &narrow) } else { Tensor::from_slice(&columns, &values) };
        let data = fill.source().tensor(dtype, &shape);
        let panels: &[usize] = if shape.len() == 2 && at == 0 { &[0] } else { &[] };
        Case::new("Gather", Attrs::new().with_int("axis", axis), vec![data, indices]).check_with_panels(panels)?;
    }

    #[test]
    fn tile(shape in shape(0, 4, 1000), repeats in any::<[u8; 4]>(), dtype in any_dtype(), fill in fill_any()) {
        let mut repeats: Vec<usize> = shape.iter().zip(repeats).map(|(_, r)| usize::from(r % 7)).collect();
        shrink_to(&mut repeats, 60);
        let repeats: Vec<i64> = repeats.iter().map(|&r| r as i64).collect();
        Case::new("Tile", Attrs::new(), vec![fill.source().tensor(dtype, &shape), ints(&repeats)]).check()?;
    }

    #[test]
    fn resize(
        (shape, factors) in (shape(1, 4, 1500), any::<[u8; 4]>()),
        mode in select(&["nearest", "nearest", "linear", "cubic"][..]),
        nearest in select(&["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"][..]),
        coordinates in select(&COORDINATES[..]),
        by_scales in any::<bool>(),
        dtype in any_dtype(),
        fill in fill_any(),
    ) {
        prop_assume!(!shape.contains(&0));
        // Resize takes no narrow types, and averages floats only.
        let fits = !dtype.is_narrow() && (mode == "nearest" || dtype.is_float());
        let dtype = if fits { dtype } else { DType::F32 };
        let attrs = Attrs::new()
            .with_str("mode", mode)
            .with_str("nearest_mode", nearest)
            .with_str("coordinate_transformation_mode", coordinates);
        let mut inputs = vec![Some(fill.source().tensor(dtype, &shape)), None];
        if by_scales {
            let scale = |f: u8| [1.0f32, 2.0, 1.0, 0.5, 3.0, 0.6, 1.7][usize::from(f % 7)];
            let least = |(&extent, f): (&usize, u8)| {
                let (factor, one) = (scale(f), 1.0 / extent as f32);
                if factor < one { one } else { factor }
            };
            let scales: Vec<f32> = shape.iter().zip(factors).map(least).collect();
            inputs.push(Some(Tensor::from_slice(&[scales.len()], &scales)));
        } else {
            let mut sizes: Vec<usize> =
                shape.iter().zip(factors).map(|(&e, f)| if f % 3 == 0 { e } else { 1 + usize::from(f) % (2 * e) }).collect();
            shrink_to(&mut sizes, 6000);
            let sizes: Vec<i64> = sizes.iter().map(|&s| s as i64).collect();
            inputs.extend([None, Some(ints(&sizes))]);
        }
        Case { op: "Resize", attrs, inputs, outputs: 1 }.check()?;
    }
}

const COORDINATES: [&str; 6] = [
    "asymmetric",
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "tf_half_pixel_for_nn",
];

/// Moves of hundreds of thousands of elements, which several threads share.
#[test]
fn long_ones() -> TestCaseResult {
    let mut source = Fill::new(Data::Bits, 1).source();
    for dtype in [DType::F32, DType::U8, DType::F16, DType::I64] {
        let x = source.tensor(dtype, &[300, 501]);
        Case::new("Transpose", Attrs::new(), vec![x.clone()]).check()?;
        let sliced =
            vec![x.clone(), ints(&[1, -3]), ints(&[i64::MAX, i64::MIN]), ints(&[0, 1]), ints(&[2, -1])];
        Case::new("Slice", Attrs::new(), sliced).check()?;
        let indices: Vec<i32> = (0..700).map(|i| i * 7 % 300).collect();
        let gathered = vec![x.clone(), Tensor::from_slice(&[700], &indices)];
        Case::new("Gather", Attrs::new(), gathered).check_with_panels(&[0])?;
        let x = source.tensor(dtype, &[3, 40, 20, 20]);
        for perm in [[0, 2, 3, 1], [0, 3, 1, 2], [3, 1, 0, 2]] {
            Case::new("Transpose", Attrs::new().with_ints("perm", &perm), vec![x.clone()]).check()?;
        }
        let long = source.tensor(dtype, &[400_000]);
        Case::new("Concat", Attrs::new().with_int("axis", 0), vec![long.clone(), long]).check()?;
        let column = source.tensor(dtype, &[300, 1]);
        Case::new("Expand", Attrs::new(), vec![column, ints(&[300, 700])]).check()?;
    }
    Ok(())
}
