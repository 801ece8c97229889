//! Provenance: the ONNX nodes an operation comes from, kept in its location.
//!
//! One node is a named location `loc("/encoder/Add_1"("Add":17:14))`: the node's name, its operator (behind its domain
//! and `::` where that is not the default one), its number in the model, and its opset. Several are a fused location.
//! Every pass that merges operations fuses their locations: an origin is lost only with the operation itself.

use std::collections::BTreeSet;

use melior::ir::Location;
use repops::program::Origin;

use super::{Context, Op, ffi};

/// The location of a node; `number` counts the model's nodes in its order.
pub fn locate<'c>(context: &'c Context, origin: &Origin, number: u32) -> Location<'c> {
    let op = match origin.domain.as_str() {
        "" => origin.op_type.clone(),
        domain => format!("{domain}::{}", origin.op_type),
    };
    let place = Location::new(context.melior(), &op, number as usize, origin.opset as usize);
    Location::name(context.melior(), &origin.name, place)
}

/// The location of something that has a name but comes from no node.
pub fn named<'c>(context: &'c Context, name: &str) -> Location<'c> {
    let unknown = Location::unknown(context.melior());
    if name.is_empty() { unknown } else { Location::name(context.melior(), name, unknown) }
}

/// The ONNX nodes that `location` names, each once, in the model's order.
pub fn origins(location: Location<'_>) -> Vec<Origin> {
    let found: BTreeSet<(u32, Origin)> = parts(location).into_iter().filter_map(origin).collect();
    found.into_iter().map(|(_, origin)| origin).collect()
}

/// A node's number and description; `None` for locations that are no node's.
fn origin(location: Location<'_>) -> Option<(u32, Origin)> {
    if !location.is_name() {
        return None;
    }
    let place = location.name_child_location();
    if !place.is_file_line_col_range() {
        return None;
    }
    let op = ffi::identifier_text(place.file_line_col_range_filename());
    let (domain, op_type) = op.rsplit_once("::").unwrap_or(("", op));
    let origin = Origin {
        name: ffi::identifier_text(location.name_value()).to_owned(),
        op_type: op_type.to_owned(),
        domain: domain.to_owned(),
        opset: place.file_line_col_range_start_column() as u32,
    };
    Some((place.file_line_col_range_start_line() as u32, origin))
}

/// The locations that a fused location is made of, or the location itself.
fn parts(location: Location<'_>) -> Vec<Location<'_>> {
    let mut parts = Vec::new();
    let mut pending = vec![location];
    while let Some(location) = pending.pop() {
        if location.is_fused() {
            pending.extend(ffi::fused_parts(location).into_iter().rev());
        } else {
            parts.push(location);
        }
    }
    parts
}

/// One location for all: the given ones, flattened, each once, in order; unknown ones left out.
pub fn fuse<'a>(context: &'a Context, locations: impl IntoIterator<Item = Location<'a>>) -> Location<'a> {
    let unknown = Location::unknown(context.melior());
    let mut seen = BTreeSet::new();
    let new = |part: &Location<'a>| *part != unknown && seen.insert(ffi::location_key(*part));
    let all: Vec<Location<'a>> = locations.into_iter().flat_map(parts).filter(new).collect();
    match all[..] {
        [] => unknown,
        [one] => one,
        _ => ffi::fused(context.melior(), &all),
    }
}

/// The ONNX nodes of an operation, for messages.
pub fn describe(op: Op<'_>) -> String {
    match origins(op.location()).as_slice() {
        [] => op.name().to_owned(),
        [one] => format!("node {:?} ({})", one.name, one.op_type),
        [first, .., last] => format!("nodes {:?} ({}) to {:?}", first.name, first.op_type, last.name),
    }
}
