//! Checks on a file's text: length, module doc, leftovers, paths of one machine, reasons beside `unsafe`.
//!
//! Invariant: looks at lines only and parses no Rust; it may ask for a comment too many, never for one too few.

/// Lines of a file above which a warning, and a finding, is reported.
const WARN_LINES: usize = 600;
const FAIL_LINES: usize = 800;

/// How many lines above an `unsafe` block or item are searched for its reason.
const SAFETY_REACH_LINES: usize = 12;

pub fn check(name: &str, content: &str, findings: &mut Vec<String>, warnings: &mut Vec<String>) {
    let is_generated = name.split('/').any(|part| part == "generated");
    if is_text_of_ours(name) {
        machine_paths(name, content, findings);
    }
    if !name.ends_with(".rs") || is_generated {
        return;
    }
    lengths(name, content, findings, warnings);
    module_doc(name, content, findings);
    leftovers(name, content, findings);
    float_sums(name, content, findings);
    unsafe_reasons(name, content, findings);
}

/// Assets and corpora are others' bytes.
fn is_text_of_ours(name: &str) -> bool {
    !(name.starts_with("assets/") || name.contains("/corpus/") || name.ends_with(".lock"))
}

fn lengths(name: &str, content: &str, findings: &mut Vec<String>, warnings: &mut Vec<String>) {
    let count = content.lines().count();
    if count > FAIL_LINES {
        findings.push(format!("{name}: {count} lines, the limit is {FAIL_LINES}"));
    } else if count > WARN_LINES {
        warnings.push(format!("{name}: {count} lines, more than {WARN_LINES}"));
    }
}

fn module_doc(name: &str, content: &str, findings: &mut Vec<String>) {
    let first = content.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    if !first.is_some_and(|line| line.starts_with("//!")) {
        findings.push(format!("{name}:1: the module does not begin with `//!`"));
    }
}

