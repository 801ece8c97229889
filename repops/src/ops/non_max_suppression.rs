//! NonMaxSuppression: boxes that do not overlap better ones.

use super::float::Real;
use super::top_k::ordered;
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::dtype::DType;
use crate::tensor::Tensor;

pub static DEF: OpDef = OpDef {
    id: 416,
    name: "NonMaxSuppression",
    version: 1,
    doc: "Inputs boxes [batch, n, 4], scores [batch, classes, n] (f32), max_output_boxes_per_class (i64, 0 when \
          absent or negative), iou_threshold (f32, 0), score_threshold (f32, absent: none). For each batch and class, in order: boxes \
          by descending score, of equal scores the lower index first, NaN scores left out, and only scores above \
          score_threshold; a box is taken unless its overlap with one taken before is above iou_threshold, until \
          there are max_output_boxes_per_class. Output: i64 [selected, 3] of batch, class, box. In f32, each \
          operation rounded: corners (y1, x1, y2, x2), each axis ordered by minimum and maximum; with \
          center_point_box (xc, yc, w, h): xc - w / 2, xc + w / 2, likewise y. Overlap of a and b: width = \
          minimum of their ends - maximum of their starts, height likewise; none unless both are above 0; \
          inter = width * height; area = width * height of the box, none unless above 0; overlap = inter / \
          ((area a + area b) - inter). Source: ONNX NonMaxSuppression-11.",
    inputs: Arity::between(2, 5),
    outputs: Arity::exactly(1),
    attrs: &[AttrDef::default(
        "center_point_box",
        AttrKind::Int,
        || AttrValue::Int(0),
        "1: boxes are given by centre and size.",
    )],
    class: OpClass::General,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    ctx.require_same(0, DType::F32)?;
    ctx.require_same(1, DType::F32)?;
    let ([batch, n, four], [batch_s, _, n_s]) = (ctx.shape(0)?, ctx.shape(1)?) else {
        return Err(OpError::shape("boxes and scores need three axes"));
    };
    let differ =
        |a: &DimExpr, b: &DimExpr| matches!((a.as_const(), b.as_const()), (Some(a), Some(b)) if a != b);
    if differ(batch, batch_s) || differ(n, n_s) || differ(four, &DimExpr::Const(4)) {
        return Err(OpError::shape("boxes and scores do not fit"));
    }
    for (index, dtype) in [(2, DType::I64), (3, DType::F32), (4, DType::F32)] {
        let Some(input) = ctx.optional(index) else { continue };
        ctx.require_same(index, dtype)?;
        let one = |d: &DimExpr| d.as_const().is_none_or(|n| n == 1);
        if input.ty.shape.len() > 1 || !input.ty.shape.iter().all(one) {
            return Err(OpError::shape(format!("input {index} is not one number")));
        }
    }
    Ok(vec![Inferred::new(DType::I64, vec![ctx.fresh_dim(), DimExpr::Const(3)])])
}

/// Starts and ends along y and x.
#[derive(Clone, Copy)]
struct Corners {
    start: [f32; 2],
    end: [f32; 2],
}

impl Corners {
    fn of(b: &[f32], center: bool) -> Corners {
        if center {
            let half = [b[3] / 2.0, b[2] / 2.0];
            return Corners {
                start: [b[1] - half[0], b[0] - half[1]],
                end: [b[1] + half[0], b[0] + half[1]],
            };
        }
        Corners {
            start: [b[0].smaller(b[2]), b[1].smaller(b[3])],
            end: [b[0].larger(b[2]), b[1].larger(b[3])],
        }
    }

    fn area(&self) -> f32 {
        (self.end[1] - self.start[1]) * (self.end[0] - self.start[0])
    }

