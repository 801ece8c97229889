//! Quantization, interpolation, padding and elements that indices name.

use repops::attrs::Attrs;
use repops::dtype::DType::{self, BF16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16};
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Random, random};

/// Scales of either sign, some of them zero or NaN, and zero points.
fn scales(shape: &[usize], source: &mut Random) -> Tensor {
    random(F32, shape, Data::Laden, source)
}

const QUANTIZED: [DType; 5] = [U8, I8, U16, I16, I32];

#[test]
fn quantization() {
    let mut source = Random(1);
    for dtype in QUANTIZED {
        for (shape, scale, axis, block) in [
            (&[2usize, 3, 400][..], &[][..], 1, 0),
            (&[40_000], &[1], 0, 0),
            (&[2, 30, 41], &[30], 1, 0),
            (&[50, 61], &[61], -1, 0),
            (&[3, 5], &[3], 0, 0),
            (&[0, 5], &[5], 1, 0),
            (&[4, 6, 3], &[4, 2, 3], 1, 3),
            (&[1, 1, 7], &[1], 1, 0),
        ] {
            let attrs = Attrs::new().with_int("axis", axis).with_int("block_size", block);
            let x = random(F32, shape, Data::Laden, &mut source);
            let mut scaled = x.clone();
            for (at, v) in scaled.as_mut_slice::<f32>().iter_mut().enumerate() {
                // Ties and values about the limits.
                *v = if at % 3 == 0 { (*v * 8.0).round_ties_even() / 2.0 } else { *v * 100.0 };
            }
            scaled.canonicalize();
            let mut halves = scales(scale, &mut source);
            halves.as_mut_slice::<f32>().iter_mut().for_each(|v| *v = if *v > 1.0 { 0.5 } else { *v });
            let zero = random(dtype, scale, Data::Plain, &mut source);
            if dtype != I32 {
                for x in [&x, &scaled] {
                    let inputs = vec![x.clone(), halves.clone(), zero.clone()];
                    Case::new("QuantizeLinear", attrs.clone(), inputs).check().unwrap();
                }
            }
            let x = random(dtype, shape, Data::Plain, &mut source);
            Case::new("DequantizeLinear", attrs.clone(), vec![x.clone(), halves.clone(), zero])
                .check()
                .unwrap();
            Case::new("DequantizeLinear", attrs, vec![x, halves]).check().unwrap();
        }
    }
    let x = random(F32, &[20, 30], Data::Laden, &mut source);
    Case::new("QuantizeLinear", Attrs::new(), vec![x, Tensor::scalar(0.03f32)]).check().unwrap();
}

#[test]
fn dynamic_quantization() {
    let mut source = Random(2);
    for shape in [&[3usize, 70_000][..], &[7], &[0], &[], &[33, 31]] {
        for data in [Data::Plain, Data::Finite, Data::Laden] {
            let inputs = vec![Some(random(F32, shape, data, &mut source))];
            Case { op: "DynamicQuantizeLinear", attrs: Attrs::new(), inputs, outputs: 3 }.check().unwrap();
        }
    }
    for values in [[0.0f32, -0.0, 0.0], [1.0, 2.0, 3.0], [-1.0, -2.0, -0.5], [-0.0, -0.0, -0.0]] {
        let inputs = vec![Some(Tensor::from_slice(&[3], &values))];
        Case { op: "DynamicQuantizeLinear", attrs: Attrs::new(), inputs, outputs: 3 }.check().unwrap();
    }
}

