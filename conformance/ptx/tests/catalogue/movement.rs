//! Operators that move elements.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_ptx::suite::{Case, Draw};

use super::vector;

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let mut draw = Draw::new(40);
    for dtype in [DType::U8, DType::BF16, DType::I32, DType::I64] {
        let mut of = |shape: &[usize]| draw.any_tensor(dtype, shape);
        for (shape, perm) in [
            (&[3, 5][..], &[1, 0][..]),
            (&[2, 40, 37], &[0, 2, 1]),
            (&[2, 3, 4, 5], &[0, 2, 1, 3]),
            (&[2, 3, 4, 5], &[3, 1, 0, 2]),
            (&[2, 2, 2, 2, 2, 2], &[5, 4, 3, 2, 1, 0]),
        ] {
            out.push(Case::new("Transpose", Attrs::new().with_ints("perm", perm), vec![of(shape)]));
        }
        let parts = vec![of(&[2, 3, 4]), of(&[2, 5, 4])];
        out.push(Case::new("Concat", Attrs::new().with_int("axis", 1), parts));
        let attrs = Attrs::new().with_int("axis", 1);
        out.push(
            Case::new("Split", attrs, vec![of(&[3, 7, 2]), vector(&[2, 0, 5])]).on_host(&[1]).outputs(3),
        );
        let plain = Attrs::new;
        out.push(Case::new("Expand", plain(), vec![of(&[3, 1]), vector(&[2, 1, 4])]).on_host(&[1]));
        out.push(Case::new("Tile", plain(), vec![of(&[2, 3]), vector(&[3, 2])]).on_host(&[1]));
        for (starts, ends, axes, steps) in [
            (&[1, 2][..], &[4, 9][..], &[0, 1][..], &[1, 3][..]),
            (&[-1, -1], &[i64::MIN, -8], &[1, 0], &[-2, -1]),
        ] {
            let inputs = vec![of(&[5, 11]), vector(starts), vector(ends), vector(axes), vector(steps)];
            out.push(Case::new("Slice", plain(), inputs).on_host(&[1, 2, 3, 4]));
        }
        let value = of(&[]);
        for pads in [[1, 2, 3, 0], [-1, 2, 0, -3]] {
            let inputs = vec![of(&[4, 7]), vector(&pads), value.clone()];
            out.push(Case::new("Pad", plain(), inputs).on_host(&[1]));
        }
        gathers(&mut out, &mut of);
        for upper in [0, 1] {
            for k in [0i64, 1, -2, i64::MAX, i64::MIN] {
                let inputs = vec![of(&[2, 4, 6]), Tensor::scalar(k)];
                out.push(Case::new("Trilu", Attrs::new().with_int("upper", upper), inputs).on_host(&[1]));
            }
        }
    }
    out
}

fn gathers(out: &mut Vec<Case>, of: &mut impl FnMut(&[usize]) -> Tensor) {
    let mut draw = Draw::new(41);
    for axis in [0, 1, -1] {
        let attrs = Attrs::new().with_int("axis", axis);
        let index = |draw: &mut Draw| draw.below(12) as i64 - 6;
        let indices = draw.tensor(&[3, 5], index);
        out.push(Case::new("Gather", attrs.clone(), vec![of(&[6, 6, 6]), indices]));
        let small = Tensor::from_slice(&[4], &[-6i32, 5, 0, -1]);
        out.push(Case::new("Gather", attrs.clone(), vec![of(&[6, 6, 6]), small]));
        let indices = draw.tensor(&[6, 5, 6], index);
        out.push(Case::new("GatherElements", attrs.clone(), vec![of(&[6, 6, 6]), indices]));
        for bad in [6, -7, i64::MIN, i64::MAX] {
            out.push(Case::new("Gather", attrs.clone(), vec![of(&[6, 6, 6]), vector(&[1, bad, bad])]));
            let indices = Tensor::from_slice(&[1, 1, 3], &[1, bad, bad]);
            out.push(Case::new("GatherElements", attrs.clone(), vec![of(&[6, 6, 6]), indices]));
        }
    }
}
