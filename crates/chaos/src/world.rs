//! What a row runs against: `PostgreSQL`, three bus servers as a cluster, three nodes, and every line between them.
//!
//! Dropping a [`World`] ends every process in it by its id, after a panic and after Ctrl-C too.

pub mod database;
pub mod metrics;
pub mod node;
pub mod postgres;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubbub_testkit::nats::{NatsCluster, Role};
use hubbub_testkit::pg::PgServer;
use hubbub_testkit::proxy::TcpProxy;
use hubbub_testkit::settings;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::world::database::Database;
use crate::world::metrics::Reading;
use crate::world::node::{Node, NodePlan, START_DEADLINE};

/// The reference settings of a node, which those below come on top of.
const NODE_REFERENCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/reference/node.toml"
);
/// Settings of every node: nobody is slowed down by budgets, and three nodes share the partitions within seconds. The lease
/// and the heartbeat are the product's own, for they decide how long a takeover takes.
const NODE_SETTINGS: &[&str] = &[
    "partitions=64",
    "join_delay_ms=1000",
    "rebalance_percent=100",
    "sends_per_second=100000",
    "sends_burst=100000",
];
/// Share of the partitions, in percent, that every node owns before a run begins.
const SHARE_PERCENT_MIN: usize = 20;
/// Time between two readings of a node's metrics.
const READ_METRICS_EVERY: Duration = Duration::from_secs(1);
/// Pause between two looks at ownership.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a row wants to run against.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes.
    pub nodes: usize,
    /// Further settings of every node; later ones win.
    pub settings: Vec<String>,
    /// Environment of every node.
    pub environment: Vec<(String, String)>,
    /// Environment of single nodes, on top of that of all.
    pub environment_of: BTreeMap<usize, Vec<(String, String)>>,
    /// Lines of `postgresql.conf`.
    pub database_settings: Vec<(String, String)>,
    /// A disk that holds the nodes' tables and nothing else of the database server.
    pub heap_disk: Option<PathBuf>,
    /// A disk that holds the database server's write-ahead log.
    pub wal_disk: Option<PathBuf>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            nodes: 3,
            settings: Vec::new(),
            environment: Vec::new(),
            environment_of: BTreeMap::new(),
            database_settings: Vec::new(),
            heap_disk: None,
            wal_disk: None,
        }
    }
}

/// Last readings by node name and start.
type Readings = Arc<Mutex<BTreeMap<(String, usize), Reading>>>;
/// Which metrics are to be read: node name, start, address.
type Targets = Arc<Mutex<Vec<(String, usize, SocketAddr)>>>;

/// Everything that runs.
#[derive(Debug)]
pub struct World {
    // Declared in the order in which they end: nodes before what they stand on.
    /// The nodes; an ended one stays in its place.
    pub nodes: Vec<Node>,
    /// The three bus servers, with the reference configuration of `nats/cluster`.
    pub buses: NatsCluster,
    /// The database server.
    pub postgres: PgServer,
    database: Database,
    readings: Readings,
    targets: Targets,
    reading: JoinHandle<()>,
}

impl World {
    /// Starts everything and returns when the nodes share the partitions.
    ///
    /// # Errors
    /// When a part is not installed or does not start.
    pub async fn start(binary: PathBuf, shape: &Shape) -> anyhow::Result<Self> {
        let (postgres, database) = postgres::start(shape).await?;
        let buses = tokio::task::block_in_place(start_buses)?;
        let mut nodes = Vec::with_capacity(shape.nodes);
        for n in 0..shape.nodes {
            nodes.push(start_node(n, &binary, shape, &postgres, &database, &buses).await?);
        }
        for node in &mut nodes {
            node.ready().await?;
        }
        let (readings, targets) = (Readings::default(), Targets::default());
        let reading = tokio::spawn(keep_reading(Arc::clone(&readings), Arc::clone(&targets)));
        let world = Self {
            nodes,
            buses,
            postgres,
            database,
            readings,
            targets,
            reading,
        };
        world.watch_metrics();
        world.wait_until_shared().await?;
        Ok(world)
    }

