//! The command line as scripts see it: exit codes, files, `--json`.
#![forbid(unsafe_code)]

#[allow(dead_code)] // Other tests use the rest of it.
mod fixture;

use std::path::Path;

use fixture::{Folder, Ran, WEIGHTS, chain, division, doctored, folder, input, program};
use repops::Tensor;
use serde_json::{Value, json};

/// A folder in which the program was run with everything written.
fn claimed() -> Folder {
    let folder = folder();
    folder.repops(["keygen", "-o", "key.pem"]).expect(0);
    run(&folder, &["--receipt", "r.json", "--trace", "t.trace", "--key", "key.pem"]).expect(0);
    folder
}

fn run(folder: &Folder, further: &[&str]) -> Ran {
    let arguments = ["run", "p.rep", "--input", "X:0=x.npy", "--output", "out"];
    folder.repops(arguments.into_iter().chain(further.iter().copied()))
}

fn verify(folder: &Folder, receipt: &str, further: &[&str]) -> Ran {
    let arguments = ["verify", receipt, "--program", "p.rep", "--input", "X:0=x.npy"];
    folder.repops(arguments.into_iter().chain(further.iter().copied()))
}

#[test]
fn a_run_writes_outputs_and_prints_one_object() {
    let folder = folder();
    let object = run(&folder, &["--json"]).json();
    let keys: Vec<&String> = object.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["elapsed_ms", "files", "inputs", "outputs", "program", "trace_root"]);
    assert_eq!(object["program"], json!(program(&WEIGHTS).digest().to_hex()));
    assert_eq!(object["inputs"]["X:0"], json!(repops::digest::tensor_digest(input().view()).to_hex()));
    assert_eq!(object["files"]["layer/Y:0"], json!("out/layer_Y_0.npy"));
    assert!(object["elapsed_ms"].is_number());
    let written = std::fs::read(folder.path("out/layer_Y_0.npy")).unwrap();
    let output = repops_io::npy::parse(&written).unwrap();
    assert_eq!(object["outputs"]["layer/Y:0"], json!(repops::digest::tensor_digest(output.view()).to_hex()));
    // X W + X, below zero cut off.
    assert_eq!(output.as_slice::<f32>()[..3], [11.0, 9.0, 27.5 + 0.0]);
}

#[test]
fn strings_and_sequences_are_read_and_written() {
    use repops::packed::{Strings, Value};
    let folder = Folder::new();
    folder.write_program("s.rep", &fixture::strings());
    let [a, b] = [["x", "é"], ["1", ""]].map(|texts| Strings::new(&[2], texts));
    folder.write_npy("a.npy", &a.clone().into_tensor());
    folder.write_npy("b.npy", &b.into_tensor());
    let object = folder
        .repops(["run", "s.rep", "--input", "A=a.npy", "--input", "B=b.npy", "--output", "out", "--json"])
        .json();
    let output = |name: &str| {
        let bytes = std::fs::read(folder.path(&format!("out/{name}.npy"))).unwrap();
        let tensor = repops_io::npy::parse_as(&bytes, Some(repops::DType::Packed)).unwrap();
        assert_eq!(object["outputs"][name], json!(repops::digest::tensor_digest(tensor.view()).to_hex()));
        Value::of(&tensor).unwrap()
    };
    let joined = Strings::new(&[2], ["x1", "é"]);
    assert_eq!(output("Z"), Value::Strings(joined.clone()));
    assert_eq!(output("both"), Value::Sequence(vec![Value::Strings(a), Value::Strings(joined)]));
}

#[test]
fn every_way_of_running_gives_the_same_root() {
    let folder = folder();
    let first = run(&folder, &["--json"]).json();
    assert_eq!(first["trace_root"].as_str().unwrap().len(), 64);
    let ways: &[&[&str]] = &[
        #[cfg(feature = "compile")]
        &["--regions", "native"],
        &["--reference"],
        &["--unfused"],
        &["--regions", "steps"],
        &["--regions", "tiles"],
        &["--regions", "interpreted"],
        &["--threads", "1"],
        &["--threads", "7"],
        &["--isa", "portable"],
    ];
    for way in ways {
        let object = run(&folder, &[&["--json"], *way].concat()).json();
        assert_eq!(object["trace_root"], first["trace_root"], "{way:?}");
        assert_eq!(object["outputs"], first["outputs"], "{way:?}");
    }
}

