//! Products of bytes by warpgroups, which only large ones are on a GPU: tiles at every edge, rings that turn, blocks with several tiles.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::tensor::Tensor;
use repops_cuda::launch::contract::integer::Way;
use repops_ptx::suite::{Case, Draw};

use super::case;

const SIGNS: [(DType, DType); 4] =
    [(DType::U8, DType::I8), (DType::I8, DType::I8), (DType::I8, DType::U8), (DType::U8, DType::U8)];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let mut draw = Draw::new(90);
    let by = |blocks| Way::Warpgroups { blocks };
    for (index, (a, b)) in SIGNS.into_iter().enumerate() {
        // Rows that are aligned and not; a step and less, several, more than the ring has and than a partial sum.
        for (m, k, n) in [(19, 45, 39), (130, 208, 68), (70, 128, 36)] {
            let (x, w) = (draw.any_tensor(a, &[m, k]), draw.any_tensor(b, &[k, n]));
            let (row, column) = (draw.any_tensor(a, &[m]), draw.any_tensor(b, &[n]));
            out.push(case("MatMulInteger", vec![x.clone(), w.clone()]).by(by(9)));
            out.push(case("MatMulInteger", vec![x, w, row, column]).by(by(9)));
        }
        out.push(requantized(&mut draw, a, b, [70, 700, 37], index % 2 == 0).by(by(9)));
        out.push(requantized(&mut draw, a, b, [150, 130, 210], index % 2 == 1).by(by(9)));
    }
    // Several tiles for a block, in two bands; a last row and a last column of tiles with one of each.
    for (m, k, n, blocks) in [(257, 1300, 193, 1), (513, 272, 386, 3), (2049, 20, 193, 4)] {
        let (x, w) = (draw.any_tensor(DType::U8, &[m, k]), draw.any_tensor(DType::I8, &[k, n]));
        let (row, column) = (draw.any_tensor(DType::U8, &[m]), draw.any_tensor(DType::I8, &[n]));
        out.push(case("MatMulInteger", vec![x, w, row, column]).by(by(blocks)));
    }
    out.push(requantized(&mut draw, DType::U8, DType::I8, [257, 150, 385], true).by(by(2)));
    // The largest sums that there are.
    let (x, w) =
        (Tensor::from_slice(&[9, 300], &[255u8; 2700]), Tensor::from_slice(&[300, 11], &[-128i8; 3300]));
    out.push(case("MatMulInteger", vec![x, w]).by(by(9)));
    convolutions(&mut out, &mut draw);
    out
}

/// A last column in each of the places that a thread has.
pub fn long() -> Vec<Case> {
    let mut out = Vec::new();
    let mut draw = Draw::new(91);
    let way = Way::Warpgroups { blocks: 9 };
    for n in (0..192).step_by(8).flat_map(|n| [n + 3, n + 4]) {
        let (x, w) = (draw.any_tensor(DType::U8, &[133, 40]), draw.any_tensor(DType::U8, &[40, n]));
        let (row, column) = (draw.any_tensor(DType::U8, &[133]), draw.any_tensor(DType::U8, &[n]));
        out.push(case("MatMulInteger", vec![x, w, row, column]).by(way));
        out.push(requantized(&mut draw, DType::I8, DType::U8, [133, 40, n], true).by(way));
    }
    out
}

/// Parameters one for all, or one a row or column.
fn requantized(draw: &mut Draw, a: DType, b: DType, [m, k, n]: [usize; 3], each: bool) -> Case {
    let (rows, columns) = if each { (vec![m], vec![n]) } else { (vec![], vec![]) };
    let mut scales = |shape: &[usize]| draw.tensor(shape, |draw| draw.plain().abs() * 0.1);
    let (of_rows, of_columns, of_result) = (scales(&rows), scales(&columns), scales(&rows));
    let inputs = vec![
        draw.any_tensor(a, &[m, k]),
        of_rows,
        draw.any_tensor(a, &rows),
        draw.any_tensor(b, &[k, n]),
        of_columns,
        draw.any_tensor(b, &columns),
        of_result,
        draw.any_tensor(a, &rows),
    ];
    case("QLinearMatMul", inputs)
}

/// Biases are convolutions' alone.
fn convolutions(out: &mut Vec<Case>, draw: &mut Draw) {
    for (x, w) in [(DType::U8, DType::I8), (DType::I8, DType::I8)] {
        let scale = |value: f32| Tensor::scalar(value);
        let inputs = vec![
            draw.any_tensor(x, &[1, 5, 17, 17]),
            scale(0.03),
            draw.any_tensor(x, &[]),
            draw.any_tensor(w, &[133, 5, 3, 3]),
            draw.tensor(&[133], |draw| draw.plain().abs() * 0.02),
            Tensor::from_bytes(w, &[], &[0]).expect("a byte"),
            scale(1.3),
            draw.any_tensor(x, &[]),
            draw.tensor(&[133], |draw| draw.below(4000) as i32 - 2000),
        ];
        let way = Way::Warpgroups { blocks: 9 };
        out.push(Case::new("QLinearConv", Attrs::new(), inputs).by(way));
    }
}
