//! Quantized operators of com.microsoft: bytes in, bytes out, or floats beside bytes.

use repops::Tensor;
use repops::dtype::{DType, narrow};

use super::{cast, none, rank, transposed, two};
use crate::graph::ValueId;
use crate::onnx::ImportError;
use crate::onnx::call::{Call, Outputs};

fn dequantized(
    call: &mut Call<'_, '_>,
    x: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
) -> Result<ValueId, ImportError> {
    call.emit1("DequantizeLinear", none(), &[Some(x), Some(scale), zero])
}

/// `y` as bytes of the type of `like`, if the zero point does not say which.
fn quantized(
    call: &mut Call<'_, '_>,
    y: ValueId,
    scale: ValueId,
    zero: Option<ValueId>,
    like: ValueId,
) -> Outputs {
    let mut attrs = none();
    if let (None, Some(dtype)) = (zero, call.dtype(like)) {
        attrs = attrs.with_int("output_dtype", i64::from(dtype.code()));
    }
    call.emit("QuantizeLinear", attrs, &[Some(y), Some(scale), zero], 1)
}

/// QLinearAdd and QLinearMul.
pub fn binary(call: &mut Call<'_, '_>) -> Outputs {
    let op = if call.op_type() == "QLinearAdd" { "Add" } else { "Mul" };
    let (a, a_scale, a_zero) = (call.input(0)?, call.input(1)?, call.optional(2));
    let (b, b_scale, b_zero) = (call.input(3)?, call.input(4)?, call.optional(5));
    let (scale, zero) = (call.input(6)?, call.optional(7));
    call.rest()?;
    let wide_a = dequantized(call, a, a_scale, a_zero)?;
    let wide_b = dequantized(call, b, b_scale, b_zero)?;
    let y = two(call, op, wide_a, wide_b)?;
    quantized(call, y, scale, zero, a)
}

/// QLinearConcat: scale and zero point of the output, then three inputs for each part.
pub fn concat(call: &mut Call<'_, '_>) -> Outputs {
    let (scale, zero) = (call.input(0)?, call.input(1)?);
    let attrs = call.rest()?;
    let inputs = call.inputs();
    if inputs.len() < 5 || !(inputs.len() - 2).is_multiple_of(3) {
        return Err(call.unsupported("parts that have not three inputs each"));
    }
    let mut parts = Vec::new();
    for at in (2..inputs.len()).step_by(3) {
        let (x, x_scale, x_zero) = (call.input(at)?, call.input(at + 1)?, call.optional(at + 2));
        parts.push(Some(dequantized(call, x, x_scale, x_zero)?));
    }
    let y = call.emit1("Concat", attrs, &parts)?;
    quantized(call, y, scale, Some(zero), inputs[2].unwrap_or(y))
}

/// QLinearAveragePool, QLinearGlobalAveragePool, QLinearLeakyRelu, QLinearSigmoid: the operator of floats between conversions.
pub fn unary(call: &mut Call<'_, '_>) -> Outputs {
    let op = call.op_type().trim_start_matches("QLinear");
    let (x, x_scale, x_zero) = (call.input(0)?, call.input(1)?, call.optional(2));
    let (scale, zero) = (call.input(3)?, call.optional(4));
    let channels_last = call.int("channels_last")?.unwrap_or(0) != 0;
    let attrs = call.rest()?;
    let mut wide = dequantized(call, x, x_scale, x_zero)?;
    let axes = if channels_last { rank(call, x)? as i64 } else { 0 };
    if axes > 2 {
        let first: Vec<i64> = [0, axes - 1].into_iter().chain(1..axes - 1).collect();
        wide = transposed(call, wide, &first)?;
    }
    let mut y = call.emit1(op, attrs, &[Some(wide)])?;
    if axes > 2 {
        let last: Vec<i64> = [0].into_iter().chain(2..axes).chain([1]).collect();
        y = transposed(call, y, &last)?;
    }
    quantized(call, y, scale, zero, x)
}

/// DynamicQuantizeMatMul: A is quantized as DynamicQuantizeLinear does, the product of bytes scaled.
pub fn dynamic_quantize_matmul(call: &mut Call<'_, '_>) -> Outputs {
    let (a, b, b_scale) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let (b_zero, bias) = (call.optional(3), call.optional(4));
    call.rest()?;
    let bytes = call.emit("DynamicQuantizeLinear", none(), &[Some(a)], 3)?;
    scaled_product(call, [bytes[0], b], [bytes[1], b_scale], [Some(bytes[2]), b_zero], bias)
}

/// MatMulIntegerToFloat: the product of bytes, scaled.
pub fn matmul_integer_to_float(call: &mut Call<'_, '_>) -> Outputs {
    let (a, b, a_scale, b_scale) = (call.input(0)?, call.input(1)?, call.input(2)?, call.input(3)?);
    let (a_zero, b_zero, bias) = (call.optional(4), call.optional(5), call.optional(6));
    call.rest()?;
    scaled_product(call, [a, b], [a_scale, b_scale], [a_zero, b_zero], bias)
}

