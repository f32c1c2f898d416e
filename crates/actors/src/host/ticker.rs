//! Once a second: partitions write markers and look at memory; the world hears where they stand.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hubbub_bus::Subject;
use hubbub_wire::bus::HeadBroadcast;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::host::ActorHost;
use crate::partition::input::PartitionInput;

/// Runs until the host ends or is dropped.
pub(super) async fn run(host: Weak<ActorHost>, every: Duration, ending: CancellationToken) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = tick.tick() => {}
        }
        let Some(host) = host.upgrade() else { return };
        host.tick().await;
    }
}

impl ActorHost {
    async fn tick(&self) {
        for served in self.served.read().values() {
            if served.actor.try_send(PartitionInput::Tick).is_err() {
                tracing::trace!("a partition has left");
            }
        }
        if let Some(exported) = self.shared.exported.get() {
            exported.bring(self.stats());
        }
        let broadcast = HeadBroadcast {
            incarnation: self.shared.me,
            user_rev: self.user_rev.load(Ordering::Acquire),
            heads: self.heads(),
        };
        let payload = broadcast.encode();
        match self.shared.bus.publish(Subject::Heads, payload, None).await {
            Ok(()) => self.shared.stats.publishes.one(),
            Err(error) => {
                self.shared.stats.publish_failures.one();
                tracing::debug!(%error, "heads not published");
            }
        }
    }
}
