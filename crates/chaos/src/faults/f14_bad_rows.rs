//! F14: rows of the log that cannot be read: corrupt, of a future version, of an unknown kind. Only the conversations that they stand in stop
//! being written; everything else runs.

use anyhow::ensure;
use async_trait::async_trait;
use uuid::Uuid;

use crate::figures::number;
use crate::row::{Fault, Measured, Verdict};
use crate::scene::Scene;
use crate::world::World;

/// Conversations beside the load: three get a bad row, the rest is healthy.
const ASIDE: usize = 18;
/// What is done to the last row of each, and its name.
const DAMAGE: [(&str, &str); 3] = [
    (
        "corrupt",
        "meta = set_byte(meta, 0, 255 - get_byte(meta, 0))",
    ),
    ("future", "ver = 99"),
    ("unknown", "kind = 250"),
];
/// What is said in each conversation: all but the last before there is a bad row, the last behind it.
const WORDS: [&str; 4] = ["one", "two", "three", "four"];
/// Seconds until the dead owner's partitions are served by others.
const TAKEOVER_S: f64 = 9.0;

/// The row.
#[derive(Debug, Default)]
pub struct BadRows {
    bad_acks: u64,
    bad_errors: u64,
    healthy_errors: u64,
    reported: u64,
    /// Healthy conversations that every node gave back whole, and those that not every one did.
    read_back: u64,
    not_read_back: u64,
    victim: usize,
}

#[async_trait]
impl Fault for BadRows {
    fn id(&self) -> &'static str {
        "F14"
    }

    fn name(&self) -> &'static str {
        "corrupt, future or unknown event row"
    }

    fn expected(&self) -> &'static str {
        "that conversation read-only and reported; all else runs"
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let mut by_owner: Vec<Vec<(usize, Uuid)>> = vec![Vec::new(); world.nodes.len()];
        for n in 0..ASIDE {
            let conversation = scene.load.aside(n).await?;
            for word in &WORDS[..3] {
                ensure!(
                    scene.load.say_once(n, conversation, word).await,
                    "a healthy conversation takes a message"
                );
            }
            if let Some(owner) = world.owner_of(conversation).await? {
                by_owner[owner].push((n, conversation));
            }
        }
        self.victim = (0..by_owner.len())
            .max_by_key(|node| by_owner[*node].len())
            .unwrap_or(0);
        let (bad, same_owner) = by_owner[self.victim]
            .split_at_checked(DAMAGE.len())
            .unwrap_or_default();
        ensure!(bad.len() == DAMAGE.len(), "one node owns three of them");
        for ((_n, conversation), (_name, damage)) in bad.iter().zip(DAMAGE) {
            world
                .database()
                .sql(&format!(
                    "update event_log set {damage} where conversation_id = '{conversation}' and \
                     seq = (select max(seq) from event_log where conversation_id = '{conversation}')"
                ))
                .await?;
        }
        // Who owns them knows them by heart; whoever takes over has to read.
        let concerned = world.conversations_of_node(self.victim).await?;
        scene.hits(self.victim);
        world.read_metrics().await;
        world.kill_node(self.victim);
        scene.injected(concerned);
        scene.last(TAKEOVER_S).await;
        let other = |n: usize| {
            // People at home at the dead node ask another one.
            if n % world.nodes.len() == self.victim {
                n + 1
            } else {
                n
            }
        };
        for (n, conversation) in bad {
            if scene
                .load
                .say_at(*n, other(*n), *conversation, WORDS[3])
                .await
            {
                self.bad_acks += 1;
            } else {
                self.bad_errors += 1;
            }
        }
        let healthy = by_owner.iter().enumerate().flat_map(|(owner, list)| {
            if owner == self.victim {
                same_owner
            } else {
                &list[..]
            }
        });
        let mut asked = 0;
        for (n, conversation) in healthy {
            asked += 1;
            if !scene
                .load
                .say_at(*n, other(*n), *conversation, WORDS[3])
                .await
            {
                self.healthy_errors += 1;
                continue;
            }
            let living = (0..world.nodes.len()).filter(|node| *node != self.victim);
            let mut is_whole = true;
            for node in living {
                is_whole &= scene.load.reads_back(*n, node, *conversation, &WORDS).await;
            }
            if is_whole {
                self.read_back += 1;
            } else {
                self.not_read_back += 1;
            }
        }
        scene.note("healthy conversations asked", number(asked));
        for (_n, conversation) in bad {
            let id = conversation.to_string();
            self.reported += u64::from(world.nodes.iter().any(|node| {
                node.lines().iter().any(|line| {
                    line.contains(&id) && (line.contains("WARN") || line.contains("ERROR"))
                })
            }));
        }
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        world.start_node_again(self.victim).await
    }

    fn judge(&self, _measured: &Measured, verdict: &mut Verdict) {
        verdict.must_be_none("writes acked behind a bad row", self.bad_acks);
        verdict.must_be_none(
            "healthy conversations that were not read back whole",
            self.not_read_back,
        );
        verdict.must_have_happened("healthy conversations read back", self.read_back);
        verdict.at_most(
            "healthy conversations that refused",
            number(self.healthy_errors),
            0.0,
        );
        verdict.must_have_happened("writes refused behind a bad row", self.bad_errors);
        verdict.must_have_happened("bad conversations told in a log", self.reported);
    }
}
