//! The vector loops of element-wise operators: one loop for each operator and instruction set.
//!
//! Truth values are held as f32, 0 or 1, so that one kind of register serves all. Every NaN that a loop
//! stores is canonical. Invariant: a lane's result is `repops::lane_op` applied to that lane.

use repops::lane::{Lane, MaskLane};
use repops::lane_op::{
    self, BinaryOp, ClassifyOp, CompareOp, LaneOp, LogicOp, Math, Real, UnaryOp, bool_to_float, float_to_bool,
};

use super::super::lane::VectorLane;
use super::super::lane::dispatch::{Vectorized, dispatch, each};
use super::super::lane::divisor::Divisor;
#[cfg(target_arch = "aarch64")]
use super::super::lane::neon;
#[cfg(target_arch = "x86_64")]
use super::super::lane::{avx2, avx512};
#[cfg(target_arch = "x86_64")]
use super::quick;
use crate::isa::Isa;

/// A function of `N` numbers, written over lanes.
pub(crate) trait Body<const N: usize>: Copy {
    /// Implementations are `#[inline(always)]`.
    fn apply<L: Lane>(self, args: [L; N]) -> L;
}

/// `dst[i] = body(args[0][i], ...)`; all are as long as `dst`.
pub(crate) fn map<const N: usize, B: Body<N>>(isa: Isa, body: B, args: [&[f32]; N], dst: &mut [f32]) {
    assert!(args.iter().all(|arg| arg.len() == dst.len()), "arguments of a loop");
    assert!(isa.is_available(), "this machine lacks {}", isa.name());
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available.
        Isa::Avx2 => unsafe { map_avx2(body, args, dst) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction set is available.
        Isa::Avx512 => unsafe { map_avx512(body, args, dst) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the instruction set is available.
        Isa::Neon => unsafe { map_neon(body, args, dst) },
        _ => map_body::<f32, N, B>(body, args, dst),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn map_avx2<const N: usize, B: Body<N>>(body: B, args: [&[f32]; N], dst: &mut [f32]) {
    map_body::<avx2::F32x8, N, B>(body, args, dst);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")]
fn map_avx512<const N: usize, B: Body<N>>(body: B, args: [&[f32]; N], dst: &mut [f32]) {
    map_body::<avx512::F32x16, N, B>(body, args, dst);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn map_neon<const N: usize, B: Body<N>>(body: B, args: [&[f32]; N], dst: &mut [f32]) {
    map_body::<neon::F32x4, N, B>(body, args, dst);
}

/// Whole vectors, then the remainder through vectors padded with zeros.
#[inline(always)]
fn map_body<V: VectorLane, const N: usize, B: Body<N>>(body: B, args: [&[f32]; N], dst: &mut [f32]) {
    const LANES_MAX: usize = 16;
    const { assert!(V::LANES <= LANES_MAX) };
    let whole = dst.len() - dst.len() % V::LANES;
    let mut at = 0;
    while at < whole {
        // SAFETY: `at + LANES` is within the length of every slice.
        unsafe {
            let mut values = [V::splat(0.0); N];
            for (value, arg) in values.iter_mut().zip(&args) {
                *value = V::load(arg.as_ptr().add(at));
            }
            body.apply(values).canonical_nan().store(dst.as_mut_ptr().add(at));
        }
        at += V::LANES;
    }
    let rest = dst.len() - whole;
    if rest > 0 {
        let mut padded = [[0.0f32; LANES_MAX]; N];
        for (padded, arg) in padded.iter_mut().zip(&args) {
            padded[..rest].copy_from_slice(&arg[whole..]);
        }
        let mut result = [0.0f32; LANES_MAX];
        // SAFETY: the arrays have at least `LANES` elements.
        unsafe {
            let mut values = [V::splat(0.0); N];
            for (value, padded) in values.iter_mut().zip(&padded) {
                *value = V::load(padded.as_ptr());
            }
            body.apply(values).canonical_nan().store(result.as_mut_ptr());
        }
        dst[whole..].copy_from_slice(&result[..rest]);
    }
}

/// `dst[i] = op(args[0][i], ...)`, truth values as 0 and 1.
///
/// # Panics
/// When the number of arguments is not the operator's.
pub(crate) fn apply(isa: Isa, op: LaneOp, args: &[&[f32]], dst: &mut [f32]) {
    match (op, args) {
        (LaneOp::Unary(op), &[x]) => unary(isa, op, x, dst),
        (LaneOp::Binary(op), &[a, b]) => binary(isa, op, a, b, dst),
        (LaneOp::Compare(op), &[a, b]) => compare(isa, op, a, b, dst),
        (LaneOp::Classify(op), &[x]) => map(isa, Classify(op), [x], dst),
        (LaneOp::Logic(op), &[a, b]) => map(isa, Logic(op), [a, b], dst),
        (LaneOp::Not, &[x]) => map(isa, Not, [x], dst),
        (LaneOp::Where, &[c, a, b]) => map(isa, Where, [c, a, b], dst),
        (LaneOp::BoolToF32, &[x]) => dst.copy_from_slice(x),
        (LaneOp::F32ToBool, &[x]) => map(isa, ToBool, [x], dst),
        (LaneOp::Clip, &[x, low, high]) => map(isa, Clip, [x, low, high], dst),
        _ => unreachable!("{op:?} of {} arguments", args.len()),
    }
}

/// `dst[i] = x[i] / divisor`.
pub(crate) fn divide(isa: Isa, x: &[f32], divisor: f32, dst: &mut [f32]) {
    struct Divide<'a>(&'a [f32], f32, &'a mut [f32]);
    impl Vectorized for Divide<'_> {
        type Output = ();
        #[inline(always)]
        fn run<V: VectorLane>(self) {
            let divisor = Divisor::<V>::new(self.1);
            each::<V, 1>(
                [self.0],
                self.2,
                #[inline(always)]
                |[x]| divisor.divide(x).canonical_nan(),
            );
        }
    }
    assert_eq!(x.len(), dst.len(), "arguments of a loop");
    dispatch(isa, Divide(x, divisor, dst));
}

/// Gelu in another order: `(x * (1 + erf(x / sqrt 2))) * 0.5`.
#[inline(always)]
pub(super) fn gelu_half_last<L: Lane>(x: L) -> L {
    let phi = L::constant(1.0).add(Math::erf(x.div(L::constant(std::f64::consts::SQRT_2))));
    x.mul(phi).mul(L::constant(0.5))
}

/// `dst[i]` is Gelu of `x[i]`, in its own order or with the half last.
pub(super) fn gelu(isa: Isa, half_last: bool, x: &[f32], dst: &mut [f32]) {
    #[derive(Clone, Copy)]
    struct HalfLast;
    impl Body<1> for HalfLast {
        #[inline(always)]
        fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
            gelu_half_last(x)
        }
    }
    if !half_last {
        return unary(isa, UnaryOp::Gelu, x, dst);
    }
    #[cfg(target_arch = "x86_64")]
    if quick::gelu_half_last(isa, x, dst) {
        return;
    }
    map(isa, HalfLast, [x], dst);
}

/// Loops in which the operator is a constant.
macro_rules! arithmetic {
    ($($name:ident $({ $($field:ident),* })?;)*) => {
        fn unary(isa: Isa, op: UnaryOp, x: &[f32], dst: &mut [f32]) {
            #[cfg(target_arch = "x86_64")]
            if quick::unary(isa, op, x, dst) {
                return;
            }
            match op {
                $(UnaryOp::$name $({ $($field),* })? => {
                    #[derive(Clone, Copy)]
                    struct Loop { $($($field: f32),*)? }
                    impl Body<1> for Loop {
                        #[inline(always)]
                        fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
                            UnaryOp::$name $({ $($field: self.$field),* })?.apply(x)
                        }
                    }
                    map(isa, Loop { $($($field),*)? }, [x], dst)
                })*
                op => map(isa, Composite(op), [x], dst),
            }
        }
    };
}
arithmetic! {
    Abs;
    Neg;
    Sign;
    Floor;
    Ceil;
    Round;
    Sqrt;
    Reciprocal;
    Relu;
    LeakyRelu { alpha };
    ThresholdedRelu { alpha };
    HardSigmoid { alpha, beta };
    HardSwish;
    Shrink { lambd, bias };
    Softsign;
    Exp;
    Erf;
    Tanh;
    Sigmoid;
    Swish { alpha };
    Gelu;
    GeluTanh;
}

/// Functions that models seldom hold: one loop that chooses among them for every vector, and is small.
#[derive(Clone, Copy)]
struct Composite(UnaryOp);
impl Body<1> for Composite {
    #[inline(always)]
    fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
        self.0.apply(x)
    }
}

macro_rules! constant_loops {
    ($function:ident, $enum:ident, $value:ident => $result:expr; $($name:ident)*) => {
        fn $function(isa: Isa, op: $enum, a: &[f32], b: &[f32], dst: &mut [f32]) {
            match op {
                $($enum::$name => {
                    #[derive(Clone, Copy)]
                    struct Loop;
                    impl Body<2> for Loop {
                        #[inline(always)]
                        fn apply<L: Lane>(self, [a, b]: [L; 2]) -> L {
                            let $value = $enum::$name.apply(a, b);
                            $result
                        }
                    }
                    map(isa, Loop, [a, b], dst)
                })*
            }
        }
    };
}
constant_loops!(binary, BinaryOp, value => value; Add Sub Mul Div Max Min Pow PRelu);
constant_loops!(compare, CompareOp, mask => bool_to_float(mask);
    Equal Less LessOrEqual Greater GreaterOrEqual);

/// The mask of a truth value.
#[inline(always)]
fn mask<L: Lane>(truth: L) -> L::Mask {
    truth.equal(L::constant(0.0)).not()
}

#[derive(Clone, Copy)]
struct Classify(ClassifyOp);
impl Body<1> for Classify {
    #[inline(always)]
    fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
        bool_to_float(self.0.apply(x))
    }
}

