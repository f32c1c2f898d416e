//! The reference cluster of `nats/cluster/`: three servers that know each other, roles with passwords, started from
//! exactly those files with addresses and passwords of this run.
//!
//! Never: a copy of the configuration, an account that the reference does not have.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::NatsServer;
use crate::{free_port, fresh_uuid, settings, wait};

/// Servers of the reference cluster.
const SERVERS: usize = 3;
/// How long the servers may take to find each other; they try once a second.
const WHOLE_DEADLINE: Duration = Duration::from_secs(30);
/// Somebody else may take one of nine free ports before us; so often nine others are tried.
const PORT_TRIES: usize = 5;
/// How long a server may take to tell of its routes.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Who connects: the users of `nats/cluster/common.conf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A Hubbub node.
    Node,
    /// Monitoring, which hears heads and says nothing.
    Watch,
    /// The operator, in the system account.
    System,
}

/// Three running servers. Dropping it kills them.
#[derive(Debug)]
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    monitors: Vec<SocketAddr>,
    passwords: Passwords,
}

/// Fresh ones for every run.
#[derive(Clone)]
struct Passwords {
    route: String,
    node: String,
    watch: String,
    system: String,
}

/// The ports of one server.
#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    routes: u16,
    monitor: u16,
}

impl NatsCluster {
    /// Starts three servers of `HUBBUB_TEST_NATS_BIN` and waits until each has found the others.
    ///
    /// `None` after printing `skipped: …` when the variable is unset. Blocks for a second or two.
    ///
    /// # Panics
    /// When the cluster does not start, and when the variable is missing although `HUBBUB_TEST_REQUIRE` is `1`.
    pub fn start() -> Option<Self> {
        let binary = settings::read_or_skip(settings::NATS_BIN, "nats-server")?;
        match Self::start_at(Path::new(&binary)) {
            Ok(cluster) => Some(cluster),
            Err(error) => panic!("no NATS cluster: {error:#}"),
        }
    }

    /// Starts three servers of this binary.
    ///
    /// # Errors
    /// When one of them does not greet, or they have not found each other within 30 s; the error carries a log.
    pub fn start_at(binary: &Path) -> anyhow::Result<Self> {
        let passwords = Passwords::fresh();
        for _ in 0..PORT_TRIES {
            if let Some(cluster) = Self::try_start(binary, &passwords)? {
                cluster.wait_until_whole(WHOLE_DEADLINE)?;
                return Ok(cluster);
            }
        }
        bail!("no nine free ports in {PORT_TRIES} tries")
    }

    /// URLs of all three with the credentials of `role`, separated by commas as `nats_url` wants them.
    pub fn url(&self, role: Role) -> String {
        self.url_at(role, &self.addresses())
    }

    /// The URL of server `n` (0 to 2) alone, with the credentials of `role`.
    pub fn url_of(&self, n: usize, role: Role) -> String {
        self.url_at(role, &[self.servers[n].address()])
    }

    /// Like [`url`](Self::url) at other addresses: of fault proxies in front of the servers.
    pub fn url_at(&self, role: Role, addresses: &[SocketAddr]) -> String {
        let user = role.user();
        let password = self.password(role);
        let urls: Vec<String> = addresses
            .iter()
            .map(|address| format!("nats://{user}:{password}@{address}"))
            .collect();
        urls.join(",")
    }

    /// The password of a role.
    pub fn password(&self, role: Role) -> &str {
        match role {
            Role::Node => &self.passwords.node,
            Role::Watch => &self.passwords.watch,
            Role::System => &self.passwords.system,
        }
    }

    /// Where clients reach the servers; the addresses stay over a restart.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(NatsServer::address).collect()
    }

    /// Where `/healthz` and `/routez` of each server are.
    pub fn monitors(&self) -> &[SocketAddr] {
        &self.monitors
    }

    /// One server (0 to 2), to be killed, restarted, suspended, resumed.
    pub fn server(&mut self, n: usize) -> &mut NatsServer {
        &mut self.servers[n]
    }

    /// `kill -9` of all three.
    pub fn kill_all(&mut self) {
        for server in &mut self.servers {
            server.kill();
        }
    }

    /// Starts again whichever server does not run, and waits until the cluster is whole.
    ///
    /// # Errors
    /// When they have not found each other within 30 s.
    ///
    /// # Panics
    /// When a server does not greet within 30 s.
    pub fn restart_all(&mut self) -> anyhow::Result<()> {
        for server in &mut self.servers {
            if !server.is_running() {
                server.restart();
            }
        }
        self.wait_until_whole(WHOLE_DEADLINE)
    }

    /// Waits until every server that runs has a route to every other that runs.
    ///
    /// # Errors
    /// When that is not so after `deadline`; the error names how many neighbours each sees.
    pub fn wait_until_whole(&self, deadline: Duration) -> anyhow::Result<()> {
        let running = self.servers.iter().filter(|s| s.is_running()).count();
        let neighbours = || {
            let running = self.servers.iter().zip(&self.monitors);
            running
                .filter(|(server, _)| server.is_running())
                .map(|(_, monitor)| neighbours(*monitor))
        };
        let whole = || neighbours().all(|seen| seen + 1 >= running);
        if wait::blocking_try(deadline, whole) {
            return Ok(());
        }
        let seen: Vec<usize> = neighbours().collect();
        let log = self.servers.first().map(NatsServer::log);
        bail!(
            "the servers have not found each other within {deadline:?}: neighbours {seen:?}\n{}",
            log.unwrap_or_default()
        )
    }

    /// `None` when a port was taken.
    fn try_start(binary: &Path, passwords: &Passwords) -> anyhow::Result<Option<Self>> {
        let ports: [Ports; SERVERS] = std::array::from_fn(|_| Ports {
            clients: free_port(),
            routes: free_port(),
            monitor: free_port(),
        });
        let environment = environment(&ports, passwords);
        let mut servers = Vec::with_capacity(SERVERS);
        for (n, ports) in ports.iter().enumerate() {
            let config = reference().join(format!("n{}.conf", n + 1));
            let mut server = NatsServer::prepare(
                binary.to_owned(),
                config,
                environment.clone(),
                ports.clients,
            )?;
            if !server.try_start()? {
                if server.log().contains("address already in use") {
                    return Ok(None);
                }
                bail!("server {} ended:\n{}", n + 1, server.log());
            }
            servers.push(server);
        }
        Ok(Some(Self {
            servers,
            monitors: ports.iter().map(|ports| local(ports.monitor)).collect(),
            passwords: passwords.clone(),
        }))
    }
}

