//! RepOps: xtask.
fn main() {}
