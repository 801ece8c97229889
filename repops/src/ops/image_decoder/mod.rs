//! ImageDecoder: the pixels of an image file.
//!
//! Only formats whose pixels follow from a text are decoded, and each reader is written for that text: no bit
//! depends on a library's version. Invariant: memory is bounded by [`PIXELS_MAX`], whatever a file claims, and a file
//! that ends or contradicts itself gives no picture rather than half of one.

mod bmp;
mod inflate;
mod jpeg;
mod png;
mod pnm;
mod tiff;

use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 782,
    name: "ImageDecoder",
    version: 1,
    doc: "Y [height, width, channels], u8: the pixels of the file whose bytes are X (u8, a vector); channels is 3 (RGB, BGR) or 1 (Grayscale). A file \
          that is none of these, is damaged, or has more than 2^26 pixels gives Y of shape [0, 0, channels]. \
          PNG: every kind; 16 bits keep their upper 8. BMP without compression. PBM, PGM, PPM. TIFF of 8-bit samples in strips, without compression, PackBits \
          or Deflate. JPEG of 8 bits with Huffman codes, sequential or progressive, of one or three components: IDCT by Loeffler, Ligtenberg and \
          Moschytz with constants of 13 bits, columns first, 2 bits kept between the passes, rounded half up; chroma widened by linear interpolation as ONNX says (by repetition \
          where a factor is not 2 or a row has less than 3 samples); colors by JFIF with constants of 16 bits, rounded half up. \
          Fewer than 8 bits are spread to 0 .. 255, palettes are looked up, opacity is left out. Grayscale of colors is (19595 R + 38470 G + 7471 B + 32768) / 65536, rounded down. Source: ONNX \
          ImageDecoder-20, without WebP and JPEG 2000.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "pixel_format",
        AttrKind::Str,
        || AttrValue::Str("RGB".to_string()),
        "RGB, BGR or Grayscale.",
    )],
    class: OpClass::General,
    infer,
    eval,
};

const PIXELS_MAX: usize = 1 << 26;

/// What a reader finds: rows of gray (one channel) or of red, green, blue.
struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

/// Extents that are not empty and not too many.
fn checked_extents(width: usize, height: usize) -> Option<(usize, usize)> {
    let pixels = width.checked_mul(height)?;
    (pixels > 0 && pixels <= PIXELS_MAX).then_some((width, height))
}

/// Bytes of a file by their places.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn get(self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(len)?)
    }

    fn number<const N: usize>(self, at: usize, is_little: bool) -> Option<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.get(at, N)?);
        if !is_little {
            wide[..N].reverse();
        }
        usize::try_from(u64::from_le_bytes(wide)).ok()
    }
}

fn decode(file: &[u8]) -> Option<Picture> {
    match file {
        [0x89, b'P', b'N', b'G', ..] => png::decode(file),
        [0xff, 0xd8, ..] => jpeg::decode(file),
        [b'B', b'M', ..] => bmp::decode(file),
        [b'P', b'1'..=b'6', ..] => pnm::decode(file),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => tiff::decode(file),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Rgb,
    Bgr,
    Gray,
}

impl Format {
    fn of(attrs: &Attrs) -> Result<Format, OpError> {
        match attrs.str("pixel_format") {
            "RGB" => Ok(Format::Rgb),
            "BGR" => Ok(Format::Bgr),
            "Grayscale" => Ok(Format::Gray),
            other => Err(OpError::attr("pixel_format", format!("{other:?} is none of ONNX's"))),
        }
    }

    fn channels(self) -> usize {
        if self == Format::Gray { 1 } else { 3 }
    }
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::U8)?;
    let format = Format::of(ctx.attrs)?;
    if ctx.shape(0)?.len() != 1 {
        return Err(OpError::shape(format!("{} is no vector", ctx.input(0)?.ty)));
    }
    let shape = vec![ctx.fresh_dim(), ctx.fresh_dim(), DimExpr::from(format.channels())];
    Ok(vec![Inferred::new(DType::U8, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let format = Format::of(ctx.attrs)?;
    let Some(picture) = decode(ctx.input(0).bytes) else {
        return Ok(vec![Tensor::zeros(DType::U8, &[0, 0, format.channels()])?]);
    };
    let mut y = Tensor::zeros(DType::U8, &[picture.height, picture.width, format.channels()])?;
    let pixels = picture.pixels.chunks_exact(picture.channels);
    for (out, pixel) in y.bytes_mut().chunks_exact_mut(format.channels()).zip(pixels) {
        match (format, pixel) {
            (Format::Gray, [r, g, b]) => {
                let [r, g, b] = [*r, *g, *b].map(u32::from);
                out[0] = ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16) as u8;
            }
            (Format::Bgr, [r, g, b]) => out.copy_from_slice(&[*b, *g, *r]),
            (Format::Rgb, [_, _, _]) => out.copy_from_slice(pixel),
            (_, pixel) => out.fill(pixel[0]),
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests;
