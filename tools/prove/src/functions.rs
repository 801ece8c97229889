//! The functions with their independent evaluations.

use repops::lane::{Lane, Lane64};
use repops::scalar::double_word::Dw;
use repops::scalar::{self, f64_};

use crate::judge::{Judged, Symmetry};

/// max(low, min(high, x)).
#[inline(always)]
fn clamp<W: Lane64>(x: W, low: f64, high: f64) -> W {
    let (low, high) = (W::splat(low), W::splat(high));
    let x = W::select(x.less(low), low, x);
    W::select(high.less(x), high, x)
}

#[inline(always)]
fn nowhere<L: Lane>(x: L) -> L::Mask {
    x.less(x)
}

#[inline(always)]
fn infinite<L: Lane>(x: L) -> L::Mask {
    x.abs().equal(L::splat(f32::INFINITY))
}

macro_rules! judged {
    ($($type:ident $name:ident $symmetry:ident [$limit:expr] |$x:ident| $value:expr, |$l:ident| $undefined:expr
            $(, near zero $near:expr)?;)*) => {
        /// All names.
        pub const NAMES: &[&str] = &[$(stringify!($name),)*];

        $(
            pub struct $type;
            impl Judged for $type {
                const SYMMETRY: Symmetry = Symmetry::$symmetry;
                const CONSTANT_FROM: f32 = $limit;
                #[inline(always)]
                fn candidate<L: Lane>(x: L) -> L {
                    scalar::$name(x)
                }
                #[inline(always)]
                fn value<L: Lane>($x: L::F64) -> Dw<L::F64> {
                    $value
                }
                $(
                    #[inline(always)]
                    fn value_near_zero<L: Lane>($x: L::F64) -> Dw<L::F64> {
                        $near
                    }
                )?
                #[inline(always)]
                fn undefined<L: Lane>($l: L) -> L::Mask {
                    $undefined
                }
            }
        )*

        /// Calls `visitor` with the function of that name.
        pub fn with_function<V: Visitor>(name: &str, visitor: V) -> Option<V::Output> {
            match name {
                $(stringify!($name) => Some(visitor.visit($type)),)*
                _ => None,
            }
        }
    };
}

/// Something to do with a function.
pub trait Visitor {
    type Output;
    fn visit<F: Judged>(self, function: F) -> Self::Output;
}

judged! {
    Exp exp None [110.0] |x| f64_::exp::exp_dw(clamp(x, -110.0, 100.0)), |x| nowhere(x);
    Exp2 exp2 None [160.0] |x| f64_::exp::exp2_dw(clamp(x, -160.0, 140.0)), |x| nowhere(x);
    Expm1 expm1 None [100.0] |x| f64_::exp::expm1_dw(clamp(x, -40.0, 100.0)), |x| nowhere(x);
    Log log None [f32::INFINITY] |x| f64_::log::log_dw(x), |x| x.less(L::splat(0.0));
    Log2 log2 None [f32::INFINITY] |x| f64_::log::log2_dw(x), |x| x.less(L::splat(0.0));
    Log1p log1p None [f32::INFINITY] |x| f64_::log::log1p_dw(x), |x| x.less(L::splat(-1.0));
    Sin sin Odd [f32::INFINITY] |x| f64_::trig::sin_dw(x), |x| infinite(x);
    Cos cos Even [f32::INFINITY] |x| f64_::trig::cos_dw(x), |x| infinite(x);
    Tan tan Odd [f32::INFINITY] |x| f64_::trig::tan_dw(x), |x| infinite(x);
    Asin asin Odd [f32::INFINITY] |x| f64_::inverse_trig::asin_dw(x), |x| L::splat(1.0).less(x.abs());
    Acos acos None [f32::INFINITY] |x| f64_::inverse_trig::acos_dw(x), |x| L::splat(1.0).less(x.abs());
    // Beyond 2^60 the values lie between atan 2^60 and pi/2, which is no midpoint's neighbour.
    Atan atan Odd [1_152_921_504_606_846_976.0] |x| f64_::inverse_trig::atan_dw(clamp(x, 0.0, 1_152_921_504_606_846_976.0)), |x| nowhere(x);
    Sinh sinh Odd [100.0] |x| f64_::hyperbolic::sinh_dw(clamp(x, 0.0, 100.0)), |x| nowhere(x);
    Cosh cosh Even [100.0] |x| f64_::hyperbolic::cosh_dw(clamp(x, 0.0, 100.0)), |x| nowhere(x);
    // Beyond the limits the values lie between that at the limit and 1.
    Tanh tanh Odd [20.0] |x| f64_::hyperbolic::tanh_dw(clamp(x, 0.0, 20.0)), |x| nowhere(x);
    Erf erf Odd [4.0] |x| f64_::erf::erf_dw::<L::F64, 100>(clamp(x, 0.0, 4.0)), |x| nowhere(x),
        near zero f64_::erf::erf_dw::<L::F64, 26>(x);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_scalar_function_can_be_proved() {
        let names: Vec<&str> = repops::scalar::FUNCTIONS.iter().map(|f| f.name).collect();
        assert_eq!(names, super::NAMES);
    }
}
