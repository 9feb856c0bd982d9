//! The `stateset` command.
fn main() {}