    /// Whether the overlap with another is above a threshold.
    fn overlaps(&self, other: &Corners, threshold: f32) -> bool {
        let extent = |axis: usize| {
            self.end[axis].smaller(other.end[axis]) - self.start[axis].larger(other.start[axis])
        };
        let (width, height) = (extent(1), extent(0));
        let (a, b) = (self.area(), other.area());
        let inter = width * height;
        let union = a + b - inter;
        let none = width <= 0.0 || height <= 0.0 || a <= 0.0 || b <= 0.0 || union <= 0.0;
        !none && inter / union > threshold
    }
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let (boxes, scores) = (ctx.input(0), ctx.input(1));
    let center = ctx.attrs.int("center_point_box") != 0;
    let number = |index: usize| ctx.optional(index).and_then(|t| t.as_slice::<f32>().first().copied());
    let limit = ctx.optional(2).and_then(|t| t.as_slice::<i64>().first().copied()).unwrap_or(0).max(0) as u64;
    let (threshold, least) = (number(3).unwrap_or(0.0), number(4));
    let (n, classes) = (boxes.shape[1], scores.shape[1]);
    let mut selected: Vec<i64> = Vec::new();
    for batch in 0..boxes.shape[0] {
        let corners: Vec<Corners> = boxes.as_slice::<f32>()[batch * n * 4..][..n * 4]
            .chunks_exact(4)
            .map(|b| Corners::of(b, center))
            .collect();
        for class in 0..classes {
            let row = &scores.as_slice::<f32>()[(batch * classes + class) * n..][..n];
            let candidate = |&i: &usize| !row[i].is_nan() && least.is_none_or(|least| row[i] > least);
            let mut taken: Vec<usize> = Vec::new();
            for i in ordered(row, true).into_iter().filter(candidate) {
                if taken.len() as u64 >= limit {
                    break;
                }
                if !taken.iter().any(|&t| corners[t].overlaps(&corners[i], threshold)) {
                    taken.push(i);
                    selected.extend([batch as i64, class as i64, i as i64]);
                }
            }
        }
    }
    Ok(vec![Tensor::from_slice(&[selected.len() / 3, 3], &selected)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Attrs;
    use crate::ops::testing::{assert_bits, run, run_optional};

    #[test]
    fn better_boxes_suppress_worse_ones() {
        // 0 and 1 overlap by 0.6 / 1.4, 2 stands apart, 3 is 0 with its corners swapped.
        let boxes =
            [[0.0f32, 0.0, 1.0, 1.0], [0.0, 0.4, 1.0, 1.4], [5.0, 5.0, 6.0, 6.0], [1.0, 1.0, 0.0, 0.0]];
        let boxes = Tensor::from_slice(&[1, 4, 4], boxes.as_flattened());
        let scores = Tensor::from_slice(&[1, 2, 4], &[0.9f32, 0.8, 0.7, 0.9, 0.1, f32::NAN, 0.3, 0.05]);
        let go = |limit: i64, iou: f32, least: Option<f32>| {
            let (limit, iou) = (Tensor::scalar(limit), Tensor::scalar(iou));
            let least = least.map(Tensor::scalar);
            let inputs = [Some(&boxes), Some(&scores), Some(&limit), Some(&iou), least.as_ref()];
            run_optional("NonMaxSuppression", &Attrs::new(), &inputs, 1).unwrap().swap_remove(0)
        };
        assert_bits(&go(9, 0.4, None), &[4, 3], &[0i64, 0, 0, 0, 0, 2, 0, 1, 2, 0, 1, 0]);
        assert_bits(&go(9, 0.5, Some(0.2)), &[4, 3], &[0i64, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 2]);
        assert_bits(&go(1, 0.5, None), &[2, 3], &[0i64, 0, 0, 0, 1, 2]);
        assert_eq!(go(-5, 0.5, None).shape(), [0, 3]);
        let few = Tensor::from_slice(&[1, 1, 3], &[0.5f32; 3]);
        assert!(run("NonMaxSuppression", &Attrs::new(), &[&boxes, &few]).is_err());
    }
}
