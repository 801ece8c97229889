//! Element-wise operators on other types than f32.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;

use super::Case;
use super::draw::{Data, Random, random};

const INTEGERS: [DType; 8] =
    [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::U64, DType::I64];

/// Shapes that broadcast: long and short runs, every place of the repeated axis, and enough for threads.
const SHAPES: &[[&[usize]; 3]] = &[
    [&[1300], &[1300], &[1300]],
    [&[7, 700], &[700], &[1]],
    [&[2, 30, 40], &[30, 1], &[]],
    [&[30, 3], &[3], &[30, 1]],
    [&[5, 1, 9], &[4, 1], &[5, 1, 1]],
    [&[1], &[2, 3, 100], &[1, 3, 1]],
    [&[0, 3], &[3], &[1, 1]],
    [&[], &[], &[]],
    [&[3, 1], &[3, 1], &[30_011]],
    [&[1, 70, 1], &[257], &[1]],
];

/// Integers of which half are small, so that equal ones, extremes and short shifts occur.
fn integers(dtype: DType, shape: &[usize], zeros: bool, source: &mut Random) -> Tensor {
    let mut x = random(dtype, shape, Data::Plain, source);
    let size = dtype.size();
    for value in x.bytes_mut().chunks_exact_mut(size) {
        let small = match source.below(16) {
            0 => 0,
            1 => -1,
            2 => i64::MIN >> (64 - 8 * size),
            3 => i64::MAX >> (64 - 8 * size),
            4..8 => source.below(9) as i64 - 4,
            _ => continue,
        };
        value.copy_from_slice(&small.to_le_bytes()[..size]);
    }
    if !zeros {
        x.bytes_mut().chunks_exact_mut(size).filter(|v| v.iter().all(|&b| b == 0)).for_each(|v| v[0] = 3);
    }
    x
}

fn signed(dtype: DType) -> bool {
    dtype.is_signed_int()
}

#[test]
fn integer_functions_of_one() {
    let mut source = Random(1);
    for dtype in INTEGERS {
        for shape in [&[1300usize][..], &[], &[0], &[3, 30_011]] {
            for op in ["Abs", "Sign", "BitwiseNot", "Neg", "Relu"] {
                if ["Neg", "Relu"].contains(&op) && !signed(dtype) {
                    continue;
                }
                Case::new(op, Attrs::new(), vec![integers(dtype, shape, true, &mut source)]).check().unwrap();
            }
        }
    }
}

#[test]
fn integer_functions_of_two() {
    let mut source = Random(2);
    let plain = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Max",
        "Min",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
    ];
    for dtype in INTEGERS {
        for shapes in SHAPES {
            let mut pair = |zeros| {
                vec![
                    integers(dtype, shapes[0], true, &mut source),
                    integers(dtype, shapes[1], zeros, &mut source),
                ]
            };
            for op in plain {
                Case::new(op, Attrs::new(), pair(op != "Div")).check().unwrap();
            }
            for fmod in [0, 1] {
                Case::new("Mod", Attrs::new().with_int("fmod", fmod), pair(false)).check().unwrap();
            }
            for direction in ["LEFT", "RIGHT"] {
                if !signed(dtype) {
                    Case::new("BitShift", Attrs::new().with_str("direction", direction), pair(true))
                        .check()
                        .unwrap();
                }
            }
        }
    }
}

#[test]
fn division_by_zero_is_a_fault() {
    let zeros = Tensor::from_slice(&[4], &[1i32, 0, -1, 5]);
    for shape in [&[7usize, 1][..], &[4], &[0, 1]] {
        let x = random(DType::I32, shape, Data::Plain, &mut Random(5));
        Case::new("Div", Attrs::new(), vec![x.clone(), zeros.clone()]).check().unwrap();
        for fmod in [0, 1] {
            Case::new("Mod", Attrs::new().with_int("fmod", fmod), vec![x.clone(), zeros.clone()])
                .check()
                .unwrap();
        }
    }
}

