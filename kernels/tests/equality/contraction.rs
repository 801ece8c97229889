//! MatMul and the other products.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::{Case, Data, Random, random};

const FLOATS: [Data; 3] = [Data::Plain, Data::Finite, Data::Laden];

fn matmul(dtype: DType, a: &[usize], b: &[usize], data: Data, seed: u64) {
    let mut source = Random(seed);
    let inputs = vec![random(dtype, a, data, &mut source), random(dtype, b, data, &mut source)];
    let panels: &[usize] = if b.len() >= 2 { &[1] } else { &[] };
    Case::new("MatMul", Attrs::new(), inputs).check_with_panels(panels);
}

#[test]
fn matmul_shapes() {
    let shapes: &[(&[usize], &[usize])] = &[
        (&[1, 1], &[1, 1]),
        (&[3, 5], &[5, 7]),
        (&[12, 256], &[256, 32]),
        (&[13, 257], &[257, 33]),
        (&[1, 700], &[700, 150]),
        (&[2, 1025], &[1025, 40]),
        (&[5, 513], &[513, 65]),
        (&[25, 1793], &[1793, 17]),
        (&[200, 300], &[300, 50]),
        (&[70, 600], &[600, 1]),
        (&[33, 520], &[520, 7]),
        (&[40, 30], &[30, 600]),
        (&[7], &[7, 9]),
        (&[9, 7], &[7]),
        (&[300], &[300]),
        (&[0, 7], &[7, 3]),
        (&[4, 0], &[0, 3]),
        (&[4, 3], &[3, 0]),
        (&[2, 3, 4, 5], &[5, 6]),
        (&[2, 1, 4, 300], &[3, 300, 20]),
        (&[3, 4, 5], &[2, 1, 5, 6]),
        (&[5], &[3, 5, 4]),
        (&[3, 4, 5], &[5]),
        (&[0, 4, 5], &[5, 2]),
    ];
    for (index, (a, b)) in shapes.iter().enumerate() {
        for data in FLOATS {
            matmul(DType::F32, a, b, data, index as u64);
        }
        for dtype in [DType::F64, DType::F16, DType::BF16, DType::I32, DType::I64, DType::U32, DType::U64] {
            matmul(dtype, a, b, Data::Laden, index as u64);
        }
    }
}

#[test]
fn matmul_drawn_shapes() {
    let mut source = Random(7);
    for seed in 0..60 {
        let m = source.pick(&[1, 2, 3, 4, 6, 7, 11, 12, 13, 24, 37]);
        let k = source.pick(&[1, 15, 255, 256, 257, 511, 512, 513, 770, 1281]);
        let n = 1 + source.below(70);
        matmul(DType::F32, &[m, k], &[k, n], source.pick(&FLOATS), seed);
    }
}
