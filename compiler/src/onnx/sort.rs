//! The order of a graph's nodes: ONNX demands that each stands after those whose outputs it reads.
//!
//! Invariant: a list that is in order already stays as it is; any other is brought into the order that
//! takes, again and again, the first node that is ready. The result does not depend on anything else.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::ImportError;
use super::proto::{AttributeProto, GraphProto, NodeProto};

/// The positions of `nodes` in an order that respects what they read.
pub fn order(graph_name: &str, nodes: &[NodeProto]) -> Result<Vec<usize>, ImportError> {
    let mut producers: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            // A name defined twice is reported when the second node is imported.
            producers.entry(output).or_insert(index);
        }
    }
    let mut waiting = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let mut names = BTreeSet::new();
        reads(node, &mut names);
        let from: BTreeSet<usize> = names.into_iter().filter_map(|n| producers.get(n).copied()).collect();
        waiting[index] = from.len();
        from.into_iter().for_each(|producer| readers[producer].push(index));
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..nodes.len()).filter(|&i| waiting[i] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < nodes.len() {
        let node = &nodes[on_cycle(&waiting, &readers)];
        return Err(ImportError::Cycle {
            graph: graph_name.to_string(),
            node: super::node_name(node),
            op_type: node.op_type().to_string(),
        });
    }
    Ok(order)
}

/// A node on a cycle, given who still waits: not merely one that waits for a cycle.
fn on_cycle(waiting: &[usize], readers: &[Vec<usize>]) -> usize {
    let mut producer = vec![None; waiting.len()];
    for (index, list) in readers.iter().enumerate().filter(|(index, _)| waiting[*index] > 0) {
        list.iter().for_each(|&reader| producer[reader] = Some(index));
    }
    // Every waiting node reads from a waiting node: going back from one must come around.
    let mut at = waiting.iter().position(|&w| w > 0).expect("called when some node waits");
    let mut seen = BTreeSet::new();
    while seen.insert(at) {
        at = producer[at].expect("a waiting node reads from a waiting node");
    }
    at
}

/// The names that a node reads from its own graph or from graphs around: its inputs, and what its
/// subgraphs read and do not define themselves.
fn reads<'a>(node: &'a NodeProto, names: &mut BTreeSet<&'a str>) {
    names.extend(node.input.iter().map(String::as_str).filter(|n| !n.is_empty()));
    for graph in node.attribute.iter().flat_map(subgraphs) {
        let mut inner = BTreeSet::new();
        graph.node.iter().for_each(|n| reads(n, &mut inner));
        inner.extend(graph.output.iter().map(|o| o.name()));
        let mut own: BTreeSet<&str> = graph.input.iter().map(|i| i.name()).collect();
        own.extend(graph.initializer.iter().map(|i| i.name()));
        own.extend(graph.node.iter().flat_map(|n| &n.output).map(String::as_str));
        names.extend(inner.difference(&own));
    }
}

/// The graphs in an attribute.
pub fn subgraphs(attribute: &AttributeProto) -> impl Iterator<Item = &GraphProto> {
    attribute.g.iter().chain(&attribute.graphs)
}