#[test]
fn interpolation() {
    let mut source = Random(3);
    for mode in ["linear", "cubic"] {
        for (antialias, exclude) in [(0, 0), (1, 0), (0, 1)] {
            for coordinates in ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"] {
                for (shape, sizes) in [
                    (&[1usize, 3, 20, 31][..], [1i64, 3, 40, 62]),
                    (&[1, 2, 40, 50], [1, 2, 13, 17]),
                    (&[2, 3, 7, 9], [2, 3, 7, 30]),
                    (&[2, 3, 7, 9], [4, 5, 1, 9]),
                    (&[1, 2, 1, 1], [1, 2, 5, 6]),
                ] {
                    let attrs = Attrs::new()
                        .with_str("mode", mode)
                        .with_str("coordinate_transformation_mode", coordinates)
                        .with_int("antialias", antialias)
                        .with_int("exclude_outside", exclude);
                    let x = random(F32, shape, Data::Laden, &mut source);
                    let inputs = vec![Some(x), None, None, Some(Tensor::from_slice(&[4], &sizes))];
                    Case { op: "Resize", attrs, inputs, outputs: 1 }.check().unwrap();
                }
            }
        }
    }
    // More taps than a chunk of a contraction.
    for shape in [[700usize, 3], [3, 700]] {
        let attrs = Attrs::new().with_str("mode", "cubic").with_int("antialias", 1);
        let x = random(F32, &shape, Data::Finite, &mut source);
        let sizes = shape.map(|n| if n > 3 { 2i64 } else { 3 });
        let inputs = vec![Some(x), None, None, Some(Tensor::from_slice(&[2], &sizes))];
        Case { op: "Resize", attrs, inputs, outputs: 1 }.check().unwrap();
    }
    // A crop reaches outside of the image.
    let attrs = Attrs::new()
        .with_str("mode", "linear")
        .with_str("coordinate_transformation_mode", "tf_crop_and_resize")
        .with_float("extrapolation_value", 7.5);
    let roi = Tensor::from_slice(&[4], &[0.2f32, -0.3, 0.9, 1.4]);
    let x = random(F32, &[12, 15], Data::Finite, &mut source);
    let inputs = vec![Some(x), Some(roi), None, Some(Tensor::from_slice(&[2], &[9i64, 8]))];
    Case { op: "Resize", attrs, inputs, outputs: 1 }.check().unwrap();
}

#[test]
fn normalizations_of_channels() {
    let mut source = Random(4);
    for shape in [&[2usize, 6, 71, 59][..], &[1, 6, 5], &[3, 6, 1, 1], &[0, 6, 4], &[2, 6]] {
        for data in [Data::Plain, Data::Finite, Data::Laden] {
            let mut draw = |shape: &[usize]| random(F32, shape, data, &mut source);
            let inputs = vec![draw(shape), draw(&[6]), draw(&[6])];
            Case::new("InstanceNormalization", Attrs::new(), inputs.clone()).check().unwrap();
            for groups in [1, 2, 6] {
                let attrs = Attrs::new().with_int("num_groups", groups).with_float("epsilon", 1e-3);
                Case::new("GroupNormalization", attrs, inputs.clone()).check().unwrap();
            }
        }
    }
}

#[test]
fn places_of_extremes() {
    let mut source = Random(5);
    for dtype in DType::ALL.into_iter().filter(|d| d.is_number()) {
        for (shape, axis) in
            [(&[7usize, 1000][..], 1), (&[300, 130], 0), (&[3, 21, 5, 20], 1), (&[1], 0), (&[0, 4], 1)]
        {
            let mut x = random(dtype, shape, Data::Laden, &mut source);
            if dtype.is_int() {
                // Few values, so that many are equal.
                let size = dtype.size();
                x.bytes_mut().chunks_exact_mut(size).for_each(|v| {
                    let value = source.below(4) as i64 - if dtype.is_signed_int() { 2 } else { 0 };
                    v.copy_from_slice(&value.to_le_bytes()[..size]);
                });
            }
            for op in ["ArgMax", "ArgMin"] {
                for last in [0, 1] {
                    let attrs = Attrs::new()
                        .with_int("axis", axis)
                        .with_int("select_last_index", last)
                        .with_int("keepdims", last);
                    Case::new(op, attrs, vec![x.clone()]).check().unwrap();
                }
            }
        }
    }
    // Zeros of both signs are equal, and so are NaNs.
    let x = Tensor::from_slice(&[2, 40], &[[-0.0f32, 0.0].repeat(20), [f32::NAN, 1.0].repeat(20)].concat());
    for op in ["ArgMax", "ArgMin"] {
        for last in [0, 1] {
            let attrs = Attrs::new().with_int("axis", 1).with_int("select_last_index", last);
            Case::new(op, attrs, vec![x.clone()]).check().unwrap();
        }
    }
}

#[test]
fn blocks_of_pixels() {
    let mut source = Random(6);
    for dtype in [U8, F16, F32, I64] {
        for (n, c, h, w, b) in [(2, 3, 20, 31, 2), (1, 2, 5, 7, 3), (1, 1, 4, 4, 1), (0, 2, 3, 3, 2)] {
            for mode in ["DCR", "CRD"] {
                let x = random(dtype, &[n, c * b * b, h, w], Data::Laden, &mut source);
                let attrs = Attrs::new().with_int("blocksize", b as i64).with_str("mode", mode);
                Case::new("DepthToSpace", attrs, vec![x]).check().unwrap();
            }
            let x = random(dtype, &[n, c, h * b, w * b], Data::Laden, &mut source);
            Case::new("SpaceToDepth", Attrs::new().with_int("blocksize", b as i64), vec![x]).check().unwrap();
        }
    }
}

