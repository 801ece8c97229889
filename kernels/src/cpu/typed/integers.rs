//! Integers and truth values: arithmetic wraps, division by zero is a fault.

use repops::dtype::DType;
use repops::ops::{Fault, OpError};
use repops::region::PARAMS_MAX;
use repops::tensor::{TensorView, TensorViewMut};

use super::loops::{CHEAP, fold, one, three, two};
use crate::KernelCtx;

/// Where, on any type: elements are copied as bits of their size.
pub(super) fn select(
    ctx: &KernelCtx<'_>,
    inputs: &[Option<TensorView<'_>>],
    y: &mut TensorViewMut<'_>,
) -> Option<Result<(), OpError>> {
    let &[Some(c), Some(a), Some(b)] = inputs else { return None };
    let args = [c, a, b];
    match y.dtype.size() {
        1 => three(ctx.isa, CHEAP, args, y, f!(|c: u8, a: u8, b: u8| if c != 0 { a } else { b })),
        2 => three(ctx.isa, CHEAP, args, y, f!(|c: u8, a: u16, b: u16| if c != 0 { a } else { b })),
        4 => three(ctx.isa, CHEAP, args, y, f!(|c: u8, a: u32, b: u32| if c != 0 { a } else { b })),
        _ => three(ctx.isa, CHEAP, args, y, f!(|c: u8, a: u64, b: u64| if c != 0 { a } else { b })),
    }
    Some(Ok(()))
}

/// Operators on truth values, which are bytes 0 and 1.
pub(super) fn bools(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<TensorView<'_>>],
    y: &mut TensorViewMut<'_>,
) -> Option<Result<(), OpError>> {
    let isa = ctx.isa;
    if let (&[Some(a)], "Not") = (inputs, name) {
        one(isa, CHEAP, a, y, f!(|a: u8| u8::from(a == 0)));
        return Some(Ok(()));
    }
    let &[Some(a), Some(b)] = inputs else { return None };
    match name {
        "And" => two(isa, CHEAP, [a, b], y, f!(|a: u8, b: u8| a & b)),
        "Or" => two(isa, CHEAP, [a, b], y, f!(|a: u8, b: u8| a | b)),
        "Xor" => two(isa, CHEAP, [a, b], y, f!(|a: u8, b: u8| a ^ b)),
        _ => return compare::u8(name, ctx, [a, b], y),
    }
    Some(Ok(()))
}

/// Operators on integers of one type.
pub(super) fn integers(
    name: &str,
    ctx: &KernelCtx<'_>,
    inputs: &[Option<TensorView<'_>>],
    y: &mut TensorViewMut<'_>,
) -> Option<Result<(), OpError>> {
    let dtype = inputs.first().copied().flatten()?.dtype;
    // The exponents of Pow may be of another type.
    if inputs.iter().flatten().any(|input| input.dtype != dtype) {
        return None;
    }
    let done = match *inputs {
        [Some(a), Some(b)] if y.dtype == DType::Bool => match dtype {
            DType::U8 => compare::u8(name, ctx, [a, b], y),
            DType::I8 => compare::i8(name, ctx, [a, b], y),
            DType::U16 => compare::u16(name, ctx, [a, b], y),
            DType::I16 => compare::i16(name, ctx, [a, b], y),
            DType::U32 => compare::u32(name, ctx, [a, b], y),
            DType::I32 => compare::i32(name, ctx, [a, b], y),
            DType::U64 => compare::u64(name, ctx, [a, b], y),
            _ => compare::i64(name, ctx, [a, b], y),
        },
        [Some(a), Some(b)] => match dtype.size() {
            1 => ring::u8(name, ctx, [a, b], y),
            2 => ring::u16(name, ctx, [a, b], y),
            4 => ring::u32(name, ctx, [a, b], y),
            _ => ring::u64(name, ctx, [a, b], y),
        },
        _ => None,
    };
    done.or_else(|| match dtype {
        DType::U8 => order::u8(name, ctx, inputs, y),
        DType::I8 => order::i8(name, ctx, inputs, y),
        DType::U16 => order::u16(name, ctx, inputs, y),
        DType::I16 => order::i16(name, ctx, inputs, y),
        DType::U32 => order::u32(name, ctx, inputs, y),
        DType::I32 => order::i32(name, ctx, inputs, y),
        DType::U64 => order::u64(name, ctx, inputs, y),
        _ => order::i64(name, ctx, inputs, y),
    })
}

/// Comparisons, whose results are truth values.
mod compare {
    use super::*;

    macro_rules! compare {
        ($($t:ident),*) => { $(
            pub(super) fn $t(
                name: &str,
                ctx: &KernelCtx<'_>,
                args: [TensorView<'_>; 2],
                y: &mut TensorViewMut<'_>,
            ) -> Option<Result<(), OpError>> {
                let isa = ctx.isa;
                match name {
                    "Equal" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| u8::from(a == b))),
                    "Less" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| u8::from(a < b))),
                    "LessOrEqual" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| u8::from(a <= b))),
                    "Greater" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| u8::from(a > b))),
                    "GreaterOrEqual" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| u8::from(a >= b))),
                    _ => return None,
                }
                Some(Ok(()))
            }
        )* };
    }
    compare!(u8, i8, u16, i16, u32, i32, u64, i64);
}

