//! A server under test as a real process: started, waited for, signalled, killed, its output kept for diagnosis.
//!
//! Never: a process ended by its name; output thrown away.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tokio::sync::watch;

use crate::child::OwnedChild;

/// Lines of output that are kept per process: enough for the story of a failed test, little against its memory. The
/// oldest go first.
const LINES_MAX: usize = 20_000;
/// Lines of output that a panic message shows.
const LINES_SHOWN: usize = 40;

/// How to start a process: program, arguments, environment.
#[derive(Debug)]
pub struct ServerCommand {
    name: String,
    command: Command,
}

impl ServerCommand {
    /// A process that is called `name` in messages. It inherits the environment without any `HUBBUB_` variable, so
    /// that settings of the shell do not reach a server under test.
    pub fn new(name: impl Into<String>, program: impl AsRef<Path>) -> Self {
        let mut command = Command::new(program.as_ref());
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("HUBBUB_") {
                command.env_remove(variable);
            }
        }
        Self {
            name: name.into(),
            command,
        }
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts the process; both of its outputs are read from now on.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(mut self) -> anyhow::Result<ServerProcess> {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| {
                let program = self.command.get_program().display();
                format!("start {}: {program}", self.name)
            })?;
        let (sender, output) = watch::channel(Output::default());
        let sender = Arc::new(sender);
        let stdout = child.stdout.take().context("stdout is piped")?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        read_lines(stdout, Arc::clone(&sender));
        read_lines(stderr, sender);
        Ok(ServerProcess {
            name: self.name,
            child: OwnedChild::new(child),
            output,
        })
    }
}

/// A running server under test. Dropping it kills the process; after a panic its last lines are printed.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    child: OwnedChild,
    output: watch::Receiver<Output>,
}

/// What the process has written to both outputs, in the order of arrival.
#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    /// Lines that made room for newer ones.
    dropped: usize,
}

impl ServerProcess {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first line of output, old or new, that satisfies `wanted`.
    ///
    /// # Errors
    /// When the process closes its outputs or `deadline` passes without such a line; the error carries its last lines.
    pub async fn wait_for_line(
        &mut self,
        deadline: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let mut output = self.output.clone();
        let looking = output.wait_for(|output| output.lines.iter().any(|line| wanted(line)));
        let found = match tokio::time::timeout(deadline, looking).await {
            Err(_elapsed) => None,
            Ok(Err(_closed)) => None,
            Ok(Ok(output)) => output.lines.iter().find(|line| wanted(line)).cloned(),
        };
        if let Some(line) = found {
            return Ok(line);
        }
        let state = self
            .exit_status()
            .map_or_else(|| "it runs".to_owned(), |status| status.to_string());
        bail!(
            "{} wrote no such line within {deadline:?} ({state}):\n{}",
            self.name,
            self.last_lines()
        )
    }

    /// Everything written so far that is still kept (the last 20,000 lines).
    pub fn lines(&self) -> Vec<String> {
        self.output.borrow().lines.clone()
    }

    /// How many of those lines satisfy `wanted`.
    pub fn count_lines(&self, wanted: impl Fn(&str) -> bool) -> usize {
        let output = self.output.borrow();
        output.lines.iter().filter(|line| wanted(line)).count()
    }

    /// How the process ended, or `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.exit_status()
    }

    /// SIGKILL, and wait until the process is gone: its sockets are closed by the kernel when this returns.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// SIGTERM, and wait for the end. `None` when the process had to be killed after `patience`.
    ///
    /// Blocks its thread up to `patience`: from a runtime with one thread whose own tasks the process waits for, call
    /// [`terminate`](Self::terminate) and wait for [`exit_status`](Self::exit_status).
    pub fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.child.end(Signal::TERM, patience)
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        self.child.signal(Signal::TERM);
    }

    /// SIGSTOP: the process keeps its sockets and does nothing.
    pub fn suspend(&mut self) {
        self.child.suspend();
    }

    /// SIGCONT: goes on where [`suspend`](Self::suspend) stopped it.
    pub fn resume(&mut self) {
        self.child.signal(Signal::CONT);
    }

    /// Sets how many descriptors the process may have open from now on (`RLIMIT_NOFILE`, the soft one); those that are
    /// open stay. Returns what was allowed before; `None`: without a bound.
    ///
    /// # Errors
    /// When the process has ended, or may not have more.
    pub fn limit_descriptors(&self, count: Option<u64>) -> anyhow::Result<Option<u64>> {
        self.limit(Resource::Nofile, count)
    }

    /// Sets how many bytes of address space the process may have from now on (`RLIMIT_AS`). A process that is refused
    /// memory ends, as nearly every program does.
    ///
    /// # Errors
    /// As [`limit_descriptors`](Self::limit_descriptors).
    pub fn limit_address_space(&self, bytes: Option<u64>) -> anyhow::Result<Option<u64>> {
        self.limit(Resource::As, bytes)
    }

    /// How many descriptors the process has open.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn open_descriptors(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/fd", self.pid());
        let open = std::fs::read_dir(&path).with_context(|| format!("read {path}"))?;
        Ok(u64::try_from(open.count())?)
    }

    /// Only the soft limit moves, so that it can be raised again without rights.
    fn limit(&self, resource: Resource, wanted: Option<u64>) -> anyhow::Result<Option<u64>> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id")?;
        let now = rustix::process::getrlimit(resource);
        let limit = Rlimit {
            current: wanted,
            maximum: now.maximum,
        };
        let before =
            prlimit(Some(pid), resource, limit).with_context(|| format!("limit {}", self.name))?;
        Ok(before.current)
    }

    fn last_lines(&self) -> String {
        let output = self.output.borrow();
        let hidden = output.lines.len().saturating_sub(LINES_SHOWN);
        let mut text = String::new();
        if hidden + output.dropped > 0 {
            let _infallible = writeln!(text, "… {} earlier lines", hidden + output.dropped);
        }
        text.push_str(&output.lines[hidden..].join("\n"));
        text
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill();
        if std::thread::panicking() {
            eprintln!("--- output of {} ---\n{}", self.name, self.last_lines());
        }
    }
}

