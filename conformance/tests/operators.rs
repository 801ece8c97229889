//! docs/OPERATORS.md is generated from the operator table.
//!
//! `REPOPS_BLESS=1 cargo test -p repops-conformance --test operators` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use repops::ops::{self, Arity, OpClass, OpDef, Presence};

#[test]
fn the_documentation_is_the_tables() {
    let mut text = String::from(
        "# Operators\n\nGenerated from the operator table; part of [SPEC.md](../SPEC.md). Names, inputs and outputs are ONNX's \
         newest form of the operator. Sums follow sections 3 and 4 of the specification.\n",
    );
    for def in ops::all() {
        describe(def, &mut text);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATORS.md");
    if std::env::var_os("REPOPS_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap();
    for (number, (found, expected)) in found.lines().zip(text.lines()).enumerate() {
        assert_eq!(found, expected, "docs/OPERATORS.md, line {}", number + 1);
    }
    assert_eq!(found.len(), text.len());
}

fn describe(def: &OpDef, text: &mut String) {
    let class = match def.class {
        OpClass::Elementwise(Some(_)) => "element-wise, may be fused",
        OpClass::Elementwise(None) => "element-wise",
        OpClass::View => "view",
        OpClass::Movement => "movement",
        OpClass::Contraction => "contraction",
        OpClass::Reduction => "reduction",
        OpClass::General => "general",
        OpClass::Control => "control flow",
    };
    let arity = |Arity { min, max }: Arity| match (min, max) {
        (a, b) if a == b => a.to_string(),
        (a, ops::VARIADIC_MAX) => format!("{a} or more"),
        (a, b) => format!("{a} to {b}"),
    };
    let OpDef { name, id, version, doc, .. } = def;
    let (inputs, outputs) = (arity(def.inputs), arity(def.outputs));
    let rule = ops::dispute::rule(def).describe();
    writeln!(
        text,
        "\n## {name}\n\nId {id}, version {version}; {class}; {inputs} inputs, {outputs} outputs. Disputes: \
         {rule}.\n\n{doc}"
    )
    .unwrap();
    if !def.attrs.is_empty() {
        text.push('\n');
    }
    for attr in def.attrs {
        let presence = match &attr.presence {
            Presence::Required => "required".to_string(),
            Presence::Optional => "optional".to_string(),
            Presence::Default(value) => format!("default {}", value()),
        };
        writeln!(text, "- `{}` ({:?}, {presence}): {}", attr.name, attr.kind, attr.doc).unwrap();
    }
}
