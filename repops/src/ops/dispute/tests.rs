//! Every rule against the operator's own evaluation.

use super::*;
use crate::ops::testing::noise;
use crate::ops::{EvalCtx, OpDef, all, by_name, infer_known};
use crate::reference::evaluate_region;
use crate::region::{Instruction, Product, Region, is_product};
use crate::tensor::TensorView;

/// Evaluates elements of every output by terms and compares bits.
pub(super) fn check(name: &str, attrs: Attrs, inputs: &[Option<Tensor>], outputs: usize) {
    let def = by_name(name).expect("a row");
    let attrs = def.check_attrs(&attrs).expect("attributes");
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    infer_known(def, &attrs, &views, outputs).expect("inference");
    let expected = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &views, outputs }).expect("evaluation");
    compare(name, &attrs, None, inputs, &expected[..outputs]);
    if is_product(def) && expected[0].dtype() == DType::F32 && inputs.iter().all(Option::is_some) {
        check_within(def, &attrs, inputs);
    }
}

/// The same for two such products within a step: the sum of one and a column, times the other.
fn check_within(def: &'static OpDef, attrs: &Attrs, inputs: &[Option<Tensor>]) {
    let step = |name: &str, args: [u16; 2]| {
        let def = by_name(name).expect("a row");
        let (op, version, attrs, args) = (def.id, def.version, none(), args.to_vec());
        Instruction { op, version, attrs, args, dtype: DType::F32 }
    };
    let product =
        Product { op: def.id, version: def.version, attrs: attrs.clone(), inputs: inputs.len() as u16 };
    let region = Region {
        products: vec![product; 2],
        params: vec![DType::F32; 3],
        instructions: vec![step("Add", [0, 2]), step("Mul", [3, 1])],
        results: vec![4, 3],
    };
    region.check().expect("a region");
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let one = (def.eval)(&EvalCtx { attrs, inputs: &views, outputs: 1 }).expect("evaluation");
    let last = one[0].shape().last().copied().unwrap_or(1);
    let inputs: Vec<Option<Tensor>> = inputs.iter().chain(inputs).cloned().chain([f(&[last], 77)]).collect();
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|t| t.as_ref().map(Tensor::view)).collect();
    let expected = evaluate_region(&region, &views).expect("evaluation");
    compare("ProductRegion", &none(), Some(&region), &inputs, &expected);
}

fn compare(
    name: &str,
    attrs: &Attrs,
    region: Option<&Region>,
    inputs: &[Option<Tensor>],
    expected: &[Tensor],
) {
    let def = by_name(name).expect("a row");
    let types: Vec<Option<TensorType>> =
        inputs.iter().map(|t| t.as_ref().map(|t| TensorType::new(t.dtype(), t.shape()))).collect();
    let out: Vec<TensorType> = expected.iter().map(|t| TensorType::new(t.dtype(), t.shape())).collect();
    let subject = Subject { def, attrs, region, inputs: &types, outputs: &out };
    for (number, tensor) in expected.iter().enumerate() {
        let large = inputs.iter().flatten().any(|t| t.len() > 1000);
        let step = (tensor.len() / if large { 2 } else { 20 }).max(1);
        for at in (0..tensor.len()).step_by(step).chain(tensor.len().checked_sub(1)) {
            let term = Term::Output { output: number as u32, element: at as u64 };
            let found = evaluate(&subject, term, &mut OpenInputs(inputs));
            let bits = bits_at(tensor.dtype(), tensor.bytes(), at).unwrap();
            assert_eq!(found, Ok(bits), "{name} {attrs} output {number} element {at}");
        }
        let past = Term::Output { output: number as u32, element: tensor.len() as u64 };
        assert_eq!(evaluate(&subject, past, &mut OpenInputs(inputs)), Err(Stop::NoTerm), "{name}");
    }
}

pub(super) fn f(shape: &[usize], seed: u32) -> Option<Tensor> {
    Some(noise(shape, seed))
}

pub(super) fn i(shape: &[usize], values: &[i64]) -> Option<Tensor> {
    Some(Tensor::from_slice(shape, values))
}

pub(super) fn bytes(shape: &[usize], seed: u8) -> Option<Tensor> {
    let count = shape.iter().product::<usize>();
    let values: Vec<u8> = (0..count).map(|i| (i as u8).wrapping_mul(37).wrapping_add(seed)).collect();
    Some(Tensor::from_slice(shape, &values))
}

