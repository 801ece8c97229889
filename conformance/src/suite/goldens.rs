//! The committed digests of outputs: `CASE SET OUTPUT TYPE[SHAPE] DIGEST`, a line each.
//!
//! Whoever runs a suite on another machine compares with these. Random cases have them, too: their seeds are fixed.

use std::collections::BTreeMap;
use std::path::Path;

use super::{OutputDigest, Report, SuiteError, read_text};

/// Digests by case.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Goldens {
    head: String,
    cases: BTreeMap<String, Vec<String>>,
}

impl Goldens {
    pub fn read(path: &Path) -> Result<Goldens, SuiteError> {
        Goldens::parse(&read_text(path)?, &path.display().to_string())
    }

    fn parse(text: &str, path: &str) -> Result<Goldens, SuiteError> {
        let mut out = Goldens::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            if line.starts_with('#') {
                out.head.push_str(&format!("{line}\n"));
                continue;
            }
            let wrong = || SuiteError::Line {
                path: path.to_string(),
                line: index + 1,
                form: "CASE SET OUTPUT TYPE DIGEST",
            };
            let (case, output) = line.split_once(' ').ok_or_else(wrong)?;
            out.cases.entry(case.to_string()).or_default().push(output.to_string());
        }
        Ok(out)
    }

    fn line(output: &OutputDigest) -> String {
        format!("{} {} {}", output.name, output.ty, output.digest)
    }

    /// Where the report's digests are others, or missing, or new. `only`: the cases that were run have this in
    /// their names.
    pub fn findings(&self, report: &Report, only: &str) -> Vec<String> {
        let mut out = Vec::new();
        for case in &report.cases {
            let found: Vec<String> = case.outputs.iter().map(Goldens::line).collect();
            match self.cases.get(&case.name) {
                Some(expected) if *expected == found => {}
                Some(expected) => {
                    let first = expected.iter().zip(&found).find(|(e, f)| e != f);
                    out.push(match first {
                        Some((e, f)) => format!("{}: {f}; the golden is {e}", case.name),
                        None => {
                            format!(
                                "{}: {} outputs; the goldens are {}",
                                case.name,
                                found.len(),
                                expected.len()
                            )
                        }
                    });
                }
                None if found.is_empty() => {}
                None => out.push(format!("{}: has no golden", case.name)),
            }
        }
        let missing = self.cases.keys().filter(|name| name.contains(only) && report.case(name).is_none());
        out.extend(missing.map(|name| format!("{name}: has a golden, but there is no such case")));
        out
    }

    /// The goldens that the report makes true.
    pub fn blessed(&self, report: &Report) -> Goldens {
        let cases = report.cases.iter().filter(|case| !case.outputs.is_empty());
        let lines = |case: &super::CaseReport| case.outputs.iter().map(Goldens::line).collect();
        Goldens {
            head: self.head.clone(),
            cases: cases.map(|case| (case.name.clone(), lines(case))).collect(),
        }
    }

    pub fn to_text(&self) -> String {
        let mut out = self.head.clone();
        for (case, outputs) in &self.cases {
            for output in outputs {
                out.push_str(&format!("{case} {output}\n"));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::report::tests::{case, report};
    use super::*;

    #[test]
    fn digests_are_compared() {
        let first = report("avx2", vec![case("a", Outcome::Passed, "01"), case("b", Outcome::Failed, "02")]);
        let goldens = Goldens::parse("# head\n", "x").unwrap().blessed(&first);
        assert_eq!(goldens.to_text(), "# head\na 0 y f32[2] 01\nb 0 y f32[2] 02\n");
        assert_eq!(Goldens::parse(&goldens.to_text(), "x").unwrap(), goldens);
        assert!(goldens.findings(&first, "").is_empty());
        let second = report("neon", vec![case("a", Outcome::Passed, "03"), case("c", Outcome::Passed, "04")]);
        let found = goldens.findings(&second, "");
        assert_eq!(found[0], "a: 0 y f32[2] 03; the golden is 0 y f32[2] 01");
        assert_eq!(found[1], "c: has no golden");
        assert_eq!(found[2], "b: has a golden, but there is no such case");
    }
}
