//! What became of the cases of a suite on one machine.
//!
//! Invariant: a report depends on the cases and the bits that the machine gives, never on time or on the order in which
//! cases ran, so that two reports can be compared line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SuiteError, read_text};

const FORMAT: &str = "repops-conformance/0";

/// A run of a suite.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    format: String,
    pub suite: String,
    pub machine: Machine,
    /// In the order of their names.
    pub cases: Vec<CaseReport>,
}

/// Where and how it ran.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Machine {
    pub arch: String,
    /// The instruction set, or `reference`.
    pub isa: String,
    pub threads: usize,
    /// Of this software.
    pub version: String,
}

impl Machine {
    /// As columns of tables name it.
    pub fn name(&self) -> String {
        match self.isa.as_str() {
            "reference" => format!("{} reference", self.arch),
            isa => format!("{} {isa} x{}", self.arch, self.threads),
        }
    }
}

/// What became of a case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed,
    /// An operator, a version or a type that is not supported.
    Unsupported,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Unsupported => "unsupported",
        }
    }
}

/// A case and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CaseReport {
    pub name: String,
    /// The operator that the case is about: its model's, or `(several)`.
    pub operator: String,
    pub outcome: Outcome,
    /// Why it did not pass; empty where it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Also of cases that failed, where there are outputs.
    pub outputs: Vec<OutputDigest>,
}

/// The digest of an output.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutputDigest {
    /// The set of inputs, and the output in it.
    pub name: String,
    /// Element type and shape.
    pub ty: String,
    pub digest: String,
}

/// Where two tensors differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// What was compared, as `kernels and reference`.
    pub between: String,
    pub output: String,
    /// The first differing element: its number in row-major order, and its position.
    pub element: usize,
    pub position: Vec<usize>,
    /// The bits of that element, in hexadecimal.
    pub found: String,
    pub expected: String,
    /// How many of how many elements differ.
    pub differing: usize,
    pub elements: usize,
}

impl Report {
    pub fn new(suite: &str, machine: Machine, mut cases: Vec<CaseReport>) -> Report {
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Report { format: FORMAT.to_string(), suite: suite.to_string(), machine, cases }
    }

    /// Reads what [`Report::to_json`] wrote.
    pub fn read(path: &Path) -> Result<Report, SuiteError> {
        let text = read_text(path)?;
        let named = || path.display().to_string();
        let report: Report =
            serde_json::from_str(&text).map_err(|source| SuiteError::Json { path: named(), source })?;
        if report.format != FORMAT {
            return Err(SuiteError::Format { path: named() });
        }
        Ok(report)
    }

    /// One case a line, so that reports can be compared as text too.
    pub fn to_json(&self) -> String {
        let json = |value: &dyn erased::Json| value.to_json();
        let cases: Vec<String> = self.cases.iter().map(|case| json(case)).collect();
        format!(
            "{{\"format\":{},\"suite\":{},\"machine\":{},\"cases\":[\n{}\n]}}\n",
            json(&self.format),
            json(&self.suite),
            json(&self.machine),
            cases.join(",\n")
        )
    }

    pub fn case(&self, name: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.name == name)
    }
}

/// Values that are written as JSON; none of a report's can fail to be.
mod erased {
    pub trait Json {
        fn to_json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn to_json(&self) -> String {
            serde_json::to_string(self).expect("maps with string keys, numbers and strings")
        }
    }
}

/// The cases in which two reports differ, and how; empty when they agree.
pub fn differences(a: &Report, b: &Report) -> Vec<String> {
    fn by_name(report: &Report) -> BTreeMap<&str, &CaseReport> {
        report.cases.iter().map(|case| (case.name.as_str(), case)).collect()
    }
    let (left, right) = (by_name(a), by_name(b));
    let mut out = Vec::new();
    for name in left.keys().chain(right.keys()).collect::<BTreeSet<_>>() {
        let (x, y) = match (left.get(name), right.get(name)) {
            (Some(x), Some(y)) => (x, y),
            (Some(_), None) => {
                out.push(format!("{name}: only in the first"));
                continue;
            }
            _ => {
                out.push(format!("{name}: only in the second"));
                continue;
            }
        };
        if x.outcome != y.outcome {
            out.push(format!("{name}: {} and {}", x.outcome.name(), y.outcome.name()));
        }
        if x.outputs.len() != y.outputs.len() {
            out.push(format!("{name}: {} outputs and {}", x.outputs.len(), y.outputs.len()));
        }
        for (p, q) in x.outputs.iter().zip(&y.outputs).filter(|(p, q)| p != q) {
            out.push(format!(
                "{name}: {} {} {} and {} {} {}",
                p.name, p.ty, p.digest, q.name, q.ty, q.digest
            ));
        }
    }
    out
}

/// Passed, failed and unsupported cases of one operator.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub unsupported: usize,
}

impl Counts {
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Unsupported => self.unsupported += 1,
        }
    }
}

/// The counts by operator.
pub fn summarize(report: &Report) -> BTreeMap<&str, Counts> {
    let mut out: BTreeMap<&str, Counts> = BTreeMap::new();
    for case in &report.cases {
        out.entry(&case.operator).or_default().add(case.outcome);
    }
    out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn case(name: &str, outcome: Outcome, digest: &str) -> CaseReport {
        let output =
            OutputDigest { name: "0 y".to_string(), ty: "f32[2]".to_string(), digest: digest.to_string() };
        CaseReport {
            name: name.to_string(),
            operator: "Relu".to_string(),
            outcome,
            reason: String::new(),
            difference: None,
            outputs: vec![output],
        }
    }

    pub fn report(isa: &str, cases: Vec<CaseReport>) -> Report {
        let machine = Machine { arch: "x86_64".into(), isa: isa.into(), threads: 2, version: "0.1.0".into() };
        Report::new("node", machine, cases)
    }

    #[test]
    fn reports_are_read_as_written_and_compared() {
        let a = report("avx2", vec![case("b", Outcome::Passed, "00"), case("a", Outcome::Failed, "01")]);
        let path = std::env::temp_dir().join(format!("repops-report-{}.json", std::process::id()));
        std::fs::write(&path, a.to_json()).unwrap();
        let again = Report::read(&path);
        std::fs::write(&path, a.to_json().replace("conformance/0", "conformance/1")).unwrap();
        let other = Report::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(again.unwrap(), a);
        assert!(matches!(other, Err(SuiteError::Format { .. })));
        assert_eq!(a.cases[0].name, "a");
        assert!(differences(&a, &a).is_empty());
        let b = report("neon", vec![case("b", Outcome::Passed, "02"), case("c", Outcome::Passed, "03")]);
        let found = differences(&a, &b);
        assert_eq!(found[0], "a: only in the first");
        assert_eq!(found[1], "b: 0 y f32[2] 00 and 0 y f32[2] 02");
        assert_eq!(found[2], "c: only in the second");
        assert_eq!(found.len(), 3);
        assert_eq!(summarize(&a)["Relu"], Counts { passed: 1, failed: 1, unsupported: 0 });
    }
}
