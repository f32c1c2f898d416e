//! A running Hubbub: one embedded node, or the two nodes of the reference cluster (`deploy/reference`, `nats/cluster`) on one `PostgreSQL`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use hubbub_testkit::nats::{NatsCluster, Role};
use hubbub_testkit::pg::PgScratch;
use hubbub_testkit::wait::eventually;
use tokio::sync::Mutex;

use super::PATIENCE;
use super::node::Node;

/// Which of the two shapes of Hubbub runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// One process, `SQLite`, the bus inside.
    Embedded,
    /// Two processes, `PostgreSQL`, NATS.
    Cluster,
}

/// The reference settings of a cluster's node, which those below come on top of.
const NODE_REFERENCE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/reference/node.toml"
);
/// Settings of every node under test: nobody is slowed down by budgets that the case is not about.
const SETTINGS: &[&str] = &["sends_per_second=100000", "sends_burst=100000"];
/// Settings of cluster nodes: two of them share the partitions within a second or two.
const CLUSTER_SETTINGS: &[&str] = &[
    "partitions=64",
    "heartbeat_ms=250",
    "join_delay_ms=1000",
    "rebalance_percent=100",
];
/// Lines of each node that a failed case prints.
const LINES_SHOWN: usize = 60;

/// Nodes and what they stand on.
pub(crate) struct Deployment {
    // Declared first: nodes end before what they stand on.
    pub(crate) nodes: Vec<Node>,
    database: Option<PgScratch>,
    nats: Option<NatsCluster>,
}

impl Deployment {
    /// Starts one of this shape, with further settings for every node (later ones win). `None` after saying `skipped: …`
    /// when `PostgreSQL` or NATS is not there.
    pub(crate) async fn start(mode: Mode, settings: &[&str]) -> Option<Self> {
        match mode {
            Mode::Embedded => {
                let node = Node::start("embedded", set(SETTINGS.iter().chain(settings))).await;
                Some(Self {
                    nodes: vec![node],
                    database: None,
                    nats: None,
                })
            }
            Mode::Cluster => {
                let database = PgScratch::create()?;
                let nats = NatsCluster::start()?;
                Some(Self::cluster_on(database, nats, settings).await)
            }
        }
    }

    /// Two nodes on this database and this bus; returns when they share the partitions.
    pub(crate) async fn cluster_on(
        database: PgScratch,
        nats: NatsCluster,
        settings: &[&str],
    ) -> Self {
        let arguments = |name: &str| {
            let mut arguments = set(SETTINGS.iter().chain(CLUSTER_SETTINGS).chain(settings));
            let nats_url = nats.url(Role::Node);
            let urls = ["--database-url", database.url(), "--nats-url", &nats_url];
            arguments.extend(["--config", NODE_REFERENCE].map(str::to_owned));
            arguments.extend(urls.map(str::to_owned));
            arguments.extend(["--node-id", name].map(str::to_owned));
            arguments
        };
        // Both at once, as an operator's script would: the tables are made by whoever comes first.
        let (one, other) = tokio::join!(
            Node::start("node-a", arguments("node-a")),
            Node::start("node-b", arguments("node-b")),
        );
        let cluster = Self {
            nodes: vec![one, other],
            database: Some(database),
            nats: Some(nats),
        };
        cluster.wait_until_shared(25).await;
        cluster
    }

    /// The address of node `n`; in embedded mode every number means the only one.
    pub(crate) fn url(&self, n: usize) -> String {
        self.nodes[n % self.nodes.len()].url()
    }

    /// The addresses of all nodes, beginning with node `first`.
    pub(crate) fn urls_from(&self, first: usize) -> Vec<String> {
        (first..first + self.nodes.len())
            .map(|n| self.url(n))
            .collect()
    }

    /// The bus between the nodes.
    pub(crate) fn nats(&mut self) -> &mut NatsCluster {
        self.nats
            .as_mut()
            .expect("only a cluster has a bus to break")
    }

    /// Rows of the cluster's database, columns separated by `|`.
    pub(crate) fn sql(&self, query: &str) -> String {
        self.database
            .as_ref()
            .expect("only a cluster has a database to ask")
            .psql(query)
    }

    /// How many partitions each node owns, by its lasting name.
    pub(crate) fn ownership(&self) -> BTreeMap<String, usize> {
        let owned = self.sql(
            "select n.node_id, count(*) from log_partition p join node n on n.incarnation = p.owner group by 1",
        );
        owned
            .lines()
            .filter_map(|line| line.split_once('|'))
            .map(|(node, count)| (node.to_owned(), count.parse().expect("a count is a number")))
            .collect()
    }

    /// Waits until every node owns at least that share of all partitions.
    pub(crate) async fn wait_until_shared(&self, percent_min: usize) {
        let what = format!("every node to own {percent_min} % of all partitions");
        eventually(PATIENCE, &what, async || self.is_shared(percent_min)).await;
    }

    /// Like [`Self::wait_until_shared`], for nodes that may end by themselves until then: those are started again.
    pub(crate) async fn wait_until_shared_restarting(&mut self, percent_min: usize) {
        let what = format!("every node to own {percent_min} % of all partitions");
        eventually(PATIENCE, &what, async || {
            for node in &mut self.nodes {
                if node.has_ended() {
                    node.restart().await;
                }
            }
            self.is_shared(percent_min)
        })
        .await;
    }

    fn is_shared(&self, percent_min: usize) -> bool {
        let all: usize = self
            .sql("select count(*) from log_partition")
            .parse()
            .expect("a number");
        let owned = self.ownership();
        owned.values().sum::<usize>() == all
            && self.nodes.iter().all(|node| {
                owned
                    .get(node.name())
                    .is_some_and(|count| count * 100 >= all * percent_min)
            })
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

impl Deployment {
    fn tell(&self) {
        for node in &self.nodes {
            eprintln!("--- {} ---\n{}", node.name(), node.last_lines(LINES_SHOWN));
        }
    }
}

/// A deployment that cases use together while any of them runs: each registers people of its own, so they do not meet.
pub(crate) struct Shared(Mutex<Weak<Deployment>>);

/// The embedded node that cases share.
pub(crate) static EMBEDDED: Shared = Shared(Mutex::const_new(Weak::new()));
/// The cluster that cases share.
pub(crate) static CLUSTER: Shared = Shared(Mutex::const_new(Weak::new()));

/// One case's hold on a shared deployment; a case that fails prints the last lines of the nodes.
pub(crate) struct World {
    pub(crate) mode: Mode,
    deployment: Arc<Deployment>,
}

impl World {
    /// Joins the shared deployment of this mode, or starts it. `None` after saying `skipped: …`.
    pub(crate) async fn join(mode: Mode) -> Option<Self> {
        let shared = match mode {
            Mode::Embedded => &EMBEDDED,
            Mode::Cluster => &CLUSTER,
        };
        let mut current = shared.0.lock().await;
        if let Some(deployment) = current.upgrade() {
            return Some(Self { mode, deployment });
        }
        let deployment = Arc::new(Deployment::start(mode, &[]).await?);
        *current = Arc::downgrade(&deployment);
        Some(Self { mode, deployment })
    }
}

impl std::ops::Deref for World {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The last hold drops the deployment itself, which tells then.
        if std::thread::panicking() && Arc::strong_count(&self.deployment) > 1 {
            self.deployment.tell();
        }
    }
}

fn set<'a>(settings: impl Iterator<Item = &'a &'a str>) -> Vec<String> {
    settings
        .flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()])
        .collect()
}
