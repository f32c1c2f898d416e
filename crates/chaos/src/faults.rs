//! The rows of the fault matrix (RELIABILITY.md), one file each, and the list of all.

pub mod f01_kill_node;

use crate::row::Fault;

/// Rows of a short run: what every change is held against.
pub const SHORT: [&str; 5] = ["F1", "F2", "F5", "F8", "F15"];

/// Every row, in the order of the matrix.
pub fn all() -> Vec<Box<dyn Fault>> {
    vec![Box::new(f01_kill_node::KillNode::default())]
}
