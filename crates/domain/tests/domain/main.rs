//! The rules by example (`rules_*`), the laws by property (`laws`), and the arithmetic of places and counts.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod arithmetic;
mod authorization;
mod laws;
mod repeats;
mod rules_create;
mod rules_membership;
mod rules_message;
mod support;
