//! Constant folding: what depends on constants alone is computed now, by the operator's reference evaluation, so that
//! folding cannot change bits. So are integer values that follow from constant sizes. A branch whose condition is
//! constant takes the place of its `repops.if`.
//!
//! Types are inferred along the way, since a folded value may be a shape. An operator that meets a fault is left for
//! the run, which commits to the fault. Random operators are never folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{self as table, EvalCtx, OpClass, OpDef};
use repops::tensor::{Tensor, TensorView};

use super::Session;
use super::infer::{Inference, constant, is_absent, yielded};
use crate::mlir::{At, Block, Module, Op, Value, ops};
use crate::weights::Weight;
use crate::{CompileError, Result};

/// Results up to this size are always kept.
const SMALL_BYTES_MAX: usize = 1 << 20;
/// Larger ones only up to this size, and to [`GROWTH_MAX`] times the operands: a file should not hold what a run can
/// compute faster than it could be read.
const RESULT_BYTES_MAX: usize = 64 << 20;
const GROWTH_MAX: usize = 8;
/// Contractions are slow in the reference: the most products that one is folded with.
const PRODUCTS_MAX: usize = 1 << 24;

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let session = &*session;
    block(session, &mut Inference::new(session), session.body()?)
}

fn block<'a>(session: &'a Session<'a>, inference: &mut Inference<'a>, block: Block<'a>) -> Result<()> {
    let mut pending: Vec<Op<'a>> = block.ops();
    pending.reverse();
    while let Some(op) = pending.pop() {
        if op.name() == ops::IF
            && let Some(body) = taken(session, op)
        {
            let mut inlined = inline(&session.module, op, body);
            inlined.reverse();
            pending.extend(inlined);
            continue;
        }
        // First the types of what a loop carries, then what it holds.
        inference.op(op)?;
        if op.name() == ops::APPLY {
            self::op(session, inference, op)?;
        } else if op.name() != ops::REGION && op.body_count() > 0 {
            for body in op.bodies() {
                self::block(session, inference, body)?;
            }
            inference.op(op)?;
        }
    }
    Ok(())
}

fn op<'a>(session: &'a Session<'a>, inference: &mut Inference<'a>, op: Op<'a>) -> Result<()> {
    let computed = match sized(inference, op) {
        Some(tensor) => Some(vec![tensor]),
        None => evaluated(session, inference, op)?,
    };
    let Some(tensors) = computed else { return Ok(()) };
    let mut values: Vec<Value<'a>> = Vec::new();
    for tensor in tensors.iter().take(op.result_count()) {
        let id = session.weights.borrow_mut().add_tensor(tensor).map_err(|error| CompileError::Op {
            origin: crate::mlir::origin::describe(op),
            error: error.into(),
        })?;
        let ty = table::SymType::of(tensor.dtype(), tensor.shape());
        let ty = crate::mlir::tensor::of(session.context(), Some(&ty));
        values.push(session.module.create_constant(At::Before(op), op.location(), id.0, ty));
    }
    session.module.replace(op, &values);
    Ok(())
}

/// The value of an operation with one result that inference knows in terms of constant sizes.
fn sized<'a>(inference: &mut Inference<'a>, op: Op<'a>) -> Option<Tensor> {
    if op.result_count() != 1 {
        return None;
    }
    let ty = inference.ty(op.result(0))?;
    let sym = inference.sym(op.result(0))?;
    let values: Vec<i64> = sym.elements.iter().map(|element| element.as_const()).collect::<Option<_>>()?;
    let shape: Vec<usize> = sym.len.into_iter().collect();
    match ty.dtype {
        DType::I64 => Some(Tensor::from_slice(&shape, &values)),
        DType::I32 => {
            let values: Vec<i32> =
                values.iter().map(|&value| i32::try_from(value).ok()).collect::<Option<_>>()?;
            Some(Tensor::from_slice(&shape, &values))
        }
        _ => None,
    }
}