#[test]
fn integer_slopes_folds_and_limits() {
    let mut source = Random(3);
    for dtype in INTEGERS {
        let mut draw = |shape: &[usize]| integers(dtype, shape, true, &mut source);
        if matches!(dtype, DType::I32 | DType::I64 | DType::U32 | DType::U64) {
            Case::new("PRelu", Attrs::new(), vec![draw(&[3, 40, 50]), draw(&[40, 1])]).check().unwrap();
        }
        for op in ["Max", "Min"] {
            for count in [1, 2, 3, 20] {
                let inputs = (0..count).map(|i| draw(if i % 2 == 0 { &[4, 50] } else { &[50] })).collect();
                Case::new(op, Attrs::new(), inputs).check().unwrap();
            }
        }
        let x = draw(&[40, 77]);
        for (low, high) in [(false, false), (true, false), (false, true), (true, true)] {
            let inputs = vec![Some(x.clone()), low.then(|| draw(&[])), high.then(|| draw(&[1]))];
            Case { op: "Clip", attrs: Attrs::new(), inputs, outputs: 1 }.check().unwrap();
        }
    }
}

#[test]
fn truth_values() {
    let mut source = Random(4);
    for shapes in SHAPES {
        for op in ["And", "Or", "Xor", "Equal"] {
            let inputs = [0, 1].map(|i| random(DType::Bool, shapes[i], Data::Plain, &mut source));
            Case::new(op, Attrs::new(), inputs.into()).check().unwrap();
        }
        Case::new("Not", Attrs::new(), vec![random(DType::Bool, shapes[0], Data::Plain, &mut source)])
            .check()
            .unwrap();
    }
}

#[test]
fn choices_between_elements_of_any_type() {
    let mut source = Random(6);
    for dtype in DType::ALL {
        for shapes in SHAPES {
            for turn in 0..3 {
                let inputs = vec![
                    random(DType::Bool, shapes[turn], Data::Plain, &mut source),
                    random(dtype, shapes[(turn + 1) % 3], Data::Laden, &mut source),
                    random(dtype, shapes[(turn + 2) % 3], Data::Laden, &mut source),
                ];
                Case::new("Where", Attrs::new(), inputs).check().unwrap();
            }
        }
    }
}

const FLOATS: [DType; 3] = [DType::F16, DType::BF16, DType::F64];

/// The element-wise operators on f16, bf16 and f64, each with every shape.
#[test]
fn floats() {
    use repops::lane_op::LaneOp;
    let mut source = Random(7);
    for def in repops::ops::all() {
        let repops::ops::OpClass::Elementwise(Some(lane)) = def.class else { continue };
        if ["Cast", "Where", "Clip"].contains(&def.name) {
            continue;
        }
        let op = lane(&def.check_attrs(&Attrs::new()).unwrap());
        let count = match op {
            LaneOp::Unary(_) | LaneOp::Classify(_) => 1,
            LaneOp::Binary(_) | LaneOp::Compare(_) => 2,
            _ => continue,
        };
        let slow = matches!(def.name, "Pow");
        for dtype in FLOATS {
            for shapes in SHAPES {
                // Threads share the largest out; that is tried with a few operators.
                let large = shapes[1].contains(&30_011) || shapes[2].contains(&30_011);
                if large && !["Add", "Less", "Mish", "Floor"].contains(&def.name)
                    || slow && shapes[1].len() > 1
                {
                    continue;
                }
                let inputs = (0..count).map(|index| {
                    let shape = if def.name == "PRelu" && index > 0 { &[] } else { shapes[index] };
                    random(dtype, shape, Data::Laden, &mut source)
                });
                Case::new(def.name, Attrs::new(), inputs.collect()).check().unwrap();
            }
        }
    }
}

