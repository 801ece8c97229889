//! Who may depend on whom, and where `unsafe` may be: checked from `cargo metadata`.
//!
//! Invariant: the table here is the one of ARCHITECTURE.md; a crate that is not in it is a finding.

use crate::command::{self, Error, Result, capture};
use serde_json::Value;

/// A crate and the crates of the workspace that it may use, outside of its tests. `None`: any.
const MAY_USE: &[(&str, Option<&[&str]>)] = &[
    ("repops", Some(&[])),
    ("repops-kernels", Some(&["repops"])),
    ("repops-cuda", Some(&["repops"])),
    ("repops-compiler", Some(&["repops"])),
    ("repops-runtime", Some(&["repops", "repops-kernels", "repops-cuda"])),
    ("repops-provenance", Some(&["repops"])),
    ("repops-conformance", None),
    ("repops-ptx", None),
    ("repops-benches", None),
    ("repops-cli", None),
    ("repops-http", Some(&[])),
    ("repops-io", Some(&["repops"])),
    ("repops-text", Some(&["repops"])),
    ("repops-referee", Some(&["repops", "repops-http", "repops-provenance"])),
    (
        "repops-serve",
        Some(&[
            "repops",
            "repops-http",
            "repops-kernels",
            "repops-provenance",
            "repops-runtime",
            "repops-text",
        ]),
    ),
    ("repops-generate", None),
    ("prove", None),
    // Built before anything is installed.
    ("xtask", Some(&[])),
];

/// Only this crate may know LLVM.
const LLVM_USER: &str = "repops-compiler";
const LLVM_CRATES: &[&str] = &["melior", "melior-macro", "mlir-sys", "llvm-sys", "inkwell", "tblgen"];

/// Crates with `unsafe`: kernels for SIMD, CUDA for the driver's calls, the compiler for its thin edge to MLIR's C interface.
const MAY_BE_UNSAFE: &[&str] = &["repops-kernels", "repops-cuda", "repops-compiler"];

/// Crates whose business is arithmetic on floats: what an operator computes, how fast it is, and the proofs. All others
/// deny the lint, so that a stray sum in a pass or a tool cannot become part of a result.
const MAY_COMPUTE: &[&str] =
    &["repops", "repops-kernels", "repops-cuda", "repops-ptx", "repops-benches", "prove"];

pub fn metadata() -> Result<Value> {
    let text = capture(command::cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).map_err(|error| Error::Environment(format!("`cargo metadata`: {error}")))
}

pub fn check(metadata: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    let packages = list(metadata, "packages");
    let names: Vec<&str> = packages.iter().map(|package| string(package, "name")).collect();
    for package in packages {
        let name = string(package, "name");
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            findings.push(format!("crate {name}: not in tidy's table of who may depend on whom"));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let used = string(dependency, "name");
            // `kind` is null for normal dependencies; tests may use what they like.
            let is_for_tests = dependency.get("kind").and_then(Value::as_str) == Some("dev");
            if names.contains(&used)
                && !is_for_tests
                && allowed.is_some_and(|allowed| !allowed.contains(&used))
            {
                findings.push(format!("crate {name}: may not depend on {used}"));
            }
            if LLVM_CRATES.contains(&used) && name != LLVM_USER {
                findings.push(format!("crate {name}: only {LLVM_USER} may depend on {used}"));
            }
        }
        if !MAY_BE_UNSAFE.contains(&name) {
            findings.extend(targets_without_forbid(package));
        }
        if !MAY_COMPUTE.contains(&name) {
            findings.extend(targets_that_compute(package));
        }
    }
    findings
}

/// Demands that no line of `cargo tree` names LLVM.
pub fn without_llvm(what: &str, tree: &str) -> Result<()> {
    let found = tree.lines().find(|line| LLVM_CRATES.contains(&line.split(' ').next().unwrap_or("")));
    found.map_or(Ok(()), |line| Err(Error::Failed(format!("{what} depends on {line}"))))
}

/// The crate roots that do not forbid unsafe code.
fn targets_without_forbid(package: &Value) -> Vec<String> {
    let is_safe = |target: &Value, source: &str| {
        if is_shipped(target) { forbids_unsafe(source) } else { !uses_unsafe(source) }
    };
    targets_without(package, "#![forbid(unsafe_code)]", is_safe)
}

