//! The rows of the fault matrix (RELIABILITY.md), one file each, and the list of all.

pub mod f01_kill_node;
pub mod f02_stop_owner;
pub mod f03_kill_database;
pub mod f05_kill_bus;
pub mod f06_all_buses_down;
pub mod f08_cut_owner_from_database;
pub mod f13_clocks;
pub mod f15_panics;
pub mod f17_flapping_links;
pub mod f18_starved_edge;
pub mod f23_projector_behind;

use crate::row::Fault;

/// Rows of a short run: what every change is held against.
pub const SHORT: [&str; 5] = ["F1", "F2", "F5", "F8", "F15"];

/// Every row, in the order of the matrix.
pub fn all() -> Vec<Box<dyn Fault>> {
    vec![
        Box::new(f01_kill_node::KillNode::default()),
        Box::new(f02_stop_owner::StopOwner::default()),
        Box::new(f03_kill_database::KillDatabase),
        Box::new(f05_kill_bus::KillBus::default()),
        Box::new(f06_all_buses_down::AllBusesDown),
        Box::new(f08_cut_owner_from_database::CutOwner::default()),
        Box::new(f13_clocks::Clocks),
        Box::new(f15_panics::Panics::default()),
        Box::new(f17_flapping_links::FlappingLinks::default()),
        Box::new(f18_starved_edge::StarvedEdge),
        Box::new(f23_projector_behind::ProjectorBehind::default()),
    ]
}
