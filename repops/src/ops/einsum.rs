//! Einsum: contractions written as an equation over labelled axes.

use std::collections::BTreeMap;

use super::float::{Float, Integer, NUMBER, is_number, with_float, with_integer};
use super::infer::broadcast;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::AttrKind;
use crate::dim::DimExpr;
use crate::dtype::Element;
use crate::reduce::{Accumulate, contract};
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 308,
    name: "Einsum",
    version: 1,
    doc: "Y[output labels] = contraction over p of t(p) * z(p): p runs over the labels that are not in the output, in \
          row-major order of their first appearance in the equation; z is the last operand's element, t the \
          product of the others' from left to right, each product rounded (1 if there is one operand). A \
          label named twice in an operand is its diagonal; `...` stands for axes that broadcast and must be in \
          the output if any is there. Without `->` the output is `...` and the labels that appear once, \
          in ASCII order. f32 and f64 in their own precision, f16 and bf16 in f32, rounded once; integers \
          wrap. Order: SPEC.md, Contractions. Source: ONNX Einsum-12.",
    inputs: Arity::at_least(1),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::required("equation", AttrKind::Str, "Labels of each operand and of the output.")],
    class: OpClass::Contraction,
    infer,
    eval: |ctx| match ctx.input(0).dtype {
        dtype if dtype.is_float() => with_float!(dtype, floats(ctx)),
        dtype => with_integer!(dtype, integers(ctx)),
    },
};

/// The most terms of one contraction.
const TERMS_MAX: usize = 1 << 32;

/// A labelled axis: a letter's code, or for an axis of `...` its distance from the right above it.
type Label = u32;
const DOTS: Label = 0x11_0000;

/// The equation with the axes of `...` filled in.
struct Equation {
    operands: Vec<Vec<Label>>,
    output: Vec<Label>,
    /// Labels not in the output, in order of first appearance.
    summed: Vec<Label>,
}

impl Equation {
    fn parse(text: &str, ranks: &[usize]) -> Result<Equation, OpError> {
        let bad = |problem: String| OpError::attr("equation", problem);
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(bad(format!("{} terms for {} operands", terms.len(), ranks.len())));
        }
        let mut dots = 0;
        let mut operands = Vec::new();
        for (term, &rank) in terms.iter().zip(ranks) {
            let named = term.replace("...", "").len();
            let covered = rank.checked_sub(named);
            let covered = covered.ok_or_else(|| bad(format!("{term:?} has more labels than axes")))?;
            if !term.contains("...") && covered > 0 {
                return Err(bad(format!("{term:?} has fewer labels than axes")));
            }
            dots = dots.max(covered);
            operands.push(labels(term, covered).ok_or_else(|| bad(format!("{term:?} is no term")))?);
        }
        let output = match right {
            Some(right) => {
                let output = labels(right, dots).ok_or_else(|| bad(format!("{right:?} is no term")))?;
                if dots > 0 && !right.contains("...") {
                    return Err(bad("the output leaves `...` out".to_string()));
                }
                output
            }
            None => {
                let mut counts = BTreeMap::new();
                operands
                    .iter()
                    .flatten()
                    .filter(|l| **l < DOTS)
                    .for_each(|l| *counts.entry(*l).or_insert(0) += 1);
                let once = counts.into_iter().filter(|(_, count)| *count == 1).map(|(label, _)| label);
                (0..dots).rev().map(|d| DOTS + d as Label).chain(once).collect()
            }
        };
        let mut summed: Vec<Label> = Vec::new();
        for label in operands.iter().flatten() {
            if !output.contains(label) && !summed.contains(label) {
                summed.push(*label);
            }
        }
        for (at, label) in output.iter().enumerate() {
            if output[..at].contains(label) || !operands.iter().any(|o| o.contains(label)) {
                return Err(bad("a label of the output is there twice or in no operand".to_string()));
            }
        }
        Ok(Equation { operands, output, summed })
    }
}

