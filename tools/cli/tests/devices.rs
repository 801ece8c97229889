//! Packed cases and exhaustive checks: what compares a device with the CPU.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "other tests use the rest")]
mod fixture;

use std::sync::Arc;

use fixture::{WEIGHTS, folder, input, program};
use repops::program::{
    Block, ConstantBytes, ConstantDecl, Header, Program, ProgramParts, SPEC_VERSION, ValueId,
};
use repops::{DType, Layout, Tensor};
use serde_json::json;

/// A tensor as packed inputs.
fn packed(tensor: &Tensor) -> Program {
    let bytes = tensor.bytes().to_vec();
    let parts = ProgramParts {
        header: Header {
            spec: SPEC_VERSION,
            compiler: "inputs".into(),
            sources: vec![],
            inputs: vec![],
            outputs: vec!["0".into()],
        },
        constants: vec![ConstantDecl {
            name: "X:0".into(),
            dtype: DType::F32,
            shape: tensor.shape().to_vec(),
            layout: Layout::RowMajor,
            digest: repops::digest::tensor_digest(tensor.view()),
        }],
        data: vec![ConstantBytes { len: bytes.len(), backing: Arc::new(bytes), offset: 0 }],
        blocks: vec![Block { params: vec![], steps: vec![], results: vec![ValueId(0)] }],
    };
    Program::new(parts).unwrap()
}

#[test]
fn packed_cases_are_replayed() {
    let folder = folder();
    std::fs::create_dir(folder.path("cases")).unwrap();
    folder.repops(["conformance", "replay", "cases"]).expect(2);
    folder.write_program("cases/c.rep", &program(&WEIGHTS));
    folder.write_program("cases/c.0.inputs.rep", &packed(&input()));
    // A program that has no inputs to run on is none.
    folder.write_program("cases/d.rep", &program(&WEIGHTS));
    for further in [None, Some("--reference")] {
        let command = ["conformance", "replay", "cases", "--json"];
        let found = folder.repops(command.into_iter().chain(further)).json();
        assert_eq!((&found["cases"], &found["runs"]), (&json!(1), &json!(1)));
        assert_eq!(found["differences"], json!([]));
    }
    // The same inputs for a run, by file and from the pack.
    let root = |inputs: [&str; 2]| {
        folder.repops(["run", "p.rep", "--json"].into_iter().chain(inputs)).json()["trace_root"].clone()
    };
    assert_eq!(root(["--packed", "cases/c.0.inputs.rep"]), root(["--input", "X:0=x.npy"]));
    // Inputs of another shape are an error of both, and no difference.
    folder.write_program("cases/c.1.inputs.rep", &packed(&Tensor::from_slice(&[1], &[1.0f32])));
    let found = folder.repops(["conformance", "replay", "cases", "--json"]).json();
    assert_eq!((&found["runs"], &found["differences"]), (&json!(2), &json!([])));
}

/// The kernels against the reference, on all values of 16 bits: what a device is compared with.
#[test]
fn all_inputs_of_a_function_are_compared() {
    let folder = folder();
    for (only, count) in [("Sqrt bf16", 1), ("Exp f16", 1), ("Div f16", 1), ("Cast bf16", 8)] {
        let command =
            ["conformance", "exhaustive", "--only", only, "--drawn", "5000", "--reference", "--json"];
        let found = folder.repops(command).json();
        let checks = found["checks"].as_array().unwrap();
        assert_eq!(checks.len(), count, "{found}");
        for check in checks {
            assert_eq!(check["difference"], json!(null), "{check}");
        }
    }
    folder.repops(["conformance", "exhaustive", "--only", "nonsense"]).expect(2);
}

#[cfg(feature = "compile")]
#[test]
fn region_code_is_made_once_and_refused_when_damaged() {
    let folder = folder();
    let command = ["region-code", "p.rep", "p.rep", "-o", "code.json", "--json"];
    let made = folder.repops(command).json();
    assert_eq!((&made["regions"], &made["left"]), (&json!(1), &json!(0)));
    let written = std::fs::read(folder.path("code.json")).unwrap();
    assert_eq!(made["bytes"], json!(written.len()));
    let text = String::from_utf8(written).unwrap();
    let region = program(&WEIGHTS).blocks()[0].steps[1].region.as_ref().unwrap().digest();
    assert!(text.contains(&region.to_string()) && text.contains(".entry region_dense"), "{text}");
    // The CPU has no use for it, and the bits are the same.
    let run = |further: &[&str]| {
        let command = ["run", "p.rep", "--input", "X:0=x.npy", "--json"];
        folder.repops(command.into_iter().chain(further.iter().copied()))
    };
    assert_eq!(run(&["--region-code", "code.json"]).json()["trace_root"], run(&[]).json()["trace_root"]);
    run(&["--region-code", "code.json", "--regions", "native"]).expect(2);
    for damaged in [&text[..text.len() - 2], "", "{}", &text.replace("code 1", "code 9")] {
        folder.write("damaged.json", damaged.as_bytes());
        let said = run(&["--region-code", "damaged.json"]).expect(2);
        assert!(said.contains("damaged.json"), "{said}");
    }
    assert!(run(&["--region-code", "missing.json"]).expect(2).contains("missing.json"));
}
