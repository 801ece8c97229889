//! Decoders exported to ONNX with a cache become sequence programs that compute what the exports compute.
//!
//! Models and expected logits are those of conformance/decoder_exports.py.

use std::path::{Path, PathBuf};

use prost::Message;
use repops::Program;
use repops::sequence::{self, Sequence};
use repops_compiler::onnx::{self, proto};
use repops_compiler::sequence::{NotSequence, of_export};
use repops_compiler::{CompileOptions, compile_file};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/exports")
}

fn logits(program: &Program, tokens: &[u32]) -> Vec<f32> {
    let sequence = Sequence::of(program).unwrap();
    let rows = sequence::reference::run(program, &sequence, tokens, 0).unwrap();
    rows.logits.as_slice::<f32>().to_vec()
}

#[test]
fn exports_compute_what_numpy_computes() {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    for (name, case) in expected.as_object().unwrap() {
        let numbers = |key: &str| case[key].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
        let wanted: Vec<f64> = numbers("logits").collect();
        let tokens: Vec<u32> = numbers("tokens").map(|t| t as u32).collect();
        let compiled = |options: &CompileOptions| compile_file(&folder().join(name), options, &mut |_, _| {});
        let program = match compiled(&CompileOptions::default()) {
            Ok(program) => program,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let found = logits(&program, &tokens);
        assert_eq!(found.len(), wanted.len(), "{name}");
        let most = |errors: &mut dyn Iterator<Item = f64>| {
            errors.fold(0.0f64, |most, x| if x.abs() > most || x.is_nan() { x.abs() } else { most })
        };
        let largest = most(&mut wanted.iter().copied());
        let error = most(&mut wanted.iter().zip(&found).map(|(w, f)| w - f64::from(*f)));
        println!("{name}: off by {error:.2e} of {largest:.2}");
        let within = case.get("within").and_then(Value::as_f64).unwrap_or(1e-5);
        if error.is_nan() || error > within * largest {
            failures.push(format!("{name}: off by {error:e}, the largest logit is {largest}"));
        }
        // Rows do not depend on later ones, and passes change no bit.
        let plain = CompileOptions { fuse: false, layout: false, ..CompileOptions::default() };
        let prefix = logits(&compiled(&plain).unwrap(), &tokens[..4]);
        let vocabulary = found.len() / tokens.len();
        let same = prefix.iter().zip(&found[..4 * vocabulary]).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name}: the first four rows alone");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn attention_is_that_of_sequence_programs() {
    for (name, layers, window) in
        [("llama.torchscript.onnx", 2, 0), ("mistral.dynamo.onnx", 2, 4), ("mistral.genai.onnx", 2, 4)]
    {
        let program = compile_file(&folder().join(name), &CompileOptions::default(), &mut |_, _| {}).unwrap();
        let attention = program.main().steps.iter().filter(|step| step.def().name == "SequenceAttention");
        let windows: Vec<i64> = attention.map(|step| step.attrs.int("window")).collect();
        assert_eq!(windows, vec![window; layers], "{name}");
        assert_eq!(Sequence::of(&program).unwrap().attention.len(), layers, "{name}");
    }
}

#[test]
fn an_export_can_stay_as_it_is() {
    let options = CompileOptions { as_is: true, ..CompileOptions::default() };
    let program = compile_file(&folder().join("llama.torchscript.onnx"), &options, &mut |_, _| {}).unwrap();
    assert_eq!(program.header().inputs.len(), 3 + 4);
    assert!(Sequence::of(&program).is_err());
}

/// What is said of a model after `change`.
fn refused(name: &str, change: impl FnOnce(&mut proto::ModelProto)) -> String {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    let mut model = proto::ModelProto::decode(&bytes[..]).unwrap();
    change(&mut model);
    let graph = onnx::import("m.onnx", model.encode_to_vec().into(), None).unwrap();
    let error: NotSequence = of_export(&graph).expect_err("it is no sequence program any more");
    error.to_string()
}

fn node<'m>(model: &'m mut proto::ModelProto, op: &str) -> &'m mut proto::NodeProto {
    let graph = model.graph.as_mut().unwrap();
    graph.node.iter_mut().find(|node| node.op_type() == op).unwrap()
}

#[test]
fn the_node_that_prevents_it_is_named() {
    let check =
        |found: String, wanted: &str| assert!(found.contains(wanted), "{found:?} does not say {wanted:?}");
    let dynamo = "mistral.dynamo.onnx";
    // Keys after the query.
    let found =
        refused(dynamo, |model| node(model, "LessOrEqual").op_type = Some("GreaterOrEqual".to_string()));
    check(found, "(Softmax) keeps the model from being a sequence program");
    // The greatest of all positions' elements.
    let found = refused(dynamo, |model| {
        let node = node(model, "Reciprocal");
        node.op_type = Some("CumSum".to_string());
        let axis = node.input[0].clone();
        node.input.push(axis);
    });
    check(found, "keeps the model from being a sequence program");
    // Weights that are no softmax.
    let found = refused(dynamo, |model| {
        node(model, "Softmax").attribute.clear();
        node(model, "Softmax").op_type = Some("Exp".to_string());
    });
    check(found, "(Exp) keeps the model from being a sequence program");
    // Weights that are no softmax, in another style.
    let found = refused("llama.torchscript.onnx", |model| {
        node(model, "Softmax").attribute.clear();
        node(model, "Softmax").op_type = Some("Sigmoid".to_string());
    });
    check(found, "(Sigmoid)");
    // An input that nobody gives.
    let found = refused(dynamo, |model| {
        let graph = model.graph.as_mut().unwrap();
        graph.input[2].name = Some("token_type_ids".to_string());
        for node in &mut graph.node {
            for input in &mut node.input {
                if input == "position_ids" {
                    *input = "token_type_ids".to_string();
                }
            }
        }
    });
    check(found, "input \"token_type_ids\"");
}
