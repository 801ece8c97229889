//! MatMulBlocks and Embedding: products with, and columns of, weights that are stored compactly.

use half::{bf16, f16};

use super::{Arity, AttrDef, EvalCtx, Fault, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue, Attrs};
use crate::blocks::{COLUMNS, Format};
use crate::dim::DimExpr;
use crate::dtype::{DType, Element};
use crate::reduce::contract;
use crate::tensor::{Tensor, TensorView};

const COLUMNS_ATTR: AttrDef = AttrDef::required("columns", AttrKind::Int, "N, the columns of the matrix.");

pub static DEF: OpDef = OpDef {
    id: 722,
    name: "MatMulBlocks",
    version: 1,
    doc: "Y[.., n] = contraction over k of X[.., k] * W[k, n], X f32 [.., K], W f32 [K, N] stored in blocks \
          (u8 [ceil(N/16), K/B, bytes]) of the format: q8_0 (B 32), q4_0 (32), q4_1 (32), q4_k (256) or q6_k (256). The elements of W \
          by their formulas, each rounded once to f32: SPEC.md, section 7.6. Order: SPEC.md, Contractions.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[COLUMNS_ATTR, AttrDef::required("format", AttrKind::Str, "q8_0, q4_0, q4_1, q4_k or q6_k.")],
    class: OpClass::Contraction,
    infer,
    eval,
};

pub static EMBEDDING: OpDef = OpDef {
    id: 723,
    name: "Embedding",
    version: 1,
    doc: "Y[s, k] = W[k, tokens[s]], f32, for tokens i64 [S] and W [K, N]. Format dense: W is f32, f16 or bf16, widened exactly, \
          with transposed 1 given as [N, K]; else u8 blocks as MatMulBlocks has them. A token that is not in 0 .. N-1 is fault 2.",
    inputs: Arity::exactly(2),
    outputs: Arity::exactly(1),
    attrs: &[
        COLUMNS_ATTR,
        AttrDef::default(
            "format",
            AttrKind::Str,
            || AttrValue::Str("dense".to_string()),
            "dense, or a format of MatMulBlocks.",
        ),
        AttrDef::default("transposed", AttrKind::Int, || AttrValue::Int(0), "1: dense W is [N, K]."),
    ],
    class: OpClass::General,
    infer: infer_embedding,
    eval: embed,
};

/// N as the attributes state it.
fn columns(attrs: &Attrs) -> Result<usize, OpError> {
    let columns = attrs.int("columns");
    match usize::try_from(columns) {
        Ok(n) if (1..=1 << 32).contains(&n) => Ok(n),
        _ => Err(OpError::attr("columns", format!("{columns} is not in 1 ..= 2^32"))),
    }
}

/// The format of blocks that the attributes name.
pub fn format(attrs: &Attrs) -> Result<Format, OpError> {
    let name = attrs.str("format");
    Format::from_name(name).ok_or_else(|| OpError::attr("format", format!("{name:?} is unknown")))
}

