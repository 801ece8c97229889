//! What the tests draw: shapes that straddle the kernels' blocks and chunks, and elements among which the special
//! ones are frequent.
//!
//! Invariant: everything is drawn by proptest strategies from a fixed seed, so every machine draws the same cases;
//! shrinking goes to small extents, to f32 and to plain numbers.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use repops::dtype::{DType, narrow};
use repops::tensor::Tensor;

/// How many cases a property draws. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` draw others; an emulated machine takes
/// a share.
pub fn cases(count: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let wanted = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { count };
    let share = if std::env::var_os("REPOPS_EMULATED").is_some() { wanted.div_ceil(8) } else { wanted };
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x5eed),
        fixed => fixed,
    };
    ProptestConfig { cases: share, rng_seed, max_shrink_iters: 1000, ..default }
}

/// What elements are like, the plainest first.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Data {
    /// Numbers around 1, so that rounding shows.
    Plain,
    /// One in eight is a zero of either sign, a subnormal, tiny or huge; no NaN or infinity.
    Finite,
    /// As `Finite`, and one in 200 is an infinity or NaN.
    Laden,
    /// Stretches of up to 60 elements that are all plain, all subnormal, all zero or all of another kind: whole
    /// channels and lines of what is mostly found alone.
    Stretches,
    /// Every bit pattern as likely as any other. NaNs are made canonical, as they are wherever one enters.
    Bits,
}

/// Where a tensor's elements come from.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub data: Data,
    pub seed: u64,
}

/// Elements for contractions and reductions: whatever is drawn at random is mostly huge there.
pub fn fill() -> impl Strategy<Value = Fill> {
    let data = select(&[Data::Plain, Data::Finite, Data::Stretches, Data::Laden][..]);
    (data, any::<u64>().no_shrink()).prop_map(|(data, seed)| Fill { data, seed })
}

/// Elements for operators that look at each by itself.
pub fn fill_any() -> impl Strategy<Value = Fill> {
    let data = select(&[Data::Plain, Data::Laden, Data::Bits][..]);
    (data, any::<u64>().no_shrink()).prop_map(|(data, seed)| Fill { data, seed })
}

impl Fill {
    pub fn new(data: Data, seed: u64) -> Fill {
        Fill { data, seed }
    }

    /// The tensors of one case, each with other elements.
    pub fn source(self) -> Source {
        Source { data: self.data, random: Random(self.seed) }
    }
}

/// Makes tensors, one after the other.
pub struct Source {
    data: Data,
    random: Random,
}

impl Source {
    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        random(dtype, shape, self.data, &mut self.random)
    }
}

/// A tensor of such elements.
pub fn random(dtype: DType, shape: &[usize], data: Data, source: &mut Random) -> Tensor {
    let count: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(count * dtype.size());
    let (mut kind, mut left) = (data, usize::MAX);
    for index in 0..count {
        if data == Data::Stretches && (index == 0 || left == 0) {
            kind = source.pick(&[Data::Plain, Data::Finite, Data::Stretches, Data::Laden]);
            left = 1 + source.below(60);
        }
        left -= 1;
        match kind {
            Data::Stretches if dtype.is_float() => bytes.extend_from_slice(&subnormal(dtype, source.draw())),
            kind => source.element(dtype, kind, &mut bytes),
        }
    }
    let mut tensor = Tensor::from_bytes(dtype, shape, &bytes).unwrap();
    tensor.canonicalize();
    tensor
}

