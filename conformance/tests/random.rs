//! Random graphs: the same bits by every executor of this machine.
//!
//! `REPOPS_GRAPHS` says how many seeds (`cargo xtask graphs`), `REPOPS_FIRST_GRAPH` the first. What finds
//! something comes as a case into `found/`, with the correction. `REPOPS_GRAPHS_FOLDER` is where to write the graphs as cases, with every value that
//! a node gives, for `random_cases.py` to compare with what ONNX Runtime computes.

use std::collections::BTreeMap;
use std::path::Path;

use repops::exec::Executor;
use repops_conformance::random::{Graph, NEVER_DRAWN, Taste, check, rows};
use repops_runtime::{Isa, Regions, Runtime, RuntimeOptions};

const GRAPHS: u64 = 300;

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

fn sample() -> (u64, u64) {
    (number("REPOPS_FIRST_GRAPH").unwrap_or(0), number("REPOPS_GRAPHS").unwrap_or(GRAPHS))
}

/// Wild ones mostly; others have more numbers that are not NaN in the end.
fn taste(seed: u64) -> Taste {
    Taste { opset: 28, wild: !seed.is_multiple_of(3) }
}

#[test]
fn drawn_graphs_are_written_where_that_is_wanted() {
    let Some(folder) = std::env::var_os("REPOPS_GRAPHS_FOLDER") else { return };
    let (first, count) = sample();
    // Of an opset that ONNX Runtime knows; of none, with the numbers that it computes as IEEE 754 has them.
    let taste = |seed| match number("REPOPS_GRAPHS_OPSET") {
        Some(opset) => Taste { opset: opset as i64, wild: false },
        None => taste(seed),
    };
    for seed in first..first.saturating_add(count) {
        let case = Path::new(&folder).join(format!("drawn_{seed:07}"));
        Graph::draw(seed, taste(seed)).write(&case).unwrap();
    }
}

#[test]
fn drawn_graphs_give_the_same_bits_everywhere() {
    let runtimes = runtimes();
    let executors: Vec<(String, &dyn Executor)> =
        runtimes.iter().map(|(name, runtime)| (name.clone(), runtime as &dyn Executor)).collect();
    let (first, count) = sample();
    let mut operators = BTreeMap::<&'static str, u64>::new();
    let mut findings = Vec::new();
    for seed in first..first.saturating_add(count) {
        match check(seed, taste(seed), &executors) {
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

#[test]
fn what_is_never_drawn_is_listed() {
    let drawn: Vec<&str> = rows(taste(1)).iter().map(|def| def.name).collect();
    let mut never: Vec<&str> =
        repops::ops::all().iter().map(|def| def.name).filter(|name| !drawn.contains(name)).collect();
    never.sort_unstable();
    assert_eq!(never, NEVER_DRAWN.map(|(name, _)| name));
}
