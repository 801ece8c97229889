//! A region's PTX, by the launch that a GPU gets, on the interpreter.

use repops::reference::evaluate_region;
use repops::region::Region;
use repops::{DType, Tensor, TensorView};
use repops_compiler::native::regions::{NativeRegions, ptx_of};
use repops_cuda::launch::region;
use repops_cuda::{Device, View};
use repops_ptx::Interpreter;

use super::{numbers, truths};

/// Inputs that broadcast to a few lines of few elements, so that every thread has one at most.
pub fn broadcast(region: &Region, seed: u32) -> Vec<Tensor> {
    let shapes: [&[usize]; 4] = [&[3, 5, 23], &[5, 1], &[], &[3, 1, 23]];
    let input = |(k, dtype): (usize, &DType)| {
        let shape = shapes[(k + seed as usize) % shapes.len()];
        // One input has all the axes.
        let shape = if k == 0 { shapes[0] } else { shape };
        let (count, seed) = (shape.iter().product(), seed ^ ((k as u32) << 8));
        let flat = if *dtype == DType::Bool { truths(count, seed) } else { numbers(count, seed) };
        Tensor::from_bytes(*dtype, shape, flat.bytes()).unwrap()
    };
    region.params.iter().enumerate().map(input).collect()
}

/// Compares, element by element, what the device gives with the reference.
#[track_caller]
pub fn check(native: &NativeRegions, region: &Region, inputs: &[Tensor]) {
    let views: Vec<Option<TensorView<'_>>> = inputs.iter().map(|tensor| Some(tensor.view())).collect();
    let wanted = evaluate_region(region, &views).unwrap();
    let shape = wanted[0].shape();
    let device = Interpreter::new();
    let buffers: Vec<_> = inputs.iter().map(|tensor| device.put(tensor.bytes()).unwrap()).collect();
    let outputs: Vec<_> =
        wanted.iter().map(|tensor| device.alloc(tensor.bytes().len().max(16)).unwrap()).collect();
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
    let prepared = region::prepare(&device, region, Some(native)).unwrap().unwrap();
    let told = |error| panic!("{error}\n{region:?}\n{}", ptx_of(region).unwrap().unwrap().text);
    region::launch_elementwise(&device, &prepared, &from, &to).unwrap_or_else(told);
    let launched = device.launched();
    assert!(launched.keys().all(|(module, _)| module.starts_with("region-")), "{launched:?}");
    for (k, (tensor, buffer)) in wanted.iter().zip(&outputs).enumerate() {
        let mut found = vec![0; tensor.bytes().len()];
        device.read(buffer, 0, &mut found).unwrap();
        let size = tensor.dtype().size();
        let differs = tensor.bytes().chunks(size).zip(found.chunks(size)).position(|(a, b)| a != b);
        assert_eq!(differs, None, "result {k} of {region:?} on {shape:?}");
    }
}
