//! Reductions, normalizations and poolings.

use repops::attrs::Attrs;
use repops::dtype::DType::F32;
use repops::tensor::Tensor;

use super::{Case, Data, Random, random};

const FLOATS: [Data; 3] = [Data::Plain, Data::Finite, Data::Laden];

#[test]
fn reductions() {
    let cases: &[(&[usize], &[i64])] = &[
        (&[5], &[0]),
        (&[64], &[0]),
        (&[3, 1], &[1]),
        (&[7, 130], &[-1]),
        (&[3, 9001], &[1]),
        (&[200, 37], &[0]),
        (&[9000, 19], &[0]),
        (&[2, 70, 33], &[1]),
        (&[2, 5, 9, 300], &[2, 3]),
        (&[6, 40, 11], &[0, 2]),
        (&[6, 40, 11], &[0, 1, 2]),
        (&[2, 3, 4, 5, 6], &[1, 3]),
        (&[4, 0, 3], &[1]),
        (&[0, 4], &[1]),
        (&[3, 0], &[0]),
        (&[], &[]),
        (&[4, 5], &[]),
    ];
    let mut source = Random(1);
    for name in
        ["ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMin"]
    {
        for (shape, axes) in cases {
            for data in FLOATS {
                let inputs =
                    vec![random(F32, shape, data, &mut source), Tensor::from_slice(&[axes.len()], axes)];
                let keep = source.below(2) as i64;
                let noop = source.below(2) as i64;
                let attrs = Attrs::new().with_int("keepdims", keep).with_int("noop_with_empty_axes", noop);
                Case::new(name, attrs, inputs).check();
            }
        }
    }
}

#[test]
fn global_pools() {
    let mut source = Random(2);
    for name in ["GlobalAveragePool", "GlobalMaxPool"] {
        for shape in [&[2, 5, 7, 9][..], &[1, 3, 67, 63], &[2, 3, 20], &[0, 3, 4, 4]] {
            for data in FLOATS {
                Case::new(name, Attrs::new(), vec![random(F32, shape, data, &mut source)]).check();
            }
        }
    }
}

#[test]
fn softmax() {
    let mut source = Random(3);
    for name in ["Softmax", "LogSoftmax"] {
        for (shape, axis) in [
            (&[3, 1][..], 1),
            (&[5, 7], 1),
            (&[4, 128], -1),
            (&[2, 3, 333], 2),
            (&[2, 8195], 1),
            (&[6, 50, 33], 1),
            (&[300, 9], 0),
            (&[0, 3], 1),
            (&[3, 0], 1),
        ] {
            for data in FLOATS {
                let x = random(F32, shape, data, &mut source);
                Case::new(name, Attrs::new().with_int("axis", axis), vec![x]).check();
            }
        }
    }
    // Zeros of both signs as the maximum.
    for row in [[-0.0f32, -0.0, -3.0], [-0.0, 0.0, -200.0], [-200.0, -0.0, -300.0]] {
        Case::new("LogSoftmax", Attrs::new(), vec![Tensor::from_slice(&[1, 3], &row)]).check();
    }
}

#[test]
fn normalizations() {
    let mut source = Random(4);
    for (shape, axis, scale) in [
        (&[4, 384][..], -1, &[384][..]),
        (&[2, 3, 17], 1, &[3, 17]),
        (&[2, 3, 17], 2, &[17]),
        (&[2, 4099], 1, &[4099]),
        (&[3, 5], 1, &[1]),
        (&[3, 4, 5], 1, &[5]),
        (&[0, 5], 1, &[5]),
    ] {
        for data in FLOATS {
            for bias in [false, true] {
                let attrs = Attrs::new().with_int("axis", axis);
                let mut inputs =
                    vec![random(F32, shape, data, &mut source), random(F32, scale, data, &mut source)];
                if !bias {
                    Case::new("RMSNormalization", attrs.clone(), inputs.clone()).check();
                } else {
                    inputs.push(random(F32, scale, data, &mut source));
                }
                for outputs in [1, 3] {
                    let inputs = inputs.iter().cloned().map(Some).collect();
                    Case { op: "LayerNormalization", attrs: attrs.clone(), inputs, outputs }.check();
                }
            }
        }
    }
    for shape in [&[2, 5][..], &[3, 5, 33], &[2, 5, 6, 7], &[0, 5, 2]] {
        for data in FLOATS {
            let mut inputs = vec![random(F32, shape, data, &mut source)];
            inputs.extend((0..4).map(|_| random(F32, &[5], data, &mut source)));
            Case::new("BatchNormalization", Attrs::new(), inputs).check();
        }
    }
}

#[test]
fn pools() {
    let mut source = Random(5);
    for seed in 0..80 {
        let axes = source.pick(&[1usize, 2, 2, 2, 3]);
        let mut shape = vec![source.pick(&[1, 2]), source.pick(&[1, 3, 8])];
        shape.extend((0..axes).map(|_| 5 + source.below(if axes == 3 { 3 } else { 40 })));
        let mut list =
            |from: &[i64], count: usize| (0..count).map(|_| source.pick(from)).collect::<Vec<i64>>();
        let kernel = list(&[1, 2, 3, 3, 5], axes);
        let attrs = Attrs::new()
            .with_ints("kernel_shape", &kernel)
            .with_ints("strides", &list(&[1, 2, 3], axes))
            .with_ints("pads", &list(&[0, 0, 1, 2], 2 * axes))
            .with_ints("dilations", &list(&[1, 1, 1], axes))
            .with_int("ceil_mode", seed % 2);
        let x = random(F32, &shape, FLOATS[seed as usize % 3], &mut source);
        Case::new("MaxPool", attrs.clone(), vec![x.clone()]).check();
        Case { op: "MaxPool", attrs: attrs.clone(), inputs: vec![Some(x.clone())], outputs: 2 }.check();
        let include = source.below(2) as i64;
        Case::new("AveragePool", attrs.with_int("count_include_pad", include), vec![x]).check();
    }
    // Outputs without elements: no images, no channels, no rows, no columns.
    for shape in [[0, 2, 5, 6], [2, 0, 5, 6], [2, 3, 0, 6], [2, 3, 5, 0]] {
        let x = random(F32, &shape, Data::Plain, &mut source);
        let attrs = Attrs::new().with_ints("kernel_shape", &[2, 2]).with_str("auto_pad", "SAME_UPPER");
        Case::new("MaxPool", attrs.clone(), vec![x.clone()]).check();
        Case::new("AveragePool", attrs, vec![x]).check();
    }
    // More taps than accumulators, and dilated windows.
    let x = random(F32, &[1, 2, 30, 31], Data::Plain, &mut source);
    let attrs = Attrs::new().with_ints("kernel_shape", &[9, 10]);
    Case::new("AveragePool", attrs.clone(), vec![x.clone()]).check();
    let attrs = Attrs::new().with_ints("kernel_shape", &[3, 2]).with_ints("dilations", &[2, 3]);
    Case::new("AveragePool", attrs.clone(), vec![x.clone()]).check();
    Case::new("MaxPool", attrs, vec![x]).check();
}