impl Role {
    /// The name it connects with.
    pub fn user(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Watch => "watch",
            Self::System => "system",
        }
    }
}

impl Passwords {
    fn fresh() -> Self {
        // A letter first: the server reads a variable as it reads its configuration, where digits begin a number.
        let one = || format!("p{}", fresh_uuid().simple());
        Self {
            route: one(),
            node: one(),
            watch: one(),
            system: one(),
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

/// `nats/cluster/` of the repository.
fn reference() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nats/cluster")
}

/// The variables of `cluster.env.example`.
fn environment(ports: &[Ports], passwords: &Passwords) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut set = |name: String, value: String| variables.push((name, value));
    let mut routes = Vec::new();
    for (n, ports) in (1..).zip(ports) {
        set(
            format!("NATS_N{n}_LISTEN"),
            local(ports.clients).to_string(),
        );
        set(
            format!("NATS_N{n}_CLUSTER"),
            local(ports.routes).to_string(),
        );
        set(
            format!("NATS_N{n}_MONITOR"),
            local(ports.monitor).to_string(),
        );
        let (password, address) = (&passwords.route, local(ports.routes));
        routes.push(format!("\"nats-route://route:{password}@{address}\""));
    }
    set("NATS_ROUTES".to_owned(), format!("[{}]", routes.join(", ")));
    for (name, value) in [
        ("NATS_ROUTE_PASSWORD", &passwords.route),
        ("NATS_NODE_PASSWORD", &passwords.node),
        ("NATS_WATCH_PASSWORD", &passwords.watch),
        ("NATS_SYSTEM_PASSWORD", &passwords.system),
    ] {
        set(name.to_owned(), value.clone());
    }
    variables
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// How many other servers this one has a route to; 0 when it does not tell.
fn neighbours(monitor: SocketAddr) -> usize {
    let routes = get(monitor, "/routez").unwrap_or_default();
    // A pool of connections leads to each neighbour; they are told apart by its name.
    let names = routes
        .split("\"remote_name\": \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    names.collect::<std::collections::BTreeSet<_>>().len()
}

/// The answer to a plain GET, with its head.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, MONITOR_TIMEOUT).context("connect")?;
    stream.set_read_timeout(Some(MONITOR_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("read")?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_of_the_example_is_set_and_no_other() {
        let ports = [Ports {
            clients: 1,
            routes: 2,
            monitor: 3,
        }; SERVERS];
        let mut set: Vec<String> = environment(&ports, &Passwords::fresh())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let example =
            std::fs::read_to_string(reference().join("cluster.env.example")).expect("is there");
        let mut wanted: Vec<String> = example
            .lines()
            .filter(|line| line.starts_with("NATS_"))
            .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
            .collect();
        set.sort();
        wanted.sort();
        assert_eq!(set, wanted);
    }

    #[test]
    fn a_cluster_is_whole_again_after_a_kill_and_the_addresses_stay() {
        let Some(mut cluster) = NatsCluster::start() else {
            return;
        };
        let addresses = cluster.addresses();
        assert_eq!(neighbours(cluster.monitors()[0]), 2);

        cluster.server(1).kill();
        let fewer = || neighbours(cluster.monitors()[0]) == 1;
        wait::blocking_until(wait::DEADLINE, "the others to miss it", fewer);
        cluster
            .wait_until_whole(WHOLE_DEADLINE)
            .expect("two make do");

        cluster.restart_all().expect("is whole");
        assert_eq!(cluster.addresses(), addresses);
        assert_eq!(neighbours(cluster.monitors()[1]), 2);
    }

    #[test]
    fn a_suspended_server_is_left_by_its_neighbours() {
        let Some(mut cluster) = NatsCluster::start() else {
            return;
        };
        cluster.server(2).suspend();
        let left = || neighbours(cluster.monitors()[0]) == 1;
        wait::blocking_until(wait::DEADLINE, "a silent route to be given up", left);
        cluster.server(2).resume();
        cluster.wait_until_whole(wait::DEADLINE).expect("is whole");
    }

    #[test]
    fn a_debug_line_shows_no_password() {
        let line = format!("{:?}", Passwords::fresh());
        assert_eq!(line, "Passwords");
    }
}
