//! The rows of the fault matrix (RELIABILITY.md), one file each, and the list of all.

pub mod f01_kill_node;
pub mod f02_stop_owner;
pub mod f03_kill_database;
pub mod f04_fail_over;
pub mod f05_kill_bus;
pub mod f06_all_buses_down;
pub mod f07_cut_edge_from_bus;
pub mod f08_cut_owner_from_database;
pub mod f09_full_disk;
pub mod f09_full_folder;
pub mod f10_slow_readers;
pub mod f11_storm;
pub mod f12_rolling_restart;
pub mod f13_clocks;
pub mod f14_bad_rows;
pub mod f15_panics;
pub mod f16_kill_at_each_step;
pub mod f17_flapping_links;
pub mod f18_starved_edge;
pub mod f19_overload;
pub mod f20_limits;
pub mod f21_embedded_kills;
pub mod f22_half_open;
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
        Box::new(f04_fail_over::FailOver::default()),
        Box::new(f05_kill_bus::KillBus::default()),
        Box::new(f06_all_buses_down::AllBusesDown),
        Box::new(f07_cut_edge_from_bus::CutEdgeFromBus::default()),
        Box::new(f08_cut_owner_from_database::CutOwner::default()),
        Box::new(f09_full_disk::FullDisk::of_the_tables()),
        Box::new(f10_slow_readers::SlowReaders),
        Box::new(f11_storm::Storm),
        Box::new(f09_full_disk::FullDisk::of_the_wal()),
        Box::new(f09_full_folder::FullFolder),
        Box::new(f12_rolling_restart::RollingRestart::between_two_versions()),
        Box::new(f12_rolling_restart::RollingRestart::of_one_version()),
        Box::new(f13_clocks::Clocks::default()),
        Box::new(f14_bad_rows::BadRows::default()),
        Box::new(f15_panics::Panics::default()),
        Box::new(f16_kill_at_each_step::KillAtEachStep::default()),
        Box::new(f17_flapping_links::FlappingLinks::default()),
        Box::new(f18_starved_edge::StarvedEdge),
        Box::new(f19_overload::Overload),
        Box::new(f20_limits::Limits),
        Box::new(f21_embedded_kills::EmbeddedKills),
        Box::new(f22_half_open::HalfOpen::default()),
        Box::new(f23_projector_behind::ProjectorBehind::default()),
    ]
}
