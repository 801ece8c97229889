//! Layout of weights: a constant that is read only as the right operand of matrix products, and perhaps by Embeddings, is
//! stored as the kernels read it, in panels of 16 columns.
//!
//! The filters of a convolution are stored by blocks of output channels where that is faster; bytes that are multiplied as
//! integers in groups of four.
//!
//! The product's bits do not depend on the layout. A Gemm that takes its right operand transposed gets it transposed
//! already: the same products in the same order. An Embedding that shares it (tied weights) reads columns of the panels.

use std::collections::BTreeMap;

use repops::attrs::AttrValue;
use repops::digest::Layout;
use repops::dtype::DType;

use super::{Session, all_ops};
use crate::mlir::{At, Op, attr, ops, tensor};
use crate::weights::{self, Weight, WeightId};
use crate::{CompileError, Result};

/// How a contraction reads its right operand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    Plain,
    Transposed,
    /// As the filters of a convolution.
    Filters,
    /// By a product of integers.
    Groups,
}

/// Types that panels are made of, and groups.
const TYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const BYTES: [DType; 2] = [DType::I8, DType::U8];

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    // Constants that were laid out, by their number before; constants are operations of the program's block.
    let mut done: BTreeMap<(u32, Read), WeightId> = BTreeMap::new();
    for op in all_ops(session.body()?) {
        let Some(weight) = session.weight_of(op)? else { continue };
        let uses = op.result(0).uses();
        let reads: Vec<Option<Read>> = uses.iter().map(|&(user, index)| read(user, index)).collect();
        let Some(Some(first)) = reads.first().copied() else { continue };
        let types = if first == Read::Groups { &BYTES[..] } else { &TYPES };
        let fits =
            weight.layout == Layout::RowMajor && types.contains(&weight.dtype) && weight.shape.len() >= 2;
        // Products of f16 or bf16 read rows; those of f32 with such weights read panels.
        let wide = |&(user, _): &(Op<'_>, usize)| {
            first == Read::Groups
                || weight.dtype == DType::F32
                || ops::applied_name(user) == Some("Embedding")
                || user
                    .operands()
                    .next()
                    .and_then(|a| tensor::sym_type(a.ty()))
                    .is_some_and(|ty| ty.dtype == DType::F32)
        };
        let contracts = uses.iter().any(|&(user, _)| ops::applied_name(user) != Some("Embedding"));
        if !fits || !contracts || !uses.iter().all(wide) || reads.iter().any(|read| *read != Some(first)) {
            continue;
        }
        if first == Read::Filters && !suits_filters(&weight) {
            continue;
        }
        let Some(before) = ops::constant_id(op) else { continue };
        let id = match done.get(&(before, first)) {
            Some(&id) => id,
            None => {
                let packed = match first {
                    Read::Plain => weights::pack_panel16(&weight),
                    Read::Transposed => weights::pack_panel16_transposed(&weight),
                    Read::Filters => weights::pack_filters16(&weight),
                    Read::Groups => weights::pack_groups4(&weight),
                };
                let packed = packed.map_err(|error| CompileError::Op {
                    origin: crate::mlir::origin::describe(op),
                    error: error.into(),
                })?;
                session.weights.borrow_mut().add_laid_out(packed)
            }
        };
        done.insert((before, first), id);
        replace(session, op, id)?;
        if first == Read::Transposed {
            for (user, _) in uses {
                set_plain(session, user);
            }
        }
    }
    Ok(())
}

/// How the operand `index` of `user` is read; `None` where its layout must be row-major.
fn read(user: Op<'_>, index: usize) -> Option<Read> {
    let applied = ops::applied(user)?;
    match (applied.op, index) {
        ("MatMul", 1) => Some(Read::Plain),
        ("Gemm", 1) if applied.attrs.opt_int("transB") == Some(1) => Some(Read::Transposed),
        ("Gemm", 1) => Some(Read::Plain),
        ("Embedding", 1) if applied.attrs.opt_int("transposed") == Some(1) => Some(Read::Transposed),
        ("Embedding", 1) => Some(Read::Plain),
        ("MatMulInteger", 1) | ("QLinearMatMul", 3) => Some(Read::Groups),
        ("Conv", 1) if applied.attrs.opt_int("group").unwrap_or(1) == 1 => Some(Read::Filters),
        _ => None,
    }
}

/// Whether a convolution is faster by output channels than by pixels: whole panels of channels, and terms enough that
/// turning the sums of pixels into planes does not count. Filters with subnormal numbers stay rows, which kernels can scale.
fn suits_filters(weight: &Weight) -> bool {
    const TERMS_MIN: usize = 256;
    /// Each pixel is copied once for all channels.
    const FILTERS_MIN: usize = 192;
    /// With so many terms fewer channels do.
    const LONG: usize = 1024;
    const LONG_FILTERS_MIN: usize = 128;
    let [filters, rest @ ..] = &weight.shape[..] else { return false };
    let terms = rest.iter().product::<usize>();
    let least = if terms >= LONG { LONG_FILTERS_MIN } else { FILTERS_MIN };
    weight.dtype == DType::F32
        && weight.shape.len() > 2
        && filters.is_multiple_of(16)
        && *filters >= least
        && terms >= TERMS_MIN
        && !weight
            .data
            .as_slice()
            .as_chunks::<4>()
            .0
            .iter()
            .any(|bytes| f32::from_le_bytes(*bytes).is_subnormal())
}

/// Lets `op` name the constant `id` instead.
fn replace<'a>(session: &'a Session<'a>, op: Op<'a>, id: WeightId) -> Result<()> {
    let weight = session.weights.borrow().get(id).ok_or(CompileError::UnknownConstant { id: id.0 })?;
    let ty = repops::ops::SymType::of(weight.dtype, &weight.shape);
    let ty = tensor::of(session.context(), Some(&ty));
    let value = session.module.create_constant(At::Before(op), op.location(), id.0, ty);
    session.module.replace(op, &[value]);
    Ok(())
}

fn set_plain<'a>(session: &'a Session<'a>, user: Op<'a>) {
    let Some(applied) = ops::applied(user) else { return };
    let mut attrs = applied.attrs;
    let name = if applied.op == "Embedding" { "transposed" } else { "transB" };
    attrs.insert(name, AttrValue::Int(0));
    user.set_attribute("attrs", attr::dictionary(session.context(), &attrs));
}
