//! The list of cases that are known not to pass, a line each: `NAME: REASON`.
//!
//! Invariant: the list is complete and holds nothing else: a case neither passing nor listed is a finding, as is a
//! listed one that passes or is missing.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Outcome, Report, SuiteError, read_text};

/// Such a list; lines that start with `#` are its head.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Known {
    head: String,
    reasons: BTreeMap<String, String>,
}

impl Known {
    pub fn read(path: &Path) -> Result<Known, SuiteError> {
        Known::parse(&read_text(path)?, &path.display().to_string())
    }

    fn parse(text: &str, path: &str) -> Result<Known, SuiteError> {
        let mut out = Known::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            if line.starts_with('#') {
                out.head.push_str(&format!("{line}\n"));
                continue;
            }
            let (name, reason) = line.split_once(": ").ok_or_else(|| SuiteError::Line {
                path: path.to_string(),
                line: index + 1,
                form: "NAME: REASON",
            })?;
            out.reasons.insert(name.to_string(), reason.to_string());
        }
        Ok(out)
    }

    pub fn reason(&self, case: &str) -> Option<&str> {
        self.reasons.get(case).map(String::as_str)
    }

    /// Where the report disagrees. `only`: the cases that were run have this in their names.
    pub fn findings(&self, report: &Report, only: &str) -> Vec<String> {
        let mut out = Vec::new();
        for case in &report.cases {
            match (case.outcome == Outcome::Passed, self.reasons.contains_key(&case.name)) {
                (true, true) => {
                    out.push(format!("{}: passes, but is listed as one that does not", case.name))
                }
                (false, false) => {
                    out.push(format!("{}: {}: {}", case.name, case.outcome.name(), case.reason))
                }
                _ => {}
            }
        }
        let missing = self.reasons.keys().filter(|name| name.contains(only) && report.case(name).is_none());
        out.extend(missing.map(|name| format!("{name}: is listed, but there is no such case")));
        out
    }

    /// The list that the report makes true: reasons that stand in this one stay, for new ones it says what happened.
    pub fn blessed(&self, report: &Report) -> Known {
        let failing = report.cases.iter().filter(|case| case.outcome != Outcome::Passed);
        let reason = |case: &super::CaseReport| {
            let new = || case.reason.replace('\n', " ");
            (case.name.clone(), self.reasons.get(&case.name).cloned().unwrap_or_else(new))
        };
        Known { head: self.head.clone(), reasons: failing.map(reason).collect() }
    }

    pub fn to_text(&self) -> String {
        let lines = self.reasons.iter().map(|(name, reason)| format!("{name}: {reason}\n"));
        format!("{}{}", self.head, lines.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{case, report};
    use super::*;

    #[test]
    fn what_is_not_listed_is_found() {
        let text = "# head\na: because\n\nb: as well\n";
        let known = Known::parse(text, "x").unwrap();
        assert_eq!(known.reason("a"), Some("because"));
        let agreeing =
            report("avx2", vec![case("a", Outcome::Failed, ""), case("b", Outcome::Unsupported, "")]);
        assert!(known.findings(&agreeing, "").is_empty());
        let other = report("avx2", vec![case("a", Outcome::Passed, ""), case("c", Outcome::Failed, "")]);
        let found = known.findings(&other, "");
        assert!(found[0].starts_with("a: passes") && found[1].starts_with("c: failed"));
        assert_eq!(found[2], "b: is listed, but there is no such case");
        assert_eq!(known.findings(&other, "c").len(), 2, "b was not asked for");
        assert_eq!(known.blessed(&other).to_text(), "# head\nc: \n");
        assert_eq!(known.to_text(), text.replace("\n\n", "\n"));
        assert!(matches!(Known::parse("a\n", "x"), Err(SuiteError::Line { line: 1, .. })));
    }
}
