//! How each family of operators is launched: which kernels, in which grids, with which arguments.
//!
//! Invariant: a plan depends on shapes, types and attributes alone, never on the device's size or state; its architecture decides
//! which of two modules with the same kernels is used, and whether large products of bytes go by warpgroups.

pub mod axes;
pub mod contract;
pub mod elementwise;
pub mod hash;
mod host;
pub mod movement;
pub mod named;
pub mod quantize;
pub mod region;
pub mod resize;
pub mod roof;
pub mod row_hash;
pub mod rows;
pub mod sampling;
pub mod scatter;
pub mod windows;

use repops::attrs::Attrs;
use repops::ops::OpDef;

use crate::Device;
use crate::table::{InputType, Launch};

/// The launch of an operator of one of the large families, each of which looks for itself what it has.
pub fn of_family<D: Device>(
    def: &OpDef,
    attrs: &Attrs,
    inputs: &[Option<InputType<'_>>],
) -> Option<Launch<D>> {
    elementwise::choose(def, attrs, inputs)
        .or_else(|| movement::choose(def, attrs, inputs))
        .or_else(|| rows::choose(def, attrs, inputs))
        .or_else(|| windows::choose(def, attrs, inputs))
        .or_else(|| named::choose(def, attrs, inputs))
        .or_else(|| quantize::choose(def, attrs, inputs))
        .or_else(|| scatter::choose(def, attrs, inputs))
        .or_else(|| resize::choose(def, attrs, inputs))
}
