//! Pictures by hand, files that others wrote, and damaged ones.

use super::*;
use crate::ops::check::run;

const PNG: &[u8] = include_bytes!("testdata/palette.png");
const PROGRESSIVE: &[u8] = include_bytes!("testdata/progressive.jpg");

fn pixels(file: &[u8], format: &str) -> (Vec<usize>, Vec<u8>) {
    let x = Tensor::from_slice(&[file.len()], file);
    let y = run("ImageDecoder", Attrs::new().with_str("pixel_format", format), &[&x]);
    (y.shape().to_vec(), y.bytes().to_vec())
}

#[test]
fn netpbm_by_hand() {
    let (shape, found) = pixels(b"P3 # two\n2 1 100\n100 50 0  1 2 3\n", "RGB");
    assert_eq!((shape, found), (vec![1, 2, 3], vec![255, 128, 0, 3, 5, 8]));
    assert_eq!(pixels(b"P6 1 1 255 \x01\x02\x03", "BGR").1, [3, 2, 1]);
    assert_eq!(pixels(b"P6 1 1 255 \x01\x02\x03", "Grayscale"), (vec![1, 1, 1], vec![2]));
    assert_eq!(pixels(b"P4 9 1 \x80\x00", "Grayscale").1, [0, 255, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(pixels(b"P1 2 1 10", "RGB").1, [0, 0, 0, 255, 255, 255]);
    assert_eq!(pixels(b"P5 1 1 65535 \xff\xff", "RGB").1, [255, 255, 255]);
}

#[test]
fn what_is_no_picture_is_empty() {
    for file in [
        &b""[..],
        b"P6 1 1 255 \x01\x02",
        b"P6 0 1 255 ",
        b"P6 99999 99999 255 ",
        b"P6 1 1 0 \x01\x02\x03",
        b"BM",
        &PNG[..40],
    ] {
        assert_eq!(pixels(file, "RGB").0, [0, 0, 3], "{file:?}");
    }
    assert_eq!(pixels(b"GIF89a", "Grayscale").0, [0, 0, 1]);
}

/// Files by Pillow 12 and the pixels that it reads from them.
#[test]
fn files_of_others() {
    for (file, expected) in [
        (PNG, &include_bytes!("testdata/palette.rgb")[..]),
        (include_bytes!("testdata/gray.png"), include_bytes!("testdata/gray.rgb")),
        (include_bytes!("testdata/interlaced.png"), include_bytes!("testdata/interlaced.rgb")),
        (PROGRESSIVE, include_bytes!("testdata/progressive.rgb")),
        (include_bytes!("testdata/restart.jpg"), include_bytes!("testdata/restart.rgb")),
        (include_bytes!("testdata/wide.jpg"), include_bytes!("testdata/wide.rgb")),
        (include_bytes!("testdata/packbits.tif"), include_bytes!("testdata/packbits.rgb")),
        (include_bytes!("testdata/deflate.tif"), include_bytes!("testdata/deflate.rgb")),
        (include_bytes!("testdata/palette.bmp"), include_bytes!("testdata/palette.rgb")),
    ] {
        let (shape, found) = pixels(file, "RGB");
        assert_eq!(shape.iter().product::<usize>(), expected.len(), "{shape:?}");
        let different = found.iter().zip(expected).filter(|(a, b)| a != b).count();
        assert_eq!(different, 0, "of {shape:?}");
    }
}

/// No damage makes a reader panic, and what is read has the size that it says.
#[test]
fn damaged_files() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize
    };
    for file in
        [PNG, PROGRESSIVE, include_bytes!("testdata/packbits.tif"), include_bytes!("testdata/restart.jpg")]
    {
        for _ in 0..300 {
            let mut damaged = file.to_vec();
            for _ in 0..1 + next() % 4 {
                let at = next() % damaged.len();
                damaged[at] = next() as u8;
            }
            damaged.truncate(damaged.len() - next() % 8);
            if let Some(picture) = decode(&damaged).filter(|p| p.width * p.height < 1 << 16) {
                assert_eq!(picture.pixels.len(), picture.width * picture.height * picture.channels);
            }
        }
    }
}
