//! The import table against ONNX's own list: no version is handled by accident.

use std::collections::{BTreeMap, BTreeSet};

use repops_compiler::onnx::table::{ROWS, find, rows};

fn schemas() -> BTreeMap<&'static str, BTreeSet<i64>> {
    let lines = include_str!("versions.txt").lines().filter(|l| !l.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            (name, words.map(|w| w.parse().unwrap()).collect())
        })
        .collect()
}

fn table() -> BTreeMap<&'static str, Vec<i64>> {
    let rows = ROWS.iter().filter(|row| row.domain.is_empty());
    rows.map(|row| (row.op_type, row.forms.iter().flat_map(|f| f.since).copied().collect())).collect()
}

#[test]
fn every_version_is_in_the_table() {
    let (schemas, table) = (schemas(), table());
    for (op_type, versions) in &table {
        let known = schemas.get(op_type).unwrap_or_else(|| panic!("ONNX has no {op_type}"));
        let mut expected: Vec<i64> = known.iter().copied().collect();
        if ["Upsample", "Scatter"].contains(op_type) {
            // In their last version they are only said to be gone.
            expected.pop();
        }
        // Those of opsets before 7 are more than is promised.
        let versions: Vec<i64> = versions.iter().copied().filter(|v| *v >= expected[0]).collect();
        assert_eq!(versions, expected, "{op_type}");
    }
    let missing: Vec<&str> = schemas.keys().copied().filter(|op| !table.contains_key(op)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn the_version_in_force_is_found() {
    let version = |op, opset| find("", op, Some(opset)).map(|(version, _)| version);
    assert_eq!(version("Softmax", 7), Ok(1));
    assert_eq!(version("Softmax", 12), Ok(11));
    assert_eq!(version("Softmax", 13), Ok(13));
    assert_eq!(version("Softmax", 26), Ok(13));
    // Before opset 7 what has not changed since is understood.
    assert_eq!(version("Not", 1), Ok(1));
    assert_eq!(version("Add", 6), Ok(6));
    assert!(version("Clip", 5).is_err());
    assert_eq!(version("Upsample", 9), Ok(9));
    assert!(version("Upsample", 10).is_err());
    assert!(version("Gelu", 19).is_err());
    assert!(find("ai.onnx.ml", "TreeEnsemble", Some(4)).is_err());
}

/// The operators that a section of docs/ONNX.md lists: the names in its first paragraph.
fn documented(domain: &str) -> BTreeSet<&'static str> {
    let page = include_str!("../../../docs/ONNX.md");
    let section = page.split_once(&format!("\n## {domain}\n\n")).expect("there is a section").1;
    let paragraph = section.split("\n\n").next().unwrap_or_default();
    paragraph.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_page_lists_what_is_imported() {
    for domain in ["com.microsoft", "ai.onnx.ml"] {
        let listed = rows().filter(|row| row.domain == domain);
        assert_eq!(documented(domain), listed.map(|row| row.op_type).collect(), "{domain}");
    }
}

#[test]
fn other_operators_that_exports_hold_are_in_the_table() {
    for op_type in [
        "FusedMatMul",
        "FusedConv",
        "Gelu",
        "FastGelu",
        "QuickGelu",
        "BiasGelu",
        "LayerNormalization",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "EmbedLayerNormalization",
        "Attention",
        "MultiHeadAttention",
        "GroupQueryAttention",
        "RotaryEmbedding",
        "MatMulNBits",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "DynamicQuantizeLSTM",
        "QLinearAdd",
        "QLinearMul",
        "QLinearConcat",
        "QLinearAveragePool",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearSigmoid",
        "QAttention",
    ] {
        assert!(find("com.microsoft", op_type, Some(1)).is_ok(), "{op_type}");
    }
}
