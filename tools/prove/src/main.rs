//! RepOps: prove.
fn main() {}
