//! The router and the ownership loop over the in-memory log and bus, with an actor host that only remembers what it was told.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it must be"
)]

mod lines;
mod ownership;
mod ranges;
mod router;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hubbub_bus::memory::{Fault, MemoryBus};
use hubbub_bus::{Bus, Subject, SubjectPattern};
use hubbub_cluster::ownership::OwnershipSettings;
use hubbub_cluster::server::{CommandServer, serve_commands};
use hubbub_cluster::{
    ClusterNode, CommandRouter, Fate, HostEvent, Lease, LocalConversations, NodeOptions,
    OwnersView, PartitionSignal, Router, SubmitError,
};
use hubbub_domain::conversation::{Command, Intent, Rejection};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionCount, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_event_log::{Claim, ManualClock, MemoryLog, NodeRegistration, Ownership};
use hubbub_telemetry::TraceContext;
use hubbub_testkit::wait::{DEADLINE, eventually};
use hubbub_wire::bus::{Accepted, CommandRequest, How, OwnerReply};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

const PARTITIONS: PartitionCount = PartitionCount::EMBEDDED;

fn incarnation(n: u128) -> Incarnation {
    Incarnation::from_uuid(Uuid::from_u128(n))
}

/// Answers from a script, the last answer for ever; remembers requests and what it serves.
struct Host {
    script: Mutex<VecDeque<OwnerReply>>,
    seen: Mutex<Vec<CommandRequest>>,
    serving: Mutex<BTreeMap<PartitionId, Epoch>>,
}

impl Host {
    fn answering(script: impl IntoIterator<Item = OwnerReply>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            seen: Mutex::default(),
            serving: Mutex::default(),
        })
    }

    fn serving(&self) -> usize {
        self.serving.lock().len()
    }
}

#[async_trait]
impl LocalConversations for Host {
    async fn handle(&self, request: CommandRequest, _trace: Option<TraceContext>) -> OwnerReply {
        self.seen.lock().push(request);
        let mut script = self.script.lock();
        if script.len() > 1 {
            script.pop_front().unwrap()
        } else {
            script.front().cloned().unwrap()
        }
    }

    async fn serve(&self, partition: PartitionId, epoch: Epoch, _head: Offset) {
        self.serving.lock().insert(partition, epoch);
    }

    async fn stop(&self, partition: PartitionId) {
        self.serving.lock().remove(&partition);
    }

    async fn drain(&self, partition: PartitionId, _patience: Duration) -> bool {
        self.serving.lock().remove(&partition);
        true
    }
}

fn command() -> Command {
    let user = UserId::from_uuid(Uuid::from_u128(7));
    Command {
        id: CommandId::from_uuid(Uuid::from_u128(9)),
        conversation: ConversationId::from_uuid(Uuid::from_u128(11)),
        by: user,
        intent: Intent::SendMessage {
            body: "hello".into(),
            reply_to_no: None,
            thread_root_no: None,
        },
    }
}

fn partition() -> PartitionId {
    PARTITIONS.partition_of(command().conversation)
}

fn accepted(how: How) -> Accepted {
    Accepted {
        conversation: command().conversation,
        epoch: Epoch::new(3),
        seq: Seq::new(5),
        message_no: Some(MessageNo::new(4)),
        at: Timestamp::from_millis(1),
        how,
    }
}

/// A lease that was just renewed.
fn held() -> Arc<Lease> {
    let lease = Lease::default();
    lease.renew(tokio::time::Instant::now());
    Arc::new(lease)
}

const SHORT: Duration = Duration::from_millis(300);