pub(super) fn none() -> Attrs {
    Attrs::new()
}

/// In another float type.
pub(super) fn cast(tensor: Option<Tensor>, to: DType) -> Option<Tensor> {
    let def = by_name("Cast").unwrap();
    let attrs = def.check_attrs(&none().with_int("to", to.code() as i64)).unwrap();
    let tensor = tensor?;
    let found = (def.eval)(&EvalCtx { attrs: &attrs, inputs: &[Some(tensor.view())], outputs: 1 });
    Some(found.unwrap().swap_remove(0))
}

#[test]
fn contractions() {
    check("MatMul", none(), &[f(&[3, 601], 1), f(&[601, 5], 2)], 1);
    check("MatMul", none(), &[f(&[2, 1, 3, 7], 1), f(&[4, 7, 2], 2)], 1);
    check("MatMul", none(), &[f(&[9], 1), f(&[9, 2], 2)], 1);
    check("MatMul", none(), &[f(&[2, 9], 1), f(&[9], 2)], 1);
    check("MatMul", none(), &[f(&[2, 0], 1), f(&[0, 3], 2)], 1);
    // More than FAN chunks.
    check("MatMul", none(), &[f(&[1, 9000], 1), f(&[9000, 2], 2)], 1);
    for dtype in [DType::F16, DType::BF16, DType::F64, DType::I32, DType::U64] {
        check("MatMul", none(), &[cast(f(&[3, 300], 1), dtype), cast(f(&[300, 4], 2), dtype)], 1);
    }
    for dtype in [DType::F16, DType::BF16] {
        check("MatMul", none(), &[f(&[3, 300], 1), cast(f(&[300, 4], 2), dtype)], 1);
    }
    for format in crate::blocks::Format::ALL {
        let attrs = none().with_int("columns", 19).with_str("format", format.name());
        let shape = [2, 512 / format.positions(), format.bytes()];
        // Bytes that make no scale infinite.
        let count = shape.iter().product::<usize>();
        let weights: Vec<u8> = (0..count).map(|i| (i * 29 % 64) as u8).collect();
        let weights = Some(Tensor::from_slice(&shape, &weights));
        check("MatMulBlocks", attrs, &[f(&[3, 512], 1), weights], 1);
    }
    let factors = none().with_float("alpha", 0.7).with_float("beta", 0.9);
    check("Gemm", factors.clone(), &[f(&[3, 300], 1), f(&[300, 4], 2), f(&[4], 3)], 1);
    let transposed = none().with_int("transA", 1).with_int("transB", 1);
    check("Gemm", transposed, &[f(&[300, 3], 1), f(&[4, 300], 2), f(&[3, 1], 3)], 1);
    check("Gemm", factors, &[f(&[3, 5], 1), f(&[5, 4], 2)], 1);
    let minus = none().with_float("alpha", -2.0);
    check("Gemm", minus, &[Some(Tensor::from_slice(&[1, 1], &[0.0f32])), f(&[1, 2], 2)], 1);
    let conv = none().with_ints("pads", &[1, 2, 0, 1]).with_ints("strides", &[2, 1]).with_int("group", 2);
    check("Conv", conv.clone(), &[f(&[2, 4, 7, 6], 1), f(&[6, 2, 3, 2], 2), f(&[6], 3)], 1);
    check("Conv", conv.with_ints("dilations", &[1, 2]), &[f(&[2, 4, 7, 6], 1), f(&[6, 2, 3, 2], 2)], 1);
    let same = none().with_str("auto_pad", "SAME_UPPER").with_ints("strides", &[2]);
    check("Conv", same, &[f(&[1, 70, 9], 1), f(&[3, 70, 4], 2)], 1);
}

