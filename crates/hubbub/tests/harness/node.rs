//! One node as a real process: started on a port of its own, ended, started again on the same port and data.

use hubbub_client::Rest;
use hubbub_testkit::free_port;
use hubbub_testkit::process::{ServerCommand, ServerProcess};
use hubbub_testkit::wait::eventually;
use tempfile::TempDir;

use super::PATIENCE;

/// Somebody else may take the free port before the node binds it; so often another one is tried.
const PORT_TRIES: usize = 5;

/// A node that runs, or that was ended by its test and waits to be started again.
pub(crate) struct Node {
    name: String,
    port: u16,
    settings: Vec<String>,
    // Declared before `data`: the process must end before its files go.
    process: ServerProcess,
    data: TempDir,
}

impl Node {
    /// Starts a node and waits until it serves.
    pub(crate) async fn start(name: &str, settings: Vec<String>) -> Self {
        let data = tempfile::Builder::new()
            .prefix("hubbub-e2e-")
            .tempdir()
            .expect("a directory can be made");
        let mut refused = String::new();
        for _try in 0..PORT_TRIES {
            let port = free_port();
            let mut process = spawn(name, port, &settings, &data);
            match serves(&mut process, port).await {
                Ok(()) => {
                    return Self {
                        name: name.to_owned(),
                        port,
                        settings,
                        process,
                        data,
                    };
                }
                Err(error) => refused = error,
            }
            assert!(
                refused.contains("in use"),
                "{name} does not start: {refused}"
            );
        }
        panic!("{name} finds no port: {refused}");
    }

    /// `http://127.0.0.1:port`, the same over restarts.
    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Its lasting name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGSTOP: it keeps its sockets and does nothing.
    pub(crate) fn suspend(&mut self) {
        self.process.suspend();
    }

    /// SIGCONT.
    pub(crate) fn resume(&mut self) {
        self.process.resume();
    }

    /// It has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.exit_status().is_some()
    }

    /// SIGTERM, without waiting for the end.
    pub(crate) fn terminate(&mut self) {
        self.process.terminate();
    }

    /// Waits for the end; the exit code, or `None` when a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        eventually(PATIENCE, "the node to end", async || {
            self.process.exit_status().is_some()
        })
        .await;
        self.process.exit_status().and_then(|status| status.code())
    }

    /// Starts it again on its port and data, and waits until it serves.
    pub(crate) async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.name, self.port, &self.settings, &self.data);
        if let Err(error) = serves(&mut self.process, self.port).await {
            panic!("{} does not start again: {error}", self.name);
        }
    }

    /// Its last lines of output, for a failed test.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let lines = self.process.lines();
        let hidden = lines.len().saturating_sub(count);
        lines[hidden..].join("\n")
    }
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn spawn(name: &str, port: u16, settings: &[String], data: &TempDir) -> ServerProcess {
    ServerCommand::new(name, env!("CARGO_BIN_EXE_hubbub"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--data-dir".as_ref(), data.path().as_os_str()])
        .args(settings)
        .spawn()
        .expect("the binary can be started")
}

/// Waits for the line with the address, then until the node says that it is ready.
async fn serves(process: &mut ServerProcess, port: u16) -> Result<(), String> {
    let address = url(port);
    let is_told = |line: &str| line.contains("hubbub serves on") && line.contains(&address);
    process
        .wait_for_line(PATIENCE, is_told)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let rest = Rest::new(&address).expect("an HTTP client can be made");
    eventually(PATIENCE, "the node to be ready", async || {
        rest.is_ready().await
    })
    .await;
    Ok(())
}
