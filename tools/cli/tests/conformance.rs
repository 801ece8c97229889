//! `repops conformance` from a suite to a page.
#![forbid(unsafe_code)]
#![cfg(feature = "compile")]

#[allow(dead_code)] // Other tests use the rest of it.
mod fixture;

use fixture::Folder;
use serde_json::json;

#[test]
fn a_suite_becomes_reports_and_a_page() {
    let folder = Folder::new();
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance");
    let run = |further: &[&str]| {
        let arguments = ["conformance", "run", "--suite", "matrix", "--folder", cases, "--only", "quantized"];
        folder.repops(arguments.into_iter().chain(further.iter().copied()))
    };
    let goldens = format!("{cases}/goldens/matrix.txt");
    run(&["--goldens", &goldens, "--isa", "portable", "-o", "a.json"]).expect(0);
    let object = run(&["--reference", "-o", "b.json", "--json"]).json();
    assert_eq!(object["passed"], json!(1));
    assert_eq!(object["findings"], json!([]));
    // An instruction set and the reference agree; what is changed is found.
    folder.repops(["conformance", "compare", "a.json", "b.json"]).expect(0);
    let text = std::fs::read_to_string(folder.path("b.json")).unwrap();
    let at = text.find("\"digest\":\"").unwrap() + 10;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    folder.write("c.json", format!("{}{other}{}", &text[..at], &text[at + 1..]).as_bytes());
    folder.repops(["conformance", "compare", "a.json", "c.json"]).expect(1);
    folder.repops(["conformance", "page", "a.json", "c.json", "-o", "page.html"]).expect(0);
    let page = std::fs::read_to_string(folder.path("page.html")).unwrap();
    assert!(page.contains("x1") || page.contains("portable"));
    // What was packed for a machine that cannot compile has the same bits; what was damaged does not run.
    let pack =
        ["conformance", "pack", "--with-data", "--suite", "matrix", "--folder", cases, "--only", "quantized"];
    folder.repops(pack.into_iter().chain(["-o", "packed"])).expect(0);
    let packed = ["conformance", "run", "--suite", "packed", "--only", "quantized", "--no-reference"];
    folder.repops(packed.into_iter().chain(["--goldens", goldens.as_str()])).expect(0);
    folder.repops(packed.into_iter().chain(["--reference"])).expect(2);
    folder.write("packed/quantized/case.json", b"{}");
    folder.repops(packed).expect(1);
    // A list that names a case which passes, and a golden of another digest.
    folder.write("known.txt", b"quantized: no reason\n");
    run(&["--expect", "known.txt"]).expect(1);
    folder.write("goldens.txt", b"quantized 0 y f32[1] 00\n");
    run(&["--goldens", "goldens.txt"]).expect(1);
    run(&["--goldens", "goldens.txt", "--bless"]).expect(2);
    folder.repops(["conformance", "run", "--suite", "missing"]).expect(2);
    folder.write("d.json", b"{}");
    folder.repops(["conformance", "page", "d.json", "-o", "p.html"]).expect(2);
}

/// LLVM's libraries take longer to load than a receipt takes to verify.
#[test]
fn only_the_compiler_is_linked_with_llvm() {
    let names = |executable: &str| {
        let bytes = std::fs::read(executable).expect("it was built for this test");
        bytes.windows(10).any(|window| window == b"libMLIR.so")
    };
    assert!(!names(env!("CARGO_BIN_EXE_repops")));
    assert!(names(env!("CARGO_BIN_EXE_repops-compiler")));
}
