//! Named background tasks: the one place that spawns, so that every failure has an owner.
//!
//! Never: a task without a name, a panic that nobody hears of, a queue.

use std::any::Any;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What happens when a task ends by an error or a panic. Both are logged first, at ERROR.
#[derive(Clone, Debug)]
pub enum OnError {
    /// Nothing more: the rest of the process can do without this task.
    Log,
    /// The process cannot go on without it: cancel this token, which its owner answers with an orderly shutdown.
    Cancel(CancellationToken),
}

/// What a task may end with: nothing, or a result whose error is worth a line in the log.
pub trait TaskOutcome: Send + 'static {
    /// What went wrong, as a sentence without full stop.
    fn failure(self) -> Option<String>;
}

impl TaskOutcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + Send + 'static> TaskOutcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:#}"))
    }
}

/// Runs `future` in the background of the current runtime. Dropping the handle lets it run on; aborting it is not a failure.
///
/// A panic is caught, logged with the task's name and treated like an error, so it never vanishes in a handle that nobody awaits.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn_named<F>(name: &'static str, on_error: OnError, future: F) -> JoinHandle<()>
where
    F: Future<Output: TaskOutcome> + Send + 'static,
{
    tokio::spawn(async move {
        let failure = match AssertUnwindSafe(future).catch_unwind().await {
            Ok(outcome) => outcome.failure(),
            Err(payload) => Some(format!("panicked: {}", panic_message(payload.as_ref()))),
        };
        let Some(failure) = failure else { return };
        tracing::error!(task = name, error = failure, "background task failed");
        if let OnError::Cancel(token) = on_error {
            token.cancel();
        }
    })
}

/// The work was lost: it panicked, or the runtime is shutting down. What it had done by then is not known.
#[derive(Debug, thiserror::Error)]
#[error("{0} did not come to its end")]
pub struct Lost(&'static str);

/// Runs `future` to its end even when the caller is dropped while waiting: for work that must not stop halfway, such as a transaction.
/// It stays in the caller's span.
///
/// # Panics
/// Outside of a tokio runtime.
pub async fn run_to_end<F>(name: &'static str, future: F) -> Result<F::Output, Lost>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let span = tracing::Span::current();
    match tokio::spawn(future.instrument(span)).await {
        Ok(output) => Ok(output),
        Err(error) => {
            tracing::error!(task = name, %error, "work was lost");
            Err(Lost(name))
        }
    }
}

/// The words of a panic, when it has any.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_cancels_what_depends_on_it() {
        let token = CancellationToken::new();
        let token_is_fresh = !token.is_cancelled();
        let task = spawn_named("doomed", OnError::Cancel(token.clone()), async move {
            assert!(!token_is_fresh, "on purpose");
        });
        task.await.expect("the panic is caught inside");
        assert!(token.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_well_cancels_nothing() {
        let token = CancellationToken::new();
        let task = spawn_named("fine", OnError::Cancel(token.clone()), async {
            Ok::<(), std::io::Error>(())
        });
        task.await.expect("ends");
        assert!(!token.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_returns_an_error_cancels_what_depends_on_it() {
        let token = CancellationToken::new();
        let task = spawn_named("failing", OnError::Cancel(token.clone()), async {
            Err::<(), _>("the disk is gone")
        });
        task.await.expect("ends");
        assert!(token.is_cancelled());
    }

    #[tokio::test]
    async fn work_that_must_end_ends_although_nobody_waits_for_it() {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
        let (done, is_done) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn(run_to_end("work", async {
            begun.send(()).expect("the test waits");
            may_go_on.await.expect("the test allows it");
            done.send(()).expect("the test waits");
        }));
        has_begun.await.expect("begins");
        caller.abort();
        assert!(caller.await.is_err(), "the caller is gone");
        go_on.send(()).expect("the work lives");
        is_done.await.expect("ends");
    }

    #[tokio::test]
    async fn work_that_panics_is_lost_and_says_so() {
        let fresh = true;
        let lost = run_to_end("work", async move { assert!(!fresh, "on purpose") }).await;
        assert_eq!(
            lost.expect_err("is lost").to_string(),
            "work did not come to its end"
        );
    }

    #[test]
    fn a_panic_message_is_read_from_both_kinds_of_payload() {
        let formatted: Box<dyn Any + Send> = Box::new(String::from("formatted"));
        let literal: Box<dyn Any + Send> = Box::new("literal");
        let other: Box<dyn Any + Send> = Box::new(7_u8);
        assert_eq!(panic_message(formatted.as_ref()), "formatted");
        assert_eq!(panic_message(literal.as_ref()), "literal");
        assert_eq!(panic_message(other.as_ref()), "without a message");
    }
}
