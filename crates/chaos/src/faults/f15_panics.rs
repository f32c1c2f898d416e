//! F15: commands that panic their actor, a hundred times. The caller gets an error, neighbours do not notice, no process ends.

use async_trait::async_trait;

use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Commands that panic.
const PANICS: usize = 100;
/// Conversations that they are sent to: one that fails three times is put into quarantine.
const VICTIMS: usize = 34;
/// The body that panics an actor, in a build with fault points.
const BODY: &str = "fault:panic";

/// The row.
#[derive(Debug, Default)]
pub struct Panics {
    errors: u64,
    acks: u64,
    processes_ended: u64,
    conversations: Vec<uuid::Uuid>,
}

#[async_trait]
impl Fault for Panics {
    fn id(&self) -> &'static str {
        "F15"
    }

    fn name(&self) -> &'static str {
        "a command that panics the actor, 100×"
    }

    fn expected(&self) -> &'static str {
        "caller gets an error; neighbours unaffected"
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        for n in 0..VICTIMS {
            let made = scene.load.aside(n).await?;
            self.conversations.push(made);
        }
        scene.injected(std::collections::BTreeSet::new());
        let from = scene.clock.now();
        let mut left = PANICS;
        while left > 0 {
            // Each conversation once at a time, all of them together: an error may come only at the deadline.
            let load = &scene.load;
            let asked = self.conversations.iter().take(left).enumerate();
            let saying = asked.map(|(n, conversation)| load.say_once(n, *conversation, BODY));
            let answers = futures_util::future::join_all(saying).await;
            left -= answers.len();
            let acks = answers.iter().filter(|acked| **acked).count();
            self.acks += acks as u64;
            self.errors += (answers.len() - acks) as u64;
        }
        scene.note(
            "all callers had their error after, ms",
            crate::figures::millis(scene.clock.now() - from),
        );
        scene.last(2.0).await;
        for node in &mut world.nodes {
            self.processes_ended += u64::from(node.exit_status().is_some());
        }
        Ok(())
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.others_unharmed(measured);
        verdict.must_be_none("processes ended", self.processes_ended);
        verdict.must_be_none("commands acked that panicked", self.acks);
        verdict.must_have_happened("callers that got an error", self.errors);
        verdict.must_have_happened("panics caught", measured.counter("actors_panics"));
    }
}
