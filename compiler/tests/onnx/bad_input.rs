//! Hostile and broken files: each ends in an error that names what is wrong.

use prost::Message;
use repops_compiler::onnx::proto::*;
use repops_compiler::onnx::{ImportError, import};

use crate::build::*;

/// The error of importing, as text.
fn error(model: &ModelProto) -> String {
    import_model(model).expect_err("the model is bad").to_string()
}

fn identity_model() -> ModelProto {
    let nodes = vec![node("Identity", &["x"], &["y"], vec![])];
    model(17, graph(&[("x", F32, &["N", "3"])], nodes, &["y"]))
}

#[test]
fn a_small_model_is_imported() {
    let graph = import_model(&identity_model()).unwrap();
    assert_eq!(graph.to_string(), "param %x: f32[N, 3]\n%y = Identity(%x)\noutput \"y\": ? = %y\n");
    assert_eq!(graph.sources[0].name, "model.onnx");
}

#[test]
fn every_truncation_is_an_error_with_a_place() {
    let bytes = identity_model().encode_to_vec();
    for length in 0..bytes.len() {
        match import("m", bytes[..length].to_vec().into(), None) {
            Err(ImportError::Malformed { offset, .. }) => assert!(offset <= length),
            // Cut between two fields the rest is protobuf, but no complete model.
            Err(ImportError::NoGraph | ImportError::NoOpset) => {}
            other => panic!("{length} bytes: {:?}", other.map(|g| g.to_string())),
        }
    }
}