#[test]
fn the_level_of_hashing_is_chosen() {
    let folder = folder();
    let full = run(&folder, &["--json"]).json();
    let outputs = run(&folder, &["--hash", "outputs", "--json"]).json();
    assert_eq!((&outputs["outputs"], &outputs["trace_root"]), (&full["outputs"], &Value::Null));
    let none = run(&folder, &["--hash", "none", "--json"]).json();
    assert_eq!(none["outputs"], json!({ "layer/Y:0": null }));
    assert!(folder.path("out/layer_Y_0.npy").exists());
    run(&folder, &["--hash", "none", "--receipt", "r.json"]).expect(2);
    run(&folder, &["--hash", "outputs", "--trace", "t.trace"]).expect(2);
    assert!(!folder.path("r.json").exists() && !folder.path("t.trace").exists());
}

#[test]
fn honest_receipts_are_verified() {
    let folder = claimed();
    let public = folder.repops(["keygen", "--show", "key.pem"]).expect(0).trim().to_string();
    assert_eq!(verify(&folder, "r.json", &[]).expect(0), format!("verified, signed by {public}\n"));
    verify(&folder, "r.json", &["--reference"]).expect(0);
    verify(&folder, "r.json", &["--signer", &public]).expect(0);
    verify(&folder, "r.json", &["--signer", "key.pem"]).expect(0);
    let object = verify(&folder, "r.json", &["--json"]).json();
    assert_eq!((&object["verdict"], &object["signer"]), (&json!("verified"), &json!(public)));
    run(&folder, &["--hash", "outputs", "--receipt", "o.json", "--key", "key.pem", "--nonce", "7"]).expect(0);
    verify(&folder, "o.json", &[]).expect(0);
    let receipt: Value = serde_json::from_slice(&std::fs::read(folder.path("o.json")).unwrap()).unwrap();
    assert_eq!((&receipt["nonce"], &receipt["trace_root"]), (&json!(7), &Value::Null));
    assert!(receipt["info"]["device"].is_string() && receipt["info"]["time"].is_string());
}

#[test]
fn another_signer_is_refuted() {
    let folder = claimed();
    let other = folder.repops(["keygen", "-o", "other.pem"]).expect(0).trim().to_string();
    let text = verify(&folder, "r.json", &["--signer", &other]).expect(1);
    assert!(text.starts_with("refuted: signer: "), "{text}");
    verify(&folder, "r.json", &["--signer", "nobody"]).expect(2);
}

#[test]
fn every_changed_field_of_a_receipt_is_refuted() {
    let folder = claimed();
    let receipt: Value = serde_json::from_slice(&std::fs::read(folder.path("r.json")).unwrap()).unwrap();
    let mut places: Vec<String> = Vec::new();
    collect_places(&receipt, "", &mut places);
    places.retain(|place| !place.starts_with("/info"));
    assert!(places.len() >= 14, "{places:?}");
    for place in places {
        let mut changed = receipt.clone();
        let value = changed.pointer_mut(&place).unwrap();
        *value = match &*value {
            Value::String(text) => {
                let first = if text.starts_with('0') { "1" } else { "0" };
                json!(format!("{first}{}", &text[1..]))
            }
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::Null => json!({ "code": 1, "step": 0 }),
            _ => json!({}),
        };
        // As scripts write it: with white space.
        folder.write("changed.json", serde_json::to_string_pretty(&changed).unwrap().as_bytes());
        let text = verify(&folder, "changed.json", &[]).expect(1);
        assert!(text.starts_with("refuted: "), "{place}: {text}");
    }
    // White space and order alone change nothing.
    folder.write("pretty.json", serde_json::to_string_pretty(&receipt).unwrap().as_bytes());
    verify(&folder, "pretty.json", &[]).expect(0);
}

fn collect_places(value: &Value, at: &str, out: &mut Vec<String>) {
    if !at.is_empty() {
        out.push(at.to_string());
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        let key = key.replace('~', "~0").replace('/', "~1");
        collect_places(inner, &format!("{at}/{key}"), out);
    }
}

