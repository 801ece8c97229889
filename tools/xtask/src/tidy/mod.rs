//! `cargo xtask tidy`: checks of the repository that neither the compiler nor its lints make.
//!
//! Invariant: a finding names the file and line, and one run reports all of them.

mod crates;
mod text;

pub use crates::without_llvm;

use crate::command::{self, Error, Result, capture, command};
use std::path::Path;

pub fn run() -> Result<()> {
    let mut findings = crates::check(&crates::metadata()?);
    let mut warnings = Vec::new();
    let files = repository_files()?;
    for name in &files {
        let path = command::root().join(name);
        // Listed by git but deleted in the working tree: nothing to check.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(content) = String::from_utf8(bytes) else { continue };
        text::check(name, &content, &mut findings, &mut warnings);
    }
    for warning in &warnings {
        println!("warning: {warning}");
    }
    for finding in &findings {
        println!("error: {finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to complain about", files.len());
        return Ok(());
    }
    Err(Error::Failed(format!("tidy: {} findings", findings.len())))
}

/// What git knows and what it would add, relative to the root; without git, what lies in the source folders.
fn repository_files() -> Result<Vec<String>> {
    let listed = capture(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]));
    let mut files: Vec<String> = match listed {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => walk(&command::root())?,
    };
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        let entries = std::fs::read_dir(&dir).map_err(|source| Error::file("listing", &dir, source))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if name == "target" || name == ".git" || name == "models" {
                continue;
            }
            if path.is_dir() {
                pending.push(path);
            } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
                files.push(name.to_owned());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_walking_both_find_this_file() {
        let this = "tools/xtask/src/tidy/mod.rs".to_owned();
        assert!(repository_files().unwrap().contains(&this));
        assert!(walk(&command::root()).unwrap().contains(&this));
    }
}
