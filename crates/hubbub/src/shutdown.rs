//! When to stop: a signal from outside, or a finding inside after which going on would be wrong. First soft, then hard.

use anyhow::Context;
use hubbub_cluster::Fate;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// SIGTERM and SIGINT. The first asks for an orderly end, a second one ends at once.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Why the process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Somebody asked.
    Asked,
    /// The ownership loop found that this incarnation must not go on.
    Fatal(Fate),
}

/// Waits for either.
pub(crate) async fn ending(
    signals: &mut Signals,
    fate: &mut watch::Receiver<Option<Fate>>,
) -> Ending {
    tokio::select! {
        () = signals.next() => {
            tracing::info!("asked to stop");
            Ending::Asked
        }
        fate = known(fate) => {
            tracing::error!(?fate, "this incarnation must end");
            Ending::Fatal(fate)
        }
    }
}

async fn known(fate: &mut watch::Receiver<Option<Fate>>) -> Fate {
    match fate.wait_for(Option::is_some).await {
        Ok(found) => found.unwrap_or(Fate::Broken),
        // The loop is gone without a word: a panic.
        Err(_closed) => Fate::Broken,
    }
}
