//! A run on a device gives the outputs and the trace of the reference, whatever the device can do.

mod build;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use repops::attrs::Attrs;
use repops::exec::{ExecError, Executor, HashLevel, Observer, StepEvent, Unobserved};
use repops::ops::{Fault, SymType};
use repops::program::{Block, Program, ValueId};
use repops::reference::Reference;
use repops::sequence::example::Decoder;
use repops::sequence::reference::{RowsError, RowsExecutor};
use repops::{DType, Digest, DimExpr, Layout, Tensor};
use repops_cuda::{Argument, Device, Error, Kernel, self_test};
use repops_ptx::Interpreter;
use repops_runtime::device::DeviceRuntime;
use repops_runtime::{Runtime, RuntimeOptions};

use build::{Builder, apply, convolution, dividing, layer, looping, values, views};

/// Memory without a processor: it takes bytes, up to a limit, and runs nothing.
struct Store {
    limit: usize,
    used: Arc<AtomicUsize>,
}

struct Stored {
    bytes: Mutex<Vec<u8>>,
    used: Arc<AtomicUsize>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes.lock().unwrap().len(), Ordering::Relaxed);
    }
}

impl Store {
    fn new(limit: usize) -> Store {
        Store { limit, used: Arc::default() }
    }
}

impl Device for Store {
    type Buffer = Stored;
    type Recording = ();

