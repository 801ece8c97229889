//! Activations composed of the scalar functions.
//!
//! Invariant: the formula in each doc comment gives the steps, each rounded; they are those of the ONNX
//! function bodies, save where the comment says why not.

use super::arithmetic::maximum;
use super::math::Math;

/// With e = exp(-|x|): 1 / (1 + e) where x >= 0, else e / (1 + e).
///
/// Never overflows and keeps its relative accuracy for large negative x; sigmoid(-inf) = +0,
/// sigmoid(+inf) = 1.
#[inline(always)]
pub fn sigmoid<M: Math>(x: M) -> M {
    let one = M::constant(1.0);
    let e = x.abs().neg().exp();
    M::select(x.less(M::constant(0.0)), e, one).div(one.add(e))
}

/// x * sigmoid(alpha * x); NaN at the infinity where the second factor is 0.
#[inline(always)]
pub fn swish<M: Math>(x: M, alpha: f32) -> M {
    x.mul(sigmoid(M::constant(f64::from(alpha)).mul(x)))
}

/// maximum(x, +0) + log1p(exp(-|x|)).
///
/// ONNX's log(exp(x) + 1) overflows from x = 88.7 on and is 0 below -16.6; this is the same function
/// without either.
#[inline(always)]
pub fn softplus<M: Math>(x: M) -> M {
    maximum(x, M::constant(0.0)).add(x.abs().neg().exp().log1p())
}

/// x * tanh(softplus(x)); NaN at -inf.
#[inline(always)]
pub fn mish<M: Math>(x: M) -> M {
    x.mul(softplus(x).tanh())
}

/// alpha * (exp(x) - 1) below 0, else x.
#[inline(always)]
pub fn elu<M: Math>(x: M, alpha: f32) -> M {
    let below = M::constant(f64::from(alpha)).mul(x.exp().sub(M::constant(1.0)));
    M::select(x.less(M::constant(0.0)), below, x)
}

/// gamma * (alpha * exp(x) - alpha) below 0, else gamma * x.
#[inline(always)]
pub fn selu<M: Math>(x: M, alpha: f32, gamma: f32) -> M {
    let (alpha, gamma) = (M::constant(f64::from(alpha)), M::constant(f64::from(gamma)));
    let below = alpha.mul(x.exp()).sub(alpha);
    gamma.mul(M::select(x.less(M::constant(0.0)), below, x))
}

/// alpha * elu(x / alpha) with elu's alpha = 1.
#[inline(always)]
pub fn celu<M: Math>(x: M, alpha: f32) -> M {
    let alpha = M::constant(f64::from(alpha));
    alpha.mul(elu(x.div(alpha), 1.0))
}

/// (0.5 * x) * (1 + erf(x / sqrt 2)), sqrt 2 rounded to the type; NaN at -inf.
#[inline(always)]
pub fn gelu<M: Math>(x: M) -> M {
    let phi = M::constant(1.0).add(x.div(M::constant(std::f64::consts::SQRT_2)).erf());
    M::constant(0.5).mul(x).mul(phi)
}

/// (0.5 * x) * (1 + tanh(c * (x + 0.044715 * ((x * x) * x)))) with c = sqrt(2 / pi), constants rounded
/// to the type; NaN at -inf.
#[inline(always)]
pub fn gelu_tanh<M: Math>(x: M) -> M {
    // sqrt(2 / pi).
    let c = M::constant(0.797_884_560_802_865_4);
    let cube = x.mul(x).mul(x);
    let inner = c.mul(x.add(M::constant(0.044_715).mul(cube)));
    M::constant(0.5).mul(x).mul(M::constant(1.0).add(inner.tanh()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(f: fn(f32) -> f32, cases: &[(f32, u32)]) {
        for &(x, want) in cases {
            let got = f(x).to_bits();
            assert_eq!(got, want, "f({x:?}) = {:?} ({got:#010x})", f(x));
        }
        assert!(f(f32::NAN).is_nan());
    }

    const INF: f32 = f32::INFINITY;

    #[test]
    fn edges() {
        // sigmoid(-100) = e^-100 is subnormal, not 0.
        check(
            sigmoid,
            &[(0.0, 0x3f00_0000), (-0.0, 0x3f00_0000), (INF, 0x3f80_0000), (-INF, 0), (-100.0, 0x1b)],
        );
        check(softplus, &[(INF, 0x7f80_0000), (-INF, 0), (0.0, 0x3f31_7218), (1000.0, 0x447a_0000)]);
        check(|x| elu(x, 1.0), &[(-0.0, 0x8000_0000), (-INF, 0xbf80_0000), (INF, 0x7f80_0000)]);
        check(gelu, &[(0.0, 0), (-0.0, 0x8000_0000), (INF, 0x7f80_0000)]);
        check(gelu_tanh, &[(0.0, 0), (-0.0, 0x8000_0000), (INF, 0x7f80_0000)]);
        check(mish, &[(0.0, 0), (INF, 0x7f80_0000)]);
        assert!(gelu(-INF).is_nan() && mish(-INF).is_nan());
    }

    /// The composites stay within a few units in the last place of the function, evaluated in f64.
    #[test]
    fn composites_are_accurate() {
        let mut x = -40.0f32;
        while x < 40.0 {
            let wide = f64::from(x);
            let e = f64::from(crate::scalar::exp(-x.abs()));
            let sigmoid_wide = if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) };
            let error = (f64::from(sigmoid(x)) - sigmoid_wide).abs();
            assert!(error <= sigmoid_wide * 1.5e-7, "sigmoid({wide})");
            x += 0.0371;
        }
    }
}