#[test]
fn integer_contractions() {
    let (a, b) = (bytes(&[3, 70], 5), cast(bytes(&[70, 4], 9), DType::I8));
    check("MatMulInteger", none(), &[a.clone(), b.clone()], 1);
    let rows = Some(Tensor::from_slice(&[3], &[1u8, 200, 7]));
    let columns = Some(Tensor::from_slice(&[4], &[1i8, -100, 7, 0]));
    check("MatMulInteger", none(), &[a.clone(), b.clone(), rows.clone(), columns.clone()], 1);
    let scale = |values: &[f32]| Some(Tensor::from_slice(&[values.len()], values));
    let one = |v: f32| Some(Tensor::scalar(v));
    let zero = Some(Tensor::scalar(120u8));
    let q = [
        a,
        scale(&[0.1, 0.2, 0.3]),
        rows,
        b,
        scale(&[0.01, 0.02, 0.03, 0.1]),
        columns,
        one(3.0),
        zero.clone(),
    ];
    check("QLinearMatMul", none(), &q, 1);
    let (x, w) = (bytes(&[1, 2, 6, 5], 3), bytes(&[4, 2, 3, 3], 8));
    let pads = none().with_ints("pads", &[1, 1, 1, 1]);
    let x_zero = Some(Tensor::scalar(100u8));
    let w_zero = Some(Tensor::from_slice(&[4], &[1u8, 2, 200, 4]));
    check("ConvInteger", pads.clone(), &[x.clone(), w.clone(), x_zero.clone(), w_zero.clone()], 1);
    check("ConvInteger", pads.clone(), &[x.clone(), w.clone()], 1);
    let bias = Some(Tensor::from_slice(&[4], &[1i32, -2000, 3, 4]));
    let q = [x, one(0.02), x_zero, w, scale(&[0.1, 0.2, 0.3, 0.4]), w_zero, one(40.0), zero, bias];
    check("QLinearConv", pads, &q, 1);
}

#[test]
fn reductions() {
    let names = [
        "ReduceSum",
        "ReduceMean",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
    ];
    for name in names {
        check(name, none(), &[f(&[3, 5, 7], 1), i(&[2], &[2, 0])], 1);
        check(name, none().with_int("keepdims", 0), &[f(&[3, 5, 7], 1), i(&[1], &[1])], 1);
        check(name, none(), &[f(&[2, 9000], 1), i(&[1], &[-1])], 1);
        check(name, none(), &[f(&[4, 3], 1), None], 1);
        check(name, none(), &[f(&[4, 0], 1), i(&[1], &[1])], 1);
        check(name, none().with_int("noop_with_empty_axes", 1), &[f(&[4, 3], 1), None], 1);
        check(name, none(), &[cast(f(&[2, 300], 1), DType::F16), i(&[1], &[1])], 1);
        check(name, none(), &[cast(f(&[2, 300], 1), DType::F64), i(&[1], &[1])], 1);
    }
    let values: Vec<i32> = (0..600).map(|i| (i * 7919) % 1000 - 500).collect();
    let ints = Some(Tensor::from_slice(&[2, 300], &values));
    for name in
        ["ReduceSum", "ReduceMean", "ReduceL1", "ReduceSumSquare", "ReduceMax", "ReduceMin", "ReduceProd"]
    {
        for dtype in [DType::I32, DType::I64, DType::U32, DType::U64] {
            check(name, none(), &[cast(ints.clone(), dtype), i(&[1], &[1])], 1);
        }
    }
    for dtype in [DType::I8, DType::U8, DType::I16, DType::U16, DType::Bool] {
        check("ReduceMax", none(), &[cast(ints.clone(), dtype), i(&[1], &[1])], 1);
        check("ReduceMin", none(), &[cast(ints.clone(), dtype), i(&[1], &[1])], 1);
    }
    for name in ["Softmax", "LogSoftmax"] {
        check(name, none(), &[f(&[3, 500], 1)], 1);
        check(name, none().with_int("axis", 1), &[f(&[3, 5, 4], 1)], 1);
        check(name, none(), &[cast(f(&[3, 50], 1), DType::BF16)], 1);
        check(name, none(), &[Some(Tensor::from_slice(&[2], &[f32::NEG_INFINITY; 2]))], 1);
        check(name, none(), &[f(&[1, 9000], 3)], 1);
    }
    check("GlobalAveragePool", none(), &[f(&[2, 3, 5, 5], 1)], 1);
    check("GlobalMaxPool", none(), &[f(&[2, 3, 5, 5], 1)], 1);
}

