//! The parts of a run and who sits where: started when a scenario first needs them, ended with the run.

use anyhow::Context as _;
use hubbub_testkit::nats::NatsServer;
use hubbub_testkit::pg::PgServer;
use tempfile::TempDir;
use uuid::Uuid;

use super::Plan;
use crate::floor;
use crate::load::{Ids, People, Person, Seat};
use crate::parts::{self, Charged, FloorServer, Node, NodeSettings};

/// Sockets of one person in `idle`: registering is slow by design.
const SOCKETS_PER_PERSON: usize = 20;

/// Everything that was started.
pub(crate) struct Stage<'a> {
    plan: &'a Plan,
    ids: Ids,
    // In the order in which they end: servers before what they use.
    floor: Option<Floor>,
    cluster: Option<Cluster>,
    postgres: PgServer,
}

struct Floor {
    server: FloorServer,
    database_url: String,
}

struct Cluster {
    node: Option<Node>,
    people: People,
    program: std::path::PathBuf,
    database_url: String,
    data: TempDir,
    nats: NatsServer,
}

impl<'a> Stage<'a> {
    /// Starts the database; the rest follows when it is needed.
    pub(crate) fn set(plan: &'a Plan) -> anyhow::Result<Self> {
        eprintln!("==> start a private PostgreSQL");
        let postgres = PgServer::start(&[])?;
        Ok(Self {
            plan,
            ids: Ids::new(plan.seed, u64::MAX - 1),
            floor: None,
            cluster: None,
            postgres,
        })
    }

    /// A new database beside the others.
    pub(crate) async fn database(&self, name: &str) -> anyhow::Result<String> {
        floor::create_database(&self.postgres.url(), name).await
    }

    /// Couples at the floor.
    pub(crate) async fn floor_couples(
        &mut self,
        pairs: usize,
    ) -> anyhow::Result<(Charged, Vec<(Seat, Seat)>)> {
        let (charged, url) = self.floor().await?;
        let mut couples = Vec::with_capacity(pairs);
        for _ in 0..pairs {
            let seat = Seat::at_floor(&url, self.ids.next());
            couples.push((seat.clone(), seat));
        }
        Ok((charged, couples))
    }

    /// Couples at a node, and who sends in which conversation. New conversations each time, so that counts begin at zero.
    pub(crate) async fn node_couples(
        &mut self,
        pairs: usize,
    ) -> anyhow::Result<(Charged, Vec<(Seat, Seat)>, Vec<(Person, Uuid)>)> {
        let (charged, url, people) = self.node().await?;
        let made = people.couples(pairs).await?;
        let seats = |(one, other, conversation): &(Person, Person, Uuid)| {
            (
                Seat::at_node(&url, &one.token, *conversation),
                Seat::at_node(&url, &other.token, *conversation),
            )
        };
        let couples = made.iter().map(seats).collect();
        let senders = made
            .into_iter()
            .map(|(one, _, conversation)| (one, conversation))
            .collect();
        Ok((charged, couples, senders))
    }

    /// A room at the floor.
    pub(crate) async fn floor_room(
        &mut self,
        members: usize,
    ) -> anyhow::Result<(Charged, Vec<Seat>)> {
        let (charged, url) = self.floor().await?;
        let seat = Seat::at_floor(&url, self.ids.next());
        Ok((charged, vec![seat; members]))
    }

    /// A room at a node, and its owner.
    pub(crate) async fn node_room(
        &mut self,
        members: usize,
    ) -> anyhow::Result<(Charged, Vec<Seat>, Person)> {
        let (charged, url, people) = self.node().await?;
        let (persons, room) = people.room(members).await?;
        let seats = persons
            .iter()
            .map(|person| Seat::at_node(&url, &person.token, room))
            .collect();
        let owner = persons.into_iter().next().context("a room has an owner")?;
        Ok((charged, seats, owner))
    }

