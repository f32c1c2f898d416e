//! F23: the projector stands still. Readers still see what they wrote, from the log's tail.

use std::time::Duration;

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Seconds that the projectors cannot move their checkpoints; fewer in a short run.
const BEHIND_S: f64 = 60.0;
const BEHIND_SHORT_S: f64 = 20.0;

/// The row.
#[derive(Debug, Default)]
pub struct ProjectorBehind {
    lag_max: u64,
}

#[async_trait]
impl Fault for ProjectorBehind {
    fn id(&self) -> &'static str {
        "F23"
    }

    fn name(&self) -> &'static str {
        "projector stopped or 60 s behind"
    }

    fn expected(&self) -> &'static str {
        "readers still see their writes"
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let seconds = if scene.short {
            BEHIND_SHORT_S
        } else {
            BEHIND_S
        };
        // Whoever writes a checkpoint waits for this lock; who only reads does not.
        let database = world.database().clone();
        let holding = tokio::spawn(async move {
            database
                .sql_within(
                    Duration::from_secs_f64(seconds * 2.0),
                    &format!(
                        "begin; lock table projection_checkpoint in share row exclusive mode; select pg_sleep({seconds}); commit"
                    ),
                )
                .await
        });
        scene.injected(std::collections::BTreeSet::new());
        let mut left = seconds;
        while left > 0.0 {
            scene.last(left.min(5.0)).await;
            left -= 5.0;
            self.lag_max = self
                .lag_max
                .max(world.counted("hubbub_projections_lag_events"));
        }
        holding.await??;
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.others_unharmed(measured);
        verdict.must_have_happened("events that the projectors were behind", self.lag_max);
        verdict.must_have_happened("reads meanwhile", measured.count("reads"));
    }
}
