//! Launches that are no operators: fused regions and hashing.

use std::sync::OnceLock;

use repops::attrs::Attrs;
use repops::digest::{LEAF_BYTES, leaf_hash, merkle_root};
use repops::dtype::DType;
use repops::ops::{self, EvalCtx};
use repops::region::{Instruction, Region};
use repops::tensor::{Tensor, TensorView};
use repops_cuda::launch::hash::{Bytes, ROOT_BYTES, roots};
use repops_cuda::launch::region;
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;
use repops_ptx::suite::Draw;

use super::{Check, What};

pub fn checks() -> Vec<Check> {
    let mut out = Vec::new();
    let pieces = [
        vec![(0, 0), (16, 1), (0, 55), (32, 56), (1, 64), (7, 1015), (2, 1024), (3, 1025)],
        vec![(0, 3 * LEAF_BYTES - 400), (5, 13 * LEAF_BYTES), (0, 130 * LEAF_BYTES + 7)],
        // Five groups of leaves, which a second launch combines.
        vec![(0, 4 * 128 * LEAF_BYTES + 77), (16, 40)],
    ];
    for pieces in pieces {
        let name = format!("roots of {pieces:?}");
        out.push(Check { name, what: What::Other(Box::new(move |device| hash(device, &pieces))) });
    }
    out.push(fused(
        "region of every kind",
        every_kind(),
        &[&[4, 3, 20], &[3, 1], &[]],
        &[4, 1, 20],
        &[4, 3, 20],
    ));
    out.push(fused("region of one axis", every_kind(), &[&[300], &[300], &[1]], &[300], &[300]));
    out
}

fn hash(device: &Interpreter, pieces: &[(usize, usize)]) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let end = pieces.iter().map(|(offset, bytes)| offset + bytes).max().unwrap_or(0);
    let bytes: Vec<u8> = (0..end).map(|i| (i * 7 + i / 251) as u8).collect();
    let buffer = device.alloc(end).map_err(told)?;
    device.write(&buffer, 0, &bytes).map_err(told)?;
    let out = device.alloc(pieces.len() * ROOT_BYTES).map_err(told)?;
    let tensors: Vec<Bytes<'_, _>> =
        pieces.iter().map(|&(offset, len)| Bytes { buffer: &buffer, offset, len }).collect();
    roots(device, &tensors, &out, 0).map_err(told)?;
    for (at, &(offset, len)) in pieces.iter().enumerate() {
        let mut found = [0; ROOT_BYTES];
        device.read(&out, at * ROOT_BYTES, &mut found).map_err(told)?;
        let leaves: Vec<_> = bytes[offset..][..len].chunks(LEAF_BYTES).map(leaf_hash).collect();
        if found != merkle_root(&leaves).0 {
            return Err(format!("the root of {len} bytes from {offset} on differs"));
        }
    }
    Ok(())
}

fn step(name: &str, attrs: Attrs, args: &[u16], dtype: DType) -> Instruction {
    let def = ops::by_name(name).expect("an operator");
    let attrs = def.check_attrs(&attrs).expect("attributes");
    Instruction { op: def.id, version: def.version, attrs, args: args.to_vec(), dtype }
}

/// Of three numbers and a truth, with every kind of instruction and many functions.
fn every_kind() -> Region {
    use DType::{Bool, F32};
    let none = Attrs::new;
    let cast = |dtype: DType| Attrs::new().with_int("to", i64::from(dtype.code()));
    let mut instructions = vec![
        step("Add", none(), &[0, 1], F32),                             // 4
        step("Sigmoid", none(), &[4], F32),                            // 5
        step("LeakyRelu", none().with_float("alpha", 0.3), &[0], F32), // 6
        step("Pow", none(), &[5, 6], F32),                             // 7
        step("Less", none(), &[7, 2], Bool),                           // 8
        step("IsNaN", none(), &[7], Bool),                             // 9
        step("Or", none(), &[8, 3], Bool),                             // 10
        step("Not", none(), &[9], Bool),                               // 11
        step("Xor", none(), &[10, 11], Bool),                          // 12
        step("Where", none(), &[12, 7, 4], F32),                       // 13
        step("Cast", cast(F32), &[12], F32),                           // 14
        step("Cast", cast(Bool), &[13], Bool),                         // 15
        step("Clip", none(), &[13, 14, 2], F32),                       // 16
        step("Elu", none().with_float("alpha", 0.7), &[16], F32),      // 17
        step("Max", none(), &[17, 6], F32),                            // 18
    ];
    let mut results = vec![18, 15, 12, 7];
    let unary = [
        "Abs",
        "Neg",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
        "Sqrt",
        "Reciprocal",
        "Relu",
        "HardSwish",
        "Softsign",
        "Exp",
        "Log",
        "Erf",
        "Sin",
        "Cos",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Tanh",
        "Softplus",
        "Mish",
        "Gelu",
    ];
    let mut push = |op: &str, attrs: Attrs, args: &[u16], dtype: DType| {
        instructions.push(step(op, attrs, args, dtype));
        3 + instructions.len() as u16
    };
    // Each result is the sum of a few: a wrong one shows unless it cancels.
    for ops in unary.chunks(9) {
        let mut sum = 1;
        for op in ops {
            let value = push(op, none(), &[1], F32);
            // What is no number would hide the others.
            let is_nan = push("IsNaN", none(), &[value], Bool);
            let value = push("Where", none(), &[is_nan, 0, value], F32);
            sum = push("Add", none(), &[sum, value], F32);
        }
        results.push(sum);
    }
    for op in ["Sub", "Mul", "Div", "Min"] {
        let value = push(op, none(), &[0, 2], F32);
        let chosen = push("Greater", none(), &[value, 1], Bool);
        results[0] = push("Where", none(), &[chosen, value, results[0]], F32);
    }
    for op in ["Equal", "LessOrEqual", "GreaterOrEqual"] {
        let value = push(op, none(), &[0, 1], Bool);
        results[2] = push("Xor", none(), &[results[2], value], Bool);
    }
    let both = push("And", none(), &[results[2], 3], Bool);
    results[1] = push("Xor", none(), &[results[1], both], Bool);
    Region { params: vec![F32, F32, F32, Bool], instructions, results }
}