fn leftovers(name: &str, content: &str, findings: &mut Vec<String>) {
    // Spelled in two parts, so that this file does not find itself.
    let words =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimple", "mented!(")];
    for (index, line) in content.lines().enumerate() {
        for word in words {
            if line.contains(word) {
                findings.push(format!("{name}:{}: `{word}` is a leftover", index + 1));
            }
        }
    }
}

/// `Iterator::sum` on floats adds in an order that nobody wrote down. The lint that forbids methods knows no types, so
/// this looks for a float type beside the call.
fn float_sums(name: &str, content: &str, findings: &mut Vec<String>) {
    for (index, line) in content.lines().enumerate() {
        let code = code_of(line);
        let adds = [".sum", ".product"].iter().any(|method| {
            code.split(method).skip(1).any(|after| after.starts_with("()") || after.starts_with("::<"))
        });
        let is_float = ["f32", "f64", "f16"].iter().any(|float| code.contains(float));
        if adds && is_float {
            findings
                .push(format!("{name}:{}: `sum` or `product` of floats; write the order down", index + 1));
        }
    }
}

fn machine_paths(name: &str, content: &str, findings: &mut Vec<String>) {
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    for (index, line) in content.lines().enumerate() {
        for path in paths {
            if line.contains(path) {
                findings.push(format!("{name}:{}: `{path}` is a path of one machine", index + 1));
            }
        }
    }
}

/// Whether the line uses the keyword otherwise than in a type.
pub fn has_unsafe(line: &str) -> bool {
    unsafe_kind(&code_of(line)).is_some()
}

/// Each `unsafe` block and impl has `SAFETY:` on its line or just above; each public `unsafe fn` that or `# Safety`.
/// Blocks of foreign declarations need none: each call does. Nor do private functions and those of a trait's
/// implementations, whose conditions stand with the callers and with the trait.
fn unsafe_reasons(name: &str, content: &str, findings: &mut Vec<String>) {
    let lines: Vec<&str> = content.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let code = code_of(line);
        let Some(kind) = unsafe_kind(&code) else { continue };
        if kind == Unsafe::Private {
            continue;
        }
        // Consecutive `unsafe` lines may share the reason above the first of them.
        let from = index.saturating_sub(SAFETY_REACH_LINES);
        let near = &lines[from..=index];
        let has_reason = near.iter().any(|near| near.contains("SAFETY:"))
            || (kind == Unsafe::Public
                && lines[..=index].iter().rev().take(40).any(|near| near.contains("# Safety")));
        if !has_reason {
            findings.push(format!("{name}:{}: `unsafe` without `// SAFETY:`", index + 1));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Unsafe {
    Block,
    Public,
    Private,
}

/// The line without its comment and without what stands in quotation marks.
fn code_of(line: &str) -> String {
    let line = line.split("//").next().unwrap_or("");
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

fn unsafe_kind(code: &str) -> Option<Unsafe> {
    let after = code.split("unsafe").nth(1)?;
    // `unsafe_code` and the like are names, not the keyword; `unsafe fn(` is a type.
    let before = code.split("unsafe").next().unwrap_or("");
    if before.trim_start().starts_with("type ") {
        return None;
    }
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        || after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    {
        return None;
    }
    let after = after.trim_start();
    if after.starts_with('{') || after.starts_with("impl") || after.is_empty() {
        Some(Unsafe::Block)
    } else if after.starts_with("fn(") || after.starts_with("fn (") {
        None
    } else if after.starts_with("fn") || after.starts_with("extern") || after.starts_with("trait") {
        Some(if before.contains("pub") { Unsafe::Public } else { Unsafe::Private })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, content: &str) -> Vec<String> {
        let (mut findings, mut warnings) = (Vec::new(), Vec::new());
        check(name, content, &mut findings, &mut warnings);
        findings
    }

    #[test]
    fn a_plain_module_passes() {
        assert_eq!(findings("a/src/x.rs", "//! Purpose.\n\npub fn f() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn a_module_without_doc_is_found() {
        assert_eq!(findings("a.rs", "use x;\n").len(), 1);
        assert_eq!(findings("a.rs", "// no doc\n").len(), 1);
        assert!(findings("a.rs", "#![forbid(unsafe_code)]\n//! Doc.\n").is_empty());
    }

    #[test]
    fn long_files_warn_and_then_fail_unless_generated() {
        let text = |lines: usize| format!("//! Doc.\n{}", "\n".repeat(lines - 1));
        let (mut found, mut warned) = (Vec::new(), Vec::new());
        check("a.rs", &text(600), &mut found, &mut warned);
        assert!(found.is_empty() && warned.is_empty());
        check("a.rs", &text(601), &mut found, &mut warned);
        assert!(found.is_empty() && warned.len() == 1);
        check("a.rs", &text(801), &mut found, &mut warned);
        assert_eq!(found.len(), 1);
        assert!(findings("a/generated/a.rs", &text(2000)).is_empty());
    }

    #[test]
    fn leftovers_are_found() {
        for word in [concat!("// TO", "DO later"), concat!("to", "do!()"), concat!("unimple", "mented!()")] {
            assert_eq!(findings("a.rs", &format!("//! Doc.\n{word}\n")).len(), 1, "{word}");
        }
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_text_but_assets() {
        let line = concat!("see /wo", "rk/there");
        assert_eq!(findings("README.md", line).len(), 1);
        assert!(findings("assets/x/README.md", line).is_empty());
    }

    #[test]
    fn sums_of_floats_are_found() {
        for line in
            ["let s: f32 = v.iter().sum();", "v.iter().sum::<f64>()", "let p = v.iter().product::<f32>();"]
        {
            assert_eq!(findings("a.rs", &format!("//! Doc.\n{line}\n")).len(), 1, "{line}");
        }
        for line in ["let s: usize = v.iter().sum();", "tree.sum()", "f32::from(summary())", "// f32 .sum()"]
        {
            assert!(findings("a.rs", &format!("//! Doc.\n{line}\n")).is_empty(), "{line}");
        }
    }

    #[test]
    fn unsafe_needs_a_reason() {
        let bare = "//! Doc.\nfn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(findings("a.rs", bare), ["a.rs:3: `unsafe` without `// SAFETY:`"]);
        let with_reason = "//! Doc.\nfn f() {\n    // SAFETY: g has no conditions.\n    unsafe { g() }\n}\n";
        assert!(findings("a.rs", with_reason).is_empty());
        let function = "//! Doc.\n/// # Safety\n/// The CPU has AVX2.\npub unsafe fn f() {}\n";
        assert!(findings("a.rs", function).is_empty());
        assert_eq!(findings("a.rs", "//! Doc.\npub unsafe fn f() {}\n").len(), 1);
    }

    #[test]
    fn words_that_contain_unsafe_are_not_the_keyword() {
        assert_eq!(unsafe_kind("#![forbid(unsafe_code)]"), None);
        assert_eq!(unsafe_kind("unsafe_op_in_unsafe_fn"), None);
        assert_eq!(unsafe_kind("let f: unsafe fn(u8) = g;"), None);
        assert_eq!(unsafe_kind("type F = unsafe extern fn(u8);"), None);
        assert_eq!(unsafe_kind("    unsafe fn load(from: *const f32) -> Self {"), Some(Unsafe::Private));
        assert_eq!(unsafe_kind("pub(crate) unsafe fn load() {"), Some(Unsafe::Public));
        assert_eq!(unsafe_kind(&code_of("// an unsafe { in a comment")), None);
        assert_eq!(unsafe_kind(&code_of("let text = \"unsafe {\";")), None);
        assert_eq!(unsafe_kind("    unsafe {"), Some(Unsafe::Block));
        assert_eq!(unsafe_kind("unsafe impl Send for X {}"), Some(Unsafe::Block));
    }
}
