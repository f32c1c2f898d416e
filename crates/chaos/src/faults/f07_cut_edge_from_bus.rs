//! F7: nothing passes from the bus to a node any more, then nothing from the node to the bus; no connection is closed, as when a route
//! breaks in one direction. The node notices, and its sockets are never silently stale: it follows the log, or says so.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use hubbub_client::Rest;
use hubbub_testkit::proxy::TcpProxy;
use tokio::time::Instant;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds that each direction is silent.
const SILENT_S: f64 = 20.0;
/// Seconds between the two directions.
const BETWEEN_S: f64 = 6.0;
/// How long a node may take to notice before nobody waits any longer; the limit is 10 s.
const NOTICE_DEADLINE: Duration = Duration::from_secs(30);
/// Limit of the matrix.
const NOTICED_MS_MAX: f64 = 10_000.0;
/// What an event may be late on a connection that stood all the time: the time to notice, and a look at the log.
const LATE_MS_MAX: f64 = 12_000.0;
/// What losing one link may stop writes for (P7): a node that is blind lets go of what it owns.
const WRITE_GAP_MS_MAX: f64 = 6_000.0;
/// Pause between two questions whether a node is ready.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is silent.
type Silence = (&'static str, fn(&TcpProxy));

const DIRECTIONS: [Silence; 2] = [
    ("hears_nothing", TcpProxy::swallow_replies),
    ("is_not_heard", TcpProxy::swallow_requests),
];

/// The row.
#[derive(Debug, Default)]
pub struct CutEdgeFromBus {
    swallowed: u64,
}

#[async_trait]
impl Fault for CutEdgeFromBus {
    fn id(&self) -> &'static str {
        "F7"
    }

    fn name(&self) -> &'static str {
        "partition edge ↔ NATS, each direction"
    }

    fn expected(&self) -> &'static str {
        "noticed ≤ 10 s; degraded or closed with 4503; no socket silently stale"
    }

    /// A node that hears nothing notices within ten seconds.
    fn unheard_s(&self) -> u64 {
        12
    }

    /// A node that hears nothing hears of no removal.
    fn late_removal_s(&self) -> u64 {
        self.unheard_s()
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let victim = scene.choose(world.nodes.len());
        let node = world.nodes.get(victim).context("there is such a node")?;
        let rest = Rest::new(&node.url())?;
        world.read_metrics().await;
        scene.injected(scene.all_conversations());
        scene.hits(victim);
        for (name, silence) in DIRECTIONS {
            let began = Instant::now();
            node.bus_lines.iter().for_each(silence);
            let noticed = is_ready_becomes(&rest, false).await;
            scene.note(&format!("noticed_ms_{name}"), noticed);
            scene
                .last((SILENT_S - began.elapsed().as_secs_f64()).max(0.0))
                .await;
            // Lines that lost bytes cannot be used again.
            for line in &node.bus_lines {
                line.resume();
                line.cut();
            }
            let back = is_ready_becomes(&rest, true).await;
            scene.note(&format!("back_ms_{name}"), back);
            scene.last(BETWEEN_S).await;
        }
        self.swallowed = node.bus_lines.iter().map(TcpProxy::swallowed_bytes).sum();
        Ok(())
    }

    /// Each direction was mended before the next one.
    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        for (name, _silence) in DIRECTIONS {
            let what = format!("noticed_ms_{name}");
            verdict.at_most(&what, measured.extra(&what), NOTICED_MS_MAX);
        }
        verdict.at_most(
            "late on a connection that stood, ms",
            measured.late_after.max_ms,
            LATE_MS_MAX,
        );
        verdict.at_most(
            "write gap of clients elsewhere, ms",
            measured.writes.concerned.max_ms,
            WRITE_GAP_MS_MAX,
        );
        let own = measured.writes.own_line_broke;
        verdict.remark(format!(
            "clients of the node itself waited {} ms at most: {} messages",
            own.max_ms, own.count
        ));
        verdict.must(
            measured.takeovers() == 0,
            "partitions were taken over although PostgreSQL was there",
        );
        verdict.must_have_happened("bytes swallowed", self.swallowed);
    }
}

/// Milliseconds until the node says so; the deadline when it does not.
async fn is_ready_becomes(rest: &Rest, wanted: bool) -> f64 {
    let began = Instant::now();
    while began.elapsed() < NOTICE_DEADLINE && rest.is_ready().await != wanted {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    began.elapsed().as_secs_f64() * 1_000.0
}