/// Reads one output on a thread of its own until it is closed. Bytes that are not UTF-8 are replaced.
fn read_lines(source: impl Read + Send + 'static, output: Arc<watch::Sender<Output>>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(source);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            output.send_modify(|output| {
                if output.lines.len() == LINES_MAX {
                    let half = LINES_MAX / 2;
                    output.lines.drain(..half);
                    output.dropped += half;
                }
                output.lines.push(line);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::{self, DEADLINE};

    fn shell(script: &str) -> ServerProcess {
        ServerCommand::new("shell", "/bin/sh")
            .args(["-c", script])
            .spawn()
            .expect("starts")
    }

    #[tokio::test]
    async fn a_line_is_found_whichever_output_it_came_from() {
        let mut process = shell("echo one; echo two >&2; exec sleep 600");
        let wanted = |word: &'static str| move |line: &str| line == word;
        process
            .wait_for_line(DEADLINE, wanted("two"))
            .await
            .expect("stderr");
        process
            .wait_for_line(DEADLINE, wanted("one"))
            .await
            .expect("stdout");
        assert!(process.exit_status().is_none());
    }

    #[tokio::test]
    async fn waiting_for_a_line_of_an_ended_process_tells_what_it_wrote() {
        let mut process = shell("echo no such file; exit 3");
        let error = process
            .wait_for_line(DEADLINE, |line| line == "ready")
            .await
            .expect_err("it ended");
        assert!(error.to_string().contains("no such file"), "{error}");
    }

    #[tokio::test]
    async fn a_terminated_process_may_clean_up_and_a_killed_one_may_not() {
        let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let up = |line: &str| line == "up";
        let mut polite = shell(script);
        polite.wait_for_line(DEADLINE, up).await.expect("is up");
        let status = polite.stop(DEADLINE).expect("ends by itself");
        assert_eq!(status.code(), Some(7));
        polite
            .wait_for_line(DEADLINE, |line| line == "bye")
            .await
            .expect("cleaned up");

        let mut killed = shell(script);
        killed.wait_for_line(DEADLINE, up).await.expect("is up");
        killed.kill();
        assert_eq!(killed.exit_status().expect("is gone").code(), None);
        assert_eq!(killed.lines(), ["up"]);
    }

    #[tokio::test]
    async fn a_suspended_process_goes_on_after_it_is_resumed() {
        let mut process =
            shell("echo up; read -r line; echo never; while :; do sleep 0.05; echo tick; done");
        // stdin is empty, so the script reaches its loop.
        process
            .wait_for_line(DEADLINE, |line| line == "tick")
            .await
            .expect("ticks");
        process.suspend();
        wait::eventually(DEADLINE, "the process to stand still", async || {
            let stat = format!("/proc/{}/stat", process.pid());
            let stat = std::fs::read_to_string(stat).expect("is there");
            stat.contains(") T ")
        })
        .await;
        let before = process.lines().len();
        process.resume();
        wait::eventually(DEADLINE, "another tick", async || {
            process.lines().len() > before
        })
        .await;
    }

    #[tokio::test]
    async fn a_limited_process_opens_no_more_until_the_limit_is_raised() {
        let script = "echo up; while read -r line < /proc/self/stat; do :; done; echo refused; \
            until read -r line < /proc/self/stat; do sleep 0.05; done 2> /dev/null; echo again; exec sleep 600";
        let mut process = shell(script);
        let says = |word: &'static str| move |line: &str| line == word;
        process
            .wait_for_line(DEADLINE, says("up"))
            .await
            .expect("is up");
        let open = process.open_descriptors().expect("runs");
        assert!(open >= 3, "{open}");
        let before = process.limit_descriptors(Some(3)).expect("is limited");
        process
            .wait_for_line(DEADLINE, says("refused"))
            .await
            .expect("is refused");
        process.limit_descriptors(before).expect("is raised");
        process
            .wait_for_line(DEADLINE, says("again"))
            .await
            .expect("goes on");
    }

    #[test]
    fn settings_of_the_shell_do_not_reach_a_server_under_test() {
        let command = ServerCommand::new("x", "/bin/sh").env("HUBBUB_LISTEN", "127.0.0.1:0");
        let set: Vec<_> = command
            .command
            .get_envs()
            .filter(|(_, value)| value.is_some())
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(set, ["HUBBUB_LISTEN"]);
    }
}