/// The shipped crate roots that do not deny arithmetic on floats; tests may compute what they expect.
fn targets_that_compute(package: &Value) -> Vec<String> {
    let is_denied = |target: &Value, source: &str| !is_shipped(target) || denies_float_arithmetic(source);
    targets_without(package, "#![deny(clippy::float_arithmetic)]", is_denied)
}

fn targets_without(package: &Value, attribute: &str, holds: impl Fn(&Value, &str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for target in list(package, "targets") {
        let path = string(target, "src_path");
        let Ok(source) = std::fs::read_to_string(path) else { continue };
        if !holds(target, &source) {
            let shown = path.strip_prefix(&command::root().display().to_string()).unwrap_or(path);
            findings.push(format!("{}: `{attribute}` is missing", shown.trim_start_matches('/')));
        }
    }
    findings
}

fn is_shipped(target: &Value) -> bool {
    list(target, "kind").iter().any(|kind| kind == "lib" || kind == "bin")
}

fn denies_float_arithmetic(source: &str) -> bool {
    source.lines().any(|line| line.trim_end() == "#![deny(clippy::float_arithmetic)]")
}

/// Tests, examples and benchmarks need no attribute, but may not use the keyword either.
fn uses_unsafe(source: &str) -> bool {
    source.lines().any(super::text::has_unsafe)
}

fn forbids_unsafe(source: &str) -> bool {
    source.lines().any(|line| line.trim_start().starts_with("#![forbid(") && line.contains("unsafe_code"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        json!({ "name": name, "dependencies": dependencies, "targets": [] })
    }

    fn findings(packages: &[Value]) -> String {
        check(&json!({ "packages": packages })).join("\n")
    }

    #[test]
    fn the_right_direction_passes() {
        let packages = [
            package("repops", &[("half", None)]),
            package("repops-kernels", &[("repops", None)]),
            package("repops-runtime", &[("repops", None), ("repops-kernels", None)]),
            package(
                "repops-compiler",
                &[("repops", None), ("melior", None), ("repops-kernels", Some("dev"))],
            ),
        ];
        assert_eq!(findings(&packages), "");
    }

    #[test]
    fn the_wrong_direction_is_found() {
        let packages = [package("repops", &[("repops-kernels", None)]), package("repops-kernels", &[])];
        assert!(findings(&packages).contains("crate repops: may not depend on repops-kernels"));
        let packages =
            [package("repops-runtime", &[("repops-compiler", None)]), package("repops-compiler", &[])];
        assert!(findings(&packages).contains("crate repops-runtime: may not depend on repops-compiler"));
    }

    #[test]
    fn llvm_outside_of_the_compiler_is_found_even_for_tests() {
        let text = findings(&[
            package("repops-cli", &[("melior", None)]),
            package("xtask", &[("mlir-sys", Some("dev"))]),
        ]);
        assert!(text.contains("only repops-compiler may depend on melior"), "{text}");
        assert!(text.contains("only repops-compiler may depend on mlir-sys"), "{text}");
    }

    #[test]
    fn llvm_in_a_tree_is_found() {
        assert!(without_llvm("it", "repops v0.1.0\nhalf v2.0.0\n").is_ok());
        assert!(without_llvm("it", "repops v0.1.0\nmlir-sys v220.0.2\n").is_err());
    }

    #[test]
    fn an_unknown_crate_is_found() {
        assert!(findings(&[package("newcomer", &[])]).contains("newcomer"));
    }

    #[test]
    fn a_test_may_not_use_the_keyword() {
        assert!(uses_unsafe("fn f() {\n    unsafe { g() }\n}"));
        assert!(!uses_unsafe("#![allow(unsafe_code)]\n// unsafe { }"));
    }

    #[test]
    fn deny_of_float_arithmetic_must_be_an_attribute_of_the_crate() {
        assert!(denies_float_arithmetic("//! Doc.\n#![deny(clippy::float_arithmetic)]\n"));
        assert!(!denies_float_arithmetic("// #![deny(clippy::float_arithmetic)]"));
        assert!(!denies_float_arithmetic("#![allow(clippy::float_arithmetic)]"));
    }

    #[test]
    fn forbid_must_be_an_attribute_of_the_crate() {
        assert!(forbids_unsafe("//! Doc.\n#![forbid(unsafe_code)]\n"));
        assert!(forbids_unsafe("#![forbid(missing_docs, unsafe_code)]"));
        assert!(!forbids_unsafe("// #![forbid(unsafe_code)]"));
        assert!(!forbids_unsafe("#![deny(unsafe_code)]"));
    }
}
