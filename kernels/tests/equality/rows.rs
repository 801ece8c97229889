//! Reductions, softmax and normalizations.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType::F32;
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Fill, cases, extent, fill, shape, shrink_to, signed_axis};

const REDUCTIONS: [&str; 7] =
    ["ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin"];

/// Up to five axes; in every second shape one of them is long: rows are summed in blocks of 4096 elements.
fn row_shape(from: usize) -> impl Strategy<Value = Vec<usize>> {
    let long = (any::<prop::sample::Index>(), extent(300, &[64, 128, 4096, 8192]));
    (shape(from, 5, 4000), prop::option::of(long)).prop_map(|(mut shape, long)| {
        if let Some((index, extent)) = long
            && !shape.is_empty()
        {
            let at = index.index(shape.len());
            shape[at] = 1;
            shrink_to(&mut shape, 30_000 / extent.max(1));
            shape[at] = extent;
        }
        shape
    })
}

/// A shape and one of its axes, written from the front or from the back.
fn shape_and_axis() -> impl Strategy<Value = (Vec<usize>, usize, i64)> {
    (row_shape(1), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(shape, index, from_back)| {
        let axis = index.index(shape.len());
        let signed = signed_axis(axis, shape.len(), from_back);
        (shape, axis, signed)
    })
}

/// How a parameter of a normalization is broadcast.
#[derive(Clone, Copy, Debug)]
enum Broadcast {
    Whole,
    Last,
    One,
    /// The whole rank, with 1 for this axis.
    Without(prop::sample::Index),
}

fn broadcast() -> impl Strategy<Value = Broadcast> {
    prop_oneof![
        3 => Just(Broadcast::Whole),
        1 => Just(Broadcast::Last),
        1 => Just(Broadcast::One),
        1 => any::<prop::sample::Index>().prop_map(Broadcast::Without),
    ]
}

impl Broadcast {
    /// Of the axes that are normalized.
    fn of(self, normalized: &[usize]) -> Vec<usize> {
        let mut shape = normalized.to_vec();
        match self {
            Broadcast::Whole => {}
            Broadcast::Last => drop(shape.drain(..shape.len() - 1)),
            Broadcast::One => shape = vec![1],
            Broadcast::Without(index) => shape[index.index(normalized.len())] = 1,
        }
        shape
    }
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn reductions(
        name in select(&REDUCTIONS[..]),
        shape in row_shape(0),
        // Which axes are reduced, and which of them are counted from the back.
        (mask, backward) in (any::<[bool; 5]>(), any::<[bool; 5]>()),
        (keep, noop) in (any::<bool>(), any::<bool>()),
        fill in fill(),
    ) {
        let rank = shape.len();
        let axes: Vec<i64> =
            (0..rank).filter(|&axis| mask[axis]).map(|axis| signed_axis(axis, rank, backward[axis])).collect();
        let inputs = vec![fill.source().tensor(F32, &shape), Tensor::from_slice(&[axes.len()], &axes)];
        let attrs = Attrs::new()
            .with_int("keepdims", i64::from(keep))
            .with_int("noop_with_empty_axes", i64::from(noop));
        Case::new(name, attrs, inputs).check()?;
    }

    #[test]
    fn softmax(log in any::<bool>(), (shape, _, axis) in shape_and_axis(), fill in fill()) {
        let name = if log { "LogSoftmax" } else { "Softmax" };
        let x = fill.source().tensor(F32, &shape);
        Case::new(name, Attrs::new().with_int("axis", axis), vec![x]).check()?;
    }

    #[test]
    fn layer_and_rms_normalization(
        (shape, axis, signed) in shape_and_axis(),
        (scale, bias) in (broadcast(), prop::option::of(broadcast())),
        epsilon in select(&[1e-5f32, 0.0, 1e-12, 0.5][..]),
        outputs in 1..=3usize,
        is_rms in any::<bool>(),
        fill in fill(),
    ) {
        let mut source = fill.source();
        let attrs = Attrs::new().with_int("axis", signed).with_float("epsilon", epsilon);
        let mut inputs = vec![Some(source.tensor(F32, &shape))];
        inputs.push(Some(source.tensor(F32, &scale.of(&shape[axis..]))));
        if is_rms {
            Case { op: "RMSNormalization", attrs, inputs, outputs: 1 }.check()?;
        } else {
            inputs.extend(bias.map(|bias| Some(source.tensor(F32, &bias.of(&shape[axis..])))));
            Case { op: "LayerNormalization", attrs, inputs, outputs }.check()?;
        }
    }

    #[test]
    fn batch_normalization(shape in row_shape(2), epsilon in select(&[1e-5f32, 0.0, 1e-3][..]), fill in fill()) {
        let mut source = fill.source();
        let mut inputs = vec![source.tensor(F32, &shape)];
        inputs.extend((0..4).map(|_| source.tensor(F32, &[shape[1]])));
        Case::new("BatchNormalization", Attrs::new().with_float("epsilon", epsilon), inputs).check()?;
    }
}

/// Rows of one element, of none, of a block and one more.
#[test]
fn corners() -> TestCaseResult {
    for shape in [&[5, 1][..], &[3, 0], &[0, 3], &[2, 4096], &[2, 4097], &[9000, 19], &[1, 9001]] {
        for data in [Data::Plain, Data::Laden] {
            let x = Fill::new(data, 1).source().tensor(F32, shape);
            for axis in [0, 1] {
                for name in REDUCTIONS {
                    let axes = Tensor::from_slice(&[1], &[axis]);
                    // A maximum of nothing is refused where it is inferred.
                    if shape.contains(&0) && ["ReduceMax", "ReduceMin"].contains(&name) {
                        continue;
                    }
                    Case::new(name, Attrs::new(), vec![x.clone(), axes]).check()?;
                }
                for name in ["Softmax", "LogSoftmax"] {
                    Case::new(name, Attrs::new().with_int("axis", axis), vec![x.clone()]).check()?;
                }
            }
        }
    }
    // Zeros of both signs as the maximum.
    for row in [[-0.0f32, -0.0, -3.0], [-0.0, 0.0, -200.0], [-200.0, -0.0, -300.0]] {
        Case::new("LogSoftmax", Attrs::new(), vec![Tensor::from_slice(&[1, 3], &row)]).check()?;
    }
    Ok(())
}
