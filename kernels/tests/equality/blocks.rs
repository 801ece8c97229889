//! Contractions and convolutions larger than a block: several spans of terms, blocks of rows and of columns,
//! lines that end inside of a register.

use proptest::test_runner::TestCaseResult;
use repops::attrs::Attrs;
use repops::dtype::DType;

use super::Case;
use super::draw::{Data, Random, random};

#[test]
fn products_of_several_blocks() -> TestCaseResult {
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
        Case::new("MatMul", Attrs::new(), inputs).check_with_panels(&[1])?;
    }
    // A left operand that has to be packed, for several blocks of columns.
    let mut source = Random(9);
    let inputs = vec![
        random(DType::F32, &[300, 40], Data::Finite, &mut source),
        random(DType::F32, &[300, 2100], Data::Finite, &mut source),
    ];
    Case::new("Gemm", Attrs::new().with_int("transA", 1), inputs).check_with_panels(&[1])?;
    Ok(())
}

#[test]
fn convolutions_of_several_blocks() -> TestCaseResult {
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
            Case::new("Conv", attrs, inputs).check()?;
        }
    }
    Ok(())
}

#[test]
fn transposed_windows_that_do_not_overlap() -> TestCaseResult {
    // (channels, lines, columns), output channels of a group, kernel and stride, groups
    let cases: [([usize; 3], usize, [usize; 2], usize); 6] = [
        ([24, 20, 33], 1, [2, 2], 1),
        ([6, 9, 7], 5, [3, 2], 2),
        ([64, 5, 4], 3, [2, 2], 1),
        // More terms than a chunk: the ordinary way.
        ([65, 5, 4], 3, [2, 2], 1),
        ([1, 40, 50], 13, [1, 4], 1),
        ([2, 1, 1], 2, [5, 5], 2),
    ];
    for (index, ([channels, lines, columns], out, kernel, groups)) in cases.into_iter().enumerate() {
        for (data, dtype) in
            [(Data::Finite, DType::F32), (Data::Laden, DType::F32), (Data::Laden, DType::F16)]
        {
            let mut source = Random(index as u64);
            let attrs = Attrs::new()
                .with_int("group", groups as i64)
                .with_ints("strides", &[kernel[0] as i64, kernel[1] as i64]);
            let mut inputs = vec![
                random(dtype, &[2, channels, lines, columns], data, &mut source),
                random(dtype, &[channels, out, kernel[0], kernel[1]], data, &mut source),
            ];
            if index % 2 == 0 {
                inputs.push(random(dtype, &[out * groups], data, &mut source));
            }
            Case::new("ConvTranspose", attrs, inputs).check()?;
        }
    }
    Ok(())
}

#[test]
fn subnormal_weights() -> TestCaseResult {
    // Channels of weights that are subnormal, zero, or mixed with ordinary and with huge ones, and pixels that
    // are too small to be rescaled.
    for (seed, (groups, kernel)) in [(1, 1), (2, 3), (1, 3)].into_iter().enumerate() {
        let mut source = Random(seed as u64);
        let (channels, out) = (300 * groups, 7 * groups);
        let own = channels / groups;
        let mut x = random(DType::F32, &[2, channels, 9, 10], Data::Plain, &mut source);
        let mut w = random(DType::F32, &[out, own, kernel, kernel], Data::Plain, &mut source);
        let taps = kernel * kernel;
        for (at, w) in w.as_mut_slice::<f32>().iter_mut().enumerate() {
            let channel = at / taps % own;
            *w = match channel % 5 {
                0 | 1 => f32::from_bits(source.draw() as u32 & 0x807f_ffff),
                2 if source.below(2) == 0 => 0.0,
                2 => *w * 1e-39,
                3 if channel % 10 == 3 && source.below(30) == 0 => 3e38 * *w / 2.0,
                3 if source.below(9) == 0 => *w * 1e-40,
                _ => *w,
            };
        }
        w.canonicalize();
        for (at, x) in x.as_mut_slice::<f32>().iter_mut().enumerate() {
            match at / 90 % 7 {
                0 if source.below(20) == 0 => {
                    *x *= source.pick(&[0.0, -0.0, 1e-25, 1e-40, 1e30, f32::INFINITY]);
                }
                1 | 2 => *x *= 1e-39,
                3 => *x *= 1e-7,
                _ => {}
            }
        }
        x.canonicalize();
        let attrs =
            Attrs::new().with_int("group", groups as i64).with_ints("pads", &[(kernel / 2) as i64; 4]);
        Case::new("Conv", attrs, vec![x, w]).check()?;
    }
    Ok(())
}