/// Arithmetic modulo 2^width, the same for both signednesses.
mod ring {
    use super::*;

    macro_rules! ring {
        ($($t:ident),*) => { $(
            pub(super) fn $t(
                name: &str,
                ctx: &KernelCtx<'_>,
                args: [TensorView<'_>; 2],
                y: &mut TensorViewMut<'_>,
            ) -> Option<Result<(), OpError>> {
                let isa = ctx.isa;
                match name {
                    "Add" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a.wrapping_add(b))),
                    "Sub" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a.wrapping_sub(b))),
                    "Mul" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a.wrapping_mul(b))),
                    "BitwiseAnd" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a & b)),
                    "BitwiseOr" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a | b)),
                    "BitwiseXor" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| a ^ b)),
                    // Signed integers do not come here.
                    "BitShift" if ctx.attrs.str("direction") == "LEFT" => {
                        two(isa, CHEAP, args, y, f!(|a: $t, b: $t| {
                            if b < $t::BITS as $t { a << (b as u32 % $t::BITS) } else { 0 }
                        }))
                    }
                    "BitShift" => two(isa, CHEAP, args, y, f!(|a: $t, b: $t| {
                        if b < $t::BITS as $t { a >> (b as u32 % $t::BITS) } else { 0 }
                    })),
                    _ => return None,
                }
                Some(Ok(()))
            }
        )* };
    }
    ring!(u8, u16, u32, u64);
}

/// What a division costs: it is no vector instruction.
const DIVISION: usize = 32;

/// Functions for which the sign matters.
mod order {
    use super::*;

