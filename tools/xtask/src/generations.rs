//! The bit matrix of generations: small decoders, made by `conformance/decoders.py` and as exporters write them to ONNX by
//! `conformance/decoder_exports.py`, generate the same tokens with the same
//! receipt digest on every path, however the prompt is cut, and the receipt verifies by all rows at once and by the plain way.
//!
//! Invariant: a path that fails or gives another digest is reported by name.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::command::{self, Error, Result};
use crate::repops::Repops;

/// Where the repository keeps the decoders, and those that were exported.
const FOLDERS: [&str; 2] = ["conformance/decoders", "conformance/exports"];
/// Tokens of every decoder's vocabulary; the decoders know 64 positions.
const PROMPT_TOKENS: u32 = 40;

/// How a path generates: on which machine, and the arguments.
type Way = (bool, &'static [&'static str]);

/// One that all are compared with, and the others.
const WAYS: &[Way] = &[
    (false, &[]),
    (false, &["--threads", "1", "--isa", "portable", "--prefill-chunk", "64"]),
    (false, &["--threads", "2", "--isa", "avx2", "--prefill-chunk", "7"]),
    (false, &["--threads", "7", "--prefill-chunk", "100"]),
    (false, &["--threads", "1", "--prefill-chunk", "1"]),
    (true, &["--threads", "2", "--isa", "neon"]),
    (true, &["--threads", "1", "--isa", "portable", "--prefill-chunk", "33"]),
];

/// Runs every decoder on every path; gives what disagrees.
pub fn check(host: &Repops, foreign: Option<&Repops>, folder: &Path) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    let key = folder.join("key.pem");
    command::run(host.command()?.arg("keygen").arg("-o").arg(&key))?;
    for model in decoders()? {
        let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let program = folder.join(format!("{name}.rep"));
        host.compile(&model, &program, &[])?;
        let receipt = folder.join(format!("{name}.json"));
        let mut first: Option<String> = None;
        for (index, (is_foreign, arguments)) in WAYS.iter().enumerate() {
            let repops = match (is_foreign, foreign) {
                (true, Some(foreign)) => foreign,
                (true, None) => continue,
                (false, _) => host,
            };
            // Other instruction sets than this machine's are for others.
            if std::env::consts::ARCH == "aarch64" && arguments.contains(&"avx2") {
                continue;
            }
            let wanted = (index == 0).then_some((receipt.as_path(), key.as_path()));
            let found = generate(repops, &program, arguments, wanted);
            let verdict = match (&found, &first) {
                (Err(error), _) => format!("FAILED: {error}"),
                (Ok(digest), Some(first)) if digest != first => format!("DIFFERS: {digest}, not {first}"),
                _ => String::new(),
            };
            println!(
                "  {name:<23} {:<8} {:<50} {}",
                if *is_foreign { "aarch64" } else { "host" },
                arguments.join(" "),
                if verdict.is_empty() { found.as_deref().unwrap_or("") } else { &verdict }
            );
            if !verdict.is_empty() {
                failures.push(format!("{name} {arguments:?}: {verdict}"));
            }
            first = first.or(found.ok());
        }
        for arguments in [&[][..], &["--reference"]] {
            let mut verify = host.command()?;
            verify.arg("verify").arg(&receipt).arg("--program").arg(&program).args(arguments);
            if let Err(error) = command::run(&mut verify) {
                failures.push(format!("{name}: verify {arguments:?}: {error}"));
            }
        }
    }
    Ok(failures)
}

/// GGUF files, Hugging Face folders, and ONNX files.
fn decoders() -> Result<Vec<PathBuf>> {
    let mut models = Vec::new();
    for folder in FOLDERS.map(|folder| command::root().join(folder)) {
        let failed = |error: std::io::Error| Error::Environment(format!("{}: {error}", folder.display()));
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_file =
                path.extension().is_some_and(|extension| extension == "gguf" || extension == "onnx");
            if path.is_dir() || is_file {
                models.push(path);
            }
        }
    }
    models.sort();
    Ok(models)
}

/// The digest of what a prompt is answered.
fn generate(
    repops: &Repops,
    program: &Path,
    arguments: &[&str],
    receipt: Option<(&Path, &Path)>,
) -> Result<String> {
    let prompt: Vec<String> = (0..PROMPT_TOKENS).map(|i| (1 + i * i % 29).to_string()).collect();
    let mut command = repops.command()?;
    command.arg("generate").arg(program).args([
        "--tokens",
        &prompt.join(","),
        "--max-tokens",
        "12",
        "--ignore-eos",
    ]);
    command
        .args(["--temperature", "0.9", "--top-p", "0.95", "--seed", "11", "--nonce", "5", "--json"])
        .args(arguments);
    if let Some((path, key)) = receipt {
        command.arg("--receipt").arg(path).arg("--key").arg(key);
    }
    let text = command::capture(&mut command)?;
    let object: Option<Value> = serde_json::from_str(text.trim()).ok();
    let digest = object.as_ref().and_then(|o| o.get("receipt_digest")?.as_str());
    digest.map(str::to_string).ok_or_else(|| {
        Error::Failed(format!("`{}` printed no object as documented: {text}", command::line(&command)))
    })
}
