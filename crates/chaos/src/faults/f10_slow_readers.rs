//! F10: fifty clients stop reading. Their queues are dropped to cursors, others are unharmed, and when they read again they come to the head.

use async_trait::async_trait;

use crate::figures::number;
use crate::load::Mix;
use crate::people::Crowd;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Clients that stop reading.
const SLOW: usize = 50;
/// Clients that go on.
const OTHERS: usize = 10;
/// Bytes of a message: the queues and the buffers of the system's sockets are to fill before
/// the heartbeat finds them out.
const BODY_BYTES: usize = 15_900;
/// Seconds without reading.
const SLOW_S: f64 = 26.0;
/// What a delivery may be later than before beside the tenth that the matrix allows, in milliseconds: the noise of a machine
/// that is shared with the harness.
const NOISE_MS: f64 = 250.0;

/// The row.
#[derive(Debug, Default)]
pub struct SlowReaders;

#[async_trait]
impl Fault for SlowReaders {
    fn id(&self) -> &'static str {
        "F10"
    }

    fn name(&self) -> &'static str {
        "50 clients stop reading"
    }

    fn expected(&self) -> &'static str {
        "their queues are dropped to cursors; others unharmed"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        course.crowd = Crowd {
            clients: SLOW + OTHERS,
            hot_members: SLOW + OTHERS,
            conversations: 1,
        };
        course.rate = 35.0;
        // Coming back means fetching hundreds of megabytes from unoptimised servers; the matrix sets no limit here.
        course.checker.heads = 60 * hubbub_checker::history::SECOND;
        course.mix = Mix {
            body_bytes: BODY_BYTES,
            listeners: SLOW,
            fronted: SLOW,
            ..course.mix
        };
        course
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, _world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        for front in &scene.load.fronts {
            front.hold_replies();
        }
        scene.injected(std::collections::BTreeSet::new());
        scene.last(SLOW_S).await;
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        for front in &scene.load.fronts {
            front.resume();
        }
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "others' write p99, ms",
            measured.writes.others.p99_ms,
            measured.writes.before.p99_ms * 1.1 + NOISE_MS,
        );
        verdict.must_have_happened(
            "queues dropped to cursors",
            measured.counter("edge_frames_dropped") + measured.counter("edge_resyncs"),
        );
        verdict.at_most(
            "bytes waiting on one node, most",
            number(measured.counter("edge_queued_bytes")),
            number(256 * 1024 * (SLOW + OTHERS) as u64),
        );
    }
}
