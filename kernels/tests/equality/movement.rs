//! Operators that move elements.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;

use super::{Case, Data, Random, random};

const TYPES: [DType; 6] = [DType::F32, DType::I64, DType::F16, DType::U8, DType::Bool, DType::F64];

fn ints(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values)
}

#[test]
fn transpose() {
    let mut source = Random(1);
    let cases: &[(&[usize], &[i64])] = &[
        (&[70, 90], &[1, 0]),
        (&[2, 33, 5, 17], &[0, 2, 1, 3]),
        (&[2, 33, 5, 17], &[3, 1, 0, 2]),
        (&[3, 20, 20, 40], &[0, 3, 1, 2]),
        (&[3, 40, 20, 20], &[0, 2, 3, 1]),
        (&[1, 9, 1, 8], &[2, 3, 0, 1]),
        (&[5, 6, 7], &[0, 1, 2]),
        (&[0, 6, 7], &[2, 1, 0]),
        (&[4], &[0]),
        (&[], &[]),
        (&[300, 501], &[1, 0]),
    ];
    for (shape, perm) in cases {
        for dtype in TYPES {
            let x = random(dtype, shape, Data::Laden, &mut source);
            Case::new("Transpose", Attrs::new().with_ints("perm", perm), vec![x.clone()]).check();
            Case::new("Transpose", Attrs::new(), vec![x]).check();
        }
    }
}

#[test]
fn slice() {
    let mut source = Random(2);
    for _ in 0..80 {
        let rank = 1 + source.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| source.pick(&[1, 2, 7, 40])).collect();
        let mut bound = || (0..rank).map(|_| source.below(100) as i64 - 50).collect::<Vec<i64>>();
        let (starts, ends) = (bound(), bound());
        let steps: Vec<i64> = (0..rank).map(|_| source.pick(&[1, 1, 1, 2, 3, -1, -2])).collect();
        let axes: Vec<i64> = (0..rank as i64).rev().collect();
        let dtype = source.pick(&TYPES);
        let x = random(dtype, &shape, Data::Laden, &mut source);
        let inputs = vec![x, ints(&starts), ints(&ends), ints(&axes), ints(&steps)];
        Case::new("Slice", Attrs::new(), inputs).check();
    }
    let x = random(DType::F32, &[3, 500, 64], Data::Laden, &mut source);
    Case::new("Slice", Attrs::new(), vec![x, ints(&[0, 10]), ints(&[i64::MAX, -3])]).check();
}

#[test]
fn expand() {
    let mut source = Random(3);
    let cases: &[(&[usize], &[i64])] = &[
        (&[1], &[5]),
        (&[3, 1], &[3, 700]),
        (&[1, 700], &[300, 1]),
        (&[2, 1, 4], &[3, 1, 5, 1]),
        (&[], &[2, 0]),
        (&[4, 1, 1, 9], &[4, 2, 8, 9]),
    ];
    for (shape, to) in cases {
        for dtype in TYPES {
            Case::new("Expand", Attrs::new(), vec![random(dtype, shape, Data::Laden, &mut source), ints(to)])
                .check();
        }
    }
}

#[test]
fn concat() {
    let mut source = Random(4);
    for dtype in TYPES {
        for (axis, extents) in [(0, [3, 0, 50]), (1, [1, 7, 2]), (-1, [40, 1, 300])] {
            let inputs = extents
                .iter()
                .map(|&extent| {
                    let mut shape = [5, 6, 7];
                    shape[(axis + 3) as usize % 3] = extent;
                    random(dtype, &shape, Data::Laden, &mut source)
                })
                .collect();
            Case::new("Concat", Attrs::new().with_int("axis", axis), inputs).check();
        }
        let long = |source: &mut Random| random(dtype, &[400_000], Data::Plain, source);
        let inputs = vec![long(&mut source), long(&mut source)];
        Case::new("Concat", Attrs::new().with_int("axis", 0), inputs).check();
    }
}

#[test]
fn gather() {
    let mut source = Random(5);
    for dtype in TYPES {
        for axis in [0, 1, -1] {
            let data = random(dtype, &[9, 20, 37], Data::Laden, &mut source);
            let extent = [9, 20, 37][(axis + 3) as usize % 3];
            let indices: Vec<i64> =
                (0..12).map(|_| source.below(2 * extent) as i64 - extent as i64).collect();
            let attrs = Attrs::new().with_int("axis", axis);
            Case::new("Gather", attrs.clone(), vec![data.clone(), Tensor::from_slice(&[3, 4], &indices)])
                .check();
            // Faults are those of the reference.
            Case::new("Gather", attrs.clone(), vec![data.clone(), Tensor::scalar(extent as i64)]).check();
            Case::new("Gather", attrs, vec![data, Tensor::from_slice::<i32>(&[0], &[])]).check();
        }
        let table = random(dtype, &[700, 50], Data::Laden, &mut source);
        let indices: Vec<i32> = (0..300).map(|_| source.below(700) as i32).collect();
        Case::new("Gather", Attrs::new(), vec![table, Tensor::from_slice(&[300], &indices)])
            .check_with_panels(&[0]);
    }
}

#[test]
fn split_and_tile() {
    let mut source = Random(6);
    for dtype in TYPES {
        for axis in [0, 1, -1] {
            let x = random(dtype, &[7, 7, 7], Data::Laden, &mut source);
            let attrs = Attrs::new().with_int("axis", axis);
            let inputs = vec![Some(x.clone()), Some(ints(&[2, 0, 4, 1]))];
            Case { op: "Split", attrs: attrs.clone(), inputs, outputs: 4 }.check();
            Case { op: "Split", attrs, inputs: vec![Some(x)], outputs: 3 }.check();
        }
        for (shape, repeats) in
            [(&[3, 5][..], &[2, 3][..]), (&[1, 40], &[300, 1]), (&[2, 1, 3], &[1, 4, 0]), (&[], &[])]
        {
            let x = random(dtype, shape, Data::Laden, &mut source);
            Case::new("Tile", Attrs::new(), vec![x, ints(repeats)]).check();
        }
    }
}

#[test]
fn resize() {
    let mut source = Random(7);
    for mode in ["nearest", "linear", "cubic"] {
        for coordinates in ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"] {
            for (shape, sizes) in
                [(&[1, 2, 9, 11][..], &[1, 2, 18, 22][..]), (&[2, 3, 8, 8], &[2, 3, 5, 8]), (&[40], &[33])]
            {
                let dtype = if mode == "nearest" { source.pick(&TYPES) } else { DType::F32 };
                let attrs = Attrs::new()
                    .with_str("mode", mode)
                    .with_str("nearest_mode", source.pick(&["floor", "ceil", "round_prefer_floor"]))
                    .with_str("coordinate_transformation_mode", coordinates);
                let x = random(dtype, shape, Data::Laden, &mut source);
                let inputs = vec![Some(x), None, None, Some(ints(sizes))];
                Case { op: "Resize", attrs, inputs, outputs: 1 }.check();
            }
        }
    }
    let x = random(DType::F32, &[1, 3, 20, 20], Data::Plain, &mut source);
    let scales = Tensor::from_slice(&[4], &[1.0f32, 1.0, 2.0, 2.0]);
    let attrs = Attrs::new()
        .with_str("coordinate_transformation_mode", "asymmetric")
        .with_str("nearest_mode", "floor");
    Case { op: "Resize", attrs, inputs: vec![Some(x), None, Some(scales)], outputs: 1 }.check();
}