#[test]
fn other_bytes_are_refuted() {
    let folder = claimed();
    folder.write_npy("x.npy", &Tensor::zeros(repops::DType::F32, &[2, 3]).unwrap());
    let text = verify(&folder, "r.json", &[]).expect(1);
    assert!(text.starts_with("refuted: inputs.X:0: "), "{text}");
    folder.write_npy("x.npy", &input());
    folder.write_program("p.rep", &program(&doctored()));
    assert!(verify(&folder, "r.json", &[]).expect(1).starts_with("refuted: program: "));
    // One bit of a weight in the file itself: the program's digest binds it.
    let path = folder.write_program("p.rep", &program(&WEIGHTS));
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let text = verify(&folder, "r.json", &[]).expect(1);
    assert!(text.contains("layer.weight"), "{text}");
    // Nor is such a program signed for.
    let text = run(&folder, &["--receipt", "again.json", "--key", "key.pem"]).expect(2);
    assert!(text.contains("layer.weight"), "{text}");
    assert!(!folder.path("again.json").exists());
}

#[test]
fn a_forged_receipt_is_refuted_and_the_traces_name_the_operator() {
    let folder = claimed();
    folder.write_program("cheat.rep", &program(&doctored()));
    let arguments = ["run", "cheat.rep", "--input", "X:0=x.npy", "--receipt", "cheat.json"];
    folder.repops(arguments.into_iter().chain(["--trace", "cheat.trace", "--key", "key.pem"])).expect(0);
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    let honest = repops_provenance::Receipt::parse(&read("r.json")).unwrap();
    let mut claim = repops_provenance::Receipt::parse(&read("cheat.json")).unwrap().claim;
    claim.program = honest.claim.program;
    let key = repops_provenance::Key::load(&folder.path("key.pem")).unwrap();
    folder.write("forged.json", claim.sign(&key, Default::default()).to_json().as_bytes());
    let text = verify(&folder, "forged.json", &[]).expect(1);
    assert!(text.starts_with("refuted: outputs.layer/Y:0: "), "{text}");

    let diff = ["trace", "diff", "t.trace", "cheat.trace", "--program", "p.rep"];
    let text = folder.repops(diff).expect(1);
    for expected in ["record 0", "/layer/MatMul", "layer.weight", "input 1", "output 0"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let with_bytes = diff.into_iter().chain(["--program-b", "cheat.rep", "--input", "X:0=x.npy"]);
    let text = folder.repops(with_bytes.clone()).expect(1);
    assert!(text.contains("2 of 6 elements differ") && text.contains("[0, 1]  A 0x"), "{text}");
    let object = folder.repops(with_bytes.chain(["--json"])).json();
    assert_eq!(object["nodes"], json!(["/layer/MatMul"]));
    assert_eq!(object["differs"], json!(["input 1", "output 0"]));
    assert_eq!(object["a"]["confirmed"], json!(true));
    assert_eq!(object["elements"][0]["count"], json!(2));
    assert_eq!(object["elements"][0]["first"][0]["at"], json!([0, 1]));
    folder.repops(["trace", "diff", "t.trace", "t.trace", "--program", "p.rep"]).expect(0);
    folder.repops(["trace", "diff", "cheat.trace", "cheat.trace", "--program", "p.rep"]).expect(0);
    folder.write_program("other.rep", &division());
    folder.repops(["trace", "diff", "t.trace", "cheat.trace", "--program", "other.rep"]).expect(2);
}

#[test]
fn a_lie_about_one_program_is_told_from_the_truth() {
    let folder = claimed();
    let bytes = std::fs::read(folder.path("t.trace")).unwrap();
    let mut file = repops_provenance::trace_file::TraceFile::read(bytes.as_slice()).unwrap();
    file.trace.records[1].outputs[0].0[0] ^= 1;
    let mut lie = Vec::new();
    repops_provenance::trace_file::write(&mut lie, &file.program, &file.trace).unwrap();
    folder.write("lie.trace", &lie);
    let diff =
        ["trace", "diff", "t.trace", "lie.trace", "--program", "p.rep", "--input", "X:0=x.npy", "--json"];
    let object = folder.repops(diff).json();
    assert_eq!(object["nodes"], json!(["/layer/Add", "/layer/Relu"]));
    assert_eq!(object["differs"], json!(["output 0"]));
    assert_eq!((&object["a"]["confirmed"], &object["b"]["confirmed"]), (&json!(true), &json!(false)));
}

#[test]
fn what_is_unreadable_or_missing_is_no_refutation() {
    let folder = claimed();
    let receipt = std::fs::read(folder.path("r.json")).unwrap();
    folder.write("cut.json", &receipt[..receipt.len() / 2]);
    verify(&folder, "cut.json", &[]).expect(2);
    folder.write("empty.json", b"");
    verify(&folder, "empty.json", &[]).expect(2);
    folder.write("other.json", b"{\"a\": 1}");
    verify(&folder, "other.json", &[]).expect(2);
    verify(&folder, "missing.json", &[]).expect(2);
    folder.repops(["verify", "r.json", "--program", "missing.rep"]).expect(2);
    let text = folder.repops(["verify", "r.json", "--program", "p.rep"]).expect(2);
    assert!(text.contains("X:0") && text.contains("f32[N, 3]"), "{text}");
    folder.repops(["verify", "r.json", "--program", "r.json", "--input", "X:0=x.npy"]).expect(2);
    let text =
        folder.repops(["verify", "r.json", "--program", "p.rep", "--input", "X:0=missing.npy"]).expect(2);
    assert!(text.contains("missing.npy"), "{text}");
    folder.repops(["verify"]).expect(2);
    folder.repops(["nonsense"]).expect(2);
    folder.repops(["--version"]).expect(0);
}

#[test]
fn bad_inputs_name_what_is_wrong_and_leave_nothing() {
    let folder = folder();
    folder.write_npy("ints.npy", &Tensor::from_slice(&[2, 3], &[1i32, 2, 3, 4, 5, 6]));
    folder.write_npy("wide.npy", &Tensor::from_slice(&[2, 4], &[0f32; 8]));
    let mut declared = std::fs::read(folder.path("x.npy")).unwrap();
    let shape = declared.windows(6).position(|w| w == b"(2, 3)").unwrap();
    declared[shape..shape + 14].copy_from_slice(b"(268435456,) }");
    declared.truncate(1024);
    folder.write("huge.npy", &declared);
    let program = std::fs::read(folder.path("p.rep")).unwrap();
    folder.write("cut.rep", &program[..program.len() - 1]);
    let mut changed = program;
    changed[200] ^= 1;
    folder.write("changed.rep", &changed);
    let before = folder.listing();
    let cases: [(&str, &[&str], &str); 9] = [
        ("p.rep", &["X:0=ints.npy"], "X:0"),
        ("p.rep", &["X:0=wide.npy"], "X:0"),
        ("p.rep", &["X:0=huge.npy"], "huge.npy"),
        ("p.rep", &["X:0=x.npy", "X:0=x.npy"], "twice"),
        ("p.rep", &["X:0=x.npy", "Q=x.npy"], "Q"),
        ("p.rep", &["X:0"], "NAME=FILE"),
        ("p.rep", &[], "X:0"),
        ("cut.rep", &["X:0=x.npy"], "cut.rep"),
        ("changed.rep", &["X:0=x.npy"], "changed.rep"),
    ];
    for (program, inputs, expected) in cases {
        let inputs = inputs.iter().flat_map(|input| ["--input", input]);
        let arguments = ["run", program, "--output", "out", "--trace", "t", "--receipt", "r"];
        let text = folder.repops(arguments.into_iter().chain(inputs)).expect(2);
        assert!(text.starts_with("error: ") && text.contains(expected), "{expected}: {text}");
        let left: Vec<_> = folder.listing().into_iter().filter(|p| !before.contains(p)).collect();
        assert!(left.iter().all(|path| path.ends_with("config/repops/key.pem")), "{left:?}");
    }
}

#[test]
fn nothing_is_half_written() {
    let folder = folder();
    // The last file cannot be written, so none is.
    std::fs::create_dir(folder.path("taken")).unwrap();
    run(&folder, &["--trace", "t.trace", "--receipt", "taken"]).expect(2);
    let names: Vec<_> = folder.listing().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["key.pem", "p.rep", "x.npy"]);
}