#[test]
fn pads() {
    let mut source = Random(7);
    for dtype in [Bool, U8, F16, F32, F64] {
        for mode in ["constant", "edge", "reflect", "wrap"] {
            for (shape, pads) in [
                (&[1usize, 3, 20, 31][..], &[0i64, 0, 1, 1, 0, 0, 1, 1][..]),
                (&[4, 5], &[2, 3, 1, 4]),
                (&[4, 5], &[-1, 3, 2, -2]),
                (&[4, 5], &[1, -3, -4, -1]),
                (&[300, 500], &[3, 0, 0, 9]),
                (&[6], &[0, 0]),
                (&[], &[]),
            ] {
                let x = random(dtype, shape, Data::Laden, &mut source);
                let value = random(dtype, &[], Data::Laden, &mut source);
                let pads = Tensor::from_slice(&[pads.len()], pads);
                let attrs = Attrs::new().with_str("mode", mode);
                Case::new("Pad", attrs.clone(), vec![x.clone(), pads.clone()]).check().unwrap();
                Case::new("Pad", attrs, vec![x, pads, value]).check().unwrap();
            }
            // More than one period, of one axis.
            if mode != "reflect" {
                let x = random(dtype, &[3, 4, 2], Data::Laden, &mut source);
                let (pads, axes) =
                    (Tensor::from_slice(&[2], &[11i64, 9]), Tensor::from_slice(&[1], &[-2i64]));
                let inputs = vec![Some(x), Some(pads), None, Some(axes)];
                Case { op: "Pad", attrs: Attrs::new().with_str("mode", mode), inputs, outputs: 1 }
                    .check()
                    .unwrap();
            }
        }
    }
    let empty = Tensor::zeros(F32, &[2, 0]).unwrap();
    let pads = Tensor::from_slice(&[4], &[1i64, 2, 0, 1]);
    Case::new("Pad", Attrs::new(), vec![empty, pads, Tensor::scalar(2.5f32)]).check().unwrap();
}

/// Indices below `extent`, negative ones among them; `bad`: one is out of range.
fn indices(dtype: DType, shape: &[usize], extent: usize, bad: bool, source: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let mut values: Vec<i64> = (0..count).map(|_| source.below(2 * extent) as i64 - extent as i64).collect();
    if bad && count > 0 {
        let at = source.below(count);
        values[at] = if source.below(2) == 0 { extent as i64 } else { -(extent as i64) - 1 };
    }
    match dtype {
        I32 => Tensor::from_slice(shape, &values.iter().map(|&v| v as i32).collect::<Vec<_>>()),
        _ => Tensor::from_slice(shape, &values),
    }
}

