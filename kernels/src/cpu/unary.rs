//! The scalar functions over slices.

use repops::lane::Lane;
use repops::scalar;

use super::map::{Map1, map1};
use crate::isa::Isa;

macro_rules! unary_functions {
    ($($variant:ident $name:ident,)*) => {
        /// A correctly rounded function of one f32.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum UnaryFn {
            $($variant,)*
        }

        impl UnaryFn {
            /// All of them.
            pub const ALL: &[UnaryFn] = &[$(UnaryFn::$variant,)*];

            /// The name of the function in `repops::scalar`.
            pub fn name(self) -> &'static str {
                match self {
                    $(UnaryFn::$variant => stringify!($name),)*
                }
            }

            /// The function of that name.
            pub fn from_name(name: &str) -> Option<UnaryFn> {
                UnaryFn::ALL.iter().copied().find(|f| f.name() == name)
            }
        }

        $(
            struct $variant;
            impl Map1 for $variant {
                #[inline(always)]
                fn apply<L: Lane>(&self, x: L) -> L {
                    scalar::$name(x)
                }
            }
        )*

        /// `dst[i] = f(src[i])`, the same bits with every `isa`.
        ///
        /// # Panics
        /// If the lengths differ or this machine lacks `isa`.
        pub fn unary_f32(isa: Isa, f: UnaryFn, src: &[f32], dst: &mut [f32]) {
            match f {
                $(UnaryFn::$variant => map1(isa, &$variant, src, dst),)*
            }
        }
    };
}

unary_functions! {
    Exp exp,
    Exp2 exp2,
    Expm1 expm1,
    Log log,
    Log2 log2,
    Log1p log1p,
    Sin sin,
    Cos cos,
    Tan tan,
    Asin asin,
    Acos acos,
    Atan atan,
    Sinh sinh,
    Cosh cosh,
    Tanh tanh,
    Erf erf,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every exponent with both signs, its ends and some mantissas between; NaN payloads,
    /// infinities and subnormals are among them.
    fn stratified() -> Vec<f32> {
        let mut state = 0x9e37_79b9_u32;
        let mut values = Vec::new();
        for high in 0..512_u32 {
            for low in [0, 1, 2, 0x40_0000, 0x7f_fffe, 0x7f_ffff] {
                values.push(f32::from_bits(high << 23 | low));
            }
            for _ in 0..160 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                values.push(f32::from_bits(high << 23 | state >> 9));
            }
        }
        // An emulator takes some hundred times as long; a share of the values, the ends included, must do.
        let stride = if std::env::var_os("REPOPS_EMULATED").is_some() { 37 } else { 1 };
        values.into_iter().step_by(stride).collect()
    }

    fn check(isa: Isa, f: UnaryFn, reference: fn(f32) -> f32, src: &[f32]) {
        let mut dst = vec![f32::from_bits(0xdead_beef); src.len()];
        unary_f32(isa, f, src, &mut dst);
        for (&x, &y) in src.iter().zip(&dst) {
            let want = reference(x);
            assert!(
                y.to_bits() == want.to_bits(),
                "{} with {} of {:#010x}: {:#010x}, expected {:#010x}",
                f.name(),
                isa.name(),
                x.to_bits(),
                y.to_bits(),
                want.to_bits()
            );
        }
    }

    #[test]
    fn every_isa_gives_the_bits_of_the_reference() {
        let values = stratified();
        for entry in scalar::FUNCTIONS {
            let f = UnaryFn::from_name(entry.name).expect("a kernel for every scalar function");
            for isa in Isa::available() {
                check(isa, f, entry.f32, &values);
                for length in 0..=67 {
                    check(isa, f, entry.f32, &values[1000..1000 + length]);
                }
            }
        }
        assert_eq!(scalar::FUNCTIONS.len(), UnaryFn::ALL.len());
    }
}
