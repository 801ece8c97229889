//! Operators that move elements, on the interpreter: every size of an element, axes that merge and axes that do not.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::Case;

mod tensors;
use tensors::{indices, integers};

const SIZES: [DType; 4] = [DType::U8, DType::BF16, DType::I32, DType::I64];

fn of(dtype: DType, shape: &[usize]) -> Tensor {
    let mut tensor = integers(if dtype == DType::BF16 { DType::I16 } else { dtype }, shape, 1);
    if dtype == DType::BF16 {
        tensor = Tensor::from_bytes(dtype, shape, tensor.bytes()).unwrap();
        tensor.canonicalize();
    }
    tensor
}

fn vector(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values)
}

#[test]
fn transposes() {
    for dtype in SIZES {
        for (shape, perm) in [
            (&[3, 5][..], &[1, 0][..]),
            (&[33, 65], &[1, 0]),
            (&[2, 40, 37], &[0, 2, 1]),
            (&[2, 3, 4, 5], &[0, 2, 1, 3]),
            (&[2, 3, 4, 5], &[3, 1, 0, 2]),
            (&[2, 20, 2, 30], &[2, 3, 0, 1]),
            (&[2, 2, 2, 2, 2, 2], &[5, 4, 3, 2, 1, 0]),
            (&[0, 20, 20], &[0, 2, 1]),
        ] {
            Case::new("Transpose", Attrs::new().with_ints("perm", perm), vec![of(dtype, shape)]).check();
        }
        Case::new("Transpose", Attrs::new(), vec![of(dtype, &[4, 3, 2])]).check();
    }
}

#[test]
fn pieces_and_their_union() {
    for dtype in SIZES {
        for axis in [0, 1, -1] {
            let parts = match axis {
                0 => vec![of(dtype, &[2, 3, 4]), of(dtype, &[1, 3, 4]), of(dtype, &[0, 3, 4])],
                1 => vec![of(dtype, &[2, 3, 4]), of(dtype, &[2, 5, 4])],
                _ => vec![of(dtype, &[2, 3, 4]), of(dtype, &[2, 3, 1]), of(dtype, &[2, 3, 2])],
            };
            Case::new("Concat", Attrs::new().with_int("axis", axis), parts).check();
        }
        let attrs = Attrs::new().with_int("axis", 1);
        Case::new("Split", attrs, vec![of(dtype, &[3, 7, 2]), vector(&[2, 0, 5])])
            .on_host(&[1])
            .outputs(3)
            .check();
    }
}

#[test]
fn expansions() {
    for dtype in SIZES {
        Case::new("Expand", Attrs::new(), vec![of(dtype, &[3, 1]), vector(&[2, 1, 4])]).on_host(&[1]).check();
        Case::new("Tile", Attrs::new(), vec![of(dtype, &[2, 3]), vector(&[3, 2])]).on_host(&[1]).check();
        Case::new("Tile", Attrs::new(), vec![of(dtype, &[2, 3]), vector(&[0, 2])]).on_host(&[1]).check();
    }
}

#[test]
fn slices() {
    for dtype in SIZES {
        for (starts, ends, axes, steps) in [
            (&[1, 2][..], &[4, 9][..], &[0, 1][..], &[1, 3][..]),
            (&[-1, -1], &[i64::MIN, -8], &[1, 0], &[-2, -1]),
            (&[0], &[i64::MAX], &[-1], &[i64::MAX]),
            (&[100], &[-100], &[1], &[-1]),
            (&[3], &[3], &[0], &[1]),
            (&[-100], &[100], &[1], &[2]),
        ] {
            let inputs = vec![of(dtype, &[5, 11]), vector(starts), vector(ends), vector(axes), vector(steps)];
            Case::new("Slice", Attrs::new(), inputs).on_host(&[1, 2, 3, 4]).check();
        }
        let inputs = vec![of(dtype, &[5, 11]), vector(&[1, 1]), vector(&[3, -2])];
        Case::new("Slice", Attrs::new(), inputs).on_host(&[1, 2]).check();
    }
}

#[test]
fn paddings() {
    for dtype in SIZES {
        let value = of(dtype, &[]);
        for pads in [[1, 2, 3, 0], [0, 0, 0, 0], [-1, 2, 0, -3], [-5, 0, 9, 0], [2, -7, 0, 9]] {
            let inputs = vec![of(dtype, &[4, 7]), vector(&pads), value.clone()];
            Case::new("Pad", Attrs::new(), inputs).on_host(&[1]).check();
        }
        let inputs = vec![Some(of(dtype, &[4, 7])), Some(vector(&[2, 1])), None, Some(vector(&[-1]))];
        Case::with_optional("Pad", Attrs::new(), inputs).on_host(&[1, 3]).check();
    }
}

#[test]
fn gathers() {
    for dtype in SIZES {
        for axis in [0, 1, -1] {
            let attrs = Attrs::new().with_int("axis", axis);
            let x = of(dtype, &[6, 6, 6]);
            Case::new("Gather", attrs.clone(), vec![x.clone(), indices(&[3, 5], 6, 3)]).check();
            Case::new("Gather", attrs.clone(), vec![x.clone(), indices(&[], 6, 4)]).on_host(&[1]).check();
            let small: Vec<i32> = vec![-6, 5, 0, -1];
            Case::new("Gather", attrs.clone(), vec![x.clone(), Tensor::from_slice(&[4], &small)]).check();
            let x = of(dtype, &[4, 6, 3]);
            let extent = [4, 6, 0, 3][axis.rem_euclid(3) as usize + usize::from(axis == -1)];
            Case::new("GatherElements", attrs, vec![x, indices(&[4, 5, 3], extent, 5)]).check();
        }
    }
}

#[test]
fn an_index_out_of_range_is_the_fault() {
    for bad in [6, -7, i64::MIN, i64::MAX] {
        for known in [&[][..], &[1]] {
            let inputs = || vec![of(DType::I32, &[6, 6]), vector(&[1, bad, 0, bad, bad, 2])];
            Case::new("Gather", Attrs::new(), inputs()).on_host(known).check();
            let inputs = vec![of(DType::I32, &[6]), vector(&[1, bad, 0, bad])];
            Case::new("GatherElements", Attrs::new(), inputs).on_host(known).check();
        }
    }
    Case::new("Gather", Attrs::new(), vec![of(DType::I32, &[0, 2]), vector(&[0])]).check();
}

#[test]
fn triangles() {
    for dtype in SIZES {
        for upper in [0, 1] {
            for k in [0, 1, -2, 9, -9, i64::MAX, i64::MIN] {
                let attrs = Attrs::new().with_int("upper", upper);
                let inputs = vec![of(dtype, &[2, 4, 6]), Tensor::scalar(k)];
                Case::new("Trilu", attrs, inputs).on_host(&[1]).check();
            }
        }
    }
}

#[test]
fn blocks_of_pixels() {
    for dtype in SIZES {
        for mode in ["DCR", "CRD"] {
            let attrs = Attrs::new().with_int("blocksize", 2).with_str("mode", mode);
            Case::new("DepthToSpace", attrs.clone(), vec![of(dtype, &[2, 12, 3, 5])]).check();
            Case::new("SpaceToDepth", attrs, vec![of(dtype, &[2, 3, 6, 10])]).check();
        }
    }
}