/// The results of an operation whose operands are all constant; `None` where it is to be left for the run.
fn evaluated<'a>(
    session: &'a Session<'a>,
    inference: &mut Inference<'a>,
    op: Op<'a>,
) -> Result<Option<Vec<Tensor>>> {
    let Some(applied) = ops::applied(op) else { return Ok(None) };
    let Some(def) = applied.def() else { return Ok(None) };
    if op.operand_count() == 0 || is_random(def.name) || is_widened_weight(session, op) {
        return Ok(None);
    }
    let mut weights: Vec<Option<Arc<Weight>>> = Vec::new();
    for operand in op.operands() {
        let weight = constant(session, operand);
        if weight.is_none() && !is_absent(operand) {
            return Ok(None);
        }
        let aligned = weight.map(|weight| weight.aligned()).transpose();
        let aligned = aligned.map_err(|error| CompileError::Op {
            origin: crate::mlir::origin::describe(op),
            error: error.into(),
        })?;
        weights.push(aligned.map(Arc::new));
    }
    let views: Vec<Option<TensorView<'_>>> =
        weights.iter().map(|weight| weight.as_ref().and_then(|weight| weight.view())).collect();
    // With every value at hand inference either knows all types or finds what is wrong with them.
    let Ok(types) = table::infer_known(def, &applied.attrs, &views, op.result_count()) else {
        return Ok(None);
    };
    let shape = types.first().and_then(|result| result.ty.extents());
    if !is_worth_it(inference, op, &views) || is_slow(def, &applied.attrs, &views, shape.as_deref()) {
        return Ok(None);
    }
    let ctx = EvalCtx { attrs: &applied.attrs, inputs: &views, outputs: op.result_count() };
    Ok(def.evaluate(&ctx).ok().filter(|results| results.len() >= op.result_count()))
}

/// Whether an operation widens a constant matrix of f16 or bf16 for products alone, which take it as it is: the right
/// operand of a product of f32 may be narrower, with the same bits from half of the bytes.
pub(super) fn is_widened_weight<'a>(session: &'a Session<'a>, op: Op<'a>) -> bool {
    if ops::applied_name(op) != Some("Cast") || op.result_count() != 1 || op.operand_count() != 1 {
        return false;
    }
    let narrow = constant(session, op.operand(0))
        .is_some_and(|weight| weight.shape.len() == 2 && matches!(weight.dtype, DType::F16 | DType::BF16));
    let to = ops::applied(op).map(|applied| applied.attrs.int("to"));
    let uses = op.result(0).uses();
    narrow
        && to == Some(i64::from(DType::F32.code()))
        && !uses.is_empty()
        && uses.iter().all(|&(user, index)| {
            index == 1
                && matches!(ops::applied_name(user), Some("MatMul" | "Gemm"))
                && user.operand(0) != op.result(0)
        })
}

fn is_worth_it<'a>(inference: &mut Inference<'a>, op: Op<'a>, operands: &[Option<TensorView<'_>>]) -> bool {
    let read: usize = operands.iter().flatten().map(|view| view.bytes.len()).sum();
    let mut written = 0usize;
    for result in op.results() {
        let bytes = inference.ty(result).and_then(|ty| {
            let shape = ty.extents()?;
            repops::tensor::byte_len(ty.dtype, &shape).ok()
        });
        // A result whose size depends on the operands' values is bounded by what they are.
        written = written.saturating_add(bytes.unwrap_or(0));
    }
    let small = written <= SMALL_BYTES_MAX;
    small || (written <= RESULT_BYTES_MAX && written <= read.saturating_mul(GROWTH_MAX))
}

/// Whether the reference takes too long: contractions by their number of products, the elements of the result times
/// the terms of one; recurrences and Attention, which have several contractions, always.
fn is_slow(
    def: &OpDef,
    attrs: &Attrs,
    operands: &[Option<TensorView<'_>>],
    result: Option<&[usize]>,
) -> bool {
    if matches!(def.name, "RNN" | "GRU" | "LSTM") {
        return true;
    }
    if !matches!(def.class, OpClass::Contraction) {
        return false;
    }
    let shapes: Vec<&[usize]> = operands.iter().map(|view| view.map_or(&[][..], |view| view.shape)).collect();
    let products = terms(def.name, attrs, &shapes).zip(result);
    products.is_none_or(|(terms, result)| product(result).saturating_mul(terms) > PRODUCTS_MAX)
}

fn product(extents: &[usize]) -> usize {
    extents.iter().fold(1, |all, &extent| all.saturating_mul(extent))
}

/// The terms of one contraction; `None`: not known here. Taps outside of an image count too.
fn terms(name: &str, attrs: &Attrs, shapes: &[&[usize]]) -> Option<usize> {
    match name {
        "MatMul" | "MatMulInteger" | "QLinearMatMul" => shapes.first()?.last().copied(),
        "Gemm" => shapes.first()?.get(usize::from(attrs.int("transA") == 0)).copied(),
        "Conv" | "ConvInteger" => shapes.get(1)?.get(1..).map(product),
        "QLinearConv" => shapes.get(3)?.get(1..).map(product),
        "ConvTranspose" => {
            let [channels, _, kernel @ ..] = *shapes.get(1)? else { return None };
            let group = usize::try_from(attrs.int("group")).ok()?;
            Some(channels.checked_div(group)?.saturating_mul(product(kernel)))
        }
        "Einsum" => einsum_terms(attrs.str("equation"), shapes),
        _ => None,
    }
}

/// The product of the extents of the labels that are not in the output.
fn einsum_terms(equation: &str, shapes: &[&[usize]]) -> Option<usize> {
    let equation: String = equation.chars().filter(|c| *c != ' ').collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (equation.as_str(), None),
    };
    // How often a label is there, and its extent.
    let mut labels: BTreeMap<char, (usize, usize)> = BTreeMap::new();
    for (term, shape) in left.split(',').zip(shapes) {
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let skip = shape.len().checked_sub(after.len())?;
        let axes = before.chars().zip(*shape).chain(after.chars().zip(&shape[skip..]));
        for (label, &extent) in axes {
            let (count, known) = labels.entry(label).or_insert((0, 1));
            *count += 1;
            *known = extent.max(*known);
        }
    }
    let is_summed = |label: char, count: usize| right.map_or(count > 1, |right| !right.contains(label));
    let summed = labels.into_iter().filter(|(label, (count, _))| is_summed(*label, *count));
    Some(summed.fold(1, |all, (_, (_, extent))| all.saturating_mul(extent)))
}

