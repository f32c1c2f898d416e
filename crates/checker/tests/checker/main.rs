//! The checker is checked: a sound history passes, and each way of breaking it is caught by the invariant that names it.
//!
//! Owns: sound histories from a seed ([`world`]), and the table of what may go wrong ([`faults`]). Every fault is planted
//! once by hand (one seed, to be read) and many times at random.
//!
//! Never: a fault that no real run could show.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, also in its helpers"
)]

mod breaking;
mod faults;
mod stored_form;
mod words;
mod world;
