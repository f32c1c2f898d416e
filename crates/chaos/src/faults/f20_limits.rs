//! F20: a node may open no more descriptors, and more people come than it has places for. New connections are refused; whoever is connected
//! stays, and once there is room again, people are let in without a restart.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Descriptors that the node may open beyond those it has: a crowd at the door takes them at once.
const DESCRIPTORS_SPARE: u64 = 8;
/// Connections that knock at a node without descriptors.
const KNOCKS: usize = 60;
/// How long one may wait for an answer before it counts as refused.
const ANSWER_DEADLINE: Duration = Duration::from_secs(3);
/// Seconds of load at each limit.
const LIMITED_S: f64 = 8.0;
/// How long people may have to wait once there is room; the limit of other rows.
const BACK_MS_MAX: f64 = 10_000.0;
/// Places of a node beyond its share of the clients, whose connections come and go between nodes.
const PLACES_SPARE: usize = 40;

/// The row.
#[derive(Debug, Default)]
pub struct Limits;

#[async_trait]
impl Fault for Limits {
    fn id(&self) -> &'static str {
        "F20"
    }

    fn name(&self) -> &'static str {
        "descriptor and memory limits"
    }

    fn expected(&self) -> &'static str {
        "new sockets refused, old kept"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        // Nobody moves by choice: a connection that breaks was broken.
        course.mix.moves = 0;
        let places = course.crowd.clients / course.shape.nodes.max(1) + PLACES_SPARE;
        course.shape.settings.push(format!("connections={places}"));
        course
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let victim = scene.choose(world.nodes.len());
        let node = world.nodes.get(victim).context("there is such a node")?;
        let broken_before = reconnects(scene);
        // It concerns nobody who is connected.
        scene.injected(std::collections::BTreeSet::new());

        // As many places as the budget of memory allows: the crowd takes what is left, and more.
        let crowd = knock(node.address(), scene.load.voices.len()).await;
        scene.note("refused_by_the_budget", crowd.refused);
        scene.note(
            "answered_within_the_budget",
            f64::from(u32::try_from(crowd.connections.len())?),
        );
        scene.last(LIMITED_S).await;
        drop(crowd);
        scene.note(
            "back_ms_after_the_budget",
            until_answered(node.address()).await,
        );

        let open = node.open_descriptors()?;
        let allowed = node.limit_descriptors(Some(open + DESCRIPTORS_SPARE))?;
        let crowd = knock(node.address(), KNOCKS).await;
        scene.note("refused_without_descriptors", crowd.refused);
        scene.last(LIMITED_S).await;
        drop(crowd);
        node.limit_descriptors(allowed)?;
        scene.note(
            "back_ms_after_the_descriptors",
            until_answered(node.address()).await,
        );
        scene.note(
            "connections_broken",
            crate::figures::number(reconnects(scene) - broken_before),
        );
        Ok(())
    }

    /// Both limits were lifted.
    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "connections dropped",
            measured.extra("connections_broken"),
            0.0,
        );
        for limit in ["budget", "descriptors"] {
            let what = format!("back_ms_after_the_{limit}");
            verdict.at_most(&what, measured.extra(&what), BACK_MS_MAX);
        }
        verdict.must(
            measured.extra("refused_by_the_budget") > 0.0,
            "nobody was refused although all places were taken",
        );
        verdict.must(
            measured.extra("refused_without_descriptors") > 0.0,
            "nobody was refused although there were no descriptors",
        );
        verdict.others_unharmed(measured);
        verdict.remark(
            "memory is bounded by places, each with bounded queues; a process that the system refuses memory ends, which is F1",
        );
    }
}

/// People at the door: those who were answered keep their connection until this is dropped.
struct Crowd {
    refused: f64,
    connections: Vec<TcpStream>,
}

/// So many connections at once, each asking one thing and staying.
async fn knock(address: SocketAddr, count: usize) -> Crowd {
    let asking = (0..count).map(|_| tokio::spawn(async move { ask(address).await }));
    let asking: Vec<_> = asking.collect();
    let mut crowd = Crowd {
        refused: 0.0,
        connections: Vec::new(),
    };
    for one in asking {
        match one.await {
            Ok(Some(connection)) => crowd.connections.push(connection),
            Ok(None) | Err(_) => crowd.refused += 1.0,
        }
    }
    crowd
}

/// The connection, when it was answered.
async fn ask(address: SocketAddr) -> Option<TcpStream> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET /healthz/live HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.ok()?;
        (&answer == b"HTTP/1.1 200").then_some(stream)
    };
    timeout(ANSWER_DEADLINE, asking).await.ok().flatten()
}

/// Milliseconds until a new connection is answered; far beyond the limit when it never is.
async fn until_answered(address: SocketAddr) -> f64 {
    let began = Instant::now();
    while began.elapsed().as_secs_f64() * 1_000.0 < 3.0 * BACK_MS_MAX {
        if ask(address).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed().as_secs_f64() * 1_000.0
}

/// How often a client had to connect again so far.
fn reconnects(scene: &Scene) -> u64 {
    scene
        .load
        .voices
        .iter()
        .map(|voice| voice.notes().reconnects)
        .sum()
}
