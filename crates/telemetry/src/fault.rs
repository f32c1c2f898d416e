//! Fault points: named places where a test may end the process, panic or wait. Without the cargo feature `fault-injection` every function
//! here is empty and inlined away; with it, the environment variable `HUBBUB_FAULT_POINTS` says what happens where:
//!
//! ```text
//! HUBBUB_FAULT_POINTS=append.before=kill@3,project.after=delay:200,publish.before=panic@1
//!                     ─────┬─────── ─┬── ┬
//!                      a point's name │   at its third passing (counted from 1); without a number: at every passing
//!                                     kill (abort, no destructor runs) | panic | delay:<milliseconds>
//! ```
//!
//! A name is `room.step`, lower case; the module that has the point names it in its own documentation.
//!
//! Never: a decision of the product. A build with the feature says so in its log and is for tests alone; `cargo xtask up` never makes one.
//!
//! Start reading at [`point`].

#[cfg(feature = "fault-injection")]
mod plan;

#[cfg(feature = "fault-injection")]
pub use plan::{PlanError, arm};

/// A message with exactly this body panics the actor that handles it, in a build with the feature.
pub const PANIC_BODY: &str = "fault:panic";

/// Passes the point `name`: counts the passing, and does what the plan says for it. A delay blocks the thread, as a stalled disk would.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(feature = "fault-injection")]
    plan::pass(name);
    #[cfg(not(feature = "fault-injection"))]
    let _: &'static str = name;
}

/// How often `name` was passed in this process since it was last [armed](self), for tests; zero without the feature.
#[inline]
pub fn hits(name: &str) -> u64 {
    #[cfg(feature = "fault-injection")]
    return plan::hits(name);
    #[cfg(not(feature = "fault-injection"))]
    {
        let _: &str = name;
        0
    }
}

/// Panics when `body` is [`PANIC_BODY`], in a build with the feature.
///
/// # Panics
/// On purpose, so that a test sees what a bug in a conversation does to its neighbours.
#[inline]
pub fn panic_on_body(body: &str) {
    #[cfg(feature = "fault-injection")]
    assert!(body != PANIC_BODY, "a message asked for this panic");
    #[cfg(not(feature = "fault-injection"))]
    let _: &str = body;
}

/// Whether this build has fault points.
#[inline]
pub const fn is_compiled_in() -> bool {
    cfg!(feature = "fault-injection")
}

/// Reads the plan from the environment and writes a warning to the log that this build must not serve people. Nothing without the feature.
/// To be called once, when the log is set up.
///
/// # Errors
/// A plan that cannot be read: the process should end, or a test would wait for a fault that never comes.
#[cfg(feature = "fault-injection")]
pub fn announce() -> Result<(), PlanError> {
    plan::announce()
}

/// Reads the plan from the environment and writes a warning to the log that this build must not serve people. Nothing without the feature.
///
/// # Errors
/// None without the feature.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn announce() -> Result<(), std::convert::Infallible> {
    Ok(())
}

#[cfg(all(test, not(feature = "fault-injection")))]
mod tests {
    use super::{PANIC_BODY, announce, hits, is_compiled_in, panic_on_body, point};

    #[test]
    fn without_the_feature_nothing_happens_at_a_point() {
        point("telemetry.tests");
        panic_on_body(PANIC_BODY);
        assert_eq!(hits("telemetry.tests"), 0);
        assert!(!is_compiled_in());
        assert!(announce().is_ok());
    }
}
