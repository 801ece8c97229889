//! Decoders from GGUF and from folders compute what an independent implementation computes, and broken files are refused.
//!
//! Models and expected logits are those of conformance/decoders.py.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use repops::program::ConstantId;
use repops::sequence::{self, Sequence};
use repops::{DType, Layout, Program};
use repops_compiler::decoder::ModelError;
use repops_compiler::model::import_gguf;
use repops_compiler::{CompileError, CompileOptions, compile_file};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/decoders")
}

fn compiled(name: &str, options: &CompileOptions) -> Program {
    compile_file(&folder().join(name), options, &mut |_, _| {}).unwrap()
}

fn tokens_of(case: &Value) -> Vec<u32> {
    case["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect()
}

fn logits(program: &Program, tokens: &[u32]) -> Vec<f32> {
    let sequence = Sequence::of(program).unwrap();
    let rows = sequence::reference::run(program, &sequence, tokens, 0).unwrap();
    rows.logits.as_slice::<f32>().to_vec()
}

#[test]
fn logits_are_those_of_numpy() {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    for (name, case) in expected.as_object().unwrap() {
        let wanted: Vec<f64> =
            case["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let tokens = tokens_of(case);
        let found = logits(&compiled(name, &CompileOptions::default()), &tokens);
        assert_eq!(found.len(), wanted.len(), "{name}");
        let largest = wanted.iter().fold(0.0f64, |most, x| if x.abs() > most { x.abs() } else { most });
        let error = wanted.iter().zip(&found).map(|(w, f)| (w - f64::from(*f)).abs());
        let error = error.fold(0.0f64, |most, x| if x > most || x.is_nan() { x } else { most });
        println!("{name}: off by {error:.2e} of {largest:.2}");
        if error.is_nan() || error > 1e-5 * largest {
            failures.push(format!("{name}: off by {error:e}, the largest logit is {largest}"));
        }
        // Rows do not depend on later ones, and passes change no bit.
        let vocabulary = found.len() / tokens.len();
        let plain = CompileOptions { fuse: false, layout: false, context: Some(tokens.len()), as_is: false };
        let prefix = logits(&compiled(name, &plain), &tokens[..4]);
        assert!(
            prefix.iter().zip(&found[..4 * vocabulary]).all(|(a, b)| a.to_bits() == b.to_bits()),
            "{name}: the first four rows alone"
        );
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn matrices_keep_their_type_and_are_stored_once() {
    for (name, dtype) in [("qwen2.gguf", DType::BF16), ("qwen3", DType::F16), ("gemma2", DType::F32)] {
        let program = compiled(name, &CompileOptions::default());
        for decl in
            program.constants().iter().filter(|decl| decl.name.contains("_proj") && decl.shape.len() == 2)
        {
            assert_eq!((decl.dtype, decl.layout), (dtype, Layout::Panel16), "{name}: {}", decl.name);
        }
        let large =
            |decl: &&repops::program::ConstantDecl| decl.shape.len() == 2 && decl.name.ends_with("weight");
        let rows = program.constants().iter().filter(large).filter(|decl| decl.layout == Layout::RowMajor);
        let names: Vec<&str> = rows.map(|decl| decl.name.as_str()).collect();
        // Only where the head has weights of its own, the embedding is read by rows alone.
        let alone = if name == "qwen2.gguf" { vec!["token_embd.weight"] } else { Vec::new() };
        assert_eq!(names, alone, "{name}");
    }
    let program = compiled("llama.gguf", &CompileOptions::default());
    let quantized =
        program.constants().iter().filter(|decl| decl.dtype == DType::U8 && decl.shape.len() == 3);
    // Two layers of six, and the embedding, which is the head as well: v_proj is f16, down f32.
    assert_eq!(quantized.count(), 2 * 5 + 1);
    let origin = |step: &repops::program::Step| step.origins.first().map(|o| o.name.clone());
    let names: Vec<String> = program.main().steps.iter().filter_map(origin).collect();
    assert!(names.contains(&"blk.1.attn_q".to_string()), "{names:?}");
}

fn attached(program: &Program, name: &str) -> Option<String> {
    let index = program.constants().iter().position(|decl| decl.name == name)?;
    Some(String::from_utf8(program.constant_bytes(ConstantId(index as u32)).to_vec()).unwrap())
}

#[test]
fn texts_are_part_of_the_program() {
    let program = compiled("llama.gguf", &CompileOptions::default());
    let generation = attached(&program, "repops:generation.json").unwrap();
    let expected = r#"{"bos_token":"<|endoftext|>","bos_token_id":0,"context_length":64,"eos_token":"<|im_end|>","eos_token_ids":[1,0]}"#;
    assert_eq!(generation, expected);
    let template = attached(&program, "repops:chat_template").unwrap();
    assert_eq!(template, "{% for m in messages %}{{ m['content'] }}{% endfor %}");
    let tokenizer: Value =
        serde_json::from_str(&attached(&program, "repops:tokenizer.json").unwrap()).unwrap();
    assert_eq!(tokenizer["model"]["vocab"]["the"], 4);
    assert_eq!(tokenizer["model"]["merges"][1], serde_json::json!(["th", "e"]));

    let program = compiled("llama-k.gguf", &CompileOptions::default());
    let tokenizer: Value =
        serde_json::from_str(&attached(&program, "repops:tokenizer.json").unwrap()).unwrap();
    assert_eq!(tokenizer["model"]["byte_fallback"], true);
    // By scores: "he" before "▁t" would be wrong, "▁t" is the earlier token.
    assert_eq!(tokenizer["model"]["merges"], serde_json::json!([["▁", "t"], ["h", "e"], ["▁t", "he"]]));
    assert_eq!(tokenizer["post_processor"]["single"][0]["SpecialToken"]["id"], "<s>");

    let program = compiled("llama", &CompileOptions::default());
    let generation = attached(&program, "repops:generation.json").unwrap();
    let expected = r#"{"bos_token":"<s>","bos_token_id":1,"context_length":64,"eos_token":"</s>","eos_token_ids":[2,3],"temperature":"0.6","top_p":"0.9"}"#;
    assert_eq!(generation, expected);
    assert_eq!(attached(&program, "repops:chat_template").as_deref(), Some("{{ messages }}"));
}

#[test]
fn compiling_twice_gives_the_same_program() {
    for name in ["llama.gguf", "llama"] {
        let digest = || compiled(name, &CompileOptions::default()).digest();
        assert_eq!(digest(), digest(), "{name}");
    }
}

/// The error of a GGUF file that was changed: `from` becomes `to`, of the same length.
fn changed(from: &[u8], to: &[u8]) -> String {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(folder().join("llama.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes are there");
    bytes[at..at + to.len()].copy_from_slice(to);
    error_of(bytes)
}

fn error_of(bytes: Vec<u8>) -> String {
    let error = import_gguf("m.gguf", Bytes::from(bytes), None).expect_err("the file is broken");
    // The error converts to the crate's own.
    CompileError::from(error).to_string()
}

#[test]
fn broken_gguf_files_are_refused_with_a_reason() {
    let bytes = std::fs::read(folder().join("llama.gguf")).unwrap();
    let with = |at: usize, new: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        error_of(bytes)
    };
    let check =
        |found: String, wanted: &str| assert!(found.contains(wanted), "{found:?} does not say {wanted:?}");
    check(with(4, &1u32.to_le_bytes()), "byte 4: version 1 is not supported");
    check(with(4, &3u32.to_be_bytes()), "big-endian");
    check(with(8, &u64::MAX.to_le_bytes()), "byte 8: 18446744073709551615 tensors");
    check(with(16, &u64::MAX.to_le_bytes()), "byte 16: 18446744073709551615 keys");
    check(with(24, &u64::MAX.to_le_bytes()), "byte 24: a key has");
    check(error_of(bytes[..100].to_vec()), "21 tensors: more than 3 cannot be there");
    check(error_of(bytes[..1000].to_vec()), "are left");
    check(error_of(bytes[..bytes.len() - 32].to_vec()), "of a file of");
    check(error_of(b"GGUF".to_vec()), "version takes 4 bytes, 0 are left");
    check(changed(b"llama.block_count", b"llama.block_COUNT"), "llama.block_count is missing");
    check(
        changed(b"llama.context_length", b"tokenizer.ggml.model"),
        "key \"tokenizer.ggml.model\" is there twice",
    );
    check(
        changed(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0mamba"),
        "architecture \"mamba\" is not supported",
    );
    check(changed(b"blk.1.attn_q.weight", b"blk.9.attn_q.weight"), "no tensor \"blk.1.attn_q.weight\"");
    check(
        changed(b"blk.1.attn_v.weight", b"blk.1.attn_q.weight"),
        "tensor \"blk.1.attn_q.weight\": is there twice",
    );
    check(changed(b"smollm", b"smolln"), "splitting text as \"smolln\"");
    check(changed(b"th e", b"th q"), "merge \"th q\" is of tokens that are not there");

    // The entry of a tensor: name, rank, extents, type, offset.
    let name = b"blk.0.attn_q.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    check(with(at, &9u32.to_le_bytes()), "tensor \"blk.0.attn_q.weight\": has 9 axes");
    check(with(at + 4, &(1u64 << 60).to_le_bytes()), "makes it empty or too large");
    check(with(at + 4, &0u64.to_le_bytes()), "makes it empty or too large");
    check(with(at + 4, &33u64.to_le_bytes()), "rows of 33 are no multiple of q4_1's 32");
    check(with(at + 4, &32u64.to_le_bytes()), "its shape is [64, 32]; [64, 64] is needed");
    check(with(at + 20, &13u32.to_le_bytes()), "its type is Q5_K, which is not supported");
    check(with(at + 20, &77u32.to_le_bytes()), "its type is number 77");
    check(with(at + 24, &8u64.to_le_bytes()), "offset 8 is no multiple of 32");
    check(with(at + 24, &0u64.to_le_bytes()), "overlap");
    check(with(at + 24, &(u64::MAX - 31).to_le_bytes()), "of a file of");
}

#[test]
fn broken_folders_are_refused_with_a_reason() {
    let root = std::env::temp_dir().join(format!("repops-decoders-{}", std::process::id()));
    let broken = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        std::fs::create_dir_all(&root).unwrap();
        for entry in std::fs::read_dir(folder().join("llama")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), root.join(entry.file_name())).unwrap();
        }
        let bytes = std::fs::read(root.join(file)).unwrap();
        std::fs::write(root.join(file), change(bytes)).unwrap();
        let found = compile_file(&root, &CompileOptions::default(), &mut |_, _| {});
        std::fs::remove_dir_all(&root).unwrap();
        found.expect_err("the folder is broken").to_string()
    };
    let replaced = |file: &str, from: &str, to: &str| {
        broken(file, &|bytes| {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).into_bytes()
        })
    };
    let check =
        |found: String, wanted: &str| assert!(found.contains(wanted), "{found:?} does not say {wanted:?}");
    let index = "model.safetensors.index.json";
    check(replaced("config.json", "\"llama\"", "\"bert\""), "architecture \"bert\" is not supported");
    check(
        replaced("config.json", "\"hidden_size\": 32", "\"hidden_size\": -1"),
        "hidden_size: is not a size",
    );
    check(replaced("config.json", "\"hidden_size\": 32", "\"hidden_size\": 16"), "its shape is");
    check(
        replaced("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
        "has no part in a model",
    );
    check(
        replaced("config.json", "\"rope_type\": \"llama3\"", "\"rope_type\": \"magic\""),
        "rope_scaling: \"magic\"",
    );
    check(replaced("config.json", "\"factor\": 8.0", "\"factor\": 0"), "0 is not above 0");
    check(replaced("config.json", "{", "["), "config.json");
    check(replaced(index, "model-00001", "../m-00001"), "is no name of a file beside it");
    check(replaced(index, "model.norm.weight", "model.name.weight"), "does not place it");
    check(broken("model-00001-of-00002.safetensors", &|bytes| bytes[..50].to_vec()), "model-00001-of-00002");
    let first = |bytes: Vec<u8>| [u64::MAX.to_le_bytes().to_vec(), bytes[8..].to_vec()].concat();
    check(broken("model-00002-of-00002.safetensors", &first), "model-00002-of-00002");
}

#[test]
fn a_longer_context_than_the_tables_is_a_fault() {
    let program = compiled("llama.gguf", &CompileOptions { context: Some(3), ..CompileOptions::default() });
    let sequence = Sequence::of(&program).unwrap();
    assert!(sequence::reference::run(&program, &sequence, &[1, 2, 3], 0).is_ok());
    assert!(sequence::reference::run(&program, &sequence, &[1, 2, 3, 4], 0).is_err());
    let error =
        import_gguf("m.gguf", Bytes::from(std::fs::read(folder().join("llama.gguf")).unwrap()), Some(0));
    assert!(matches!(error, Err(ModelError::Key { .. })));
}

#[test]
fn corpora_are_read_as_their_names_say_and_cut_files_are_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let gguf = |bytes: Bytes| import_gguf("m.gguf", bytes, Some(8)).is_ok();
    let safetensors = |bytes: Bytes| repops_compiler::safetensors::parse(&bytes).is_ok();
    let readers: [(&str, &dyn Fn(Bytes) -> bool); 2] = [("gguf", &gguf), ("safetensors", &safetensors)];
    for (name, read) in readers {
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = Bytes::from(std::fs::read(&path).unwrap());
            let good = !path.file_name().unwrap().to_string_lossy().starts_with("bad-");
            assert_eq!(read(bytes.clone()), good, "{}", path.display());
            for cut in (0..bytes.len()).step_by(41) {
                let cut = bytes.slice(..cut);
                // The tensor that lies last may end before its padding does.
                assert!(
                    !read(cut.clone()) || bytes.len() - cut.len() < 32,
                    "{}, {}",
                    path.display(),
                    cut.len()
                );
            }
        }
    }
}
