//! A `nats-server` as a child process, for bus tests and for nodes under test: `JetStream` off, loopback, its own port.
//!
//! Most tests want [`NatsServer`], which lets everybody in. [`NatsCluster`] is the reference cluster of `nats/cluster/`:
//! three servers with roles and passwords.
//!
//! Never: a store directory (what NATS carries is repaired from the log, never kept), a public address.

mod cluster;

pub use cluster::{NatsCluster, Role};

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::child::OwnedChild;
use crate::{free_port, settings, wait};

/// How long a start may take on a loaded machine.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long one attempt to be greeted may take.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);
/// Somebody else may take the free port before us; so often we try another one.
const PORT_TRIES: usize = 5;

/// A running `nats-server`. Dropping it kills the server and removes its directory.
#[derive(Debug)]
pub struct NatsServer {
    // Declared before `directory`: the child must end before its files go.
    child: Option<OwnedChild>,
    binary: PathBuf,
    /// Holds the log, and the configuration unless that is one of the repository's.
    directory: TempDir,
    config: PathBuf,
    /// Variables of the configuration.
    environment: Vec<(String, String)>,
    port: u16,
}

impl NatsServer {
    /// Starts the server of `HUBBUB_TEST_NATS_BIN` and waits until it greets.
    ///
    /// `None` after printing `skipped: …` when the variable is unset. Blocks for some 50 ms, which an asynchronous
    /// test may do as well.
    ///
    /// # Panics
    /// When the server does not start, and when the variable is missing although `HUBBUB_TEST_REQUIRE` is `1`.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Like [`start`](Self::start), with further lines of `nats-server`'s configuration file.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(extra_config: &str) -> Option<Self> {
        let binary = settings::read_or_skip(settings::NATS_BIN, "nats-server")?;
        match Self::start_at(PathBuf::from(binary), extra_config) {
            Ok(server) => Some(server),
            Err(error) => panic!("no nats-server: {error:#}"),
        }
    }

    /// Starts this binary.
    ///
    /// # Errors
    /// When it cannot be started or does not greet within 30 s; the error then carries its log.
    pub fn start_at(binary: PathBuf, extra_config: &str) -> anyhow::Result<Self> {
        let directory = fresh_directory()?;
        let mut server = Self {
            child: None,
            binary,
            config: directory.path().join("nats.conf"),
            environment: Vec::new(),
            directory,
            port: 0,
        };
        for _ in 0..PORT_TRIES {
            server.port = free_port();
            server.write_config(extra_config)?;
            if server.try_start()? {
                return Ok(server);
            }
        }
        bail!("nats-server did not start:\n{}", server.log())
    }

    /// A server that is not running yet: it will read `config` with these variables, which put it on `port`.
    fn prepare(
        binary: PathBuf,
        config: PathBuf,
        environment: Vec<(String, String)>,
        port: u16,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            child: None,
            binary,
            directory: fresh_directory()?,
            config,
            environment,
            port,
        })
    }

    /// The URL for clients, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// The client address on loopback; it stays over a restart.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `kill -9`: connections break, subscriptions and undelivered messages are gone.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts again on the same port; kills first when running.
    ///
    /// # Panics
    /// When the server does not greet within 30 s.
    pub fn restart(&mut self) {
        self.kill();
        match self.try_start() {
            Ok(true) => {}
            Ok(false) => panic!("nats-server did not restart:\n{}", self.log()),
            Err(error) => panic!("nats-server did not restart: {error:#}"),
        }
    }

    /// Whether it was started and not killed since, suspended or not.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// SIGSTOP: connections stay open and nothing answers, as on a machine that swaps itself to death.
    pub fn suspend(&mut self) {
        if let Some(child) = &mut self.child {
            child.suspend();
        }
    }

    /// SIGCONT: goes on where [`suspend`](Self::suspend) stopped it.
    pub fn resume(&mut self) {
        if let Some(child) = &mut self.child {
            child.signal(Signal::CONT);
        }
    }

    fn write_config(&self, extra: &str) -> anyhow::Result<()> {
        let config = format!(
            "host: 127.0.0.1\nport: {}\nserver_name: hubbub-test-{}\n{extra}\n",
            self.port, self.port
        );
        std::fs::write(&self.config, config).context("write the configuration")
    }

    /// Starts the server on `self.port`; `false` when it ended by itself, as it does when the port is taken.
    fn try_start(&mut self) -> anyhow::Result<bool> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("open the log")?;
        let child = Command::new(&self.binary)
            .arg("--config")
            .arg(&self.config)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", self.binary.display()))?;
        let mut child = OwnedChild::new(child);
        let address = self.address();
        let mut ended = false;
        let answered = wait::blocking_try(START_DEADLINE, || {
            ended = child.exit_status().is_some();
            ended || greets(address)
        });
        if !answered {
            bail!("no greeting within {START_DEADLINE:?}:\n{}", self.log());
        }
        if ended {
            return Ok(false);
        }
        self.child = Some(child);
        Ok(true)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }
}

fn fresh_directory() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("hubbub-nats-")
        .tempdir()
        .context("make a directory")
}

/// A NATS server speaks first: one line that begins with `INFO`.
fn greets(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&address, GREETING_TIMEOUT) else {
        return false;
    };
    if stream.set_read_timeout(Some(GREETING_TIMEOUT)).is_err() {
        return false;
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_greets_and_falls_silent_when_killed_and_greets_again_on_the_same_port() {
        let Some(mut server) = NatsServer::start() else {
            return;
        };
        let address = server.address();
        assert!(greets(address));
        server.kill();
        assert!(!greets(address));
        server.restart();
        assert_eq!(server.address(), address);
        assert!(greets(address));
    }

    #[test]
    fn a_suspended_server_accepts_and_says_nothing_until_it_resumes() {
        let Some(mut server) = NatsServer::start() else {
            return;
        };
        server.suspend();
        assert!(!greets(server.address()));
        server.resume();
        wait::blocking_until(wait::DEADLINE, "a greeting after the pause", || {
            greets(server.address())
        });
    }

    #[test]
    fn a_binary_that_ends_at_once_is_an_error_and_not_a_hang() {
        NatsServer::start_at(PathBuf::from("/bin/false"), "").expect_err("is no server");
    }
}
