//! The third judge: real processes, real faults. Starts `PostgreSQL`, three bus servers and three nodes, keeps some hundred
//! clients busy, breaks something, heals it, waits, and holds everything that anybody was told against the invariants of
//! RELIABILITY.md (crate `hubbub-checker`).
//!
//! Owns: the world of processes and lines ([`world`]), the load ([`load`]), the rows of the fault matrix ([`faults`]), and what
//! a run says in the end ([`report`]).
//!
//! Never: a judgement of its own about order, loss or doubles (the checker's), a process ended by its name, a dependency on a
//! room of the server (it is met as a black box, and behind its back by SQL).
//!
//! Start reading at [`scene::run`], the course of a row; then [`row::Fault`] and any file of `faults/`.

pub mod clock;
pub mod faults;
pub mod figures;
pub mod judge;
pub mod load;
pub mod people;
pub mod progress;
pub mod report;
pub mod row;
pub mod scene;
pub mod world;
