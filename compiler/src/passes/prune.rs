//! Dead code: removes operations whose results nothing uses.
//!
//! Every operation but the program and the terminators is free of effects, so an unused one can go. Its origins go
//! with it: the node had no part in any output.

use super::Session;
use crate::Result;
use crate::mlir::{Block, Module, ops};

pub(super) fn run(session: &mut Session<'_>) -> Result<()> {
    let module = &session.module;
    let body = module.program()?.body(0).expect("a verified program has a body");
    prune(module, body);
    Ok(())
}

/// From the last operation to the first, so that one walk suffices: users come after what they use.
fn prune<'a>(module: &'a Module<'_>, block: Block<'a>) {
    for op in block.ops().into_iter().rev() {
        let terminator = matches!(op.name(), ops::OUTPUT | ops::YIELD);
        if !terminator && !op.has_uses() {
            module.erase(op);
        } else {
            for body in op.bodies() {
                prune(module, body);
            }
        }
    }
}