/// The labels of a term whose `...` covers so many axes.
fn labels(term: &str, covered: usize) -> Option<Vec<Label>> {
    let (before, after) = term.split_once("...").unwrap_or((term, ""));
    let letters = |text: &str| -> Option<Vec<Label>> {
        text.chars().map(|c| c.is_ascii_alphabetic().then_some(c as Label)).collect()
    };
    let mut all = letters(before)?;
    if term.contains("...") {
        all.extend((0..covered).rev().map(|d| DOTS + d as Label));
    }
    all.extend(letters(after)?);
    Some(all)
}

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let dtype = ctx.require(0, NUMBER, is_number)?;
    let mut ranks = Vec::new();
    for index in 0..ctx.inputs.len() {
        ctx.require_same(index, dtype)?;
        ranks.push(ctx.shape(index)?.len());
    }
    let equation = Equation::parse(ctx.attrs.str("equation"), &ranks)?;
    let mut extents: BTreeMap<Label, DimExpr> = BTreeMap::new();
    for (index, operand) in equation.operands.iter().enumerate() {
        for (label, dim) in operand.iter().zip(ctx.shape(index)?) {
            let Some(known) = extents.get(label) else {
                extents.insert(*label, dim.clone());
                continue;
            };
            if *label >= DOTS {
                let both = broadcast(&[std::slice::from_ref(known), std::slice::from_ref(dim)])?;
                extents.insert(*label, both[0].clone());
            } else if let (Some(a), Some(b)) = (known.as_const(), dim.as_const())
                && a != b
            {
                return Err(OpError::shape(format!("one label has extents {a} and {b}")));
            } else if dim.as_const().is_some() {
                extents.insert(*label, dim.clone());
            }
        }
    }
    let shape = equation.output.iter().map(|label| extents[label].clone()).collect();
    Ok(vec![Inferred::new(dtype, shape)])
}

fn floats<T: Float>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    use super::float::Real;
    evaluate(ctx, T::Wide::ONE, T::widen, |a: T::Wide, b| a * b, T::narrow)
}

fn integers<T: Integer>(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    evaluate(ctx, T::ONE, |v: T| v, |a: T, b| a.fma(b, T::ZERO), |v| v)
}

fn evaluate<T: Element, W: Accumulate>(
    ctx: &EvalCtx<'_>,
    one: W,
    widen: fn(T) -> W,
    multiply: fn(W, W) -> W,
    narrow: fn(W) -> T,
) -> Result<Vec<Tensor>, OpError> {
    let operands: Vec<_> = (0..ctx.inputs.len()).map(|i| ctx.input(i)).collect();
    let shapes: Vec<&[usize]> = operands.iter().map(|operand| operand.shape).collect();
    let walk = Walk::new(ctx.attrs.str("equation"), &shapes)?;
    let mut y = Tensor::zeros(T::DTYPE, &walk.output)?;
    let elements: Vec<&[T]> = operands.iter().map(|operand| operand.as_slice::<T>()).collect();
    for (at, out) in y.as_mut_slice::<T>().iter_mut().enumerate() {
        let bases: Vec<usize> = (0..elements.len()).map(|operand| walk.base(operand, at)).collect();
        *out = narrow(contract(walk.terms, |p| {
            let mut elements = elements
                .iter()
                .zip(&bases)
                .enumerate()
                .map(|(operand, (elements, base))| widen(elements[base + walk.offset(operand, p)]));
            let mut last = elements.next()?;
            let mut product = one;
            for (index, element) in elements.enumerate() {
                product = if index == 0 { last } else { multiply(product, last) };
                last = element;
            }
            Some((product, last))
        }));
    }
    Ok(vec![y])
}

/// Where the elements of the operands are for each output element and term.
pub(super) struct Walk {
    /// The output's shape.
    pub output: Vec<usize>,
    /// Terms of each contraction.
    pub terms: usize,
    summed: Vec<usize>,
    /// For each operand, how far a step along an output or summed label goes.
    steps: Vec<[Vec<usize>; 2]>,
}

