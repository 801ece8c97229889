//! log, log2 and log1p of f64.
//!
//! x = 2^k m, m in [0.707, 1.414); 64 intervals of m, each with a short c near 1/m (c = 1 around
//! m = 1); r = c m - 1, z = r/(2 + r), ln m = -ln c + 2 z (1 + z^2/3 + z^4/5 + ... + z^14/15).

use crate::lane::{IntLane, Lane64, MaskLane};
use crate::scalar::double_word::{Dw, fast_two_sum, horner, two_product, two_sum};
use crate::scalar::generated::double_tables::{
    INV_LN2, LN2_WORDS, LOG_C, LOG_HEAD, LOG_LN_HI, LOG_LN_LO, LOG_REST,
};
use crate::scalar::polynomial;

/// ln x. log(+-0) = -inf, log(1) = +0, log(+inf) = +inf, log(x < 0) = NaN.
///
/// Subnormal x is multiplied by 2^54 first.
#[inline(always)]
pub fn log<W: Lane64>(x: W) -> W {
    let (x_normal, k_less) = normalized(x);
    specials(x, x, log_parts(Dw::from_word(x_normal), k_less).natural().hi)
}

/// log2 x, exact for powers of two. Special cases as `log`.
#[inline(always)]
pub fn log2<W: Lane64>(x: W) -> W {
    let (x_normal, k_less) = normalized(x);
    specials(x, x, log_parts(Dw::from_word(x_normal), k_less).binary().hi)
}

/// ln(1 + x). log1p(+-0) = +-0, log1p(-1) = -inf, log1p(+inf) = +inf, log1p(x < -1) = NaN.
///
/// Below 2^-54 in magnitude it is x.
#[inline(always)]
pub fn log1p<W: Lane64>(x: W) -> W {
    let tiny = x.abs().less(W::splat(f64::EPSILON / 4.0));
    let y = specials(x.add(W::splat(1.0)), x, log1p_dw(x).hi);
    W::select(tiny, x, y)
}

/// ln x for normal x > 0; relative error below 2^-100.
#[inline(always)]
pub fn log_dw<W: Lane64>(x: W) -> Dw<W> {
    log_parts(Dw::from_word(x), W::splat(0.0)).natural()
}

/// ln x - k_less ln 2 for normal x.hi > 0; absolute error below 2^-100 max(1, |ln x|).
#[inline(always)]
pub(super) fn natural_dw<W: Lane64>(x: Dw<W>, k_less: W) -> Dw<W> {
    log_parts(x, k_less).natural()
}

/// log2 x for normal x > 0; relative error below 2^-100.
#[inline(always)]
pub fn log2_dw<W: Lane64>(x: W) -> Dw<W> {
    log_parts(Dw::from_word(x), W::splat(0.0)).binary()
}

/// log2 x for finite x > 0, subnormal ones too; relative error below 2^-100.
#[inline(always)]
pub(super) fn log2_normalized_dw<W: Lane64>(x: W) -> Dw<W> {
    let (x, k_less) = normalized(x);
    log_parts(Dw::from_word(x), k_less).binary()
}

/// ln(1 + x) for finite x > -1; relative error below 2^-100, short of underflow.
#[inline(always)]
pub fn log1p_dw<W: Lane64>(x: W) -> Dw<W> {
    log_parts(two_sum(W::splat(1.0), x), W::splat(0.0)).natural()
}

/// x or, if it is subnormal, 2^54 x; and what that adds to the exponent.
#[inline(always)]
fn normalized<W: Lane64>(x: W) -> (W, W) {
    let subnormal = x.less(W::splat(f64::MIN_POSITIVE));
    let scaled = x.mul(W::splat(18_014_398_509_481_984.0));
    (W::select(subnormal, scaled, x), W::select(subnormal, W::splat(54.0), W::splat(0.0)))
}

/// y where 0 < u < inf; -inf at u = 0, +inf at u = +inf, else NaN. `x` tells NaN and +inf.
#[inline(always)]
fn specials<W: Lane64>(u: W, x: W, y: W) -> W {
    let (zero, infinity) = (W::splat(0.0), W::splat(f64::INFINITY));
    let nan = W::from_bits(W::Bits::splat(0x7ff8_0000_0000_0000));
    let special = W::select(u.equal(zero), infinity.neg(), nan);
    let special = W::select(x.equal(infinity), infinity, special);
    W::select(zero.less(u).and(x.less(infinity)), y, special)
}

/// ln x = k ln2 + table + tail.
struct LogParts<W> {
    k: W,
    table: Dw<W>,
    tail: Dw<W>,
}

/// For normal x.hi > 0; `k_less` is taken from k.
#[inline(always)]
fn log_parts<W: Lane64>(x: Dw<W>, k_less: W) -> LogParts<W> {
    const OFFSET: u64 = 0x3fe6_a000_0000_0000_u64.wrapping_sub(1023 << 52);
    const TWO_52: u64 = 0x4330_0000_0000_0000;
    let bits = x.hi.to_bits();
    let z = bits.sub(W::Bits::splat(OFFSET));
    let biased = z.shr(52);
    let k = W::from_bits(biased.or(W::Bits::splat(TWO_52)));
    let k = k.sub(W::splat(4_503_599_627_370_496.0 + 1023.0)).sub(k_less);
    // 2^-k in two factors, because k may be 1024.
    let n = W::Bits::splat(2 * 1023 + 1023).sub(biased);
    let half = n.shr(1);
    let power = |m: W::Bits| W::from_bits(m.shl(52));
    let m = x.scale(power(half)).scale(power(n.sub(half)));
    let index = z.shr(46);
    let c = W::lookup(&LOG_C, index);
    let product = two_product(m.hi, c);
    // Exact: product.hi is near 1.
    let r = fast_two_sum(product.hi.sub(W::splat(1.0)), product.lo).add_word(m.lo.mul(c));
    let z = r.div(r.add_word(W::splat(2.0)));
    let square = z.mul(z);
    let series = horner(square, &LOG_HEAD, polynomial::horner(square.hi, &LOG_REST));
    let tail = z.mul(series).scale(W::splat(2.0));
    LogParts { k, table: Dw::lookup(&LOG_LN_HI, &LOG_LN_LO, index), tail }
}

impl<W: Lane64> LogParts<W> {
    #[inline(always)]
    fn natural(self) -> Dw<W> {
        // The first two products are exact: 11 and 40 bits.
        let first = self.k.mul(W::splat(LN2_WORDS[0]));
        let second = self.k.mul(W::splat(LN2_WORDS[1]));
        let sum = fast_two_sum(first, second).add_word(self.k.mul(W::splat(LN2_WORDS[2])));
        sum.add(self.table).add(self.tail)
    }

    #[inline(always)]
    fn binary(self) -> Dw<W> {
        self.table.add(self.tail).mul(Dw::splat(INV_LN2)).add_word(self.k)
    }
}