#[test]
fn normalizations() {
    let scale = f(&[60], 2);
    check("LayerNormalization", none(), &[f(&[3, 60], 1), scale.clone(), f(&[60], 3)], 3);
    check("LayerNormalization", none().with_int("axis", 1), &[f(&[2, 4, 60], 1), scale.clone()], 2);
    check(
        "LayerNormalization",
        none(),
        &[cast(f(&[3, 60], 1), DType::F16), cast(scale.clone(), DType::F16)],
        3,
    );
    check("RMSNormalization", none(), &[f(&[3, 60], 1), scale], 1);
    check("InstanceNormalization", none(), &[f(&[2, 3, 4, 5], 1), f(&[3], 2), f(&[3], 3)], 1);
    let groups = none().with_int("num_groups", 2);
    check("GroupNormalization", groups, &[f(&[2, 6, 4, 5], 1), f(&[6], 2), f(&[6], 3)], 1);
    for p in [1, 2] {
        check("LpNormalization", none().with_int("p", p).with_int("axis", 1), &[f(&[2, 30, 3], 1)], 1);
    }
    check("MeanVarianceNormalization", none(), &[f(&[2, 3, 4, 5], 1)], 1);
    let channel = || f(&[3], 2);
    let var = Some(Tensor::from_slice(&[3], &[1.0f32, 0.5, 2.0]));
    check("BatchNormalization", none(), &[f(&[2, 3, 4], 1), channel(), channel(), channel(), var], 1);
}

#[test]
fn movement() {
    let x = || f(&[3, 4, 5], 1);
    check("Transpose", none(), &[x()], 1);
    check("Transpose", none().with_ints("perm", &[1, 2, 0]), &[x()], 1);
    let slice = [x(), i(&[2], &[3, -1]), i(&[2], &[0, -100]), i(&[2], &[1, 2]), i(&[2], &[-1, -2])];
    check("Slice", none(), &slice, 1);
    check(
        "Concat",
        none().with_int("axis", 1),
        &[x(), f(&[3, 2, 5], 2), f(&[3, 0, 5], 2), f(&[3, 1, 5], 4)],
        1,
    );
    check("Split", none().with_int("axis", -1), &[x(), i(&[2], &[2, 3])], 2);
    check("Gather", none().with_int("axis", 1), &[x(), i(&[2, 2], &[0, -1, 3, 1])], 1);
    check("GatherElements", none().with_int("axis", 2), &[x(), i(&[2, 2, 2], &[0, -1, 3, 1, 4, 2, 0, 0])], 1);
    check("GatherND", none(), &[x(), i(&[2, 2], &[0, -1, 2, 1])], 1);
    check("GatherND", none().with_int("batch_dims", 1), &[x(), i(&[3, 1], &[0, -1, 2])], 1);
    check("Expand", none(), &[f(&[3, 1, 5], 1), i(&[4], &[2, 3, 4, 5])], 1);
    check("Tile", none(), &[x(), i(&[3], &[2, 1, 3])], 1);
    for mode in ["constant", "edge", "reflect", "wrap"] {
        check("Pad", none().with_str("mode", mode), &[x(), i(&[6], &[1, -1, 2, 2, 1, 3])], 1);
    }
    let value = Some(Tensor::scalar(2.5f32));
    check("Pad", none(), &[x(), i(&[2], &[1, 2]), value, i(&[1], &[-2])], 1);
    for mode in ["DCR", "CRD"] {
        let attrs = none().with_int("blocksize", 2).with_str("mode", mode);
        check("DepthToSpace", attrs, &[f(&[2, 12, 2, 3], 1)], 1);
    }
    check("SpaceToDepth", none().with_int("blocksize", 2), &[f(&[2, 3, 4, 6], 1)], 1);
    let crd = none().with_int("blocksize", 2).with_str("mode", "CRD");
    check("SpaceToDepth", crd, &[f(&[2, 3, 4, 6], 1)], 1);
    check("CenterCropPad", none(), &[f(&[5, 4, 3], 1), i(&[3], &[2, 7, 3])], 1);
    let cache = || f(&[2, 3, 5, 2], 1);
    check("TensorScatter", none(), &[cache(), f(&[2, 3, 2, 2], 2), i(&[2], &[3, 0])], 1);
    let circular = none().with_str("mode", "circular");
    check("TensorScatter", circular, &[cache(), f(&[2, 3, 12, 2], 2), i(&[2], &[3, -9])], 1);
    check("Trilu", none(), &[x(), i(&[], &[1])], 1);
    check("Trilu", none().with_int("upper", 0), &[x()], 1);
    let reverse = none().with_int("batch_axis", 1).with_int("time_axis", 0);
    check("ReverseSequence", reverse, &[x(), i(&[4], &[3, 0, 2, 1])], 1);
    check("ConstantOfShape", none(), &[i(&[2], &[2, 3]), Some(Tensor::from_slice(&[1], &[7i32]))], 1);
    check("Reshape", none(), &[x(), i(&[2], &[-1, 6])], 1);
    check("Shape", none().with_int("start", 1), &[x()], 1);
    check("Size", none(), &[x()], 1);
}

