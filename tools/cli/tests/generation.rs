//! Generating, verifying and scoring as scripts see them.
#![forbid(unsafe_code)]

#[allow(dead_code)] // Other tests use the rest of it.
mod fixture;

use fixture::{Folder, Ran};
use repops::sequence::example::Decoder;
use serde_json::{Value, json};

const TOKENS: &str = "3,1,4,1,5,9,2,6";

/// A folder with a decoder of 50 tokens and 64 positions, and a key.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write_program("p.rep", &Decoder { context: 64, ..Decoder::default() }.program());
    folder.repops(["keygen", "-o", "key.pem"]).expect(0);
    folder
}

fn generate(folder: &Folder, further: &[&str]) -> Ran {
    let arguments = ["generate", "p.rep", "--tokens", TOKENS, "--max-tokens", "9"];
    folder.repops(arguments.into_iter().chain(further.iter().copied()))
}

const SAMPLED: [&str; 7] = ["--temperature", "0.8", "--top-k", "30", "--seed", "7", "--json"];

#[test]
fn an_answer_is_one_object_and_every_way_gives_the_same() {
    let folder = folder();
    let first = generate(&folder, &SAMPLED).json();
    assert_eq!(first["prompt_tokens"], json!([3, 1, 4, 1, 5, 9, 2, 6]));
    assert_eq!(first["tokens"].as_array().unwrap().len(), 9);
    assert_eq!(first["finish_reason"], "length");
    for key in ["receipt_digest", "trace_root", "program"] {
        assert_eq!(first[key].as_str().unwrap().len(), 64, "{key}");
    }
    assert!(first["prefill_tokens_per_s"].is_number() && first["decode_tokens_per_s"].is_number());
    let ways: &[&[&str]] = &[
        &["--threads", "1", "--isa", "portable"],
        &["--threads", "3", "--prefill-chunk", "1"],
        &["--prefill-chunk", "3", "--regions", "tiles"],
    ];
    for way in ways {
        let found = generate(&folder, &[&SAMPLED, *way].concat()).json();
        for key in ["tokens", "logprobs", "receipt_digest", "trace_root"] {
            assert_eq!(found[key], first[key], "{key} {way:?}");
        }
    }
    let unhashed = generate(&folder, &[&SAMPLED[..], &["--hash", "none"]].concat()).json();
    assert_eq!((&unhashed["tokens"], &unhashed["trace_root"]), (&first["tokens"], &Value::Null));
    assert_ne!(
        generate(&folder, &[&SAMPLED[..], &["--nonce", "1"]].concat()).json()["tokens"],
        first["tokens"]
    );
}

#[test]
fn receipts_of_generations_verify_and_changed_ones_do_not() {
    let folder = folder();
    let write = ["--receipt", "r.json", "--key", "key.pem"];
    let answer = generate(&folder, &[&SAMPLED[..], &write].concat()).json();
    let verify = |name: &str, further: &[&str]| {
        let arguments = ["verify", name, "--program", "p.rep", "--json"];
        folder.repops(arguments.into_iter().chain(further.iter().copied()))
    };
    for way in [&[][..], &["--reference"], &["--isa", "portable", "--threads", "1"]] {
        let found = verify("r.json", way).json();
        assert_eq!(
            (&found["verdict"], &found["receipt_digest"]),
            (&json!("verified"), &answer["receipt_digest"])
        );
    }
    let text = std::fs::read_to_string(folder.path("r.json")).unwrap();
    let tokens = format!("\"tokens\":{}", answer["tokens"]);
    assert!(text.contains(&tokens), "{text}");
    for (from, to) in [("\"seed\":7", "\"seed\":8"), (tokens.as_str(), "\"tokens\":[1,2,3]")] {
        std::fs::write(folder.path("changed.json"), text.replacen(from, to, 1)).unwrap();
        verify("changed.json", &[]).expect(1);
    }
    std::fs::write(folder.path("cut.json"), &text[..text.len() / 2]).unwrap();
    verify("cut.json", &[]).expect(2);
    // Another model.
    folder.write_program("p.rep", &Decoder { seed: 2, context: 64, ..Decoder::default() }.program());
    let found: Value = verify("r.json", &[]).json();
    assert!(found["difference"].as_str().unwrap().starts_with("program:"), "{found}");
}

