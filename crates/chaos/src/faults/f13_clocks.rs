//! F13: the clocks of two nodes are wrong: one an hour and five minutes ahead, one behind. Order and ownership do not notice, for they live by the
//! database's clock and by monotone ones.

use std::path::Path;

use anyhow::Context as _;
use async_trait::async_trait;

use crate::figures::number;
use crate::row::{Course, Fault, Measured, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;

/// Where the Debian package `libfaketime` puts its library.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
/// Seconds that each pair of offsets lasts.
const WRONG_S: f64 = 8.0;

/// Milliseconds by which an event must be dated wrong to count as such: half of the largest offset, and far more than a row lasts.
const DATED_WRONG_MS: u64 = 1_800_000;
/// What a write may wait, in milliseconds: nobody is to notice.
const GAP_MS: f64 = 1_000.0;

/// The row.
#[derive(Debug, Default)]
pub struct Clocks {
    dated_wrong: u64,
}

#[async_trait]
impl Fault for Clocks {
    fn id(&self) -> &'static str {
        "F13"
    }

    fn name(&self) -> &'static str {
        "clock ± 5 min, ± 1 h"
    }

    fn expected(&self) -> &'static str {
        "order and ownership unaffected"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        // Nobody moves by choice: a connection that ends while the clocks are wrong was ended by them.
        course.mix.moves = 0;
        course
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let library = LIBRARIES
            .iter()
            .find(|library| Path::new(library).is_file())
            .context("libfaketime is not installed (Debian package libfaketime)")?;
        // A library that reads the offset from a file lets the clock jump while the node runs; two restarts put it in.
        let mut files = Vec::new();
        for n in 0..2 {
            let file = world.nodes[n].data().join("faketime");
            std::fs::write(&file, "+0")?;
            let plan = world.nodes[n].plan_mut();
            for (name, value) in [
                ("LD_PRELOAD", *library),
                ("FAKETIME_TIMESTAMP_FILE", &file.to_string_lossy()),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("DONT_FAKE_MONOTONIC", "1"),
            ] {
                plan.environment.push((name.to_owned(), value.to_owned()));
            }
            world.nodes[n].terminate();
            while world.nodes[n].exit_status().is_none() {
                scene.last(1.0).await;
            }
            world.start_node_again(n).await?;
            files.push(file);
        }
        world.wait_until_shared().await?;
        let hands = world.changes_of_hands().await?;
        let reconnects = scene.load.reconnects();
        let began = world.database_time().await?;
        scene.injected(std::collections::BTreeSet::new());
        for (one, other) in [
            ("+5m", "-5m"),
            ("+60m", "-60m"),
            ("-60m", "+60m"),
            ("+0", "+0"),
        ] {
            for (file, offset) in files.iter().zip([one, other]) {
                std::fs::write(file, offset)?;
            }
            scene.last(WRONG_S).await;
        }
        let after = world.changes_of_hands().await?;
        let taken = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.get("takeover").copied().unwrap_or(0)
        };
        scene.note(
            "takeovers while clocks were wrong",
            number(taken(&after) - taken(&hands)),
        );
        scene.note(
            "connections lost while clocks were wrong",
            number(scene.load.reconnects() - reconnects),
        );
        let now = world.database_time().await?;
        let dated_wrong = world
            .database()
            .number(&format!(
                "select count(*) from event_log where at > {} or (at < {} and at > 0)",
                now + DATED_WRONG_MS,
                began.saturating_sub(DATED_WRONG_MS),
            ))
            .await?;
        self.dated_wrong = dated_wrong;
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        for what in [
            "takeovers while clocks were wrong",
            "connections lost while clocks were wrong",
        ] {
            verdict.at_most(what, measured.extra(what), 0.0);
        }
        verdict.at_most(
            "write gap, others, ms",
            measured.writes.others.max_ms,
            GAP_MS,
        );
        verdict.must_have_happened("events dated by a wrong clock", self.dated_wrong);
    }
}