/// K of a matrix in blocks, whose input's type is checked against the attributes.
fn rows(ctx: &InferCtx<'_>, index: usize) -> Result<DimExpr, OpError> {
    ctx.require(index, "u8", |d| d == DType::U8)?;
    let (format, n) = (format(ctx.attrs)?, columns(ctx.attrs)?);
    let [panels, blocks, bytes] = ctx.shape(index)? else {
        return Err(OpError::shape("weights in blocks need three axes"));
    };
    let wrong = |dim: &DimExpr, wanted: usize| dim.as_const().is_some_and(|d| d != wanted as i64);
    if wrong(panels, n.div_ceil(COLUMNS)) || wrong(bytes, format.bytes()) {
        return Err(OpError::shape(format!(
            "[{panels}, _, {bytes}] holds no {n} columns in format {}: [{}, _, {}] would",
            format.name(),
            n.div_ceil(COLUMNS),
            format.bytes()
        )));
    }
    Ok(blocks.mul(&DimExpr::Const(format.positions() as i64)))
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "f32", |d| d == DType::F32)?;
    let k = rows(ctx, 1)?;
    let (last, leading) = ctx.shape(0)?.split_last().ok_or_else(|| OpError::shape("X has no axes"))?;
    if matches!((last.as_const(), k.as_const()), (Some(a), Some(b)) if a != b) {
        return Err(OpError::shape(format!("X has {last} columns, the weights have {k} rows")));
    }
    let shape = [leading, &[DimExpr::Const(columns(ctx.attrs)? as i64)]].concat();
    Ok(vec![Inferred::new(DType::F32, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (x, w) = (ctx.input(0), ctx.input(1));
    let (format, n) = (format(ctx.attrs)?, columns(ctx.attrs)?);
    let (k, leading) = x.shape.split_last().expect("inference wants an axis");
    let mut y = Tensor::zeros(DType::F32, &[leading, &[n]].concat())?;
    let (x, out) = (x.as_slice::<f32>(), y.as_mut_slice::<f32>());
    let mut column = vec![0.0f32; *k];
    for c in 0..n {
        for (p, value) in column.iter_mut().enumerate() {
            *value = element(format, w, *k, p, c);
        }
        for (row, out) in out.chunks_exact_mut(n).enumerate() {
            let x = &x[row * k..][..*k];
            out[c] = contract(*k, |p| Some((x[p], column[p]))).canonical();
        }
    }
    Ok(vec![y])
}

/// An element of a matrix in blocks whose shape was checked.
fn element(format: Format, w: TensorView<'_>, k: usize, position: usize, column: usize) -> f32 {
    let byte = |at: usize| Ok::<u8, std::convert::Infallible>(w.bytes[at]);
    match format.at(k, position, column, byte) {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

fn infer_embedding(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require(0, "i64", |d| d == DType::I64)?;
    let [tokens] = ctx.shape(0)? else { return Err(OpError::shape("tokens need one axis")) };
    let k = if ctx.attrs.str("format") == "dense" {
        ctx.require(1, "f32, f16 or bf16", |d| matches!(d, DType::F32 | DType::F16 | DType::BF16))?;
        let [first, second] = ctx.shape(1)? else { return Err(OpError::shape("weights need two axes")) };
        let transposed = ctx.attrs.int("transposed") != 0;
        let (k, n) = if transposed { (second, first) } else { (first, second) };
        let wanted = columns(ctx.attrs)?;
        if n.as_const().is_some_and(|n| n != wanted as i64) {
            return Err(OpError::attr("columns", format!("is {wanted}; the weights have {n}")));
        }
        k.clone()
    } else {
        rows(ctx, 1)?
    };
    Ok(vec![Inferred::new(DType::F32, vec![tokens.clone(), k])])
}

fn embed(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (tokens, w) = (ctx.input(0).as_slice::<i64>(), ctx.input(1));
    let n = columns(ctx.attrs)?;
    let transposed = ctx.attrs.int("transposed") != 0;
    let blocks = match ctx.attrs.str("format") {
        "dense" => None,
        _ => Some(format(ctx.attrs)?),
    };
    let k = match blocks {
        Some(format) => w.shape[1] * format.positions(),
        None => w.shape[usize::from(transposed)],
    };
    let mut y = Tensor::zeros(DType::F32, &[tokens.len(), k])?;
    if k == 0 {
        return Ok(vec![y]);
    }
    for (row, &token) in y.as_mut_slice::<f32>().chunks_exact_mut(k).zip(tokens) {
        let column = usize::try_from(token).ok().filter(|t| *t < n).ok_or(Fault::IndexOutOfRange)?;
        for (p, value) in row.iter_mut().enumerate() {
            let at = if transposed { column * k + p } else { p * n + column };
            *value = match (blocks, w.dtype) {
                (Some(format), _) => element(format, w, k, p, column),
                (None, DType::F32) => w.as_slice::<f32>()[at],
                (None, DType::F16) => w.as_slice::<f16>()[at].to_f32(),
                (None, _) => w.as_slice::<bf16>()[at].to_f32(),
            }
            .canonical();
        }
    }
    Ok(vec![y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_bits, noise, output, run};

    /// Blocks of every byte pattern but with scales of modest size.
    fn blocks(format: Format, k: usize, n: usize) -> Tensor {
        let count = n.div_ceil(COLUMNS) * (k / format.positions());
        let shape = [n.div_ceil(COLUMNS), k / format.positions(), format.bytes()];
        let mut bytes: Vec<u8> = (0..count * format.bytes()).map(|i| (i * 131 % 253) as u8).collect();
        let halves = if matches!(format, Format::Q4_1 | Format::Q4K) { 32 } else { 16 };
        for block in bytes.chunks_exact_mut(format.bytes()) {
            for (at, scale) in block[..2 * halves].chunks_exact_mut(2).enumerate() {
                scale.copy_from_slice(&f16::from_f32(0.01 * (at as f32 - 7.0)).to_le_bytes());
            }
        }
        Tensor::from_slice(&shape, &bytes)
    }

    #[test]
    fn a_product_is_that_of_the_dequantized_matrix() {
        for format in Format::ALL {
            let (k, n) = (512, 19);
            let w = blocks(format, k, n);
            let attrs = Attrs::new().with_int("columns", n as i64).with_str("format", format.name());
            let every: Vec<i64> = (0..n as i64).collect();
            let rows = output("Embedding", &attrs, &[&Tensor::from_slice(&[n], &every), &w]);
            let x = noise(&[2, k], 1);
            let y = output("MatMulBlocks", &attrs, &[&x, &w]);
            let expected = output("Gemm", &Attrs::new().with_int("transB", 1), &[&x, &rows]);
            assert_bits(&y, &[2, n], expected.as_slice::<f32>());
        }
    }

    #[test]
    fn columns_of_dense_matrices() {
        let w = noise(&[3, 5], 2);
        let tokens = Tensor::from_slice(&[2], &[4i64, 0]);
        let attrs = Attrs::new().with_int("columns", 5);
        let v = w.as_slice::<f32>();
        let y = output("Embedding", &attrs, &[&tokens, &w]);
        assert_bits(&y, &[2, 3], &[v[4], v[9], v[14], v[0], v[5], v[10]]);
        let attrs = Attrs::new().with_int("columns", 3).with_int("transposed", 1);
        let y = output("Embedding", &attrs, &[&Tensor::from_slice(&[1], &[2i64]), &w]);
        assert_bits(&y, &[1, 5], &v[10..15]);
    }

    #[test]
    fn bad_tokens_are_faults_and_misfits_errors() {
        let w = noise(&[3, 5], 2);
        let attrs = Attrs::new().with_int("columns", 5);
        for token in [-1, 5, i64::MAX] {
            let found = run("Embedding", &attrs, &[&Tensor::from_slice(&[1], &[token]), &w]);
            assert_eq!(found, Err(Fault::IndexOutOfRange.into()));
        }
        let tokens = Tensor::from_slice(&[1], &[0i64]);
        assert!(run("Embedding", &Attrs::new().with_int("columns", 4), &[&tokens, &w]).is_err());
        let w = blocks(Format::Q8_0, 64, 16);
        let attrs = |n: i64, name: &str| Attrs::new().with_int("columns", n).with_str("format", name);
        let x = noise(&[1, 64], 1);
        assert!(run("MatMulBlocks", &attrs(16, "q8_0"), &[&x, &w]).is_ok());
        assert!(run("MatMulBlocks", &attrs(17, "q8_0"), &[&x, &w]).is_err());
        assert!(run("MatMulBlocks", &attrs(0, "q8_0"), &[&x, &w]).is_err());
        assert!(run("MatMulBlocks", &attrs(16, "q4_0"), &[&x, &w]).is_err());
        assert!(run("MatMulBlocks", &attrs(16, "q9"), &[&x, &w]).is_err());
        assert!(run("MatMulBlocks", &attrs(16, "q8_0"), &[&noise(&[1, 63], 1), &w]).is_err());
    }
}
