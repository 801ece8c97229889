//! Runs every `filetests/PASS/*.mlir`: the module before the line `// ----- after`, transformed by PASS, must print
//! as the text after it.
//!
//! A file whose first line is `// locations` is compared with locations. `REPOPS_BLESS=1` rewrites the expectations.

use std::fs;
use std::path::{Path, PathBuf};

use repops_compiler::mlir::{Context, Module};
use repops_compiler::passes::{self, Session};

const AFTER: &str = "// ----- after\n";
const ERROR: &str = "// error: ";

#[test]
fn filetests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let bless = std::env::var_os("REPOPS_BLESS").is_some();
    let mut failures = Vec::new();
    let mut count = 0;
    for directory in sorted(&root) {
        let pass = directory.file_name().unwrap().to_str().unwrap().to_owned();
        for file in sorted(&directory) {
            count += 1;
            let text = fs::read_to_string(&file).unwrap();
            let (before, expected) = text.split_once(AFTER).unwrap_or((&text, ""));
            let found = transform(&pass, before);
            if found == expected {
                continue;
            }
            if bless {
                fs::write(&file, format!("{before}{AFTER}{found}")).unwrap();
            } else {
                failures.push(format!("{}\n--- expected\n{expected}--- found\n{found}", file.display()));
            }
        }
    }
    assert!(count > 0, "no file tests found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The text after the pass, or the error it gave.
fn transform(pass: &str, before: &str) -> String {
    let context = Context::new();
    let run = || -> repops_compiler::Result<String> {
        let mut session = Session::new(Module::parse(&context, before)?);
        passes::run_one(&mut session, passes::find(pass)?)?;
        Ok(session.module.to_text(before.starts_with("// locations")))
    };
    run().unwrap_or_else(|error| format!("{ERROR}{error}\n"))
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
