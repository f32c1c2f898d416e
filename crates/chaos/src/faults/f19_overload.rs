//! F19: four times what the cluster can take, for a minute, then as much as it can. It sheds, and recovers unaided.

use async_trait::async_trait;

use crate::figures::number;
use crate::load::Mix;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// What is offered to find out how much the cluster can take, in things a second.
const CALIBRATION_RATE: f64 = 600.0;
/// Seconds of the calibration.
const CALIBRATION_S: f64 = 8.0;
/// Times what it can take.
const OVERLOAD: f64 = 4.0;
/// Seconds of overload; fewer in a short run.
const OVERLOAD_S: f64 = 60.0;
const OVERLOAD_SHORT_S: f64 = 20.0;

/// Messages under way at which things are calm again: a second of the usual load.
const UNDER_WAY_CALM: u64 = 40;

/// The row.
#[derive(Debug, Default)]
pub struct Overload;

#[async_trait]
impl Fault for Overload {
    fn id(&self) -> &'static str {
        "F19"
    }

    fn name(&self) -> &'static str {
        "4× overload 60 s, then 1×"
    }

    fn expected(&self) -> &'static str {
        "shed by class, recovers unaided"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        // The harness must be able to offer four times as much: few listeners, nearly all sends.
        course.crowd.clients = 90;
        course.crowd.hot_members = 90;
        // The harness sees a frame when it comes to read it, which is late when it is overloaded itself.
        course.checker.after_removal = 5 * hubbub_checker::history::SECOND;
        course.mix = Mix {
            moves: 0,
            ..course.mix
        };
        course
    }

    /// Whoever is overloaded hears late.
    fn unheard_s(&self) -> u64 {
        10
    }

    async fn inject(&mut self, _world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let usual = scene.load.rate();
        let acked = scene.load.acked();
        scene.load.run_at(CALIBRATION_RATE);
        scene.last(CALIBRATION_S).await;
        let capacity = number(scene.load.acked() - acked) / CALIBRATION_S;
        scene.note("capacity, messages/s", capacity);
        scene.injected(scene.all_conversations());
        scene.load.run_at(capacity * OVERLOAD);
        let acked = scene.load.acked();
        let lasts = if scene.short {
            OVERLOAD_SHORT_S
        } else {
            OVERLOAD_S
        };
        scene.last(lasts).await;
        let goodput = number(scene.load.acked() - acked) / lasts;
        scene.note("goodput under overload, messages/s", goodput);
        scene.note(
            "goodput, percent of capacity",
            100.0 * goodput / capacity.max(1.0),
        );
        scene.load.run_at(usual);
        let from = scene.clock.now();
        scene.load.until_under_way_at_most(UNDER_WAY_CALM).await;
        scene.note(
            "calm after the overload, ms",
            crate::figures::millis(scene.clock.now() - from),
        );
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "calm after the overload, ms",
            measured.extra("calm after the overload, ms"),
            60_000.0,
        );
        verdict.at_most(
            "goodput lost, percent of capacity",
            100.0 - measured.extra("goodput, percent of capacity"),
            30.0,
        );
        verdict.remark("clients, database and servers share two cores, so what was offered cost what could have been served",
        );
        verdict.remark(
            "what is shown after a removal (I11) is held against 5 s here: frames are seen late by an overloaded harness",
        );
    }
}
