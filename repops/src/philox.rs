//! Philox4x32-10: the one source of randomness.
//!
//! Invariant: a number is a function of its key and counter alone; there is no state to advance, so no
//! order of evaluation, thread or batch changes it.
//! Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2,
//! 3", SC 2011.

use crate::scalar::f64_;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
/// Added to the key after each round: the golden ratio and sqrt(3) - 1, in 32 bits.
const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// The four words of the block `counter` under `key`.
pub fn block(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let (mut key, mut c) = (key, counter);
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let product = |m: u32, v: u32| u64::from(m) * u64::from(v);
        let (a, b) = (product(MULTIPLIERS[0], c[0]), product(MULTIPLIERS[1], c[2]));
        c = [(b >> 32) as u32 ^ c[1] ^ key[0], b as u32, (a >> 32) as u32 ^ c[3] ^ key[1], a as u32];
    }
    c
}

/// A sequence of random words: word `i` is word `i mod 4` of the block with counter `(i / 4, 0)`, its
/// low 64 bits holding the block's number.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    pub fn new(seed: u32, stream: u32) -> Stream {
        Stream { key: [seed, stream] }
    }

    /// Random word `index`.
    pub fn word(&self, index: u64) -> u32 {
        let number = index / 4;
        block(self.key, [number as u32, (number >> 32) as u32, 0, 0])[(index % 4) as usize]
    }

    /// Uniform in the open interval (0, 1) with 24 bits: `((w >> 9) + 0.5) * 2^-23`, exact in f32.
    pub fn uniform_f32(&self, index: u64) -> f32 {
        open_f32(self.word(index))
    }

    /// Uniform in the open interval (0, 1) with 53 bits: `(v + 0.5) * 2^-52` where v is the top 52 bits of
    /// words `2 * index` (high) and `2 * index + 1` (low); exact in f64.
    pub fn uniform_f64(&self, index: u64) -> f64 {
        let index = index.wrapping_mul(2);
        let wide = u64::from(self.word(index)) << 32 | u64::from(self.word(index.wrapping_add(1)));
        ((wide >> 12) as f64 + 0.5) / (1u64 << 52) as f64
    }

    /// Standard normal, by Box and Muller in f64, each operation rounded once: with u = uniform 2k and v =
    /// uniform 2k + 1 (f64, see [`Stream::uniform_f64`]) for k = index / 2, r = sqrt(-2 * log(u)) and
    /// t = 2pi * v (2pi rounded to f64): r * cos(t) at even indices, r * sin(t) at odd ones.
    pub fn normal(&self, index: u64) -> f64 {
        let pair = index & !1;
        let (u, v) = (self.uniform_f64(pair), self.uniform_f64(pair | 1));
        let radius = (-2.0 * f64_::log(u)).sqrt();
        let angle = std::f64::consts::TAU * v;
        radius * if index & 1 == 0 { f64_::cos(angle) } else { f64_::sin(angle) }
    }
}

/// A word as a number in (0, 1).
pub fn open_f32(word: u32) -> f32 {
    ((word >> 9) as f32 + 0.5) / (1u32 << 23) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with their library, Random123.
    #[test]
    fn known_answers() {
        let answer = block([0, 0], [0; 4]);
        assert_eq!(answer, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let answer = block([u32::MAX; 2], [u32::MAX; 4]);
        assert_eq!(answer, [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let answer = block([0xa409_3822, 0x299f_31d0], pi);
        assert_eq!(answer, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn the_interval_is_open() {
        // 2^-24.
        assert_eq!(open_f32(0), f32::from_bits(103 << 23));
        assert_eq!(open_f32(u32::MAX), 1.0 - f32::from_bits(103 << 23));
    }

    #[test]
    fn numbers_are_spread_as_they_should_be() {
        let stream = Stream::new(7, 1);
        let n = 20_000;
        let (mut mean, mut square, mut uniform) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let z = stream.normal(i);
            mean += z;
            square += z * z;
            uniform += stream.uniform_f64(i);
        }
        let n = n as f64;
        assert!(
            (mean / n).abs() < 0.03 && (square / n - 1.0).abs() < 0.04 && (uniform / n - 0.5).abs() < 0.01
        );
        assert_ne!(stream.word(0), Stream::new(7, 2).word(0));
        assert_ne!(stream.word(0), Stream::new(8, 1).word(0));
    }
}
