//! DepthToSpace: channels become blocks of pixels.

use super::walk::{Walk, known_shape, pick};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 204,
    name: "DepthToSpace",
    version: 1,
    doc: "X [n, c, h, w] as [n, c / b^2, h * b, w * b] with b = blocksize. The channel of X is split into \
          (row in block, column in block, channel) in mode DCR, (channel, row in block, column in block) in \
          mode CRD. Source: ONNX DepthToSpace-1, -11, -13.",
    inputs: Arity::exactly(1),
    outputs: Arity::exactly(1),
    attrs: &[
        AttrDef::required("blocksize", AttrKind::Int, "Pixels of a block's side."),
        AttrDef::default("mode", AttrKind::Str, || AttrValue::Str("DCR".to_string()), "DCR or CRD."),
    ],
    class: OpClass::Movement,
    infer,
    eval,
};

fn infer(ctx: &InferCtx<'_>) -> Result<Vec<Inferred>, OpError> {
    let [n, c, h, w] = ctx.shape(0)? else {
        return Err(OpError::shape(format!("{} is not of rank 4", ctx.input(0)?.ty)));
    };
    if !matches!(ctx.attrs.str("mode"), "DCR" | "CRD") {
        return Err(OpError::attr("mode", "is neither DCR nor CRD"));
    }
    let (side, area) = block(ctx.attrs.int("blocksize"))?;
    if c.as_const().is_some_and(|c| c % area != 0) {
        return Err(OpError::shape(format!("{c} channels are no multiple of {area}")));
    }
    let side = DimExpr::Const(side);
    let shape = vec![n.clone(), c.floor_div(&DimExpr::Const(area)), h.mul(&side), w.mul(&side)];
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape)])
}

/// Side and area of a block.
pub(super) fn block(side: i64) -> Result<(i64, i64), OpError> {
    let area = side.checked_mul(side).filter(|_| side > 0);
    area.map(|area| (side, area)).ok_or_else(|| OpError::attr("blocksize", format!("is {side}")))
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let b = ctx.attrs.int("blocksize") as usize;
    let [n, c, h, w] = [x.shape[0], shape[1], x.shape[2], x.shape[3]];
    // Y[n, c, y, by, x, bx] = X's six axes, three of which come from its channel.
    let six = if ctx.attrs.str("mode") == "DCR" { [n, b, b, c, h, w] } else { [n, c, b, b, h, w] };
    let s = strides(&six);
    let order = if ctx.attrs.str("mode") == "DCR" { [0, 3, 4, 1, 5, 2] } else { [0, 1, 4, 2, 5, 3] };
    let walk = Walk::new(&order.map(|a| six[a]), order.map(|a| s[a] as isize).to_vec(), 0);
    Ok(vec![pick(x, &shape, walk)?])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn both_modes() {
        let x = Tensor::from_slice(&[1, 8, 1, 1], &[0u8, 1, 2, 3, 4, 5, 6, 7]);
        let attrs = Attrs::new().with_int("blocksize", 2);
        let y = run("DepthToSpace", attrs.clone(), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[1, 2, 2, 2][..], &[0, 2, 4, 6, 1, 3, 5, 7][..]));
        let y = run("DepthToSpace", attrs.clone().with_str("mode", "CRD"), &[&x]);
        assert_eq!(y.as_slice::<u8>(), [0, 1, 2, 3, 4, 5, 6, 7]);
        for bad in [0, -2, 3, i64::MAX] {
            assert!(try_run("DepthToSpace", Attrs::new().with_int("blocksize", bad), &[&x]).is_err());
        }
        assert!(try_run("DepthToSpace", attrs.with_str("mode", "ABC"), &[&x]).is_err());
    }

    proptest! {
        #[test]
        fn space_to_depth_is_the_inverse(n in 0usize..3, c in 0usize..3, h in 0usize..4, w in 0usize..4, b in 1usize..4) {
            let count = n * c * h * w * b * b;
            let x = Tensor::from_slice(&[n, c * b * b, h, w], &(0..count as u32).collect::<Vec<_>>());
            let attrs = Attrs::new().with_int("blocksize", b as i64);
            let y = run("DepthToSpace", attrs.clone(), &[&x]);
            prop_assert_eq!(run("SpaceToDepth", attrs, &[&y]), x);
        }
    }
}
