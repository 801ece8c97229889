//! Operators of com.microsoft, sequences and strings: what they become.

use repops_compiler::onnx::proto::*;

use crate::build::*;

/// The nodes of a model over `x` (f32[2, 3, 4]), `w` (f32[4, 4]) and `b` (f32[4]), and what goes wrong.
fn converted(mut node: NodeProto, domain: &str) -> String {
    node.domain = Some(domain.to_string());
    let outputs: Vec<String> = node.output.iter().filter(|o| !o.is_empty()).cloned().collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let inputs: &[(&str, i32, &[&str])] =
        &[("x", F32, &["2", "3", "4"]), ("w", F32, &["4", "4"]), ("b", F32, &["4"])];
    let mut model = model(17, graph(inputs, vec![node], &outputs));
    let import = OperatorSetIdProto { domain: Some("com.microsoft".to_string()), version: Some(1) };
    model.opset_import.push(import);
    let text = text(&model);
    let kept = text.lines().filter(|l| !l.starts_with("param") && !l.starts_with("output"));
    kept.map(|l| format!("{l}\n")).collect()
}

fn microsoft(op_type: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
    converted(node(op_type, inputs, &["y"], attributes), "com.microsoft")
}

#[test]
fn fused_operators_come_apart() {
    let y = microsoft("FusedMatMul", &["x", "w"], vec![float("alpha", 0.5), int("transB", 1)]);
    assert!(
        y.contains("Transpose(%w) {perm = [1, 0]}") && y.contains("MatMul(%x, ") && y.contains("Mul("),
        "{y}"
    );
    assert_eq!(microsoft("FusedMatMul", &["x", "w"], vec![]), "%y = MatMul(%x, %w)\n");
    let y = microsoft("FusedMatMul", &["x", "w"], vec![int("transBatchA", 1)]);
    assert!(y.contains("FusedMatMul_node") && y.contains("transBatchA"), "{y}");
    let y = microsoft("BiasGelu", &["x", "b"], vec![]);
    assert!(y.contains("Add(%x, %b)") && y.contains("Gelu(") && y.contains("approximate = \"none\""), "{y}");
    let y = microsoft("QuickGelu", &["x"], vec![]);
    assert!(y.starts_with("%y = Swish(%x) {alpha = 1.702"), "{y}");
    let y = microsoft("SkipLayerNormalization", &["x", "x", "b"], vec![]);
    assert!(y.contains("Add(%x, %x)") && y.contains("LayerNormalization("), "{y}");
}

#[test]
fn attention_takes_its_projection_apart() {
    let y = microsoft("Attention", &["x", "w", "b"], vec![int("num_heads", 2)]);
    assert!(y.contains("MatMul(%x, %w)") && y.contains("q_num_heads = 2"), "{y}");
    assert!(microsoft("Attention", &["x", "w", "b"], vec![]).contains("num_heads: is missing"));
    let y = microsoft("MultiHeadAttention", &["x"], vec![int("num_heads", 2)]);
    assert!(y.contains("has not five axes"), "{y}");
}

#[test]
fn packed_weights_must_be_there() {
    let sizes = || vec![int("K", 4), int("N", 4), int("block_size", 16)];
    let y = microsoft("MatMulNBits", &["x", "w", "b"], sizes());
    assert!(y.contains("not constant"), "{y}");
    let y =
        microsoft("MatMulNBits", &["x", "w", "b"], vec![int("K", -4), int("N", 4), int("block_size", 16)]);
    assert!(y.contains("K: is out of range"), "{y}");
}

#[test]
fn sequences_are_values() {
    let y = converted(node("SequenceConstruct", &["x", "w"], &["y"], vec![]), "");
    assert_eq!(y, "%y = SequenceConstruct(%x, %w)\n");
    let y = converted(node("SequenceMap", &["x"], &["y"], vec![]), "");
    assert!(y.contains("body"), "{y}");
}
