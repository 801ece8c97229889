//! CastToString and CastFromString: what Cast is where one side is strings.

use super::cast::target;
use super::convert::convert;
use super::strings::{packed, strings_of};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError, SymType};
use crate::attrs::AttrKind;
use crate::dtype::DType;
use crate::packed::Strings;
use crate::tensor::{Tensor, TensorView};

pub static TO_STRING: OpDef = OpDef {
    id: 783,
    name: "CastToString",
    version: 1,
    doc: "Each element in decimal digits. Integers: a minus sign if negative, then their digits without leading zeros; bools 0 or 1. Floats: \
          the shortest decimal number that rounds to the element, of several the nearest to it, without an exponent, without a point if it is \
          whole, a minus sign also for -0; of types other than f64 the number that is shortest for f32; INF, -INF and NaN. Source: ONNX Cast-9 and later, to strings.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[],
    class: OpClass::General,
    infer: |ctx| {
        ctx.require(0, "a tensor of numbers", |dtype| dtype != DType::Packed)?;
        Ok(vec![packed(ctx)])
    },
    eval: |ctx| {
        let x = ctx.input(0);
        // Each string takes four bytes at least.
        Strings::check_shape(x.shape)?;
        Ok(vec![Strings::new(x.shape, texts(x)?).into_tensor()])
    },
};

pub static FROM_STRING: OpDef = OpDef {
    id: 784,
    name: "CastFromString",
    version: 1,
    doc: "Each string as a number of the type `to`. A number is an optional sign, digits with at most one point, at least one digit, and perhaps e or E, an optional sign \
          and digits; or an optional sign and INF, or NaN, in any case of letters. Other strings are NaN. To f32 and f64 it is rounded once, to nearest, ties to even; a whole number without point and exponent becomes an integer exactly, and saturates; \
          all else goes by way of f64 as Cast does (so NaN becomes the integer 0). Source: ONNX Cast-9 and later, from strings.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("to", AttrKind::Int, "ONNX's number of the result's type.")],
    class: OpClass::General,
    infer,
    eval,
};

fn texts(x: TensorView<'_>) -> Result<Vec<String>, OpError> {
    Ok(match x.dtype {
        DType::F64 => {
            x.as_slice::<f64>().iter().map(|&v| text(v.is_nan(), v.is_infinite(), v > 0.0, v)).collect()
        }
        DType::U64 => x.as_slice::<u64>().iter().map(u64::to_string).collect(),
        dtype if dtype.is_float() || dtype.is_narrow_float() => {
            let wide = convert(x, DType::F32)?;
            wide.as_slice::<f32>().iter().map(|&v| text(v.is_nan(), v.is_infinite(), v > 0.0, v)).collect()
        }
        _ => convert(x, DType::I64)?.as_slice::<i64>().iter().map(i64::to_string).collect(),
    })
}

/// Rust writes finite floats as the document says.
fn text(is_nan: bool, is_infinite: bool, is_positive: bool, value: impl std::fmt::Display) -> String {
    match (is_nan, is_infinite, is_positive) {
        (true, _, _) => "NaN".to_string(),
        (_, true, true) => "INF".to_string(),
        (_, true, false) => "-INF".to_string(),
        _ => value.to_string(),
    }
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::Packed)?;
    let to = target(ctx.attrs)?;
    if to == DType::Packed {
        return Err(OpError::attr("to", "is no type of numbers"));
    }
    let tensor = ctx.input(0)?.tensor.ok_or(OpError::ValueUnknown { index: 0 })?;
    Ok(vec![Inferred { ty: SymType::of(to, &strings_of(tensor)?.shape), sym: None }])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, to) = (strings_of(ctx.input(0))?, target(ctx.attrs)?);
    let mut y = match to {
        DType::F32 => {
            let values: Vec<f32> = x.values.iter().map(|text| number(text).unwrap_or(f32::NAN)).collect();
            Tensor::from_slice(&x.shape, &values)
        }
        DType::I64 | DType::U64 => {
            let values = x.values.iter().map(|text| whole(text));
            match to {
                DType::I64 => Tensor::from_slice(
                    &x.shape,
                    &values.map(|v| saturated(v, i64::MIN, i64::MAX)).collect::<Vec<i64>>(),
                ),
                _ => Tensor::from_slice(
                    &x.shape,
                    &values.map(|v| saturated(v, 0, u64::MAX)).collect::<Vec<u64>>(),
                ),
            }
        }
        _ => {
            let values: Vec<f64> = x.values.iter().map(|text| number(text).unwrap_or(f64::NAN)).collect();
            let mut wide = Tensor::from_slice(&x.shape, &values);
            wide.canonicalize();
            convert(wide.view(), to)?
        }
    };
    y.canonicalize();
    Ok(vec![y])
}

