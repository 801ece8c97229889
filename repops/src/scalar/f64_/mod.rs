//! The scalar functions of f64.
//!
//! Here the algorithm is the specification: the value is what these operations, in this order,
//! give. Each function is evaluated in double-word arithmetic (`*_dw`, relative error as stated
//! with each, 2^-90 or better) and then rounded once to binary64 (twice where the result is
//! subnormal), so that the result is the correctly rounded one in all but about one case in
//! 2^37. Every NaN result is the canonical quiet NaN.
//!
//! The `*_dw` functions of arguments that are exact in f32 also judge the f32 functions.

pub mod erf;
pub mod exp;
pub mod hyperbolic;
pub mod inverse_hyperbolic;
pub mod inverse_trig;
pub mod log;
pub mod pow;
pub mod trig;

pub use erf::erf;
pub use exp::{exp, exp2, expm1};
pub use hyperbolic::{cosh, sinh, tanh};
pub use inverse_hyperbolic::{acosh, asinh, atanh};
pub use inverse_trig::{acos, asin, atan};
pub use log::{log, log1p, log2};
pub use pow::pow;
pub use trig::{cos, sin, tan};