/// Numbers that depend on the seed alone.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number in `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.draw() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn element(&mut self, dtype: DType, data: Data, bytes: &mut Vec<u8>) {
        let word = self.draw();
        if dtype == DType::Bool || !dtype.is_float() || data == Data::Bits {
            let value = match dtype {
                DType::Bool => word & 1,
                // Of the smallest types not every byte is an element.
                narrow if narrow.is_narrow() => u64::from(narrow::unpack(narrow, &[word as u8], 1)[0]),
                _ => word,
            };
            bytes.extend_from_slice(&value.to_le_bytes()[..dtype.size()]);
            return;
        }
        let value = match data {
            Data::Laden if word >> 6 & 0xff == 7 => {
                // Sign, exponent and payload of an infinity or a NaN.
                let payload = if word & 1 << 20 == 0 { 0 } else { (word >> 24).max(1) };
                return bytes.extend_from_slice(&not_finite(dtype, word & 1 << 21 != 0, payload));
            }
            Data::Finite | Data::Laden if word.is_multiple_of(8) => match word >> 3 & 7 {
                0 | 1 => 0.0,
                2 | 3 => -0.0,
                4 => around_one(word) * 1e-30,
                5 => around_one(word) * 1e25,
                _ => return bytes.extend_from_slice(&subnormal(dtype, word >> 40)),
            },
            _ => around_one(word),
        };
        match dtype {
            DType::F32 => bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            DType::F64 => bytes.extend_from_slice(&value.to_le_bytes()),
            // 1e25 is infinite in f16: there it is 1e4.
            DType::F16 if value.abs() > 1e5 => {
                bytes.extend_from_slice(&half::f16::from_f64(value * 1e-21).to_le_bytes());
            }
            DType::F16 => bytes.extend_from_slice(&half::f16::from_f64(value).to_le_bytes()),
            _ => bytes.extend_from_slice(&half::bf16::from_f64(value).to_le_bytes()),
        }
    }
}

/// In -2 .. 2.
fn around_one(word: u64) -> f64 {
    (word >> 40) as f64 / (1u64 << 22) as f64 - 2.0
}

/// Bits of the fraction.
fn fraction_bits(dtype: DType) -> u32 {
    match dtype {
        DType::F32 => 23,
        DType::F64 => 52,
        DType::F16 => 10,
        _ => 7,
    }
}

fn subnormal(dtype: DType, word: u64) -> Vec<u8> {
    let sign = (word & 1) << (8 * dtype.size() - 1);
    // One in eight is a zero.
    let fraction = if word >> 1 & 7 == 0 { 0 } else { word >> 4 & ((1 << fraction_bits(dtype)) - 1) };
    (sign | fraction).to_le_bytes()[..dtype.size()].to_vec()
}

/// An infinity when the payload is 0.
fn not_finite(dtype: DType, is_negative: bool, payload: u64) -> Vec<u8> {
    let bits = 8 * dtype.size() as u32;
    let fraction = fraction_bits(dtype);
    let exponent = ((1u64 << (bits - 1 - fraction)) - 1) << fraction;
    let payload = if payload == 0 { 0 } else { (payload & ((1 << fraction) - 1)).max(1) };
    let sign = u64::from(is_negative) << (bits - 1);
    (sign | exponent | payload).to_le_bytes()[..dtype.size()].to_vec()
}

/// An extent of at most `small`, or next to one of `edges`; now and then 0.
pub fn extent(small: usize, edges: &'static [usize]) -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 1..=small,
        6 => (select(edges), 0..=2usize).prop_map(|(edge, more)| edge - 1 + more),
        1 => Just(0usize),
    ]
}

/// An extent of at most `small`; now and then 0.
pub fn small_extent(small: usize) -> impl Strategy<Value = usize> {
    prop_oneof![24 => 1..=small, 1 => Just(0usize)]
}

/// f32 as often as all of the others together.
pub fn f32_or(others: &'static [DType]) -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), select(others)]
}

pub fn any_dtype() -> impl Strategy<Value = DType> {
    select(&DType::ALL[..])
}

/// A shape of `from ..= to` axes with at most about `count` elements.
pub fn shape(from: usize, to: usize, count: usize) -> impl Strategy<Value = Vec<usize>> {
    let axis = prop_oneof![8 => small_extent(9), 3 => 1..=40usize, 1 => 1..=700usize];
    prop::collection::vec(axis, from..=to).prop_map(move |mut shape| {
        shrink_to(&mut shape, count);
        shape
    })
}

/// Halves the largest extent until there are at most `count` elements, also with 1 in place of a 0.
pub fn shrink_to(shape: &mut [usize], count: usize) {
    while shape.iter().map(|&extent| extent.max(1)).product::<usize>() > count.max(1) {
        if let Some(largest) = shape.iter_mut().max() {
            *largest = largest.div_ceil(2);
        }
    }
}

/// The axis `index` of `rank`, written from the front or from the back.
pub fn signed_axis(index: usize, rank: usize, from_back: bool) -> i64 {
    if from_back { index as i64 - rank as i64 } else { index as i64 }
}