fn fused(name: &str, region: Region, numbers: &[&[usize]], truth: &[usize], shape: &[usize]) -> Check {
    let mut draw = Draw::new(70);
    let mut inputs: Vec<Tensor> = numbers.iter().map(|shape| draw.hard_tensor(shape)).collect();
    inputs.push(draw.any_tensor(DType::Bool, truth));
    for input in &mut inputs {
        input.canonicalize();
    }
    let shape = shape.to_vec();
    let wanted = OnceLock::new();
    let run = move |device: &Interpreter| {
        let wanted: &Vec<Tensor> = wanted.get_or_init(|| reference(&region, &inputs, &shape));
        launch(device, &region, &inputs, wanted)
    };
    Check { name: name.to_owned(), what: What::Other(Box::new(run)) }
}

/// The instructions one after the other, on whole tensors.
fn reference(region: &Region, inputs: &[Tensor], shape: &[usize]) -> Vec<Tensor> {
    let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
    let extents = Tensor::from_slice(&[shape.len()], &extents);
    let mut values: Vec<Tensor> =
        inputs.iter().map(|input| evaluate("Expand", &Attrs::new(), &[input, &extents])).collect();
    for instruction in &region.instructions {
        let name = ops::by_id(instruction.op, instruction.version).expect("known").name;
        let args: Vec<&Tensor> = instruction.args.iter().map(|&arg| &values[usize::from(arg)]).collect();
        values.push(evaluate(name, &instruction.attrs, &args));
    }
    region.results.iter().map(|&result| values[usize::from(result)].clone()).collect()
}

fn evaluate(name: &str, attrs: &Attrs, args: &[&Tensor]) -> Tensor {
    let def = ops::by_name(name).expect("an operator");
    let views: Vec<Option<TensorView<'_>>> = args.iter().map(|tensor| Some(tensor.view())).collect();
    def.evaluate(&EvalCtx { attrs, inputs: &views, outputs: 1 }).expect("no fault").remove(0)
}

fn launch(device: &Interpreter, region: &Region, inputs: &[Tensor], wanted: &[Tensor]) -> Result<(), String> {
    let told = |error: repops_cuda::Error| error.to_string();
    let mut buffers = Vec::new();
    for input in inputs {
        let buffer = device.alloc(input.bytes().len()).map_err(told)?;
        device.write(&buffer, 0, input.bytes()).map_err(told)?;
        buffers.push(buffer);
    }
    let mut outputs = Vec::new();
    for tensor in wanted {
        outputs.push(device.alloc(tensor.bytes().len()).map_err(told)?);
    }
    let prepared = region::prepare(device, region).map_err(told)?.ok_or("the kernel does not take it")?;
    region::launch(device, &prepared, &views_of(inputs, &buffers), &views_of(wanted, &outputs))
        .map_err(told)?;
    for (at, (tensor, buffer)) in wanted.iter().zip(&outputs).enumerate() {
        let mut found = vec![0; tensor.bytes().len()];
        device.read(buffer, 0, &mut found).map_err(told)?;
        if found != tensor.bytes() {
            return Err(format!("result {at} of the region differs"));
        }
    }
    Ok(())
}

fn views_of<'a, B>(tensors: &'a [Tensor], buffers: &'a [B]) -> Vec<View<'a, B>> {
    let of = |(tensor, buffer): (&'a Tensor, &'a B)| View {
        buffer,
        offset: 0,
        dtype: tensor.dtype(),
        shape: tensor.shape(),
    };
    tensors.iter().zip(buffers).map(of).collect()
}
