//! One node as a real process, with lines of its own to the database and to each bus server, so that they can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubbub_client::Rest;
use hubbub_testkit::free_port;
use hubbub_testkit::process::{ServerCommand, ServerProcess};
use hubbub_testkit::proxy::TcpProxy;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long a node may take to serve; a debug build on a loaded machine needs most of it.
pub const START_DEADLINE: Duration = Duration::from_secs(90);
/// Pause between two looks at readiness.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct NodePlan {
    /// The server binary.
    pub binary: PathBuf,
    /// `key=value` settings.
    pub settings: Vec<String>,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Environment variables of the process.
    pub environment: Vec<(String, String)>,
}

/// A node that runs, or that a fault has ended and that can be started again on its ports.
#[derive(Debug)]
pub struct Node {
    name: String,
    plan: NodePlan,
    port: u16,
    metrics_port: u16,
    /// Which start of the process this is, from 0.
    pub starts: usize,
    process: ServerProcess,
    data: TempDir,
    /// Its line to the database; `None` in embedded mode.
    pub database_line: Option<TcpProxy>,
    /// Its lines to the bus servers, in their order.
    pub bus_lines: Vec<TcpProxy>,
}

impl Node {
    /// Starts the process; it serves once [`ready`](Self::ready) returns.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(
        name: &str,
        plan: NodePlan,
        database_line: Option<TcpProxy>,
        bus_lines: Vec<TcpProxy>,
    ) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("hubbub-chaos-")
            .tempdir()
            .context("make a directory")?;
        let (port, metrics_port) = (free_port(), free_port());
        let process = spawn(name, &plan, port, metrics_port, data.path())?;
        Ok(Self {
            name: name.to_owned(),
            plan,
            port,
            metrics_port,
            starts: 0,
            process,
            data,
            database_line,
            bus_lines,
        })
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// When it ended or does not serve in time; the error carries its last lines.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let rest = Rest::new(&self.url())?;
        let deadline = Instant::now() + START_DEADLINE;
        while !rest.is_ready().await {
            if let Some(status) = self.process.exit_status() {
                bail!("{} ended: {status}\n{}", self.name, self.last_lines(30));
            }
            if Instant::now() > deadline {
                bail!("{} is not ready:\n{}", self.name, self.last_lines(30));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Its lasting name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `http://127.0.0.1:port`, the same over restarts.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it serves people.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Where it serves `/metrics`.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.metrics_port))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// How to start it; changes count from the next start.
    pub fn plan_mut(&mut self) -> &mut NodePlan {
        &mut self.plan
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, without waiting.
    pub fn terminate(&mut self) {
        self.process.terminate();
    }

    /// SIGSTOP.
    pub fn suspend(&mut self) {
        self.process.suspend();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// How it ended, when it has.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.process.exit_status()
    }

    /// Starts it again on its ports and data, killing it first when it runs; does not wait.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.process.kill();
        self.process = spawn(
            &self.name,
            &self.plan,
            self.port,
            self.metrics_port,
            self.data.path(),
        )?;
        self.starts += 1;
        Ok(())
    }

    /// Its output so far (the last 20,000 lines).
    pub fn lines(&self) -> Vec<String> {
        self.process.lines()
    }

    /// How many of these lines hold these words, all of them.
    pub fn count_lines(&self, words: &[&str]) -> usize {
        self.process
            .count_lines(|line| words.iter().all(|word| line.contains(word)))
    }

    /// Its last lines of output.
    pub fn last_lines(&self, count: usize) -> String {
        let lines = self.process.lines();
        let hidden = lines.len().saturating_sub(count);
        lines.get(hidden..).unwrap_or_default().join("\n")
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When it has ended.
    pub fn open_descriptors(&self) -> anyhow::Result<u64> {
        self.process.open_descriptors()
    }

    /// How many descriptors it may have open from now on; `None`: without a bound. Returns what was allowed before.
    ///
    /// # Errors
    /// When it has ended.
    pub fn limit_descriptors(&self, count: Option<u64>) -> anyhow::Result<Option<u64>> {
        self.process.limit_descriptors(count)
    }

    /// Nothing passes between it and the database, in either direction, and new connections are closed.
    pub fn cut_database(&self) {
        if let Some(line) = &self.database_line {
            line.refuse_new();
            line.cut();
        }
    }

    /// The database can be reached again.
    pub fn mend_database(&self) {
        if let Some(line) = &self.database_line {
            line.resume();
        }
    }

    /// No bus server can be reached any more.
    pub fn cut_bus(&self) {
        for line in &self.bus_lines {
            line.refuse_new();
            line.cut();
        }
    }

    /// The bus can be reached again.
    pub fn mend_bus(&self) {
        for line in &self.bus_lines {
            line.resume();
        }
    }
}

fn spawn(
    name: &str,
    plan: &NodePlan,
    port: u16,
    metrics_port: u16,
    data: &Path,
) -> anyhow::Result<ServerProcess> {
    let mut command = ServerCommand::new(name, &plan.binary)
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--data-dir".as_ref(), data.as_os_str()])
        .args(["--set", &format!("metrics_listen=127.0.0.1:{metrics_port}")])
        .args(
            plan.settings
                .iter()
                .flat_map(|pair| ["--set", pair.as_str()]),
        )
        .args(&plan.arguments);
    for (variable, value) in &plan.environment {
        command = command.env(variable, value);
    }
    command.spawn()
}
