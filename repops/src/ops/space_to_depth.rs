//! SpaceToDepth: blocks of pixels become channels.

use super::depth_to_space::block;
use super::walk::{Walk, known_shape, pick};
use super::{Arity, AttrDef, EvalCtx, InferCtx, Inferred, OpClass, OpDef, OpError};
use crate::attrs::{AttrKind, AttrValue};
use crate::dim::DimExpr;
use crate::tensor::{Tensor, strides};

pub static DEF: OpDef = OpDef {
    id: 219,
    name: "SpaceToDepth",
    version: 1,
    doc: "X [n, c, h, w] as [n, b^2 * c, h / b, w / b] with b = blocksize; Y's channel is (row in block, \
          column in block, channel), with mode CRD (channel, row in block, column in block). Source: ONNX SpaceToDepth-1, -13, -28.",
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
    let mode = ctx.attrs.str("mode");
    if !["DCR", "CRD"].contains(&mode) {
        return Err(OpError::attr("mode", format!("is {mode:?}; DCR or CRD is needed")));
    }
    let [n, c, h, w] = ctx.shape(0)? else {
        return Err(OpError::shape(format!("{} is not of rank 4", ctx.input(0)?.ty)));
    };
    let (side, area) = block(ctx.attrs.int("blocksize"))?;
    if let Some(d) = [h, w].into_iter().find(|d| d.as_const().is_some_and(|d| d % side != 0)) {
        return Err(OpError::shape(format!("{d} pixels are no multiple of {side}")));
    }
    let side = DimExpr::Const(side);
    let shape = vec![n.clone(), c.mul(&DimExpr::Const(area)), h.floor_div(&side), w.floor_div(&side)];
    Ok(vec![Inferred::new(ctx.dtype(0)?, shape)])
}

fn eval(ctx: &EvalCtx<'_>) -> Result<Vec<Tensor>, OpError> {
    let x = ctx.input(0);
    let shape = known_shape(&DEF, ctx)?;
    let b = ctx.attrs.int("blocksize") as usize;
    // X's axes [n, c, y, by, x, bx] in the order [n, by, bx, c, y, x] or [n, c, by, bx, y, x].
    let six = [x.shape[0], x.shape[1], shape[2], b, shape[3], b];
    let s = strides(&six);
    let order = if ctx.attrs.str("mode") == "DCR" { [0, 3, 5, 1, 2, 4] } else { [0, 1, 3, 5, 2, 4] };
    let walk = Walk::new(&order.map(|a| six[a]), order.map(|a| s[a] as isize).to_vec(), 0);
    Ok(vec![pick(x, &shape, walk)?])
}

#[cfg(test)]
mod tests {
    use crate::attrs::Attrs;
    use crate::ops::check::{run, try_run};
    use crate::tensor::Tensor;

    #[test]
    fn blocks() {
        let x = Tensor::from_slice(&[1, 1, 2, 4], &[0u8, 1, 2, 3, 4, 5, 6, 7]);
        let y = run("SpaceToDepth", Attrs::new().with_int("blocksize", 2), &[&x]);
        assert_eq!((y.shape(), y.as_slice::<u8>()), (&[1, 4, 1, 2][..], &[0, 2, 1, 3, 4, 6, 5, 7][..]));
        let two = Tensor::from_slice(&[1, 2, 2, 2], &[0u8, 1, 2, 3, 4, 5, 6, 7]);
        let crd = Attrs::new().with_int("blocksize", 2).with_str("mode", "CRD");
        assert_eq!(run("SpaceToDepth", crd, &[&two]).as_slice::<u8>(), [0, 1, 2, 3, 4, 5, 6, 7]);
        for bad in [0, 3, i64::MIN] {
            assert!(try_run("SpaceToDepth", Attrs::new().with_int("blocksize", bad), &[&x]).is_err());
        }
    }
}