    fn alloc(&self, bytes: usize) -> Result<Stored, Error> {
        let free = self.limit - self.used.load(Ordering::Relaxed);
        if bytes > free {
            return Err(Error::OutOfMemory { wanted: bytes, free });
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(Stored { bytes: Mutex::new(vec![0xa5; bytes]), used: self.used.clone() })
    }

    fn write(&self, to: &Stored, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        to.bytes.lock().unwrap()[offset..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, from: &Stored, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.copy_from_slice(&from.bytes.lock().unwrap()[offset..][..bytes.len()]);
        Ok(())
    }

    fn copy(&self, from: &Stored, at: usize, to: &Stored, to_at: usize, bytes: usize) -> Result<(), Error> {
        let moved = from.bytes.lock().unwrap()[at..][..bytes].to_vec();
        self.write(to, to_at, &moved)
    }

    fn launch(
        &self,
        kernel: &Kernel,
        _: [u32; 3],
        _: [u32; 3],
        _: u32,
        _: &[Argument<'_, Stored>],
    ) -> Result<(), Error> {
        Err(Error::unsupported(kernel.entry))
    }

    fn synchronize(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn on<D: Device>(device: D) -> DeviceRuntime<D> {
    let options = RuntimeOptions { threads: 2, ..RuntimeOptions::default() };
    DeviceRuntime::new(device, "a store", Runtime::new(options).unwrap())
}

/// Sums the bytes that it is shown.
#[derive(Default)]
struct Looker {
    bytes: usize,
}

impl Observer for Looker {
    fn step(&mut self, event: StepEvent<'_>) {
        for output in event.outputs {
            assert_eq!(output.bytes.len(), repops::tensor::byte_len(output.dtype, output.shape).unwrap());
            self.bytes += output.bytes.len();
        }
    }
}

fn check<D: Device>(runtime: &DeviceRuntime<D>, program: &Program, inputs: &[Tensor]) {
    let expected = Reference.execute(program, inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    // Twice, so that memory is reused, whatever it holds by then.
    for _ in 0..2 {
        let found = runtime.execute(program, inputs, HashLevel::Operators, &mut Unobserved).unwrap();
        assert_eq!(found.result, expected.result);
        assert_eq!(found.trace, expected.trace);
    }
    let quiet = runtime.execute(program, inputs, HashLevel::None, &mut Unobserved).unwrap();
    assert_eq!(quiet.result, expected.result);
    assert!(quiet.trace.is_none());
    let (mut seen, mut shown) = (Looker::default(), Looker::default());
    runtime.execute(program, inputs, HashLevel::None, &mut seen).unwrap();
    Reference.execute(program, inputs, HashLevel::None, &mut shown).unwrap();
    assert_eq!(seen.bytes, shown.bytes);
}

/// Every program of these tests, with inputs.
fn programs() -> Vec<(Program, Vec<Tensor>)> {
    let mut list = Vec::new();
    for (rows, k, n) in [(1, 1, 1), (3, 300, 17), (0, 4, 4)] {
        for layout in [Layout::RowMajor, Layout::Panel16] {
            list.push((layer(k, n, layout), vec![Tensor::from_slice(&[rows, k], &values(rows * k, 3))]));
        }
    }
    for layout in [Layout::RowMajor, Layout::Filters16] {
        let x = Tensor::from_slice(&[1, 20, 3, 9], &values(20 * 27, 3));
        list.push((convolution(layout), vec![x]));
    }
    list.push((views(), vec![Tensor::from_slice(&[500, 6], &values(3000, 5))]));
    list.push((looping(), vec![Tensor::scalar(3i64), Tensor::from_slice(&[700], &values(700, 4))]));
    let pair = |b: [i64; 2]| vec![Tensor::from_slice(&[2], &[6i64, 7]), Tensor::from_slice(&[2], &b)];
    list.push((dividing(), pair([3, 2])));
    list.push((dividing(), pair([3, 0])));
    list.push((sized(), vec![Tensor::from_slice(&[3, 4], &values(12, 9))]));
    list
}

/// Reshape to (columns, rows), which are computed from X's shape, and the places of X's non-zero elements.
fn sized() -> Program {
    let mut builder = Builder::default();
    builder.constant(&Tensor::from_slice(&[2], &[1i64, 0]), Layout::RowMajor);
    let x = SymType::new(DType::F32, vec![DimExpr::sym("N"), DimExpr::sym("M")]);
    builder.blocks = vec![Block {
        params: vec![Some(x)],
        steps: vec![
            apply("Shape", Attrs::new(), &[Some(1)], &[None]),
            apply("Gather", Attrs::new(), &[Some(2), Some(0)], &[None]),
            apply("Reshape", Attrs::new(), &[Some(1), Some(3)], &[None]),
            apply("NonZero", Attrs::new(), &[Some(4)], &[None]),
            apply("Neg", Attrs::new(), &[Some(4)], &[None]),
        ],
        results: vec![ValueId(5), ValueId(6), ValueId(3)],
    }];
    builder.finish(&["X"], &["P", "Y", "S"])
}

#[test]
fn a_device_that_computes_nothing_gives_the_references_bits() {
    let runtime = on(Store::new(1 << 30));
    for (program, inputs) in programs() {
        check(&runtime, &program, &inputs);
    }
}

#[test]
fn operators_without_a_kernel_are_named_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let warn = Box::new(move |text: &str| sink.lock().unwrap().push(text.to_string()));
    let runtime = on(Store::new(1 << 30)).with_warn(warn);
    let (program, input) = (sized(), Tensor::from_slice(&[3, 4], &values(12, 9)));
    for _ in 0..3 {
        runtime.execute(&program, std::slice::from_ref(&input), HashLevel::None, &mut Unobserved).unwrap();
    }
    // Shape and Gather are the host's in any case.
    let expected = [("Neg", 3), ("NonZero", 3)];
    assert_eq!(runtime.fallbacks().into_iter().collect::<Vec<_>>(), expected);
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 2);
    assert!(told.contains(&"NonZero has no kernel on a store; the CPU computes it".to_string()), "{told:?}");
}

#[test]
fn a_fault_is_the_references() {
    let runtime = on(Store::new(1 << 20));
    let inputs = [Tensor::from_slice(&[2], &[6i64, 7]), Tensor::from_slice(&[2], &[3i64, 0])];
    let run = runtime.execute(&dividing(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap_err().fault, Fault::DivisionByZero);
    assert_eq!(run.trace.unwrap().records.len(), 2);
}

/// A product is what the device is asked for, so its operands are brought there, and there is no room for them.
#[test]
fn a_full_device_is_an_error_with_sizes_and_nothing_is_kept() {
    let store = Store::new(5000);
    let used = store.used.clone();
    let runtime = on(store);
    let program = layer(300, 17, Layout::RowMajor);
    let x = |rows: usize| Tensor::from_slice(&[rows, 300], &values(rows * 300, 3));
    let error = runtime.execute(&program, &[x(3)], HashLevel::None, &mut Unobserved).unwrap_err();
    let ExecError::Device { device, problem } = error else { panic!("{error}") };
    assert_eq!(device, "a store");
    assert_eq!(problem, "out of device memory: 20400 bytes wanted, 1400 free");
    assert_eq!(used.load(Ordering::Relaxed), 0);
    // What needs less still runs.
    let inputs = [Tensor::from_slice(&[2], &[6i64, 7]), Tensor::from_slice(&[2], &[3i64, 2])];
    check(&runtime, &dividing(), &inputs);
}

#[test]
fn memory_of_another_program_is_given_up_first() {
    let store = Store::new(40_000);
    let used = store.used.clone();
    let runtime = on(store);
    for n in [17, 18, 17] {
        let program = layer(300, n, Layout::RowMajor);
        let x = Tensor::from_slice(&[2, 300], &values(600, 3));
        check(&runtime, &program, std::slice::from_ref(&x));
        assert!(runtime.buffer_bytes() >= 4 * 300 * n);
        assert!(runtime.buffer_bytes() <= used.load(Ordering::Relaxed));
    }
}

#[test]
fn the_shipped_kernels_give_the_references_bits() {
    let interpreter = Interpreter::new();
    let runtime = on(interpreter.clone());
    for (program, inputs) in programs() {
        check(&runtime, &program, &inputs);
    }
    // Only what has data decide its size ran on the CPU, and digests were the device's.
    assert_eq!(runtime.fallbacks().into_keys().collect::<Vec<_>>(), ["NonZero"]);
    let launched = interpreter.launched();
    assert!(launched.keys().any(|(module, _)| *module == "hash"), "{launched:?}");
    assert!(launched.keys().any(|(module, _)| *module == "region"), "{launched:?}");
}

/// Logits from position `first` on, and the root of the log.
fn log(executor: &dyn RowsExecutor, program: &Program, first: usize) -> (Vec<u32>, Option<Digest>) {
    let tokens = [3, 1, 49, 0, 17, 3, 8];
    let mut logits = Vec::new();
    let visit = &mut |_: usize, row: &[f32]| -> Result<(), RowsError> {
        logits.extend(row.iter().map(|value| value.to_bits()));
        Ok(())
    };
    let root = executor.rows(program, &tokens, first, true, visit).unwrap();
    (logits, root)
}

#[test]
fn a_sequence_has_the_references_log() {
    let program = Decoder { layers: 1, ..Decoder::default() }.program();
    let (store, interpreter) = (on(Store::new(1 << 30)), on(Interpreter::new()));
    for first in [0, 4] {
        let expected = log(&Reference, &program, first);
        assert_eq!(log(&store, &program, first), expected);
        assert_eq!(log(&interpreter, &program, first), expected);
    }
    assert!(interpreter.fallbacks().is_empty(), "{:?}", interpreter.fallbacks());
}

#[test]
fn the_self_test_passes_and_names_what_does_not() {
    let interpreter = Interpreter::new();
    self_test::run(&interpreter).unwrap();
    for architecture in [80, 90] {
        let newer = Interpreter::of_architecture(architecture);
        self_test::run(&newer).unwrap();
        let by_warpgroups = newer.launched().keys().any(|(module, _)| module.starts_with("igemm_wgmma"));
        assert_eq!(by_warpgroups, architecture == 90);
    }
    // A device that hashes in its own way.
    let ptx = &repops_cuda::launch::hash::HASH.ptx;
    assert!(ptx.contains("xor.b32"));
    let another = Interpreter::new();
    another.replace("hash", &ptx.replacen("xor.b32", "or.b32", 1));
    let error = self_test::run(&another).unwrap_err().to_string();
    assert!(error.starts_with("kernel leaves: this device gives other bits than specified"), "{error}");
    // A device that fuses where it must not.
    let ptx = &repops_cuda::launch::elementwise::ELEMENTWISE.ptx;
    assert!(ptx.contains("div.rn.f32"));
    interpreter.replace("elementwise", &ptx.replace("div.rn.f32", "mul.rn.f32"));
    let error = self_test::run(&interpreter).unwrap_err().to_string();
    assert!(error.starts_with("kernel Div: this device gives other bits than specified"), "{error}");
}
