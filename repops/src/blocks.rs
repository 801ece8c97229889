//! Weights in blocks: matrices whose elements are small integers with scales of their own.
//!
//! A matrix `[K, N]` is stored as `[ceil(N / 16), K / positions, bytes]` of u8: panels of 16 columns, cut into blocks of
//! [`Format::positions`] positions of K. Columns past N are zero bytes. Within a block 16-bit floats are
//! little-endian, and the column runs fastest. Invariant: an element's value is the formula of its
//! format and nothing else; how a model file ordered its bytes is the compiler's matter.

use half::f16;

/// Columns of a panel.
pub const COLUMNS: usize = 16;

/// How a block stores its elements.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Format {
    /// d f16[16], q i8[32][16]: `d * q`.
    Q8_0,
    /// d f16[16], nibbles [16][16]: `d * (q - 8)`.
    Q4_0,
    /// d f16[16], m f16[16], nibbles [16][16]: `fma(d, q, m)`.
    Q4_1,
    /// d f16[16], dmin f16[16], sc u8[8][16], mn u8[8][16], nibbles [128][16]: `fma(d * sc, q, -(dmin * mn))`.
    Q4K,
    /// d f16[16], sc i8[16][16], low nibbles [128][16], high pairs of bits [64][16]: `(d * sc) * (q - 32)`.
    Q6K,
}

impl Format {
    pub const ALL: [Format; 5] = [Format::Q8_0, Format::Q4_0, Format::Q4_1, Format::Q4K, Format::Q6K];

    /// As attributes spell it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Q8_0 => "q8_0",
            Format::Q4_0 => "q4_0",
            Format::Q4_1 => "q4_1",
            Format::Q4K => "q4_k",
            Format::Q6K => "q6_k",
        }
    }

    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Positions of K that one block covers.
    pub fn positions(self) -> usize {
        match self {
            Format::Q8_0 | Format::Q4_0 | Format::Q4_1 => 32,
            Format::Q4K | Format::Q6K => 256,
        }
    }

    /// Bytes of a block of 16 columns.
    pub fn bytes(self) -> usize {
        match self {
            Format::Q8_0 => 32 + 32 * 16,
            Format::Q4_0 => 32 + 16 * 16,
            Format::Q4_1 => 64 + 16 * 16,
            Format::Q4K => 64 + 2 * 8 * 16 + 128 * 16,
            Format::Q6K => 32 + 16 * 16 + 128 * 16 + 64 * 16,
        }
    }

    /// The element of a block at `position` and `column`, which are below [`Format::positions`] and
    /// [`COLUMNS`]; `byte` gives the block's bytes. Operations as the format's formula has them; each but the last is exact.
    pub fn element<E>(
        self,
        position: usize,
        column: usize,
        mut byte: impl FnMut(usize) -> Result<u8, E>,
    ) -> Result<f32, E> {
        let mut half = |row: usize| -> Result<f32, E> {
            let at = (row * COLUMNS + column) * 2;
            Ok(f16::from_le_bytes([byte(at)?, byte(at + 1)?]).to_f32())
        };
        let at = |start: usize, row: usize| start + row * COLUMNS + column;
        let nibble = |byte: u8| f32::from(if position.is_multiple_of(2) { byte & 15 } else { byte >> 4 });
        Ok(match self {
            Format::Q8_0 => half(0)? * f32::from(byte(at(32, position))? as i8),
            Format::Q4_0 => half(0)? * (nibble(byte(at(32, position / 2))?) - 8.0),
            Format::Q4_1 => {
                let (d, m) = (half(0)?, half(1)?);
                d.mul_add(nibble(byte(at(64, position / 2))?), m)
            }
            Format::Q4K => {
                let (d, dmin) = (half(0)?, half(1)?);
                let scale = d * f32::from(byte(at(64, position / 32))?);
                let least = dmin * f32::from(byte(at(192, position / 32))?);
                scale.mul_add(nibble(byte(at(320, position / 2))?), -least)
            }
            Format::Q6K => {
                let scale = half(0)? * f32::from(byte(at(32, position / 16))? as i8);
                let low = if position.is_multiple_of(2) { 0 } else { 4 };
                let low = byte(at(288, position / 2))? >> low & 15;
                let high = byte(at(288 + 2048, position / 4))? >> (2 * (position % 4)) & 3;
                scale * (f32::from(high << 4 | low) - 32.0)
            }
        })
    }

    /// The element of a whole matrix `[K, N]`, of `k` positions, at a position and column.
    pub fn at<E>(
        self,
        k: usize,
        position: usize,
        column: usize,
        mut byte: impl FnMut(usize) -> Result<u8, E>,
    ) -> Result<f32, E> {
        let blocks = k / self.positions();
        let block = column / COLUMNS * blocks + position / self.positions();
        let start = block * self.bytes();
        self.element(position % self.positions(), column % COLUMNS, |at| byte(start + at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_follow_the_formulas() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
            let bytes: Vec<u8> = (0..format.bytes()).map(|i| (i * 89 % 251) as u8).collect();
            let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32();
            for position in 0..format.positions() {
                for column in 0..COLUMNS {
                    let found = format
                        .element(position, column, |at| bytes.get(at).copied().ok_or(at))
                        .expect("every byte is in the block");
                    let low = |start: usize| {
                        let byte = bytes[start + position / 2 * 16 + column];
                        f32::from(byte >> (position % 2 * 4) & 15)
                    };
                    let d = half(2 * column);
                    let expected = match format {
                        Format::Q8_0 => d * f32::from(bytes[32 + 16 * position + column] as i8),
                        Format::Q4_0 => d * (low(32) - 8.0),
                        Format::Q4_1 => d * low(64) + half(32 + 2 * column),
                        Format::Q4K => {
                            let sub = 16 * (position / 32) + column;
                            d * f32::from(bytes[64 + sub]) * low(320)
                                - half(32 + 2 * column) * f32::from(bytes[192 + sub])
                        }
                        Format::Q6K => {
                            let high = bytes[2336 + position / 4 * 16 + column] >> (position % 4 * 2) & 3;
                            let q = low(288) + 16.0 * f32::from(high);
                            d * f32::from(bytes[32 + 16 * (position / 16) + column] as i8) * (q - 32.0)
                        }
                    };
                    assert!(
                        found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                        "{format:?} {position} {column}: {found} {expected}"
                    );
                }
            }
        }
    }
}
