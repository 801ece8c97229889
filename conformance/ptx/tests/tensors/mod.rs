//! Tensors for tests: spread over all magnitudes, with the numbers at the edges among them.
#![allow(dead_code, reason = "not every test uses every one")]

use half::{bf16, f16};
use repops::dtype::DType;
use repops::tensor::Tensor;

/// A stream of words (a linear congruence, its upper bits).
pub struct Words(u64);

impl Words {
    pub fn new(seed: u64) -> Words {
        Words(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0;
        (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (x >> 32)
    }
}

/// Zeros, subnormals, ties, limits, infinities and NaN.
const EDGES: [u32; 24] = [
    0x0000_0000,
    0x8000_0000,
    0x0000_0001,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0000,
    0x3f00_0000,
    0xbf00_0000,
    0x4020_0000,
    0xc020_0000,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x4b00_0000,
    0x4b00_0001,
    0x42ae_ac4f,
    0xc2d0_0000,
    0x3380_0000,
    0x477f_e000,
    0x4f00_0000,
];

/// Floats: every other one of moderate size, the others of any bits, edges in between.
pub fn floats(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut words = Words::new(seed);
    let values: Vec<f64> = (0..n)
        .map(|i| {
            let word = words.next();
            match i % 4 {
                0 => f64::from(f32::from_bits(EDGES[(word % 24) as usize])),
                1 if dtype == DType::F64 => f64::from_bits(word),
                1 => f64::from(f32::from_bits(word as u32)),
                _ => {
                    ((word >> 40) as f64 / f64::from(1 << 24) - 0.5)
                        * [1.0, 4.0, 20.0, 300.0][(word % 4) as usize]
                }
            }
        })
        .collect();
    convert(dtype, shape, &values)
}

/// Floats between -1 and 1, no edges among them: sums of these are numbers.
pub fn tame(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut words = Words::new(seed);
    let values: Vec<f64> = (0..n).map(|_| (words.next() >> 40) as f64 / f64::from(1 << 23) - 1.0).collect();
    convert(dtype, shape, &values)
}

fn convert(dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    let mut tensor = match dtype {
        DType::F64 => Tensor::from_slice(shape, values),
        DType::F16 => {
            Tensor::from_slice(shape, &values.iter().map(|&v| f16::from_f64(v)).collect::<Vec<_>>())
        }
        DType::BF16 => {
            Tensor::from_slice(shape, &values.iter().map(|&v| bf16::from_f64(v)).collect::<Vec<_>>())
        }
        _ => Tensor::from_slice(shape, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
    };
    tensor.canonicalize();
    tensor
}

/// Integers: small ones, any bits, and the limits of the type.
pub fn integers(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let mut words = Words::new(seed);
    let mut tensor = Tensor::zeros(dtype, shape).unwrap();
    let size = dtype.size();
    for (i, element) in tensor.bytes_mut().chunks_exact_mut(size).enumerate() {
        let word = words.next();
        let value = match i % 5 {
            0 => [0, 1, u64::MAX, 1 << (8 * size - 1), (1 << (8 * size - 1)) - 1][(word % 5) as usize],
            1 | 2 => (word % 21).wrapping_sub(10),
            _ => word,
        };
        element.copy_from_slice(&value.to_le_bytes()[..size]);
    }
    tensor
}

/// The same with 3 wherever there is a 0.
pub fn without_zeros(mut tensor: Tensor) -> Tensor {
    let size = tensor.dtype().size();
    for element in tensor.bytes_mut().chunks_exact_mut(size) {
        if element.iter().all(|byte| *byte == 0) {
            element[0] = 3;
        }
    }
    tensor
}

/// A tensor whose elements have these lowest bytes.
pub fn bytes_of(dtype: DType, shape: &[usize], f: impl Fn(usize) -> u8) -> Tensor {
    let mut tensor = Tensor::zeros(dtype, shape).unwrap();
    let size = dtype.size();
    for (i, element) in tensor.bytes_mut().chunks_exact_mut(size).enumerate() {
        element[0] = f(i);
    }
    tensor
}

pub fn truths(shape: &[usize], seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut words = Words::new(seed);
    Tensor::from_bools(shape, &(0..n).map(|_| words.next() >> 63 == 1).collect::<Vec<_>>())
}

/// i64 indices below `extent`, counted from either end.
pub fn indices(shape: &[usize], extent: i64, seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut words = Words::new(seed);
    let of = |word: u64| (word >> 8) as i64 % (2 * extent) - extent;
    Tensor::from_slice(shape, &(0..n).map(|_| of(words.next())).collect::<Vec<_>>())
}