/// Within the bounds of a type of 64 bits.
fn saturated<T: TryFrom<i128>>(value: i128, least: T, most: T) -> T {
    let overflow = if value < 0 { least } else { most };
    T::try_from(value).unwrap_or(overflow)
}

/// A whole number, exactly unless it is beyond all of 64 bits; others truncated.
fn whole(text: &str) -> i128 {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let beyond = if text.starts_with('-') { i128::MIN } else { i128::MAX };
        return text.parse().unwrap_or(beyond);
    }
    number::<f64>(text).unwrap_or(f64::NAN) as i128
}

/// A number, if the string is one; Rust reads more than these, and rounds as the document says.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("inf") || text.eq_ignore_ascii_case("nan") {
        return text.parse().ok();
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    let points = mantissa.bytes().filter(|b| *b == b'.').count();
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = points <= 1
        && digits(mantissa) > 0
        && digits(mantissa) + points == mantissa.len()
        && !exponent.is_empty()
        && digits(exponent) == exponent.len();
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::dtype::Element;
    use crate::ops::check::{run, try_run};

    #[track_caller]
    fn written(x: &Tensor, expected: &[&str]) {
        let y = run("CastToString", Attrs::new(), &[x]);
        assert_eq!(y, Strings::new(x.shape(), expected.iter().copied()).into_tensor());
    }

    fn read<T: Element>(texts: &[&str]) -> Vec<T> {
        let x = Strings::new(&[texts.len()], texts.iter().copied()).into_tensor();
        let to = Attrs::new().with_int("to", i64::from(T::DTYPE.code()));
        run("CastFromString", to, &[&x]).as_slice::<T>().to_vec()
    }

    #[test]
    fn numbers_are_written() {
        let nan = f32::from_bits(0x7fc0_0000);
        let x = Tensor::from_slice(&[7], &[3.15f32, 1e-5, 1e20, -0.0, nan, f32::NEG_INFINITY, 100.0]);
        written(&x, &["3.15", "0.00001", "100000000000000000000", "-0", "NaN", "-INF", "100"]);
        written(&Tensor::from_slice(&[1, 2], &[1.0f64 / 3.0, f64::INFINITY]), &["0.3333333333333333", "INF"]);
        written(
            &Tensor::from_slice(&[2], &[half::f16::from_f32(0.1), half::f16::ONE]),
            &["0.099975586", "1"],
        );
        written(&Tensor::from_slice(&[2], &[u64::MAX, 0]), &["18446744073709551615", "0"]);
        written(&Tensor::from_slice(&[2], &[i64::MIN, 7]), &["-9223372036854775808", "7"]);
        written(&Tensor::from_bools(&[2], &[true, false]), &["1", "0"]);
    }

    #[test]
    fn numbers_are_read() {
        let texts = ["3.15", "1e-5", "+INF", "-inf", ".5", "5.", "1E+2", "-0"];
        let found: Vec<u32> = read::<f32>(&texts).iter().map(|v| v.to_bits()).collect();
        let expected =
            [3.15, 1e-5, f32::INFINITY, f32::NEG_INFINITY, 0.5, 5.0, 100.0, -0.0].map(f32::to_bits);
        assert_eq!(found, expected);
        for text in ["", "x", " 1", "1 ", "0x10", "1e", ".", "infinity", "--1", "1_0", "+nan", "é"] {
            assert_eq!(read::<f32>(&[text])[0].to_bits(), 0x7fc0_0000, "{text:?}");
            assert_eq!(read::<i32>(&[text]), [0], "{text:?}");
        }
        assert_eq!(
            read::<i64>(&["9223372036854775807", "-9223372036854775809", "1.9e3", "x", "+7"]),
            [i64::MAX, i64::MIN, 1900, 0, 7]
        );
        assert_eq!(
            read::<u64>(&["18446744073709551615", "-1", "99999999999999999999999999999999999999999999"]),
            [u64::MAX, 0, u64::MAX]
        );
        assert_eq!(read::<i8>(&["300", "-100.7"]), [127, -100]);
        assert_eq!(read::<f64>(&["0.1"]), [0.1]);
        let x = Strings::new(&[], ["1"]).into_tensor();
        assert!(try_run("CastFromString", Attrs::new().with_int("to", 200), &[&x]).is_err());
        assert!(
            try_run("CastFromString", Attrs::new().with_int("to", 1), &[&Tensor::scalar(1.0f32)]).is_err()
        );
    }
}
