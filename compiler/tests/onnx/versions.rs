//! The import table against ONNX's own list: no version is handled by accident.

use std::collections::{BTreeMap, BTreeSet};

use repops_compiler::onnx::table::{ROWS, find};

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
    assert!(find("ai.onnx.ml", "LabelEncoder", Some(1)).is_err());
}