#[test]
fn two_results_never_share_a_file() {
    let folder = folder();
    run(&folder, &["--trace", "one", "--receipt", "./one"]).expect(2);
    run(&folder, &["--trace", "out/layer_Y_0.npy"]).expect(2);
    assert!(!folder.path("one").exists());
    assert!(!folder.path("out/layer_Y_0.npy").exists());
}

#[test]
fn more_threads_than_make_sense_are_refused() {
    let folder = folder();
    for threads in ["1025", "18446744073709551615"] {
        run(&folder, &["--threads", threads]).expect(2);
    }
}

#[test]
fn without_a_key_one_is_made_and_kept() {
    let folder = folder();
    let first = run(&folder, &["--receipt", "a.json"]).expect(0);
    assert!(first.contains("a signing key was made"), "{first}");
    let second = run(&folder, &["--receipt", "b.json"]).expect(0);
    assert!(second.contains("signing with"), "{second}");
    verify(&folder, "b.json", &["--signer", "config/repops/key.pem"]).expect(0);
    folder.repops(["keygen", "-o", "config/repops/key.pem"]).expect(2);
}

#[test]
fn a_fault_is_a_result_that_can_be_claimed_and_verified() {
    let folder = Folder::new();
    folder.write_program("p.rep", &division());
    folder.write_npy("a.npy", &Tensor::from_slice(&[2], &[6i32, 7]));
    folder.write_npy("b.npy", &Tensor::from_slice(&[2], &[3i32, 0]));
    let inputs = ["--input", "A=a.npy", "--input", "B=b.npy"];
    for level in ["outputs", "operators"] {
        let arguments = ["run", "p.rep", "--output", "out", "--receipt", "r.json", "--hash", level];
        let text = folder.repops(arguments.into_iter().chain(inputs)).expect(1);
        assert!(text.contains("integer division by zero") && text.contains("/quotient"), "{text}");
        assert!(!folder.path("out/Z.npy").exists());
        let receipt: Value = serde_json::from_slice(&std::fs::read(folder.path("r.json")).unwrap()).unwrap();
        assert_eq!(receipt["fault"], json!({ "code": 1, "step": 1 }));
        for further in [&["--unfused"] as &[&str], &["--reference"]] {
            let verify = ["verify", "r.json", "--program", "p.rep"];
            folder.repops(verify.into_iter().chain(inputs).chain(further.iter().copied())).expect(0);
        }
    }
    let object = folder.repops(["run", "p.rep", "--json"].into_iter().chain(inputs)).json();
    assert_eq!((&object["fault"]["code"], &object["outputs"]), (&json!(1), &json!({})));
}

