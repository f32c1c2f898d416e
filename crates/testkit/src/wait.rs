//! Waiting on a condition with a deadline, instead of sleeping and hoping.
//!
//! Deadlines are generous (30 to 60 s): they bound a failing test, they never time a passing one.

use std::time::{Duration, Instant};

/// How long a condition may take when the test has no better idea. A loaded two-core machine needs most of it at times.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Pause between two looks at a condition: short against a test, long against the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks at `condition` until it is true, and panics with `what` when `deadline` has passed.
///
/// `what` completes the sentence "waited … for". For a test without a runtime; see [`eventually`] otherwise.
///
/// # Panics
/// When the condition is still false after `deadline`.
pub fn blocking_until(deadline: Duration, what: &str, condition: impl FnMut() -> bool) {
    assert!(
        blocking_try(deadline, condition),
        "waited {deadline:?} in vain for: {what}"
    );
}

/// Looks at `condition` until it is true; `false` when `deadline` has passed.
#[expect(
    clippy::disallowed_methods,
    reason = "the pause between two looks of the blocking wait, outside of any runtime"
)]
pub(crate) fn blocking_try(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if start.elapsed() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Looks at `condition` until it is true, and panics with `what` when `deadline` has passed.
///
/// `what` completes the sentence "waited … for". A look that itself hangs is cut off at the deadline.
///
/// ```
/// # async fn example(inbox: &tokio::sync::Mutex<Vec<u8>>) {
/// use hubbub_testkit::wait::{self, eventually};
/// eventually(wait::DEADLINE, "the first byte", async || {
///     !inbox.lock().await.is_empty()
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
/// When the condition is still false after `deadline`.
#[cfg(feature = "tokio")]
pub async fn eventually(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(deadline, what, async || condition().await.then_some(())).await;
}

/// Like [`eventually`], for a condition that yields what was waited for.
///
/// # Panics
/// When `look` still yields `None` after `deadline`.
#[cfg(feature = "tokio")]
pub async fn eventually_some<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let Ok(found) = tokio::time::timeout(deadline, looking).await else {
        panic!("waited {deadline:?} in vain for: {what}");
    };
    found
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::*;

    /// A deadline that is meant to pass.
    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn waiting_ends_with_the_first_look_that_finds_it() {
        let mut looks = 0;
        let found = eventually_some(DEADLINE, "the third look", async || {
            looks += 1;
            (looks == 3).then_some(looks)
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for: pigs to fly")]
    async fn waiting_in_vain_names_what_was_waited_for() {
        eventually(SOON, "pigs to fly", async || false).await;
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for: a look that returns")]
    async fn a_look_that_hangs_is_cut_off() {
        eventually(SOON, "a look that returns", async || {
            std::future::pending().await
        })
        .await;
    }
}