#[derive(Clone, Copy)]
struct Logic(LogicOp);
impl Body<2> for Logic {
    #[inline(always)]
    fn apply<L: Lane>(self, [a, b]: [L; 2]) -> L {
        bool_to_float(self.0.apply(mask(a), mask(b)))
    }
}

#[derive(Clone, Copy)]
struct Not;
impl Body<1> for Not {
    #[inline(always)]
    fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
        bool_to_float(mask(x).not())
    }
}

#[derive(Clone, Copy)]
struct Where;
impl Body<3> for Where {
    #[inline(always)]
    fn apply<L: Lane>(self, [c, a, b]: [L; 3]) -> L {
        lane_op::where_(mask(c), a, b)
    }
}

#[derive(Clone, Copy)]
struct ToBool;
impl Body<1> for ToBool {
    #[inline(always)]
    fn apply<L: Lane>(self, [x]: [L; 1]) -> L {
        bool_to_float(float_to_bool(x))
    }
}

#[derive(Clone, Copy)]
struct Clip;
impl Body<3> for Clip {
    #[inline(always)]
    fn apply<L: Lane>(self, [x, low, high]: [L; 3]) -> L {
        lane_op::clip(x, low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Vec<f32> {
        let specials =
            [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-45, -3e-39];
        let mut bits = 1u32;
        let drawn = (0..1100).map(|i| {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i % 2 == 0 { f32::from_bits(bits) } else { (bits >> 8) as f32 / 1e6 - 8.0 }
        });
        specials.into_iter().chain(drawn).collect()
    }

    fn check<const N: usize>(op: LaneOp, args: [&[f32]; N], want: impl Fn([f32; N]) -> f32) {
        for isa in Isa::available() {
            for len in [0, 1, 7, 15, 16, 17, 33, args[0].len()] {
                let args = args.map(|a| &a[..len]);
                let mut dst = vec![-7.0; len];
                apply(isa, op, &args, &mut dst);
                for (at, &got) in dst.iter().enumerate() {
                    let args = args.map(|a| a[at]);
                    let want = want(args).canonical_nan();
                    assert_eq!(got.to_bits(), want.to_bits(), "{op:?} of {args:?} with {}", isa.name());
                }
            }
        }
    }

    #[test]
    fn loops_are_the_lane_operators() {
        let x = numbers();
        let mut y = x.clone();
        y.rotate_left(13);
        let z: Vec<f32> = x.iter().rev().copied().collect();
        let truth: Vec<f32> = x.iter().map(|v| (v.to_bits() & 1) as f32).collect();
        let other: Vec<f32> = x.iter().map(|v| (v.to_bits() >> 1 & 1) as f32).collect();
        let flag = |b: bool| b as u8 as f32;
        use UnaryOp::*;
        for op in [
            Abs,
            Neg,
            Sign,
            Floor,
            Ceil,
            Round,
            Sqrt,
            Reciprocal,
            Exp,
            Log,
            Erf,
            Sin,
            Cos,
            Tan,
            Asin,
            Acos,
            Atan,
            Sinh,
            Cosh,
            Tanh,
            Relu,
            LeakyRelu { alpha: 0.01 },
            ThresholdedRelu { alpha: 1.0 },
            HardSigmoid { alpha: 0.2, beta: 0.5 },
            HardSwish,
            Shrink { lambd: 0.5, bias: 0.25 },
            Softsign,
            Sigmoid,
            Swish { alpha: 1.5 },
            Softplus,
            Mish,
            Elu { alpha: 0.7 },
            Selu { alpha: 1.6, gamma: 1.05 },
            Celu { alpha: 0.9 },
            Gelu,
            GeluTanh,
        ] {
            check(LaneOp::Unary(op), [&x], |[x]| op.apply(x));
        }
        use BinaryOp::*;
        for op in [Add, Sub, Mul, Div, Max, Min, Pow, PRelu] {
            check(LaneOp::Binary(op), [&x, &y], |[a, b]| op.apply(a, b));
        }
        use CompareOp::*;
        for op in [Equal, Less, LessOrEqual, Greater, GreaterOrEqual] {
            check(LaneOp::Compare(op), [&x, &y], |[a, b]| flag(op.apply(a, b)));
            check(LaneOp::Compare(op), [&x, &x], |[a, b]| flag(op.apply(a, b)));
        }
        let inf = |negative, positive| ClassifyOp::IsInf { negative, positive };
        for op in [ClassifyOp::IsNaN, inf(true, true), inf(true, false), inf(false, true), inf(false, false)]
        {
            check(LaneOp::Classify(op), [&x], |[x]| flag(op.apply(x)));
        }
        for op in [LogicOp::And, LogicOp::Or, LogicOp::Xor] {
            check(LaneOp::Logic(op), [&truth, &other], |[a, b]| flag(op.apply(a != 0.0, b != 0.0)));
        }
        check(LaneOp::Not, [&truth], |[a]| flag(a == 0.0));
        check(LaneOp::Where, [&truth, &x, &y], |[c, a, b]| if c != 0.0 { a } else { b });
        check(LaneOp::BoolToF32, [&truth], |[a]| a);
        check(LaneOp::F32ToBool, [&x], |[x]| flag(x != 0.0));
        check(LaneOp::Clip, [&x, &y, &z], |[x, low, high]| lane_op::clip(x, low, high));
    }

    fn compare_squares(x: &[f32]) {
        let (mut power, mut product) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        apply(Isa::detect(), LaneOp::Binary(BinaryOp::Pow), &[x, &vec![2.0; x.len()]], &mut power);
        apply(Isa::detect(), LaneOp::Binary(BinaryOp::Mul), &[x, x], &mut product);
        for ((x, power), product) in x.iter().zip(&power).zip(&product) {
            assert_eq!(power.to_bits(), product.to_bits(), "the square of {x:e}");
        }
    }

    /// What lets the compiler write a product for a power.
    #[test]
    fn a_square_is_a_product() {
        compare_squares(&numbers());
    }

    #[test]
    #[ignore = "2^32 inputs; `cargo xtask slow` runs it"]
    fn all_inputs_squared() {
        for high in 0..1u32 << 16 {
            let inputs: Vec<f32> = (0..1u32 << 16).map(|low| f32::from_bits(high << 16 | low)).collect();
            compare_squares(&inputs);
        }
    }
}