impl Walk {
    pub fn new(equation: &str, shapes: &[&[usize]]) -> Result<Walk, OpError> {
        let ranks: Vec<usize> = shapes.iter().map(|shape| shape.len()).collect();
        let equation = Equation::parse(equation, &ranks)?;
        let mut extents: BTreeMap<Label, usize> = BTreeMap::new();
        for (labels, shape) in equation.operands.iter().zip(shapes) {
            for (label, &extent) in labels.iter().zip(*shape) {
                let slot = extents.entry(*label).or_insert(extent);
                if *slot == 1 {
                    *slot = extent;
                }
            }
        }
        let of = |labels: &[Label]| labels.iter().map(|l| extents[l]).collect::<Vec<usize>>();
        let (output, summed) = (of(&equation.output), of(&equation.summed));
        let terms = summed.iter().try_fold(1usize, |n, &e| n.checked_mul(e)).filter(|n| *n <= TERMS_MAX);
        let terms = terms.ok_or_else(|| OpError::shape("a contraction of more than 2^32 terms"))?;
        let steps = |labels: &[Label], over: &[Label], shape: &[usize]| -> Vec<usize> {
            let own = strides(shape);
            let axes = |label: &Label| {
                let axes = (0..labels.len()).filter(|&a| labels[a] == *label && shape[a] != 1);
                axes.fold(0, |step, a| step + own[a])
            };
            over.iter().map(axes).collect()
        };
        let of = |(labels, shape): (&Vec<Label>, &&[usize])| {
            [&equation.output, &equation.summed].map(|over| steps(labels, over, shape))
        };
        let steps = equation.operands.iter().zip(shapes).map(of).collect();
        Ok(Walk { output, terms, summed, steps })
    }

    /// Where an operand's elements for output element `at` begin.
    pub fn base(&self, operand: usize, at: usize) -> usize {
        walked(at, &self.output, &self.steps[operand][0])
    }

    /// How far from there the element of term `p` is.
    pub fn offset(&self, operand: usize, p: usize) -> usize {
        walked(p, &self.summed, &self.steps[operand][1])
    }
}

fn walked(mut at: usize, extents: &[usize], steps: &[usize]) -> usize {
    let mut offset = 0;
    for (extent, step) in extents.iter().zip(steps).rev() {
        offset += at % extent * step;
        at /= extent;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, noise, output, run};

    fn einsum(equation: &str, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
        run("Einsum", &Attrs::new().with_str("equation", equation), inputs).map(|mut y| y.swap_remove(0))
    }

    #[test]
    fn products_of_matrices() {
        let (a, b) = (noise(&[2, 3, 700], 1), noise(&[2, 700, 4], 2));
        let expected = output("MatMul", &Attrs::new(), &[&a, &b]);
        assert_bits(&einsum("bij,bjk->bik", &[&a, &b]).unwrap(), &[2, 3, 4], expected.as_slice::<f32>());
        assert_bits(&einsum("...ij, ...jk", &[&a, &b]).unwrap(), &[2, 3, 4], expected.as_slice::<f32>());
    }

    #[test]
    fn transposes_diagonals_sums_and_three_operands() {
        let x = Tensor::from_slice(&[2, 2], &[1.5f32, -2.0, 4.0, 8.0]);
        assert_bits(&einsum("ij->ji", &[&x]).unwrap(), &[2, 2], &[1.5f32, 4.0, -2.0, 8.0]);
        assert_bits(&einsum("ii->i", &[&x]).unwrap(), &[2], &[1.5f32, 8.0]);
        assert_bits(&einsum("ii", &[&x]).unwrap(), &[], &[9.5f32]);
        assert_bits(&einsum("ij->j", &[&x]).unwrap(), &[2], &[5.5f32, 6.0]);
        let v = noise(&[3], 4);
        let (e, w) = (v.as_slice::<f32>(), noise(&[3], 5));
        let w = w.as_slice::<f32>();
        let y = einsum("a,a,a->", &[&v, &Tensor::from_slice(&[3], w), &v]).unwrap();
        let chain = (0..3).fold(0.0f32, |s, i| (e[i] * w[i]).mul_add(e[i], s));
        assert_bits(&y, &[], &[chain + 0.0]);
        let ints = Tensor::from_slice(&[2], &[i32::MAX, 2]);
        assert_bits(&einsum("i,j->ij", &[&ints, &ints]).unwrap(), &[2, 2], &[1, -2, -2, 4]);
    }

    #[test]
    fn bad_equations_are_errors() {
        let x = noise(&[2, 3], 1);
        for bad in ["i", "ijk", "ij->k", "ij->ii", "i1", "ij,jk", "ii", "...->", "", "ij->i->j", "......"] {
            assert!(einsum(bad, &[&x]).is_err(), "{bad}");
        }
    }
}
