//! RepOps: repops-cli.
fn main() {}