#[test]
fn float_folds_limits_and_remainders() {
    let mut source = Random(8);
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let mut draw = |shape: &[usize]| random(dtype, shape, Data::Laden, &mut source);
        for name in ["Max", "Min", "Sum", "Mean"] {
            for count in [1, 2, 3, 5, 20] {
                let inputs = (0..count).map(|i| draw(if i % 2 == 0 { &[4, 50] } else { &[50] })).collect();
                Case::new(name, Attrs::new(), inputs).check().unwrap();
            }
        }
        let x = draw(&[40, 77]);
        for (low, high) in [(false, false), (true, false), (false, true), (true, true)] {
            let inputs = vec![Some(x.clone()), low.then(|| draw(&[])), high.then(|| draw(&[1]))];
            Case { op: "Clip", attrs: Attrs::new(), inputs, outputs: 1 }.check().unwrap();
        }
        Case::new("Mod", Attrs::new().with_int("fmod", 1), vec![x, draw(&[77])]).check().unwrap();
    }
}

#[test]
fn powers_of_mixed_types() {
    let mut source = Random(9);
    for (base, exponent) in [
        (DType::F16, DType::F32),
        (DType::F32, DType::F16),
        (DType::F32, DType::I64),
        (DType::I32, DType::F32),
        (DType::BF16, DType::F16),
    ] {
        let x = random(base, &[4, 50], Data::Laden, &mut source);
        let y = random(exponent, &[50], Data::Plain, &mut source);
        Case::new("Pow", Attrs::new(), vec![x, y]).check().unwrap();
    }
}

#[test]
fn conversions() {
    let mut source = Random(10);
    // Narrow types are the reference's.
    let wide = || DType::ALL.into_iter().filter(|dtype| !dtype.is_narrow());
    for from in wide() {
        for to in wide() {
            let attrs = Attrs::new().with_int("to", to.code() as i64);
            for shape in [&[1300usize][..], &[], &[0], &[2, 33_000]] {
                let mut x = match from.is_int() {
                    true => integers(from, shape, true, &mut source),
                    false => random(from, shape, Data::Laden, &mut source),
                };
                if from.is_float() {
                    // Numbers about the limits of the integers, and any bits at all.
                    let limits: Vec<f64> = [7, 8, 15, 16, 31, 32, 63, 64]
                        .iter()
                        .flat_map(|&bits| {
                            let limit = (1u128 << bits) as f64;
                            [limit, -limit, limit - 1.0, -limit - 1.0, limit - 0.5, limit.next_down()]
                        })
                        .collect();
                    let size = from.size();
                    for (at, bytes) in x.bytes_mut().chunks_exact_mut(size).enumerate() {
                        let limit = limits[at % limits.len()];
                        let bits = match from {
                            DType::F32 => u64::from((limit as f32).to_bits()),
                            DType::F64 => limit.to_bits(),
                            DType::F16 => u64::from(half::f16::from_f64(limit).to_bits()),
                            _ => u64::from(half::bf16::from_f64(limit).to_bits()),
                        };
                        let any = source.draw();
                        match at % 3 {
                            0 => bytes.copy_from_slice(&bits.to_le_bytes()[..size]),
                            1 => bytes.copy_from_slice(&any.to_le_bytes()[..size]),
                            _ => {}
                        }
                    }
                    x.canonicalize();
                }
                Case::new("Cast", attrs.clone(), vec![x]).check().unwrap();
            }
        }
    }
}

#[test]
fn threads_share_large_tensors() {
    let mut source = Random(11);
    let (rows, columns) = (&[3usize, 1][..], &[100_003usize][..]);
    for (op, dtype) in [
        ("Add", DType::I32),
        ("Equal", DType::I64),
        ("Max", DType::U8),
        ("Add", DType::F16),
        ("Mul", DType::F64),
    ] {
        let inputs = [rows, columns].map(|shape| random(dtype, shape, Data::Laden, &mut source));
        Case::new(op, Attrs::new(), inputs.into()).check().unwrap();
    }
    let condition = random(DType::Bool, columns, Data::Plain, &mut source);
    let sides = [rows, columns].map(|shape| random(DType::U16, shape, Data::Plain, &mut source));
    Case::new("Where", Attrs::new(), [&[condition], &sides[..]].concat()).check().unwrap();
    let x = random(DType::F32, &[3, 100_003], Data::Laden, &mut source);
    let attrs = Attrs::new().with_int("to", DType::I8.code() as i64);
    Case::new("Cast", attrs, vec![x]).check().unwrap();
}
