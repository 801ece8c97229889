//! Real models: the one in the repository, and those of `cargo xtask models` where they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use repops::program::Origin;
use repops_compiler::graph::{Definition, Graph};
use repops_compiler::onnx::{import, load};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn loaded(path: &Path) -> Graph {
    load(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn operators(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut out = BTreeMap::new();
    for node in &graph.main.nodes {
        *out.entry(node.def.name).or_insert(0) += 1;
    }
    out
}

#[test]
fn magika_is_imported() {
    let graph = loaded(&repository().join("assets/magika/standard_v3_3.onnx"));
    let digest = "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c";
    assert_eq!(graph.sources.len(), 1);
    assert_eq!(graph.sources[0].name, "standard_v3_3.onnx");
    assert_eq!(graph.sources[0].digest.to_hex(), digest);
    let operators = operators(&graph);
    assert_eq!(operators.values().sum::<usize>(), 95);
    assert_eq!((operators["MatMul"], operators["Conv"], operators["ReduceSum"]), (2, 1, 5));
    let [input] = graph.main.parameters.as_slice() else { panic!("one input") };
    let input = graph.value(*input);
    assert_eq!((input.name.as_str(), input.definition), ("bytes", Definition::Parameter));
    assert_eq!(input.ty.as_ref().unwrap().to_string(), "i32[unk__214, 2048]");
    assert_eq!(graph.outputs[0].name, "target_label");
    let shape = graph.main.nodes.iter().find(|n| n.def.name == "Shape").unwrap();
    let expected = Origin {
        name: "jax2tf_get_logits_/Shape".to_string(),
        op_type: "Shape".to_string(),
        domain: String::new(),
        opset: 15,
    };
    assert_eq!(shape.origin, expected);
}

#[test]
fn weights_stay_in_the_file() {
    let bytes = Bytes::from(std::fs::read(repository().join("assets/magika/standard_v3_3.onnx")).unwrap());
    let file = bytes.as_ptr_range();
    let graph = import("m", bytes.clone(), None).unwrap();
    let inside = |c: &&repops_compiler::graph::Constant| file.contains(&c.bytes().as_ptr());
    let in_place: usize = graph.constants.iter().filter(inside).map(|c| c.bytes().len()).sum();
    assert!(in_place > 3_000_000, "{in_place} bytes");
}

/// Changed copies of a model are imported or refused; they never panic, hang or fill the memory.
#[test]
fn changed_models_are_refused_or_imported() {
    let original = std::fs::read(repository().join("assets/magika/standard_v3_3.onnx")).unwrap();
    // Weights only make it slow: the nodes are in the front of the file.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut imported, mut refused) = (0, 0);
    for _ in 0..400 {
        let mut bytes = original[..20_000].to_vec();
        if random(2) == 0 {
            bytes = original.clone();
        }
        for _ in 0..1 + random(4) {
            let at = random(20_000);
            match random(3) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = [0, 0x7f, 0x80, 0xff][random(4)],
                _ => bytes.truncate(at.max(100)),
            }
            if bytes.len() < 20_000 {
                break;
            }
        }
        match import("m", bytes.into(), None) {
            Ok(_) => imported += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(imported > 0 && refused > 0, "{imported} imported, {refused} refused");
}

/// The folder of the development models, when it is there.
fn development(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("REPOPS_MODELS").map(PathBuf::from);
    let path = folder.unwrap_or_else(|| repository().join("target/models")).join(name);
    if !path.exists() {
        eprintln!("{} is not there: not tested (cargo xtask models)", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn minilm_is_imported() {
    let Some(path) = development("minilm/model.onnx") else { return };
    let graph = loaded(&path);
    let operators = operators(&graph);
    assert_eq!((operators["MatMul"], operators["LayerNormalization"]), (48, 13));
    assert_eq!(graph.main.parameters.len(), 3);
}

#[test]
fn text_detection_and_recognition_are_imported() {
    let Some(path) = development("ppocr/det.onnx") else { return };
    let graph = loaded(&path);
    assert_eq!((operators(&graph)["Conv"], operators(&graph)["ConvTranspose"]), (83, 2));
    let Some(path) = development("ppocr/rec.onnx") else { return };
    let graph = loaded(&path);
    assert_eq!((operators(&graph)["Conv"], operators(&graph)["Softmax"]), (57, 3));
    let ty = graph.value(graph.main.parameters[0]).ty.as_ref().unwrap().to_string();
    assert_eq!(ty, "f32[DynamicDimension.0, 3, 48, DynamicDimension.1]");
}