fn scaled_product(
    call: &mut Call<'_, '_>,
    [a, b]: [ValueId; 2],
    scales: [ValueId; 2],
    [a_zero, b_zero]: [Option<ValueId>; 2],
    bias: Option<ValueId>,
) -> Outputs {
    let product = call.emit1("MatMulInteger", none(), &[Some(a), Some(b), a_zero, b_zero])?;
    let product = cast(call, product, DType::F32)?;
    let scale = two(call, "Mul", scales[0], scales[1])?;
    let y = two(call, "Mul", product, scale)?;
    match bias {
        Some(bias) => Ok(vec![two(call, "Add", y, bias)?]),
        None => Ok(vec![y]),
    }
}

/// MatMulNBits: B holds 2, 4 or 8 bits an element, packed row by row of the transposed matrix, with a scale and a zero
/// point for each block of a row. B and the zero points must be constants.
pub fn matmul_n_bits(call: &mut Call<'_, '_>) -> Outputs {
    let (a, b, scales, zeros) = (call.input(0)?, call.input(1)?, call.input(2)?, call.optional(3));
    let (order, bias) = (call.optional(4), call.optional(5));
    if order.is_some() {
        return Err(call.unsupported("g_idx"));
    }
    let [k, n, block] = ["K", "N", "block_size"].map(|name| call.required_int(name));
    let bits = call.int("bits")?.unwrap_or(4);
    for name in ["accuracy_level", "weight_prepacked"] {
        call.ignore(name);
    }
    call.rest()?;
    let size = |name: &str, value: Result<i64, ImportError>| match usize::try_from(value?) {
        Ok(value) if (1..1 << 32).contains(&value) => Ok(value),
        _ => Err(call.attribute_error(name, "is out of range")),
    };
    let (k, n, block) = (size("K", k)?, size("N", n)?, size("block_size", block)?);
    let dtype = match bits {
        2 => DType::U2,
        4 => DType::U4,
        8 => DType::U8,
        other => return Err(call.attribute_error("bits", format!("{other} is not supported"))),
    };
    let blocks = k.div_ceil(block);
    let weights = unpacked(call, b, dtype, n, blocks * block, k)?;
    let zeros = match zeros {
        Some(zeros) if call.dtype(zeros) == Some(DType::U8) => {
            unpacked(call, zeros, dtype, n, blocks, blocks)?
        }
        Some(_) => return Err(call.unsupported("zero points that are not packed bytes")),
        None => {
            let middle = vec![1u8 << (bits - 1); n * blocks];
            let tensor = Tensor::from_bytes(dtype, &[n, blocks], &middle);
            let tensor = tensor.map_err(|error| call.unsupported(error.to_string()))?;
            call.constant(&tensor)
        }
    };
    let scales = super::reshaped(call, scales, &[n as i64, blocks as i64])?;
    let attrs = none().with_int("axis", 1).with_int("block_size", block as i64);
    let wide = call.emit1("DequantizeLinear", attrs, &[Some(weights), Some(scales), Some(zeros)])?;
    let wide = transposed(call, wide, &[1, 0])?;
    let y = two(call, "MatMul", a, wide)?;
    match bias {
        Some(bias) => Ok(vec![two(call, "Add", y, bias)?]),
        None => Ok(vec![y]),
    }
}

/// A constant of rows of packed elements, each row beginning with a byte, as `[rows, kept]` elements.
fn unpacked(
    call: &mut Call<'_, '_>,
    packed: ValueId,
    dtype: DType,
    rows: usize,
    columns: usize,
    kept: usize,
) -> Result<ValueId, ImportError> {
    let Some(constant) = call.constant_of(packed) else {
        return Err(call.unsupported("packed weights that are not constant"));
    };
    let row = narrow::packed_len(dtype, columns);
    let bytes = constant.bytes();
    if row.checked_mul(rows) != Some(bytes.len()) {
        let found = bytes.len();
        return Err(
            call.unsupported(format!("{found} bytes of packed elements, where {rows} rows take {row} each"))
        );
    }
    let mut elements = Vec::with_capacity(rows * kept);
    for row in bytes.chunks(row.max(1)) {
        match narrow::per_byte(dtype) {
            1 => elements.extend_from_slice(&row[..kept]),
            _ => elements.extend_from_slice(&narrow::unpack(dtype, row, columns)[..kept]),
        }
    }
    let tensor = Tensor::from_bytes(dtype, &[rows, kept], &elements);
    let tensor = tensor.map_err(|error| call.unsupported(error.to_string()))?;
    Ok(call.constant(&tensor))
}
