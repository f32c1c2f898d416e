//! A node that stands still for longer than its lease and then goes on: what it owned is somebody else's by then, and it must
//! not store or answer anything as if it were not.

use hubbub_testkit::wait::eventually;

use crate::cases::crowd::Crowd;
use crate::harness::PATIENCE;
use crate::harness::deployment::Deployment;

/// Acks before the node stands still, of those that are on their way.
const ACKS_BEFORE_THE_PAUSE: usize = 40;
/// The node that stands still.
const SLEEPER: usize = 1;

pub(crate) async fn a_node_that_sleeps_through_its_lease_stores_nothing_as_the_owner_it_was(
    cluster: &mut Deployment,
) {
    let mut crowd = Crowd::gather(cluster).await;
    let all: usize = cluster.ownership().values().sum();
    crowd
        .say_everything(ACKS_BEFORE_THE_PAUSE, async || {
            cluster.nodes[SLEEPER].suspend();
            let other = cluster.nodes[1 - SLEEPER].name().to_owned();
            eventually(PATIENCE, "the other node to own everything", async || {
                cluster.ownership().get(&other) == Some(&all)
            })
            .await;
            cluster.nodes[SLEEPER].resume();
        })
        .await;
    // A node that was declared dead may end itself, when it notices; whoever runs it starts it again.
    cluster.wait_until_shared_restarting(25).await;
    crowd.say_everything(usize::MAX, async || {}).await;
    crowd.judge().await;
}