#[test]
fn inputs_come_in_every_format() {
    let folder = folder();
    let expected = run(&folder, &["--json"]).json()["trace_root"].clone();
    folder.write("x.raw", input().bytes());
    let proto = [b"\x08\x02\x08\x03\x10\x01\x4a\x18".as_slice(), input().bytes()].concat();
    folder.write("x.pb", &proto);
    for file in ["X:0=x.raw", "X:0:f32=x.raw", "X:0=x.pb", "X:0:f32=x.npy"] {
        let object = folder.repops(["run", "p.rep", "--input", file, "--json"]).json();
        assert_eq!(object["trace_root"], expected, "{file}");
    }
    folder.repops(["run", "p.rep", "--input", "X:0:bf16=x.npy"]).expect(2);
}

#[test]
fn programs_are_timed() {
    let folder = folder();
    let bench = ["bench", "p.rep", "--input", "X:0=x.npy", "--runs", "3", "--threads", "2"];
    let timed = |further: &[&str]| folder.repops(bench.into_iter().chain(further.iter().copied()));
    let object = timed(&["--json"]).json();
    let ms = |key: &str| object[key].as_f64().unwrap();
    assert!(0.0 < ms("min_ms") && ms("min_ms") <= ms("median_ms") && ms("median_ms") <= ms("max_ms"));
    assert_eq!(
        (&object["threads"], &object["runs"], &object["hash"]),
        (&json!(2), &json!(3), &json!("operators"))
    );
    assert_eq!(object["program"], json!(program(&WEIGHTS).digest().to_hex()));
    assert_eq!((&object["constant_bytes"], &object["steps"]), (&json!(36), &Value::Null));
    assert!(object["buffer_bytes"].as_u64().unwrap() >= 24);
    // Input, product and region in the trace; input and output in the claim: 24 bytes each.
    assert_eq!(object["committed_bytes"], json!(5 * 24));
    assert_eq!(timed(&["--json", "--hash", "outputs"]).json()["committed_bytes"], json!(2 * 24));
    assert_eq!(timed(&["--json", "--hash", "none"]).json()["committed_bytes"], json!(0));
    #[cfg(target_os = "linux")]
    assert!(object["peak_memory_bytes"].as_u64().unwrap() > 1 << 20);
    let text = timed(&[]).expect(0);
    assert!(
        text.contains("median_ms") && text.contains("120 bytes hashed") && !text.contains("/layer/MatMul"),
        "{text}"
    );
    assert!(folder.listing().iter().all(|path| path.extension().is_some_and(|e| e == "rep" || e == "npy")));
}

