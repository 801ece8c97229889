//! The page of one or several reports: one HTML file that loads nothing.
//!
//! Invariant: what reports hold enters the page as JSON in which no `<` is left, and the script writes it as text
//! only, so that no name or reason of a case becomes markup.

use serde_json::json;

use super::Report;

const TEMPLATE: &str = include_str!("page.html");
const PLACE: &str = "@REPORTS@";

/// The page; a column for each report.
pub fn page(reports: &[Report]) -> String {
    let data = json!(
        reports
            .iter()
            .map(|report| {
                json!({
                    "suite": report.suite,
                    "name": report.machine.name(),
                    "version": report.machine.version,
                    "cases": report.cases,
                })
            })
            .collect::<Vec<_>>()
    );
    TEMPLATE.replace(PLACE, &data.to_string().replace('<', "\\u003c"))
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::super::report::tests::{case, report};
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        let mut hostile = case("</script><script>alert(1)</script>", Outcome::Failed, "00");
        hostile.reason = "<img src=x onerror=alert(1)>".to_string();
        let html = page(&[report("avx2", vec![hostile]), report("neon", Vec::new())]);
        assert!(!html.contains(PLACE) && !html.contains("<img") && !html.contains("</script><script>alert"));
        assert_eq!(html.matches("</script>").count(), 2, "the data and the page's own");
        assert!(html.contains("x86_64 neon x2"));
        assert!(!html.contains("http"), "nothing is loaded");
    }
}
