//! Every entry of every shipped text is understood completely.

use std::path::Path;

/// The shipped texts by file name.
fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/generated");
    let mut out = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ptx") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            out.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    out.sort();
    assert!(out.len() >= 10, "only {} texts", out.len());
    out
}

#[test]
fn every_entry_is_understood() {
    let mut wrong = Vec::new();
    for (name, text) in shipped() {
        let entries = repops_ptx::entries(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!entries.is_empty(), "{name} has no entry");
        let mut memory = repops_ptx::Memory::default();
        let mut loaded = repops_ptx::Loaded::load(text.into(), &mut memory).unwrap();
        for entry in entries {
            if let Err(error) = loaded.entry(&entry) {
                wrong.push(format!("{name}, {entry}: {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
