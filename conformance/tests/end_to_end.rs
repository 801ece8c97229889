//! A real model from ONNX through receipt and verification, on every path this machine has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use repops::digest::tensor_digest;
use repops::exec::{Executor, HashLevel, Unobserved};
use repops::reference::Reference;
use repops::{DType, Program, Tensor};
use repops_compiler::native::regions::NativeRegions;
use repops_compiler::{CompileOptions, compile_file};
use repops_provenance::receipt::TraceClaim;
use repops_provenance::{Claim, Difference, Info, Key, Receipt, Verdict, VerifyOptions, verify};
use repops_ptx::Interpreter;
use repops_runtime::device::DeviceRuntime;
use repops_runtime::{Isa, Regions, Runtime, RuntimeOptions};

fn magika() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/magika/standard_v3_3.onnx")
}

fn compiled(options: &CompileOptions) -> Program {
    let program = compile_file(&magika(), options, &mut |_, _| ()).unwrap();
    let mut file = Vec::new();
    program.write(&mut file).unwrap();
    Program::decode(Arc::new(file)).unwrap()
}

/// The program, compiled once for all tests.
fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled(&CompileOptions::default()))
}

/// `rows` files of made-up bytes; 256 stands for padding.
fn bytes(rows: usize) -> Tensor {
    let value = |i: usize| if i % 2048 > 700 && i % 2048 < 900 { 256 } else { (i * i / 7 % 251) as i32 };
    Tensor::from_slice(&[rows, 2048], &(0..rows * 2048).map(value).collect::<Vec<_>>())
}

fn runtime(threads: usize, isa: Option<Isa>, regions: Regions) -> Runtime {
    Runtime::new(RuntimeOptions { threads, isa, regions }).unwrap()
}

#[test]
fn compiling_twice_gives_one_program() {
    assert_eq!(compiled(&CompileOptions::default()).digest(), program().digest());
}

#[test]
fn every_path_leaves_the_reference_trace() {
    let inputs = [bytes(1)];
    let expected = Reference.execute(program(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    let (expected_trace, expected) = (expected.trace.unwrap(), expected.result.unwrap());
    assert_eq!(expected[0].dtype(), DType::F32);
    let native = || Regions::Backend(Arc::new(NativeRegions::new().unwrap()));
    for isa in Isa::available() {
        // Portable code is slow; the whole matrix over small programs is the runtime's own test.
        let threads: &[usize] = if isa == Isa::Portable { &[2] } else { &[1, 2, 7] };
        for &threads in threads {
            for regions in [Regions::Tiles, Regions::Unfused, native()] {
                let runtime = runtime(threads, Some(isa), regions);
                let run = runtime.execute(program(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
                assert_eq!(run.result.unwrap(), expected, "{} {threads}", isa.name());
                let found = run.trace.unwrap();
                assert_eq!(found.root(), expected_trace.root(), "{} {threads}", isa.name());
            }
        }
    }
}

#[test]
fn a_device_runs_the_code_that_was_made_for_regions() {
    let inputs = [bytes(1)];
    let expected = Reference.execute(program(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    let device = Interpreter::new();
    let native = Regions::Backend(Arc::new(NativeRegions::new().unwrap()));
    let runtime = DeviceRuntime::new(device.clone(), "the interpreter", runtime(2, None, native));
    let run = runtime.execute(program(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    assert_eq!(run.result.unwrap(), expected.result.unwrap());
    assert_eq!(run.trace.unwrap().root(), expected.trace.unwrap().root());
    let launched = device.launched();
    assert!(launched.keys().any(|(module, _)| module.starts_with("region-")), "{launched:?}");
    assert!(!launched.keys().any(|(module, _)| module == "region"), "{launched:?}");
}

#[test]
fn the_outputs_do_not_depend_on_fusion_layout_or_batch() {
    let fused = runtime(2, None, Regions::Tiles);
    let all =
        fused.execute(program(), &[bytes(5)], HashLevel::None, &mut Unobserved).unwrap().result.unwrap();
    let plain = compiled(&CompileOptions { fuse: false, layout: false, context: None, as_is: false });
    assert_ne!(plain.digest(), program().digest());
    let again = fused.execute(&plain, &[bytes(5)], HashLevel::None, &mut Unobserved).unwrap().result.unwrap();
    assert_eq!(again, all);
    let one =
        fused.execute(program(), &[bytes(1)], HashLevel::None, &mut Unobserved).unwrap().result.unwrap();
    assert_eq!(one[0].bytes(), &all[0].bytes()[..one[0].bytes().len()]);
}

#[test]
fn a_receipt_is_verified_and_a_changed_one_refuted() {
    let runtime = runtime(0, None, Regions::Tiles);
    let inputs = [bytes(2)];
    let run = runtime.execute(program(), &inputs, HashLevel::Operators, &mut Unobserved).unwrap();
    let (outputs, trace) = (run.result.unwrap(), run.trace.unwrap());
    let named = |names: &[String], tensors: &[Tensor]| {
        names.iter().cloned().zip(tensors.iter().map(|t| tensor_digest(t.view()))).collect()
    };
    let claim = Claim {
        program: program().digest(),
        inputs: named(&program().header().inputs, &inputs),
        outputs: named(&program().header().outputs, &outputs),
        fault: None,
        trace: Some(TraceClaim { root: trace.root(), steps: trace.records.len() as u64 }),
        nonce: 0,
    };
    let receipt = claim.clone().sign(&Key::from_seed([3; 32]), Info::default());
    let receipt = Receipt::parse(receipt.to_json().as_bytes()).unwrap();
    assert_eq!(receipt.validate(), Ok(()));
    let options = VerifyOptions::default();
    let check =
        |receipt: &Receipt| verify(receipt, program(), &inputs, &runtime, &options, &mut Unobserved).unwrap();
    assert_eq!(check(&receipt), Verdict::Verified);
    // Another number of steps, signed anew by the same key: only running can tell.
    let mut lie = claim;
    lie.trace = lie.trace.map(|t| TraceClaim { steps: t.steps + 1, ..t });
    let verdict = check(&lie.sign(&Key::from_seed([3; 32]), Info::default()));
    assert!(matches!(verdict, Verdict::Refuted(Difference::Steps { .. })), "{verdict:?}");
}
