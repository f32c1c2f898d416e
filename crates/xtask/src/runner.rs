//! Runs commands one after the other and passes on signals: nothing that a task starts outlives it.
//!
//! Each command gets a process group of its own, so Ctrl-C reaches this program alone, which then ends the group in
//! order: politely, and with SIGKILL after a grace period or a second Ctrl-C.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a command may take to end after a polite signal: a server drains its sockets meanwhile.
const GRACE: Duration = Duration::from_secs(20);
/// Signals and exits in flight. One command runs at a time, and a person presses Ctrl-C a few times at most.
const EVENTS_MAX: usize = 16;

/// The one place that starts long commands.
#[derive(Debug)]
pub(crate) struct Runner {
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    interrupted: bool,
}

#[derive(Debug)]
enum Event {
    Interrupt,
    Exited(std::io::Result<ExitStatus>),
}

/// The task was ended by a signal: do nothing more than cleaning up.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Runner {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let (sender, events) = sync_channel(EVENTS_MAX);
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for Ctrl-C")?;
        let to_runner = sender.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                if to_runner.send(Event::Interrupt).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            events,
            sender,
            interrupted: false,
        })
    }

    /// Runs a command to its end with our own outputs and without input.
    ///
    /// # Errors
    /// [`Interrupted`] after a signal, once the command has ended; otherwise when the command cannot be started.
    pub(crate) fn run(&mut self, command: &mut Command) -> anyhow::Result<ExitStatus> {
        let status = self.run_until_interrupted(command)?;
        if self.interrupted {
            return Err(Interrupted.into());
        }
        Ok(status)
    }

    /// Like [`run`](Self::run), for a server that is meant to be ended by Ctrl-C: its end is no error then.
    pub(crate) fn run_until_interrupted(
        &mut self,
        command: &mut Command,
    ) -> anyhow::Result<ExitStatus> {
        // A signal may have come between two commands.
        while let Ok(event) = self.events.try_recv() {
            self.interrupted |= matches!(event, Event::Interrupt);
        }
        if self.interrupted {
            return Err(Interrupted.into());
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let to_runner = self.sender.clone();
        thread::spawn(move || {
            // The runner waits for this before it goes on or away, so somebody listens.
            let _listened_to = to_runner.send(Event::Exited(child.wait()));
        });
        let group = group.context("a child has a process id")?;
        self.await_exit(group)
            .with_context(|| format!("wait for {name}"))
    }

    /// Whether a signal has asked this task to end.
    pub(crate) fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    fn await_exit(&mut self, group: Pid) -> anyhow::Result<ExitStatus> {
        loop {
            let event = if self.interrupted {
                match self.events.recv_timeout(GRACE) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Timeout) => Event::Interrupt,
                    Err(error @ RecvTimeoutError::Disconnected) => return Err(error.into()),
                }
            } else {
                self.events.recv()?
            };
            match event {
                Event::Exited(status) => {
                    // What is left of the group has lost its parent: a server whose test was aborted, or a grandchild
                    // that ignored the polite signal.
                    signal_group(group, Signal::KILL);
                    return Ok(status?);
                }
                Event::Interrupt => {
                    let again = std::mem::replace(&mut self.interrupted, true);
                    signal_group(group, if again { Signal::KILL } else { Signal::TERM });
                }
            }
        }
    }
}

/// A group that is gone already is what the signal wanted.
fn signal_group(group: Pid, signal: Signal) {
    let _gone_already = kill_process_group(group, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_command_runs_to_its_end_and_its_status_comes_back() {
        let mut runner = Runner::new().expect("starts");
        assert!(runner.run(&mut shell("exit 0")).expect("runs").success());
        let failed = runner.run(&mut shell("exit 3")).expect("runs");
        assert_eq!(failed.code(), Some(3));
        runner
            .run(&mut Command::new("/no/such/program"))
            .expect_err("is not there");
    }

    #[test]
    fn what_a_command_leaves_behind_is_ended_with_it() {
        let mut runner = Runner::new().expect("starts");
        let file = std::env::temp_dir().join(format!("xtask-orphan-{}", std::process::id()));
        let script = format!("sleep 600 & echo $! > {}", file.display());
        assert!(runner.run(&mut shell(&script)).expect("runs").success());
        let orphan = std::fs::read_to_string(&file).expect("was written");
        std::fs::remove_file(&file).expect("was there");
        let orphan = Pid::from_raw(orphan.trim().parse().expect("is an id")).expect("is not 0");
        hubbub_testkit::wait::blocking_until(
            hubbub_testkit::wait::DEADLINE,
            "the orphan's end",
            || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", orphan.as_raw_pid()));
                // Gone, or dead and not yet reaped by whoever inherits orphans here.
                stat.map_or(true, |stat| stat.contains(") Z "))
            },
        );
    }

    #[test]
    fn an_interrupt_ends_the_command_and_everything_after_it() {
        let mut runner = Runner::new().expect("starts");
        runner.sender.send(Event::Interrupt).expect("listens");
        let error = runner
            .run(&mut shell("exit 0"))
            .expect_err("is interrupted");
        assert!(error.is::<Interrupted>());

        let mut runner = Runner::new().expect("starts");
        let to_runner = runner.sender.clone();
        let marker = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
        let script = format!("touch {}; exec sleep 600", marker.display());
        let interrupting = thread::spawn({
            let marker = marker.clone();
            move || {
                hubbub_testkit::wait::blocking_until(
                    hubbub_testkit::wait::DEADLINE,
                    "the command to run",
                    || marker.exists(),
                );
                to_runner.send(Event::Interrupt).expect("listens");
            }
        });
        let error = runner.run(&mut shell(&script)).expect_err("is interrupted");
        assert!(error.is::<Interrupted>());
        interrupting.join().expect("sent");
        std::fs::remove_file(marker).expect("was there");
    }

    #[test]
    fn a_server_ended_by_ctrl_c_has_not_failed() {
        let mut runner = Runner::new().expect("starts");
        let to_runner = runner.sender.clone();
        thread::spawn(move || to_runner.send(Event::Interrupt));
        // Interrupted before or after its start: neither hangs.
        let ended = runner.run_until_interrupted(&mut shell("exec sleep 600"));
        assert!(ended.is_err_and(|error| error.is::<Interrupted>()) || runner.interrupted);
    }
}
