//! `HAProxy` as a child process, from the reference configuration: what stands between people and the nodes.
//!
//! It is optional: a test without it says `skipped: …`.
//!
//! Never: a configuration of our own.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::child::OwnedChild;
use crate::{free_port, settings, wait};

/// How long a start may take.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Where Debian keeps it: outside of an ordinary user's `PATH`.
const SYSTEM_DIRECTORY: &str = "/usr/sbin";

/// A running `HAProxy` in front of two nodes. Dropping it kills it.
#[derive(Debug)]
pub struct HaProxy {
    _child: OwnedChild,
    port: u16,
}

impl HaProxy {
    /// Starts `HAProxy` in front of two nodes. `None` after printing `skipped: …` when it is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn start_or_skip(nodes: [SocketAddr; 2]) -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("skipped: HAProxy is not installed");
            return None;
        };
        match Self::start(&program, nodes) {
            Ok(proxy) => Some(proxy),
            Err(error) => panic!("no HAProxy: {error:#}"),
        }
    }

    /// Starts this program in front of two nodes; returns when it listens, whether or not a node is there.
    ///
    /// # Errors
    /// When it does not listen within 30 s, as it does not when the configuration is wrong.
    pub fn start(program: &Path, nodes: [SocketAddr; 2]) -> anyhow::Result<Self> {
        let [one, other] = nodes;
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(program)
            .arg("-db")
            .arg("-f")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/reference/haproxy.cfg"))
            .env("HUBBUB_PROXY_LISTEN", address.to_string())
            .env("HUBBUB_A_LISTEN", one.to_string())
            .env("HUBBUB_B_LISTEN", other.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut child = OwnedChild::new(child);
        let mut ended = None;
        let listens = wait::blocking_try(START_DEADLINE, || {
            ended = child.exit_status();
            ended.is_some() || TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).is_ok()
        });
        if let Some(status) = ended {
            bail!("HAProxy ended: {status}");
        }
        if !listens {
            bail!("HAProxy does not listen within {START_DEADLINE:?}");
        }
        Ok(Self {
            _child: child,
            port,
        })
    }

    /// Where people connect.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

fn find() -> Option<PathBuf> {
    settings::search_path()
        .into_iter()
        .chain([PathBuf::from(SYSTEM_DIRECTORY)])
        .map(|directory| directory.join("haproxy"))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Answers as a node does: `/healthz/live` always, `/healthz/ready` while it is, and everything else with its name.
    struct Node {
        address: SocketAddr,
        is_ready: Arc<AtomicBool>,
    }

    impl Node {
        fn start(name: &'static str) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
            let address = listener.local_addr().expect("is bound");
            let is_ready = Arc::new(AtomicBool::new(true));
            let ready = Arc::clone(&is_ready);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let mut lines = BufReader::new(&stream).lines();
                    let wanted = lines.next().and_then(Result::ok).unwrap_or_default();
                    // Unread bytes at a close would reset the connection.
                    while lines
                        .next()
                        .and_then(Result::ok)
                        .is_some_and(|line| !line.is_empty())
                    {}
                    let refused = wanted.contains("/ready") && !ready.load(Ordering::SeqCst);
                    let status = if refused { "503 Not ready" } else { "200 OK" };
                    let length = name.len();
                    let _gone = write!(
                        &stream,
                        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{name}"
                    );
                }
            });
            Self { address, is_ready }
        }
    }

    /// Who answers; `None` when nobody does.
    fn ask(proxy: &HaProxy) -> Option<String> {
        let mut stream = TcpStream::connect(proxy.address()).ok()?;
        write!(stream, "GET / HTTP/1.0\r\nHost: chat\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let name = answer.strip_prefix("HTTP/1.1 200")?.lines().last()?;
        Some(name.to_owned())
    }

    #[test]
    fn whoever_is_not_ready_gets_nobody_and_when_nobody_is_ready_the_living_serve() {
        let (one, other) = (Node::start("one"), Node::start("other"));
        let Some(proxy) = HaProxy::start_or_skip([one.address, other.address]) else {
            return;
        };
        let answers = |name: &str| {
            let what = format!("{name} alone to answer");
            wait::blocking_until(wait::DEADLINE, &what, || {
                (0..8).all(|_| ask(&proxy).as_deref() == Some(name))
            });
        };
        one.is_ready.store(false, Ordering::SeqCst);
        answers("other");
        one.is_ready.store(true, Ordering::SeqCst);
        other.is_ready.store(false, Ordering::SeqCst);
        answers("one");
        one.is_ready.store(false, Ordering::SeqCst);
        wait::blocking_until(wait::DEADLINE, "both to answer all the same", || {
            let answered: Vec<_> = (0..8).filter_map(|_| ask(&proxy)).collect();
            answered.len() == 8 && answered.iter().any(|name| name != "one")
        });
    }
}