#[test]
fn steps_are_timed_and_those_without_a_kernel_told() {
    let folder = folder();
    let bench =
        ["bench", "p.rep", "--input", "X:0=x.npy", "--profile-steps", "--runs", "2", "--warm-up", "1"];
    let timed = |further: &[&str]| folder.repops(bench.into_iter().chain(further.iter().copied()));
    let object = timed(&["--json"]).json();
    let steps = object["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!((&steps[0]["step"], &steps[0]["operator"]), (&json!("0"), &json!("MatMul")));
    assert_eq!((&steps[0]["node"], &steps[0]["kernel"]), (&json!("/layer/MatMul"), &json!(["kernel"])));
    assert_eq!((&steps[1]["kernel"], &steps[1]["calls"]), (&json!(["tiles"]), &json!(1)));
    assert_eq!((&steps[1]["outputs"], &steps[1]["bytes"]), (&json!(["f32[2, 3]"]), &json!(24)));
    let shares: Vec<f64> = steps.iter().map(|step| step["share"].as_f64().unwrap()).collect();
    assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    assert!(steps[0]["median_ms"].as_f64().unwrap() <= object["max_ms"].as_f64().unwrap());
    let text = timed(&[]).expect(0);
    for expected in ["/layer/Add .. /layer/Relu", "f32[2, 3]", "tiles", "outside of steps"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("REFERENCE"), "{text}");
    assert_eq!(timed(&["--json", "--unfused"]).json()["steps"][1]["kernel"], json!(["unfused"]));
    #[cfg(feature = "compile")]
    assert_eq!(timed(&["--json", "--regions", "native"]).json()["steps"][1]["kernel"], json!(["native"]));
    let text = timed(&["--reference"]).expect(0);
    assert!(text.contains("NO KERNEL: 2 steps") && text.contains("MatMul, Region"), "{text}");
}

#[test]
fn what_cannot_be_timed_says_why() {
    let folder = Folder::new();
    folder.write_program("p.rep", &division());
    folder.write_npy("a.npy", &Tensor::from_slice(&[2], &[6i32, 7]));
    folder.write_npy("b.npy", &Tensor::from_slice(&[2], &[3i32, 0]));
    let bench = |b: &str, further: &[&str]| {
        let arguments = ["bench", "p.rep", "--input", "A=a.npy", "--input", b];
        folder.repops(arguments.into_iter().chain(further.iter().copied()))
    };
    let text = bench("B=b.npy", &["--json"]).expect(1);
    assert!(text.contains("integer division by zero") && !text.contains("median_ms"), "{text}");
    bench("B=missing.npy", &[]).expect(2);
    bench("B=a.npy", &["--runs", "0"]).expect(2);
    bench("B=a.npy", &["--warm-up", "0"]).expect(2);
    bench("B=a.npy", &["--runs", "1"]).expect(0);
}

#[test]
fn programs_are_inspected() {
    let folder = folder();
    let text = folder.repops(["inspect", "p.rep"]).expect(0);
    let digest = program(&WEIGHTS).digest().to_hex();
    for expected in
        ["X:0: f32[N, 3]", "layer/Y:0", "layer.weight", "/layer/MatMul", "MatMul 1", "small.onnx", &digest]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = folder.repops(["inspect", "p.rep", "--step", "1"]).expect(0);
    for expected in
        ["/layer/Add (Add, opset 17)", "/layer/Relu", "v2: f32 = Add(v0, v1)", "yield v3", "slot 1"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let object = folder.repops(["inspect", "p.rep", "--json"]).json();
    assert_eq!(object["program"], json!(digest));
    assert_eq!(object["blocks"][0]["steps"][0]["origins"][0]["name"], json!("/layer/MatMul"));
    assert_eq!(object["inputs"][0]["type"], json!({ "dtype": "f32", "shape": ["N", 3] }));
    let object = folder.repops(["inspect", "p.rep", "--step", "0:1", "--json"]).json();
    assert_eq!(object["operator"], json!("Region"));
    folder.repops(["inspect", "p.rep", "--step", "2"]).expect(2);
    folder.repops(["inspect", "p.rep", "--step", "x"]).expect(2);
    folder.repops(["inspect", "x.npy"]).expect(2);
}

#[test]
fn traces_are_shown() {
    let folder = claimed();
    let text = folder.repops(["trace", "show", "t.trace", "--program", "p.rep"]).expect(0);
    assert!(text.contains("/layer/MatMul") && text.contains("steps       2"), "{text}");
    folder.repops(["trace", "show", "t.trace"]).expect(0);
    let object = folder.repops(["trace", "show", "t.trace", "--step", "1", "--json"]).json();
    assert_eq!(object["records"][0]["operator"], json!("Region"));
    assert_eq!(object["records"].as_array().unwrap().len(), 1);
    folder.repops(["trace", "show", "t.trace", "--step", "2"]).expect(2);
    let inside = ["trace", "show", "t.trace", "--program", "p.rep", "--input", "X:0=x.npy", "--inside"];
    let text = folder.repops(inside.into_iter().chain(["1"])).expect(0);
    assert!(text.contains("v2: f32 = Add(v0, v1)") && text.contains("[2, 3] 11.0"), "{text}");
    let object = folder.repops(inside.into_iter().chain(["1", "--json", "--reference"])).json();
    let last = object["values"][1]["digest"].clone();
    assert_eq!(last, run(&folder, &["--json"]).json()["outputs"]["layer/Y:0"]);
    let text = folder.repops(inside.into_iter().chain(["0"])).expect(2);
    assert!(text.contains("not a fused region"), "{text}");
    let mut bytes = std::fs::read(folder.path("t.trace")).unwrap();
    bytes[70] ^= 1;
    folder.write("damaged.trace", &bytes);
    folder.repops(["trace", "show", "damaged.trace"]).expect(2);
    folder.write_program("other.rep", &division());
    folder.repops(["trace", "show", "t.trace", "--program", "other.rep"]).expect(1);
}

#[test]
fn keys_are_private() {
    let folder = Folder::new();
    let object = folder.repops(["keygen", "-o", "key.pem", "--json"]).json();
    assert_eq!(object["public"].as_str().unwrap().len(), 64);
    let text = std::fs::read_to_string(folder.path("key.pem")).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.path("key.pem")), 0o600);
    }
    folder.repops(["keygen", "-o", "key.pem"]).expect(2);
    folder.repops(["keygen"]).expect(2);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    folder.write_program("p.rep", &chain(20_000));
    folder.write_npy("x.npy", &Tensor::zeros(repops::DType::F32, &[5000, 3]).unwrap());
    let arguments = ["run", "p.rep", "--input", "X:0=x.npy", "--output", "out", "--receipt", "r.json"];
    let mut running = Command::new(env!("CARGO_BIN_EXE_repops"))
        .args(arguments)
        .args(["--trace", "t.trace", "--reference"])
        .current_dir(folder.path(""))
        .env("XDG_CONFIG_HOME", folder.path("config"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = BufReader::new(running.stderr.take().unwrap()).lines();
    assert!(errors.next().unwrap().unwrap().contains("a signing key was made"));
    let id = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(running.wait().unwrap().code(), Some(2));
    assert_eq!(errors.next().unwrap().unwrap(), "error: interrupted");
    let names: Vec<_> = folder.listing().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["key.pem", "p.rep", "x.npy"]);
}

