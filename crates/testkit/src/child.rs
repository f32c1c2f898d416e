//! One child process: ended by its own id, reaped, and never left behind by a test that panics.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A running child. Dropping it kills and reaps it.
///
/// It stays in our process group: Ctrl-C in a terminal, which ends a test without dropping anything, reaches it too.
#[derive(Debug)]
pub(crate) struct OwnedChild {
    child: Child,
}

impl OwnedChild {
    pub(crate) fn new(child: Child) -> Self {
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. A child that has ended already is not an error: it may have beaten us to it. Its id cannot
    /// belong to a stranger, because it is reaped only here.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_some() {
            return;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = kill_process(pid, signal)
        {
            eprintln!("signal {signal:?} to {pid:?} was not delivered: {error}");
        }
    }

    /// Stops the child until SIGCONT; returns when every one of its threads stands still, as the signal alone does not wait for that.
    pub(crate) fn suspend(&mut self) {
        self.signal(Signal::STOP);
        let id = self.id();
        wait::blocking_until(
            wait::DEADLINE,
            "all threads of a stopped child to stand still",
            || self.exit_status().is_some() || stands_still(id),
        );
    }

    /// How the child ended, or `None` while it runs.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Err(error) = self.child.wait() {
            eprintln!("child {} could not be awaited: {error}", self.child.id());
        }
    }

    /// Sends `signal` and waits for the end; after `patience` the child is killed and `None` comes back.
    pub(crate) fn end(&mut self, signal: Signal, patience: Duration) -> Option<ExitStatus> {
        self.signal(signal);
        let ended = wait::blocking_try(patience, || self.exit_status().is_some());
        if !ended {
            self.kill();
            return None;
        }
        self.exit_status()
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether every thread of a process is stopped (state `T` of proc(5)). A process that cannot be looked at counts as stopped.
fn stands_still(id: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{id}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        // The state follows the name, which is in brackets and may hold anything.
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_none_or(|rest| rest.trim_start().starts_with(['T', 't']) || rest.is_empty())
    })
}