#[test]
fn elements_that_indices_name() {
    let mut source = Random(8);
    for dtype in [Bool, U16, F32, I64] {
        for kind in [I32, I64] {
            for (shape, full, axis) in [
                (&[30usize, 40][..], &[70usize, 40][..], 0),
                (&[30, 40], &[30, 7], 1),
                (&[30, 40], &[11, 9], 0),
                (&[5, 6, 70], &[5, 9, 70], 1),
                (&[3, 4, 5], &[2, 3, 8], -1),
                (&[500], &[20_000], 0),
                (&[5, 3], &[0, 3], 0),
            ] {
                for bad in [false, true] {
                    let extent = shape[if axis < 0 { shape.len() - 1 } else { axis as usize }];
                    let data = random(dtype, shape, Data::Laden, &mut source);
                    let index = indices(kind, full, extent, bad, &mut source);
                    let attrs = Attrs::new().with_int("axis", axis);
                    Case::new("GatherElements", attrs.clone(), vec![data.clone(), index]).check().unwrap();
                    // Several updates of one element: the last stays.
                    if full.iter().zip(shape).all(|(f, s)| f <= s) || full.len() == 1 {
                        let index = indices(I64, full, extent, bad, &mut source);
                        let updates = random(dtype, full, Data::Laden, &mut source);
                        Case::new("ScatterElements", attrs, vec![data, index, updates]).check().unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn slices_that_tuples_name() {
    let mut source = Random(9);
    for dtype in [Bool, BF16, F32, I64] {
        for (shape, full, batch) in [
            (&[20usize, 20, 30][..], &[50usize, 2][..], 0),
            (&[20, 20], &[9, 7, 2], 0),
            (&[4, 20, 20, 3], &[4, 70, 1], 1),
            (&[20, 300], &[33, 1], 0),
            (&[20, 4], &[0, 1], 0),
        ] {
            for bad in [false, true] {
                let data = random(dtype, shape, Data::Laden, &mut source);
                let index = indices(I64, full, 20, bad, &mut source);
                let attrs = Attrs::new().with_int("batch_dims", batch);
                Case::new("GatherND", attrs, vec![data.clone(), index.clone()]).check().unwrap();
                if batch == 0 {
                    let (width, leading) = full.split_last().unwrap();
                    let like: Vec<usize> = leading.iter().chain(&shape[*width..]).copied().collect();
                    let updates = random(dtype, &like, Data::Laden, &mut source);
                    Case::new("ScatterND", Attrs::new(), vec![data.clone(), index, updates.clone()])
                        .check()
                        .unwrap();
                    if dtype == F32 && !bad {
                        let index = indices(I64, full, 20, false, &mut source);
                        let attrs = Attrs::new().with_str("reduction", "add");
                        Case::new("ScatterND", attrs, vec![data, index, updates]).check().unwrap();
                    }
                }
            }
        }
    }
}

#[test]
fn largest_and_smallest() {
    let mut source = Random(10);
    for dtype in DType::ALL.into_iter().filter(|d| d.is_number()) {
        for (shape, axis, k) in [
            (&[7usize, 1000][..], 1, 20i64),
            (&[300, 30], 0, 5),
            (&[3, 21, 5], 1, 21),
            (&[9], 0, 0),
            (&[0, 4], 1, 2),
        ] {
            let mut x = random(dtype, shape, Data::Laden, &mut source);
            if dtype.is_int() {
                let size = dtype.size();
                x.bytes_mut().chunks_exact_mut(size).for_each(|v| v[0] &= 7);
            }
            for largest in [0, 1] {
                for outputs in [1, 2] {
                    let inputs = vec![Some(x.clone()), Some(Tensor::from_slice(&[1], &[k]))];
                    let attrs = Attrs::new().with_int("axis", axis).with_int("largest", largest);
                    Case { op: "TopK", attrs, inputs, outputs }.check().unwrap();
                }
            }
        }
    }
}

#[test]
fn running_sums() {
    let mut source = Random(11);
    for dtype in [F32, F64, I32, I64, DType::U32, DType::U64] {
        for (shape, axis) in
            [(&[7usize, 1000][..], 1i64), (&[300, 130], 0), (&[3, 21, 5], -2), (&[1], 0), (&[0, 4], 1)]
        {
            for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let attrs = Attrs::new().with_int("exclusive", exclusive).with_int("reverse", reverse);
                let x = random(dtype, shape, Data::Laden, &mut source);
                Case::new("CumSum", attrs, vec![x, Tensor::scalar(axis)]).check().unwrap();
            }
        }
    }
}

#[test]
fn triangles() {
    let mut source = Random(12);
    for dtype in [Bool, F16, F32, I64] {
        for shape in [&[40usize, 50][..], &[3, 50, 40], &[200, 300], &[2, 0, 3], &[1, 1]] {
            for k in [0, 1, -3, 45, -60, i64::MAX, i64::MIN] {
                for upper in [0, 1] {
                    let x = random(dtype, shape, Data::Laden, &mut source);
                    let attrs = Attrs::new().with_int("upper", upper);
                    Case::new("Trilu", attrs, vec![x, Tensor::scalar(k)]).check().unwrap();
                }
            }
        }
    }
}

#[test]
fn responses_over_channels() {
    let mut source = Random(13);
    for (shape, size) in [(&[1usize, 13, 9, 7][..], 5), (&[2, 6, 40], 2), (&[1, 70, 3], 69), (&[3, 4], 3)] {
        for data in [Data::Plain, Data::Finite, Data::Laden] {
            let attrs = Attrs::new().with_int("size", size).with_float("alpha", 0.3);
            Case::new("LRN", attrs, vec![random(F32, shape, data, &mut source)]).check().unwrap();
        }
    }
}