#[cfg(not(feature = "compile"))]
#[test]
fn a_build_without_the_compiler_says_so() {
    let folder = folder();
    let text = folder.repops(["compile", "model.onnx", "-o", "out.rep"]).expect(2);
    assert!(text.contains("not part of this build"), "{text}");
    run(&folder, &["--regions", "native"]).expect(2);
}

#[cfg(feature = "compile")]
#[test]
fn models_are_compiled_and_checked() {
    let folder = Folder::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/magika/standard_v3_3.onnx");
    let object = folder.repops(["compile", model, "-o", "a.rep", "--json"]).json();
    folder.repops(["compile", model, "-o", "b.rep"]).expect(0);
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(read("a.rep") == read("b.rep"), "compiling twice gives the same file");
    let text = folder.repops(["compile", model, "--check", "a.rep"]).expect(0);
    assert!(text.contains(object["program"].as_str().unwrap()), "{text}");
    folder.repops(["compile", model, "--no-fuse", "--check", "a.rep"]).expect(1);
    folder.repops(["compile", model, "--check", "missing.rep"]).expect(2);
    folder.repops(["compile", model, "--emit", "all", "--emit-dir", "passes"]).expect(0);
    let passes = std::fs::read_dir(folder.path("passes")).unwrap().map(|entry| entry.unwrap().path());
    let fused = passes.filter(|path| path.to_string_lossy().ends_with("_fuse.mlir")).collect::<Vec<_>>();
    assert_eq!(fused.len(), 1, "{fused:?}");
    assert!(std::fs::read_to_string(&fused[0]).unwrap().contains("repops.region"));
    let shown = folder.repops(["compile", model, "--emit", "prune"]).expect(0);
    assert!(shown.starts_with("// ----- after prune -----"));
    folder.repops(["compile", model, "--emit", "nothing"]).expect(2);
    folder.repops(["compile", model]).expect(2);
}