    /// Looks behind the nodes' backs.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Addresses of all nodes, beginning with node `first`.
    pub fn urls_from(&self, first: usize) -> Vec<String> {
        (first..first + self.nodes.len())
            .filter_map(|n| self.nodes.get(n % self.nodes.len()))
            .map(Node::url)
            .collect()
    }

    /// Reads the metrics of the nodes as they are now; to be called after a node was started again.
    pub fn watch_metrics(&self) {
        let now = self
            .nodes
            .iter()
            .map(|node| (node.name().to_owned(), node.starts, node.metrics_address()))
            .collect();
        *self.targets.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Kills a node (`kill -9`), its counters saved as far as the last second.
    pub fn kill_node(&mut self, n: usize) {
        if let Some(node) = self.nodes.get_mut(n) {
            node.kill();
        }
    }

    /// Starts a node again and waits until it serves.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub async fn start_node_again(&mut self, n: usize) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(n).context("there is such a node")?;
        node.start_again()?;
        node.ready().await?;
        self.watch_metrics();
        Ok(())
    }

    /// What a counter says, summed over all nodes and all their starts.
    pub fn counted(&self, metric: &str) -> u64 {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let sum: f64 = readings
            .values()
            .filter_map(|reading| reading.get(metric))
            .sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counters are whole, not negative, and far below 2^53"
        )]
        let whole = sum as u64;
        whole
    }

    /// Reads all metrics once more, now.
    pub async fn read_metrics(&self) {
        read_all(&self.readings, &self.targets).await;
    }

    /// How many partitions each node owns, by its lasting name.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn ownership(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let owned = self
            .database
            .sql("select n.node_id, count(*) from log_partition p join node n on n.incarnation = p.owner group by 1")
            .await?;
        let mut counts = BTreeMap::new();
        for line in owned.lines() {
            let (node, count) = line.split_once('|').context("two columns")?;
            counts.insert(node.to_owned(), count.parse().context("a count")?);
        }
        Ok(counts)
    }

    /// The conversations whose partition this node owns now.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn conversations_of_node(&self, n: usize) -> anyhow::Result<BTreeSet<Uuid>> {
        let name = self
            .nodes
            .get(n)
            .context("there is such a node")?
            .name()
            .to_owned();
        let owned = self
            .database
            .sql(&format!(
                "select distinct e.conversation_id from event_log e join log_partition p on p.partition = e.partition \
                 join node n on n.incarnation = p.owner where n.node_id = '{name}'"
            ))
            .await?;
        owned
            .lines()
            .map(|id| id.parse().context("an id"))
            .collect()
    }

    /// The node that owns this conversation now; `None` while nobody does.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn owner_of(&self, conversation: Uuid) -> anyhow::Result<Option<usize>> {
        let name = self
            .database
            .sql(&format!(
                "select distinct n.node_id from event_log e join log_partition p on p.partition = e.partition \
                 join node n on n.incarnation = p.owner where e.conversation_id = '{conversation}'"
            ))
            .await?;
        Ok(self.nodes.iter().position(|node| node.name() == name))
    }

    /// How often partitions have changed hands, by reason: the rows of the lineage.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn changes_of_hands(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let rows = self
            .database
            .sql("select reason, count(*) from log_epoch group by 1")
            .await?;
        let mut counts = BTreeMap::new();
        for line in rows.lines() {
            let (reason, count) = line.split_once('|').context("two columns")?;
            counts.insert(reason.to_owned(), count.parse().context("a count")?);
        }
        Ok(counts)
    }

    /// How often, in seconds of the database's clock with at least one takeover, partitions were taken over since then
    /// (milliseconds since 1970): a takeover of many partitions at once counts once.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn takeover_moments(&self, since_ms: u64) -> anyhow::Result<u64> {
        self.database
            .number(&format!(
                "select count(distinct (owner, at / 1000)) from log_epoch where reason = 'takeover' and at > {since_ms}"
            ))
            .await
    }

    /// Milliseconds since 1970 by the database's clock.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn database_time(&self) -> anyhow::Result<u64> {
        self.database
            .number("select (extract(epoch from clock_timestamp()) * 1000)::bigint")
            .await
    }

    /// Whether every partition is owned by a node whose heart beats.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn all_owned(&self) -> anyhow::Result<bool> {
        let orphans = self
            .database
            .number(
                "select count(*) from log_partition p left join node n on n.incarnation = p.owner \
                 where p.owner is null or n.incarnation is null or n.last_seen < now() - interval '4 seconds'",
            )
            .await?;
        Ok(orphans == 0)
    }

    /// Waits until every node owns its share.
    ///
    /// # Errors
    /// When that takes longer than a start may.
    pub async fn wait_until_shared(&self) -> anyhow::Result<()> {
        let all = usize::try_from(
            self.database
                .number("select count(*) from log_partition")
                .await?,
        )?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let owned = self.ownership().await?;
            let shared = owned.values().sum::<usize>() == all
                && self.nodes.iter().all(|node| {
                    owned
                        .get(node.name())
                        .is_some_and(|count| count * 100 >= all * SHARE_PERCENT_MIN)
                });
            if shared {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the nodes do not share the partitions: {owned:?}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Last lines of every node, for whoever looks into a failed run.
    pub fn last_words(&self, lines: usize) -> String {
        let mut words = String::new();
        for node in &self.nodes {
            words.push_str("--- ");
            words.push_str(node.name());
            words.push_str(" ---\n");
            words.push_str(&node.last_lines(lines));
            words.push('\n');
        }
        words
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn start_node(
    n: usize,
    binary: &std::path::Path,
    shape: &Shape,
    postgres: &PgServer,
    database: &Database,
    buses: &NatsCluster,
) -> anyhow::Result<Node> {
    let name = format!("node-{}", n + 1);
    let to_database = TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], postgres.port()))).await?;
    let mut to_buses = Vec::new();
    for address in buses.addresses() {
        to_buses.push(TcpProxy::start(address).await?);
    }
    // Each node has a server of its own as the first choice.
    let mut addresses: Vec<SocketAddr> = to_buses.iter().map(TcpProxy::listen_addr).collect();
    let servers = addresses.len().max(1);
    addresses.rotate_left(n % servers);
    let mut all = NODE_SETTINGS
        .iter()
        .map(|&pair| pair.to_owned())
        .collect::<Vec<_>>();
    all.extend(shape.settings.iter().cloned());
    let plan = NodePlan {
        binary: binary.to_owned(),
        settings: all,
        arguments: [
            "--config",
            NODE_REFERENCE,
            "--node-id",
            &name,
            "--database-url",
            &to_database.url_through(database.url()),
            "--nats-url",
            &buses.url_at(Role::Node, &addresses),
        ]
        .map(str::to_owned)
        .to_vec(),
        environment: [
            &shape.environment[..],
            shape.environment_of.get(&n).map_or(&[], Vec::as_slice),
        ]
        .concat(),
    };
    Node::start(&name, plan, Some(to_database), to_buses)
}

fn start_buses() -> anyhow::Result<NatsCluster> {
    let binary = settings::read(settings::NATS_BIN).with_context(|| {
        let variable = settings::NATS_BIN;
        format!("{variable} names no nats-server; `cargo xtask chaos` sets it")
    })?;
    NatsCluster::start_at(&PathBuf::from(binary))
}

async fn keep_reading(readings: Readings, targets: Targets) {
    loop {
        read_all(&readings, &targets).await;
        tokio::time::sleep(READ_METRICS_EVERY).await;
    }
}

async fn read_all(readings: &Readings, targets: &Targets) {
    let now = targets
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    for (name, starts, address) in now {
        if let Some(reading) = metrics::read(address).await {
            readings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((name, starts), reading);
        }
    }
}
