//! Random graphs: the same bits by every executor of this machine.
//!
//! `REPOPS_GRAPHS` says how many seeds (`cargo xtask graphs`), `REPOPS_FIRST_GRAPH` the first. A seed that finds something
//! comes into `FOUND`, with the correction.

use std::collections::BTreeMap;

use repops::exec::Executor;
use repops_conformance::random::{Taste, check};
use repops_runtime::{Isa, Regions, Runtime, RuntimeOptions};

const GRAPHS: u64 = 300;

/// Seeds of wild graphs that were computed wrongly once.
const FOUND: [u64; 1] = [1_000_218];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Every instruction set of this machine, with one thread and with several.
fn runtimes() -> Vec<(String, Runtime)> {
    let mut out = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 3] {
            for (regions, how) in [(Regions::Tiles, ""), (Regions::Unfused, ", unfused")] {
                if how.is_empty() || threads == 1 {
                    let options = RuntimeOptions { threads, isa: Some(isa), regions };
                    let name = format!("{} x{threads}{how}", isa.name());
                    out.push((name, Runtime::new(options).expect("the instruction set is there")));
                }
            }
        }
    }
    out
}

#[test]
fn drawn_graphs_give_the_same_bits_everywhere() {
    let runtimes = runtimes();
    let executors: Vec<(String, &dyn Executor)> =
        runtimes.iter().map(|(name, runtime)| (name.clone(), runtime as &dyn Executor)).collect();
    let (first, count) =
        (number("REPOPS_FIRST_GRAPH").unwrap_or(0), number("REPOPS_GRAPHS").unwrap_or(GRAPHS));
    let mut operators = BTreeMap::<&'static str, u64>::new();
    let mut findings = Vec::new();
    for seed in FOUND.into_iter().chain(first..first.saturating_add(count)) {
        // Wild ones mostly; others have more numbers that are not NaN in the end.
        let taste = Taste { opset: 28, wild: seed % 3 != 0 };
        match check(seed, taste, &executors) {
            Ok(graph) => graph.operators().into_iter().for_each(|op| *operators.entry(op).or_default() += 1),
            Err(finding) => findings.push(finding.to_string()),
        }
    }
    let nodes: u64 = operators.values().sum();
    println!("{count} graphs, {nodes} nodes of {} operators, {} executors", operators.len(), executors.len());
    println!("{operators:?}");
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
    assert!(nodes > count && operators.len() as u64 > 60.min(count / 4), "{nodes} nodes of {operators:?}");
}