#[cfg(feature = "compile")]
#[test]
fn bad_models_leave_no_program() {
    let folder = Folder::new();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/magika/standard_v3_3.onnx");
    let bytes = std::fs::read(model).unwrap();
    folder.write("cut.onnx", &bytes[..bytes.len() / 2]);
    folder.write("empty.onnx", b"");
    for name in ["cut.onnx", "empty.onnx", "missing.onnx"] {
        let text = folder.repops(["compile", name, "-o", "out.rep"]).expect(2);
        assert!(text.contains(name), "{text}");
        assert!(!folder.path("out.rep").exists());
    }
}

/// The sentence, not a panic: this test is for machines without a GPU, where the driver is not there.
#[test]
fn a_missing_gpu_is_one_sentence() {
    let folder = folder();
    let listed = folder.repops(["devices", "--json"]).json();
    assert_eq!(listed["devices"][0]["device"], json!("cpu"));
    let gpus = listed["devices"].as_array().unwrap().len() - 1;
    assert_eq!(listed["problem"].is_null(), gpus > 0, "{listed}");
    let absent = format!("cuda:{gpus}");
    let commands: [&[&str]; 3] = [
        &["run", "p.rep", "--input", "X:0=x.npy", "--device", &absent],
        &["bench", "p.rep", "--input", "X:0=x.npy", "--device", &absent],
        &["generate", "p.rep", "--tokens", "1", "--device", &absent],
    ];
    for command in commands {
        let said = folder.repops(command.iter().copied()).expect(2);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("error: no CUDA device: "), "{said}");
    }
    let wrong = folder.repops(["run", "p.rep", "--device", "cuda:x"]).expect(2);
    assert!(wrong.contains("a device is cpu, or cuda:N with the number of a GPU"), "{wrong}");
}