/// Operators whose results differ from one application to the next.
pub(super) fn is_random(name: &str) -> bool {
    name.starts_with("Random") || matches!(name, "Bernoulli" | "Multinomial" | "Dropout" | "Sample")
}

/// The branch that a `repops.if` with a constant condition takes.
fn taken<'a>(session: &'a Session<'a>, op: Op<'a>) -> Option<Block<'a>> {
    let condition = constant(session, op.operand(0))?;
    match condition.data.as_slice() {
        [1] => op.body(0),
        [0] => op.body(1),
        _ => None,
    }
}

/// Moves a branch to where its `repops.if` stands; gives the moved operations.
fn inline<'a>(module: &'a Module<'_>, op: Op<'a>, body: Block<'a>) -> Vec<Op<'a>> {
    let results = yielded(body);
    let moved: Vec<Op<'a>> = body.ops().into_iter().filter(|inner| inner.name() != ops::YIELD).collect();
    for inner in &moved {
        inner.move_before(op);
    }
    module.replace(op, &results);
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(name: &str, attrs: Attrs, shapes: &[&[usize]], result: &[usize]) -> bool {
        let operands: Vec<Tensor> = shapes.iter().map(|s| Tensor::zeros(DType::F32, s).unwrap()).collect();
        let views: Vec<_> = operands.iter().map(|operand| Some(operand.view())).collect();
        is_slow(table::by_name(name).unwrap(), &attrs, &views, Some(result))
    }

    #[test]
    fn contractions_are_measured_by_their_products() {
        let none = Attrs::new;
        // 2^24 products, and as many again.
        assert!(!slow("MatMul", none(), &[&[256, 256], &[256, 256]], &[256, 256]));
        assert!(slow("MatMul", none(), &[&[256, 256], &[256, 512]], &[256, 512]));
        let turned = || none().with_int("transA", 1);
        assert!(!slow("Gemm", turned(), &[&[16, 1024], &[16, 1024]], &[1024, 1024]));
        assert!(slow("Gemm", turned(), &[&[32, 1024], &[32, 1024]], &[1024, 1024]));
        // A 1 x 1 kernel has as many products as there are channels.
        assert!(!slow("Conv", none(), &[&[1, 64, 64, 64], &[64, 64, 1, 1]], &[1, 64, 64, 64]));
        assert!(slow("Conv", none(), &[&[1, 64, 64, 64], &[128, 64, 1, 1]], &[1, 128, 64, 64]));
        let groups = || none().with_int("group", 4);
        assert!(!slow("ConvTranspose", groups(), &[&[1, 64, 64, 64], &[64, 16, 2, 2]], &[1, 64, 64, 64]));
        assert!(slow("ConvTranspose", groups(), &[&[1, 64, 64, 64], &[64, 16, 3, 3]], &[1, 64, 64, 64]));
        let equation = |text: &str| none().with_str("equation", text);
        assert!(!slow(
            "Einsum",
            equation("...ij, jk->...ik"),
            &[&[2, 128, 256], &[256, 256]],
            &[2, 128, 256]
        ));
        assert!(slow("Einsum", equation("...ij, jk"), &[&[4, 128, 256], &[256, 256]], &[4, 128, 256]));
        assert!(slow("Einsum", equation("i,j->"), &[&[8192], &[4096]], &[]));
        for name in ["RNN", "GRU", "LSTM", "Attention"] {
            assert!(slow(name, none(), &[&[1, 1], &[1, 1], &[1, 1]], &[1, 1]), "{name}");
        }
    }
}