    /// Sockets at a floor that was just started, two to a room.
    pub(crate) async fn fresh_floor_seats(
        &mut self,
        sockets: usize,
    ) -> anyhow::Result<(Charged, Vec<Seat>)> {
        self.floor().await?;
        if let Some(floor) = &mut self.floor {
            floor.server = FloorServer::start(&floor.database_url).await?;
        }
        let (charged, couples) = self.floor_couples(sockets.div_ceil(2)).await?;
        let seats = couples
            .into_iter()
            .flat_map(|(one, other)| [one, other])
            .take(sockets)
            .collect();
        Ok((charged, seats))
    }

    /// Sockets at a node that was just started, several to a person.
    pub(crate) async fn fresh_node_seats(
        &mut self,
        sockets: usize,
    ) -> anyhow::Result<(Charged, Vec<Seat>)> {
        let (_, _, people) = self.node().await?;
        let persons = people
            .first(sockets.div_ceil(SOCKETS_PER_PERSON))
            .await?
            .to_vec();
        if let Some(node) = self
            .cluster
            .as_mut()
            .and_then(|cluster| cluster.node.take())
        {
            node.stop();
        }
        let (charged, url, _) = self.node().await?;
        let seats = persons.iter().cycle().take(sockets);
        Ok((
            charged,
            seats
                .map(|person| Seat::at_node(&url, &person.token, Uuid::nil()))
                .collect(),
        ))
    }

    /// Every conversation holds as many messages as were acknowledged.
    pub(crate) async fn check_stored(
        &self,
        expected: Vec<(Person, Uuid, u64)>,
    ) -> anyhow::Result<()> {
        let cluster = self.cluster.as_ref().context("there is a cluster")?;
        cluster.people.check_stored(expected).await
    }

    async fn floor(&mut self) -> anyhow::Result<(Charged, String)> {
        let floor = if let Some(floor) = self.floor.take() {
            floor
        } else {
            let database_url = self.database("socket_floor").await?;
            Floor {
                server: FloorServer::start(&database_url).await?,
                database_url,
            }
        };
        let floor = self.floor.insert(floor);
        let (pid, url) = (floor.server.pid(), floor.server.url.clone());
        Ok((self.charged(pid)?, url))
    }

    async fn node(&mut self) -> anyhow::Result<(Charged, String, &mut People)> {
        let mut cluster = match self.cluster.take() {
            Some(cluster) => cluster,
            None => self.new_cluster().await?,
        };
        if cluster.node.is_none() {
            let node = cluster.start_node().await?;
            cluster.people.move_to(&node.url);
            cluster.node = Some(node);
        }
        let (pid, url) = cluster
            .node
            .as_ref()
            .map(|node| (node.pid(), node.url.clone()))
            .context("it was started")?;
        let charged = self.charged(pid)?;
        Ok((charged, url, &mut self.cluster.insert(cluster).people))
    }

    async fn new_cluster(&self) -> anyhow::Result<Cluster> {
        eprintln!("==> start NATS and a node");
        Ok(Cluster {
            node: None,
            people: People::at("", self.plan.seed)?,
            program: parts::hubbub()?,
            database_url: self.database("hubbub").await?,
            data: tempfile::tempdir().context("make a directory")?,
            nats: NatsServer::start_at(parts::nats_server()?, "")?,
        })
    }

    fn charged(&self, server: u32) -> anyhow::Result<Charged> {
        let is_node = self
            .floor
            .as_ref()
            .is_none_or(|floor| floor.server.pid() != server);
        Ok(Charged {
            server,
            postmaster: self.postgres.pid().context("PostgreSQL runs")?,
            nats: if is_node {
                parts::child_named("nats-server")
            } else {
                None
            },
        })
    }
}

impl Cluster {
    async fn start_node(&self) -> anyhow::Result<Node> {
        Node::start(NodeSettings {
            program: &self.program,
            data: self.data.path(),
            database_url: &self.database_url,
            nats_url: &self.nats.url(),
        })
        .await
    }
}