#[test]
fn scores_say_what_the_model_could_have_written() {
    let folder = folder();
    let answer = generate(&folder, &SAMPLED).json();
    let list =
        |value: &Value| value.as_array().unwrap().iter().map(Value::to_string).collect::<Vec<_>>().join(",");
    let score = |tokens: &str| {
        let arguments = ["score", "p.rep", "--tokens", TOKENS, "--completion-tokens", tokens];
        folder.repops(arguments.into_iter().chain(SAMPLED))
    };
    let found = score(&list(&answer["tokens"])).json();
    assert_eq!(found["possible"], true);
    let logprobs: Vec<&Value> = found["tokens"].as_array().unwrap().iter().map(|t| &t["logprob"]).collect();
    assert_eq!(logprobs, answer["logprobs"].as_array().unwrap().iter().collect::<Vec<_>>());
    // Of fifty tokens thirty are possible at each place: not all of these.
    let every: Vec<String> = (0..50).map(|t| t.to_string()).collect();
    score(&every.join(",")).expect(1);
}

#[test]
fn what_cannot_be_generated_is_an_error() {
    let folder = folder();
    for (further, problem) in [
        (&["--temperature", "NaN"][..], "temperature"),
        (&["--temperature=-1"], "temperature"),
        (&["--top-p", "0"], "top_p"),
        (&["--min-p", "2"], "min_p"),
        (&["--seed", "9007199254740993"], "seed"),
        (&["--cache", "0"], "limit"),
        (&["--reference"], "--reference"),
    ] {
        let ran = generate(&folder, further);
        assert!(ran.stderr().contains(problem), "{further:?}: {}", ran.stderr());
        ran.expect(2);
    }
    let ran = |arguments: &[&str]| folder.repops([&["generate", "p.rep"], arguments].concat());
    ran(&["--tokens", "50"]).expect(2);
    ran(&["--tokens", "1", "--max-tokens", "0"]).expect(2);
    ran(&["--prompt", "hello"]).expect(2);
    ran(&["--chat", "hello", "--tokens", "1"]).expect(2);
    ran(&[]).expect(2);
    // More than its 64 positions.
    let long = vec!["1"; 70].join(",");
    ran(&["--tokens", &long]).expect(2);
    folder.write_program("p.rep", &fixture::program(&fixture::WEIGHTS));
    let ran = generate(&folder, &[]);
    assert!(ran.stderr().contains("tokens"), "{}", ran.stderr());
    ran.expect(2);
}

#[test]
fn single_positions_are_checked_with_a_trace_file() {
    let folder = folder();
    let written = ["--receipt", "r.json", "--key", "key.pem", "--trace", "t.rows"];
    generate(&folder, &[&SAMPLED[..], &written].concat()).expect(0);
    let spot = |further: &[&str]| {
        let arguments = ["verify", "r.json", "--program", "p.rep", "--spot", "4", "--trace", "t.rows"];
        folder.repops(arguments.into_iter().chain(further.iter().copied()))
    };
    let found = spot(&["--json"]).json();
    assert_eq!((&found["verdict"], &found["of"]), (&json!("verified"), &json!(16)));
    assert_eq!(found["positions"].as_array().unwrap().len(), 4);
    // 4 of 16.
    assert_eq!(found["caught"][0], json!({ "positions_changed": 1, "probability": 0.25 }));
    spot(&["--reference"]).expect(0);
    spot(&["--threads", "1", "--isa", "portable"]).expect(0);
    // A bit of the last record's rows.
    let path = folder.path("t.rows");
    let whole = std::fs::read(&path).unwrap();
    let mut forged = whole.clone();
    let at = forged.len() - 3;
    forged[at] ^= 4;
    std::fs::write(&path, &forged).unwrap();
    let ran = spot(&[]);
    assert!(ran.stdout().contains("are not what the trace says"), "{}", ran.stdout());
    ran.expect(1);
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let ran = spot(&[]);
    assert!(ran.stderr().contains("ends in the record of position 15"), "{}", ran.stderr());
    ran.expect(2);
    folder.repops(["verify", "r.json", "--program", "p.rep", "--spot", "4"]).expect(2);
    generate(&folder, &["--trace", "t.rows", "--hash", "outputs"]).expect(2);
}
