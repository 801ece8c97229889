//! Real models.

use std::path::{Path, PathBuf};

use repops_compiler::graph::Graph;
use repops_compiler::onnx::load;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn loaded(path: &Path) -> Graph {
    load(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn magika_is_imported() {
    let graph = loaded(&repository().join("assets/magika/standard_v3_3.onnx"));
    assert_eq!(graph.sources.len(), 1);
}
