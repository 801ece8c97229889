//! Every shipped entry runs on the interpreter and gives the reference's bits.

mod catalogue;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use repops_ptx::Interpreter;

#[test]
fn every_shipped_entry_gives_the_reference_s_bits() {
    let mut launched = BTreeSet::new();
    let mut failures = Vec::new();
    let mut slowest = (Duration::ZERO, String::new());
    for check in catalogue::checks() {
        let device = Interpreter::new();
        #[expect(clippy::disallowed_methods, reason = "tells where the time of the tests goes")]
        let start = std::time::Instant::now();
        if let Err(what) = check.run(&device) {
            failures.push(what);
        }
        slowest = slowest.max((start.elapsed(), check.name.clone()));
        launched.extend(device.launched().into_keys().map(|(module, entry)| format!("{module}: {entry}")));
    }
    println!("slowest: {slowest:?}");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));

    let mut missing = Vec::new();
    for file in
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels/cuda/generated")).unwrap()
    {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "ptx") {
            let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let entries = repops_ptx::entries(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let entries = entries.into_iter().map(|entry| format!("{module}: {entry}"));
            missing.extend(entries.filter(|entry| !launched.contains(entry)));
        }
    }
    assert!(missing.is_empty(), "never launched: {missing:?}");
}
