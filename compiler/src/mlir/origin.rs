//! Provenance: the ONNX nodes an operation comes from, kept in its location.
//!
//! One node is a named location `loc("/encoder/Add_1"("Add":17:0))`: the node's name, its operator, its index in
//! its graph, and the graph (0 is the main graph, subgraphs count from 1). Several are a fused location. Every
//! pass that merges operations fuses their locations: an origin is never lost but with the operation itself.

use melior::ir::Location;

use super::{Context, Op};

/// One ONNX node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The node's name; may be empty.
    pub node: String,
    pub op: String,
    pub index: u32,
    pub graph: u32,
}

impl Origin {
    pub fn to_location<'c>(&self, context: &'c Context) -> Location<'c> {
        let context = context.melior();
        let place = Location::new(context, &self.op, self.index as usize, self.graph as usize);
        // A named location needs a name.
        if self.node.is_empty() { place } else { Location::name(context, &self.node, place) }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.node.as_str(), self.graph) {
            ("", 0) => write!(formatter, "node {} ({})", self.index, self.op),
            ("", graph) => write!(formatter, "node {} of graph {graph} ({})", self.index, self.op),
            (name, 0) => write!(formatter, "node {} `{name}` ({})", self.index, self.op),
            (name, graph) => write!(formatter, "node {} `{name}` of graph {graph} ({})", self.index, self.op),
        }
    }
}

/// The ONNX nodes that `location` names, in its order, each once.
pub fn origins(location: Location<'_>) -> Vec<Origin> {
    let mut found = Vec::new();
    collect(location, "", &mut found);
    found
}

fn collect(location: Location<'_>, name: &str, found: &mut Vec<Origin>) {
    if location.is_fused() {
        for index in 0..location.fused_num_locations() {
            collect(location.fused_location(index), name, found);
        }
    } else if location.is_name() {
        let identifier = location.name_value();
        let name = identifier.as_string_ref().as_str().unwrap_or("");
        collect(location.name_child_location(), name, found);
    } else if location.is_file_line_col_range() {
        let op = location.file_line_col_range_filename();
        // The place of an operation in a module that was parsed from text, not an ONNX node.
        if op.as_string_ref().as_str() == Ok("-") {
            return;
        }
        let origin = Origin {
            node: name.to_owned(),
            op: op.as_string_ref().as_str().unwrap_or("").to_owned(),
            index: location.file_line_col_range_start_line() as u32,
            graph: location.file_line_col_range_start_column() as u32,
        };
        if !found.contains(&origin) {
            found.push(origin);
        }
    }
}

/// One location for all: the given ones, flattened, each once, in order; unknown ones left out.
pub fn fuse<'a>(context: &'a Context, locations: impl IntoIterator<Item = Location<'a>>) -> Location<'a> {
    let mut parts: Vec<Location<'a>> = Vec::new();
    let mut pending: Vec<Location<'a>> = locations.into_iter().collect();
    pending.reverse();
    while let Some(location) = pending.pop() {
        if location.is_fused() {
            pending.extend(
                (0..location.fused_num_locations()).rev().map(|index| location.fused_location(index)),
            );
        } else if location != Location::unknown(context.melior()) && !parts.contains(&location) {
            parts.push(location);
        }
    }
    match parts[..] {
        [] => Location::unknown(context.melior()),
        [one] => one,
        _ => super::ffi::fused(context.melior(), &parts),
    }
}

/// The origins of an operation, for messages.
pub fn describe(op: Op<'_>) -> String {
    let origins = origins(op.location());
    if origins.is_empty() {
        return op.name().to_owned();
    }
    origins.iter().map(Origin::to_string).collect::<Vec<_>>().join(", ")
}