    macro_rules! order {
        ($($t:ident),*) => { $(
            pub(super) fn $t(
                name: &str,
                ctx: &KernelCtx<'_>,
                inputs: &[Option<TensorView<'_>>],
                y: &mut TensorViewMut<'_>,
            ) -> Option<Result<(), OpError>> {
                let isa = ctx.isa;
                if let "Max" | "Min" = name {
                    let all: Vec<TensorView<'_>> = inputs.iter().copied().collect::<Option<_>>()?;
                    if all.len() > PARAMS_MAX {
                        return None;
                    }
                    match name {
                        "Max" => fold(isa, CHEAP, &all, y, f!(|a: $t, b: $t| a.max(b))),
                        _ => fold(isa, CHEAP, &all, y, f!(|a: $t, b: $t| a.min(b))),
                    }
                    return Some(Ok(()));
                }
                if let ("Div" | "Mod", [Some(_), Some(b)]) = (name, inputs)
                    && !y.bytes.is_empty()
                    && bytemuck::cast_slice::<u8, $t>(b.bytes).contains(&0)
                {
                    return Some(Err(Fault::DivisionByZero.into()));
                }
                match (name, inputs) {
                    ("Abs", &[Some(a)]) => one(isa, CHEAP, a, y, f!(|a: $t| magnitude::$t(a))),
                    ("Neg", &[Some(a)]) => one(isa, CHEAP, a, y, f!(|a: $t| a.wrapping_neg())),
                    ("Sign", &[Some(a)]) => one(isa, CHEAP, a, y, f!(|a: $t| {
                        (a > 0) as $t | (0 as $t).wrapping_sub(below_zero::$t(a) as $t)
                    })),
                    ("Relu", &[Some(a)]) => one(isa, CHEAP, a, y, f!(|a: $t| a.max(0))),
                    ("BitwiseNot", &[Some(a)]) => one(isa, CHEAP, a, y, f!(|a: $t| !a)),
                    ("PRelu", &[Some(a), Some(b)]) => two(isa, CHEAP, [a, b], y, f!(|a: $t, b: $t| {
                        if below_zero::$t(a) { a.wrapping_mul(b) } else { a }
                    })),
                    ("Div", &[Some(a), Some(b)]) => {
                        // The check above keeps zeros out of here.
                        two(isa, DIVISION, [a, b], y, f!(|a: $t, b: $t| if b == 0 { 0 } else { a.wrapping_div(b) }))
                    }
                    ("Mod", &[Some(a), Some(b)]) if ctx.attrs.int("fmod") == 0 => {
                        two(isa, DIVISION, [a, b], y, f!(|a: $t, b: $t| {
                            if b == 0 {
                                return 0;
                            }
                            let rest = a.wrapping_rem(b);
                            let signs_differ = below_zero::$t(rest) != below_zero::$t(b);
                            if rest != 0 && signs_differ { rest.wrapping_add(b) } else { rest }
                        }))
                    }
                    ("Mod", &[Some(a), Some(b)]) => {
                        two(isa, DIVISION, [a, b], y, f!(|a: $t, b: $t| if b == 0 { 0 } else { a.wrapping_rem(b) }))
                    }
                    ("Clip", &[Some(a)] | &[Some(a), None] | &[Some(a), None, None]) => {
                        one(isa, CHEAP, a, y, f!(|a: $t| a))
                    }
                    ("Clip", &[Some(a), Some(low)] | &[Some(a), Some(low), None]) => {
                        two(isa, CHEAP, [a, low], y, f!(|a: $t, low: $t| a.max(low)))
                    }
                    ("Clip", &[Some(a), None, Some(high)]) => {
                        two(isa, CHEAP, [a, high], y, f!(|a: $t, high: $t| a.min(high)))
                    }
                    ("Clip", &[Some(a), Some(low), Some(high)]) => {
                        three(isa, CHEAP, [a, low, high], y, f!(|a: $t, low: $t, high: $t| a.max(low).min(high)))
                    }
                    _ => return None,
                }
                Some(Ok(()))
            }
        )* };
    }
    order!(u8, i8, u16, i16, u32, i32, u64, i64);
}

/// Whether an integer is negative.
mod below_zero {
    macro_rules! below_zero {
        ($($t:ident: $x:ident => $value:expr;)*) => { $(
            #[inline(always)]
            pub(super) fn $t($x: $t) -> bool {
                $value
            }
        )* };
    }
    below_zero! {
        u8: _x => false;
        u16: _x => false;
        u32: _x => false;
        u64: _x => false;
        i8: x => x < 0;
        i16: x => x < 0;
        i32: x => x < 0;
        i64: x => x < 0;
    }
}

/// Magnitudes; the least signed integer stays itself.
mod magnitude {
    macro_rules! magnitude {
        ($($t:ident: $x:ident => $value:expr;)*) => { $(
            #[inline(always)]
            pub(super) fn $t($x: $t) -> $t {
                $value
            }
        )* };
    }
    magnitude! {
        u8: x => x;
        u16: x => x;
        u32: x => x;
        u64: x => x;
        i8: x => x.wrapping_abs();
        i16: x => x.wrapping_abs();
        i32: x => x.wrapping_abs();
        i64: x => x.wrapping_abs();
    }
}
