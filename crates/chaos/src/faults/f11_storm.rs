//! F11: thousands of clients reconnect at once, without any jitter of their own. They are paced; who missed nothing costs no query;
//! bystanders go on.

use async_trait::async_trait;

use crate::figures::number;
use crate::load::Mix;
use crate::people::Crowd;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Clients; fewer in a short run.
const CLIENTS: usize = 5_000;
const CLIENTS_SHORT: usize = 1_000;
/// Of these, so many stay connected and go on.
const BYSTANDERS: usize = 100;
/// Seconds in which 99 of 100 must be back.
const BACK_S: f64 = 30.0;
/// What bystanders' writes may wait, 99 of 100, in milliseconds.
const BYSTANDERS_MS: f64 = 500.0;
/// Seconds after which the row stops waiting for those who are not back.
const PATIENCE_S: u64 = 150;

/// The row.
#[derive(Debug, Default)]
pub struct Storm;

#[async_trait]
impl Fault for Storm {
    fn id(&self) -> &'static str {
        "F11"
    }

    fn name(&self) -> &'static str {
        "5,000 clients reconnect at once"
    }

    fn expected(&self) -> &'static str {
        "paced; resume needs no query when nothing was missed"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        let clients = if bench.short { CLIENTS_SHORT } else { CLIENTS };
        course.crowd = Crowd {
            clients,
            hot_members: 200,
            conversations: 300,
        };
        course.rate = 15.0;
        course.mix = Mix {
            listeners: clients - BYSTANDERS,
            moves: 0,
            ..course.mix
        };
        course
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let nodes = world.nodes.len();
        scene.injected(std::collections::BTreeSet::new());
        let from = scene.clock.now();
        let storming: Vec<_> = scene
            .load
            .voices
            .iter()
            .take(scene.load.voices.len() - BYSTANDERS)
            .cloned()
            .collect();
        for voice in &storming {
            voice.move_to((voice.home + 1) % nodes).await;
        }
        let end = tokio::time::Instant::now() + std::time::Duration::from_secs(PATIENCE_S);
        for voice in &storming {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let _late_shows_below = voice
                .client
                .wait_for(left, hubbub_client::State::is_caught_up)
                .await;
        }
        let mut spans = Vec::with_capacity(storming.len());
        for voice in &storming {
            let notes = voice.notes();
            let back = notes.breaks.iter().rev().find(|(down, _up)| *down >= from);
            match back {
                Some((_down, up)) if notes.down_since.is_none() => spans.push(up - from),
                _not_back => spans.push(scene.clock.now() - from),
            }
        }
        let spread = crate::figures::Spread::of(spans);
        scene.note("clients", number(spread.count as u64));
        scene.note("back, median, ms", spread.median_ms);
        scene.note("back, 99 of 100, ms", spread.p99_ms);
        scene.note("back, last, ms", spread.max_ms);
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "99 of 100 back, ms",
            measured.extra("back, 99 of 100, ms"),
            BACK_S * 1_000.0,
        );
        verdict.at_most(
            "bystanders' write p99, ms",
            measured.writes.others.p99_ms,
            BYSTANDERS_MS,
        );
        verdict.must_have_happened("connections broken", measured.count("reconnects"));
    }
}
