//! Fused regions by the shipped kernel, on the interpreter, compared with the operators one after the other.

use repops::attrs::Attrs;
use repops::dtype::DType;
use repops::ops::{self, EvalCtx};
use repops::region::{Instruction, Region};
use repops::tensor::{Tensor, TensorView};
use repops_cuda::launch::region;
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;

mod tensors;
use tensors::{floats, truths};

fn step(name: &str, attrs: Attrs, args: &[u16], dtype: DType) -> Instruction {
    let def = ops::by_name(name).unwrap();
    let attrs = def.check_attrs(&attrs).unwrap();
    Instruction { op: def.id, version: def.version, attrs, args: args.to_vec(), dtype }
}

/// Every value of the region, broadcast to `shape`.
fn reference(region: &Region, inputs: &[Tensor], shape: &[usize]) -> Vec<Tensor> {
    let expand = |tensor: &Tensor| {
        let shape: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
        let shape = Tensor::from_slice(&[shape.len()], &shape);
        evaluate("Expand", &Attrs::new(), &[tensor, &shape])
    };
    let mut values: Vec<Tensor> = inputs.iter().map(expand).collect();
    for instruction in &region.instructions {
        let name = ops::by_id(instruction.op, instruction.version).unwrap().name;
        let args: Vec<&Tensor> = instruction.args.iter().map(|&arg| &values[usize::from(arg)]).collect();
        values.push(evaluate(name, &instruction.attrs, &args));
    }
    region.results.iter().map(|&result| values[usize::from(result)].clone()).collect()
}

fn evaluate(name: &str, attrs: &Attrs, args: &[&Tensor]) -> Tensor {
    let def = ops::by_name(name).unwrap();
    let views: Vec<Option<TensorView<'_>>> = args.iter().map(|tensor| Some(tensor.view())).collect();
    def.evaluate(&EvalCtx { attrs, inputs: &views, outputs: 1 }).unwrap().remove(0)
}

#[track_caller]
fn check(region: &Region, inputs: &[Tensor], shape: &[usize]) {
    region.check().unwrap();
    let device = Interpreter::new();
    let buffers: Vec<_> = inputs
        .iter()
        .map(|tensor| {
            let buffer = device.alloc(tensor.bytes().len()).unwrap();
            device.write(&buffer, 0, tensor.bytes()).unwrap();
            buffer
        })
        .collect();
    let wanted = reference(region, inputs, shape);
    let outputs: Vec<_> = wanted.iter().map(|tensor| device.alloc(tensor.bytes().len()).unwrap()).collect();
    let from: Vec<View<'_, _>> = inputs
        .iter()
        .zip(&buffers)
        .map(|(tensor, buffer)| View { buffer, offset: 0, dtype: tensor.dtype(), shape: tensor.shape() })
        .collect();
    let to: Vec<View<'_, _>> = wanted
        .iter()
        .zip(&outputs)
        .map(|(tensor, buffer)| View { buffer, offset: 0, dtype: tensor.dtype(), shape })
        .collect();
    let prepared = region::prepare(&device, region, None).unwrap().expect("the kernel takes it");
    region::launch_elementwise(&device, &prepared, &from, &to).unwrap();
    for (at, (tensor, buffer)) in wanted.iter().zip(&outputs).enumerate() {
        let mut found = vec![0; tensor.bytes().len()];
        device.read(buffer, 0, &mut found).unwrap();
        assert_eq!(found, tensor.bytes(), "result {at}");
    }
}

#[test]
fn every_kind_of_instruction() {
    use DType::{Bool, F32};
    let none = Attrs::new;
    let cast = |dtype: DType| Attrs::new().with_int("to", i64::from(dtype.code()));
    let instructions = vec![
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
    let region = Region {
        products: Vec::new(),
        params: vec![F32, F32, F32, Bool],
        instructions,
        results: vec![18, 15, 12, 7],
    };
    let inputs =
        [floats(F32, &[4, 3, 50], 1), floats(F32, &[3, 1], 2), floats(F32, &[], 3), truths(&[4, 1, 50], 4)];
    check(&region, &inputs, &[4, 3, 50]);
    let inputs = [floats(F32, &[300], 1), floats(F32, &[300], 2), floats(F32, &[1], 3), truths(&[300], 4)];
    check(&region, &inputs, &[300]);
    let inputs = [floats(F32, &[], 1), floats(F32, &[], 2), floats(F32, &[], 3), truths(&[], 4)];
    check(&region, &inputs, &[]);
}

#[test]
fn many_instructions_and_many_live_values() {
    // Eighty values that are all read at the end: more slots than the widest block has room for.
    let count = 80u16;
    let mut instructions: Vec<Instruction> = (0..count)
        .map(|k| {
            step("LeakyRelu", Attrs::new().with_float("alpha", f32::from(k) * 0.01), &[k % 3], DType::F32)
        })
        .collect();
    let mut last = 3;
    for k in 1..count {
        instructions.push(step("Add", Attrs::new(), &[last, 3 + k], DType::F32));
        last = 3 + count + k - 1;
    }
    let region = Region {
        products: Vec::new(),
        params: vec![DType::F32; 3],
        instructions,
        results: vec![last, 3 + 7],
    };
    let inputs = [floats(DType::F32, &[130], 1), floats(DType::F32, &[130], 2), floats(DType::F32, &[1], 3)];
    check(&region, &inputs, &[130]);
}
