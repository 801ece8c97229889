//! The suite's own way from cases to a report, on the small models that the repository holds.

use std::path::Path;

use repops_conformance::suite::{Goldens, Machine, Outcome, Report, Ways, cases, differences, run};
use repops_runtime::{Isa, Runtime, RuntimeOptions};

#[test]
fn the_matrix_has_its_goldens_on_every_instruction_set() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cases = cases(&root.join("matrix")).unwrap();
    let goldens = Goldens::read(&root.join("goldens/matrix.txt")).unwrap();
    let mut first: Option<Report> = None;
    for (isa, threads) in Isa::available().zip([1, 2, 3].into_iter().cycle()) {
        let options = RuntimeOptions { threads, isa: Some(isa), ..RuntimeOptions::default() };
        let runtime = Runtime::new(options).unwrap();
        let ways = Ways { kernels: Some(&runtime), reference: true };
        let machine =
            Machine { arch: "here".into(), isa: isa.name().into(), threads, version: String::new() };
        let report = Report::new("matrix", machine, cases.iter().map(|c| run(c, ways)).collect());
        assert!(report.cases.iter().all(|case| case.outcome == Outcome::Passed), "{report:?}");
        assert_eq!(goldens.findings(&report, ""), Vec::<String>::new());
        let first = first.get_or_insert_with(|| report.clone());
        assert_eq!(differences(first, &report), Vec::<String>::new());
    }
}

#[test]
fn what_was_wrong_once_is_right() {
    let cases = cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("found")).unwrap();
    assert!(cases.len() >= 7);
    for isa in Isa::available() {
        let options = RuntimeOptions { threads: 2, isa: Some(isa), ..RuntimeOptions::default() };
        let runtime = Runtime::new(options).unwrap();
        for case in &cases {
            let report = run(case, Ways { kernels: Some(&runtime), reference: true });
            assert_eq!(report.outcome, Outcome::Passed, "{}: {}: {report:?}", isa.name(), case.name);
        }
    }
}