#[test]
fn crops() {
    check("Add", none(), &[f(&[3, 1, 5], 1), f(&[4, 1], 2)], 1);
    check("Cast", none().with_int("to", 7), &[f(&[3, 5], 1)], 1);
    check("Sum", none(), &[f(&[3, 1], 1), f(&[4], 2), f(&[1, 4], 3)], 1);
    check("Clip", none(), &[f(&[9], 1), None, Some(Tensor::scalar(0.25f32))], 1);
    check("Where", none(), &[cast(f(&[3, 1], 1), DType::Bool), f(&[4], 1), f(&[3, 4], 2)], 1);
    let scale = Some(Tensor::from_slice(&[3], &[0.1f32, 0.2, 0.3]));
    check(
        "DequantizeLinear",
        none().with_int("axis", 1),
        &[bytes(&[2, 3, 2], 1), scale.clone(), bytes(&[3], 9)],
        1,
    );
    check("QuantizeLinear", none().with_int("axis", 1), &[f(&[2, 3, 2], 1), scale, bytes(&[3], 9)], 1);
    let blocks = none().with_int("axis", 0).with_int("block_size", 2);
    check("DequantizeLinear", blocks, &[bytes(&[4, 3], 1), f(&[2, 3], 5)], 1);
    check("ArgMax", none().with_int("axis", 1), &[f(&[3, 4, 5], 1)], 1);
    check("ArgMin", none().with_int("axis", 1).with_int("keepdims", 0), &[f(&[3, 4, 5], 1)], 1);
    check("Hardmax", none().with_int("axis", 1), &[f(&[3, 4, 5], 1)], 1);
    check("TopK", none().with_int("axis", 1), &[f(&[3, 4, 5], 1), i(&[1], &[2])], 2);
    check("CumSum", none(), &[f(&[3, 4, 5], 1), i(&[], &[1])], 1);
    check("LRN", none().with_int("size", 3), &[f(&[2, 5, 3, 2], 1)], 1);
    check("OneHot", none(), &[i(&[3], &[0, 1, 5]), i(&[], &[4]), f(&[2], 1)], 1);
    check("NonZero", none(), &[bytes(&[3, 4], 0)], 1);
    check("Compress", none(), &[f(&[4], 1), Some(Tensor::from_bools(&[3], &[true, false, true]))], 1);
}

#[test]
fn every_operator_has_a_rule() {
    for def in all() {
        let rule = rule(def);
        assert_eq!(matches!(def.class, crate::ops::OpClass::Control), rule == Rule::Blocks, "{}", def.name);
        assert!(!rule.describe().is_empty());
    }
}

#[test]
fn faults_and_bounds_stop() {
    let def = by_name("Div").unwrap();
    let inputs = [i(&[2], &[1, 2]), i(&[2], &[1, 0])];
    let types: Vec<_> = inputs.iter().map(|_| Some(TensorType::new(DType::I64, &[2]))).collect();
    let outputs = [TensorType::new(DType::I64, &[2])];
    let attrs = none();
    let subject = Subject { def, attrs: &attrs, region: None, inputs: &types, outputs: &outputs };
    let at = |element| evaluate(&subject, Term::Output { output: 0, element }, &mut OpenInputs(&inputs));
    assert_eq!(at(0), Ok(1));
    assert_eq!(at(1), Err(Stop::Operator(OpError::Fault(Fault::DivisionByZero))));
    let def = by_name("NonZero").unwrap();
    let large = [Some(TensorType::new(DType::U8, &[WHOLE_BYTES_MAX + 1]))];
    let outputs = [TensorType::new(DType::I64, &[1, 1])];
    let subject = Subject { def, attrs: &attrs, region: None, inputs: &large, outputs: &outputs };
    let found = evaluate(&subject, Term::Output { output: 0, element: 0 }, &mut OpenInputs(&[None]));
    assert_eq!(found, Err(Stop::TooLarge { bytes: WHOLE_BYTES_MAX + 1 }));
}
