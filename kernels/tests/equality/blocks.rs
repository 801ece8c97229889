//! Contractions and convolutions larger than a block: several spans of terms, blocks of rows and of columns,
//! lines that end inside of a register.

use repops::attrs::Attrs;
use repops::dtype::DType;

use super::{Case, Data, Random, random};

#[test]
fn products_of_several_blocks() {
    // More terms than a span (1024), than two and than four; more rows than a block of either kind (192 and
    // 2048); more columns than a packed block has.
    let sizes = [
        (30, 5200, 70),
        (13, 2100, 300),
        (3, 4200, 200),
        (420, 1100, 40),
        (205, 260, 530),
        (2051, 30, 33),
        (26, 1030, 1100),
    ];
    for (index, (m, k, n)) in sizes.into_iter().enumerate() {
        let data = if index % 2 == 0 { Data::Plain } else { Data::Finite };
        let mut source = Random(index as u64);
        let inputs = vec![
            random(DType::F32, &[m, k], data, &mut source),
            random(DType::F32, &[k, n], data, &mut source),
        ];
        Case::new("MatMul", Attrs::new(), inputs).check_with_panels(&[1]);
    }
    // A left operand that has to be packed, for several blocks of columns.
    let mut source = Random(9);
    let inputs = vec![
        random(DType::F32, &[300, 40], Data::Finite, &mut source),
        random(DType::F32, &[300, 2100], Data::Finite, &mut source),
    ];
    Case::new("Gemm", Attrs::new().with_int("transA", 1), inputs).check_with_panels(&[1]);
}

#[test]
fn convolutions_of_several_blocks() {
    // (channels, lines, columns), output channels, kernel, stride, dilation, pad, groups
    let cases: [([usize; 3], usize, [usize; 2], i64, i64, i64, usize); 8] = [
        // Blocks of columns that begin inside of a line.
        ([5, 90, 61], 20, [3, 3], 1, 1, 1, 1),
        ([3, 131, 97], 13, [3, 3], 2, 1, 1, 1),
        // Spans that begin inside of a channel.
        ([130, 9, 14], 14, [3, 3], 1, 1, 1, 1),
        ([60, 17, 15], 7, [5, 5], 3, 2, 4, 1),
        ([8, 70, 40], 6, [2, 7], 1, 3, 5, 2),
        // One plane for each channel.
        ([3, 50, 83], 3, [7, 7], 1, 1, 3, 3),
        ([2, 61, 70], 4, [3, 3], 2, 1, 1, 2),
        ([2, 33, 29], 2, [5, 3], 3, 2, 2, 2),
    ];
    for (index, ([channels, lines, columns], out, kernel, stride, dilation, pad, groups)) in
        cases.into_iter().enumerate()
    {
        for data in [Data::Finite, Data::Laden] {
            let mut source = Random(index as u64);
            let attrs = Attrs::new()
                .with_int("group", groups as i64)
                .with_ints("strides", &[stride; 2])
                .with_ints("dilations", &[dilation; 2])
                .with_ints("pads", &[pad, pad, pad - 1, pad]);
            let inputs = vec![
                random(DType::F32, &[1, channels, lines, columns], data, &mut source),
                random(DType::F32, &[out, channels / groups, kernel[0], kernel[1]], data, &mut source),
                random(DType::F32, &[out], data, &mut source),
            ];
            Case::new("Conv", attrs, inputs).check();
        }
    }
}
