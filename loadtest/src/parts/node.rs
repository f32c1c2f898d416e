//! Servers as children: a node of the whole system, and the bare one behind the floor.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hubbub_testkit::process::{ServerCommand, ServerProcess};

/// How long a start may take, migrations included.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// How long a node may drain.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// What the node is a member of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeSettings<'a> {
    pub(crate) program: &'a Path,
    pub(crate) data: &'a Path,
    pub(crate) database_url: &'a str,
    pub(crate) nats_url: &'a str,
}

/// A node, ready to serve.
#[derive(Debug)]
pub(crate) struct Node {
    process: ServerProcess,
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
}

impl Node {
    /// Starts the only node of a cluster, with the budgets of one person out of the way.
    pub(crate) async fn start(settings: NodeSettings<'_>) -> anyhow::Result<Self> {
        let data = settings
            .data
            .to_str()
            .context("the data directory has a readable name")?;
        let mut process = ServerCommand::new("hubbub", settings.program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data])
            .args([
                "--database-url",
                settings.database_url,
                "--nats-url",
                settings.nats_url,
            ])
            .args(["--node-id", "bench"])
            .args([
                "--set",
                "sends_per_second=1000000",
                "--set",
                "sends_burst=1000000",
            ])
            .args(["--set", "sockets_per_user=1000", "--set", "drain_ms=0"])
            .spawn()?;
        let line = process
            .wait_for_line(START_DEADLINE, |line| url_in(line).is_some())
            .await?;
        let url = url_in(&line).context("the line has a URL")?.to_owned();
        Ok(Self { process, url })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(mut self) {
        self.process.stop(STOP_PATIENCE);
    }
}

/// The bare server behind the socket floor, ready to serve.
#[derive(Debug)]
pub(crate) struct FloorServer {
    process: ServerProcess,
    /// `http://127.0.0.1:port`.
    pub(crate) url: String,
}

impl FloorServer {
    pub(crate) async fn start(database_url: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program")?;
        let mut process = ServerCommand::new("socket floor", program)
            .args(["socket-floor", "--database-url", database_url])
            .spawn()?;
        let line = process
            .wait_for_line(START_DEADLINE, |line| url_in(line).is_some())
            .await?;
        let url = url_in(&line).context("the line has a URL")?.to_owned();
        Ok(Self { process, url })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// The URL in the line by which a server says that it serves.
fn url_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_at(line.find("http://127.0.0.1:")?);
    rest.split_whitespace()
        .next()
        .map(|url| url.trim_end_matches(['/', ',', '.', ';']))
}

#[cfg(test)]
mod tests {
    use super::url_in;

    #[test]
    fn a_url_is_found_in_a_sentence() {
        assert_eq!(
            url_in("serving at http://127.0.0.1:4711/, embedded"),
            Some("http://127.0.0.1:4711")
        );
        assert_eq!(url_in("starting"), None);
    }
}
