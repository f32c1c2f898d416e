//! Two nodes lose nothing: forty people, fifty conversations, twenty thousand messages, clients that move between the nodes
//! and send things twice, and in the middle of it one node is killed.
//!
//! Owns: one run of that kind, from a seed that is printed, and its judgement by the invariants of RELIABILITY.md
//! ([`hubbub_checker`]). Without `PostgreSQL` and NATS it says `skipped: …`.
//!
//! Never: a sleep, an expectation about how long something takes (figures are printed, not judged).
//!
//! Start reading at the test below, which is the story of the run.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, also in its helpers, and tells what it counted"
)]

mod company;
mod figures;
mod judge;
mod plan;
mod traffic;
mod witness;

#[path = "../harness/harness.rs"]
#[expect(
    dead_code,
    reason = "the suite of small cases needs all of it, one long run a part"
)]
mod harness;

use std::collections::BTreeSet;

use hubbub_testkit::{fresh_uuid, settings};
use uuid::Uuid;

use crate::company::Company;
use crate::figures::Figures;
use crate::harness::deployment::{Deployment, Mode};
use crate::judge::Judge;
use crate::plan::Plan;
use crate::traffic::Traffic;

/// Names the seed of a run that is to be repeated.
const SEED: &str = "HUBBUB_TEST_SEED";
/// Share of the partitions that each node must own before one of them is killed.
const SHARE_PERCENT_MIN: usize = 40;
/// Acks between the start of the second part and the kill.
const ACKS_BEFORE_THE_KILL: usize = 1_000;
/// The node that is killed.
const VICTIM: usize = 1;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_lose_nothing() {
    let seed = settings::read(SEED).map_or_else(
        || fresh_uuid().as_u64_pair().1 >> 12,
        |seed| seed.parse().expect("a seed is a number"),
    );
    println!("seed: {SEED}={seed}");
    let cluster_settings = ["partitions=128", "rebalance_percent=50"];
    let Some(mut cluster) = Deployment::start(Mode::Cluster, &cluster_settings).await else {
        return;
    };
    let plan = Plan::of(seed);
    let company = Company::gather(&cluster, &plan).await;
    let figures = Figures::default();
    let traffic = Traffic::connect(&company, &figures, &plan).await;

    // Part one: everybody talks, sends things twice and moves between the nodes.
    figures.told("everybody is connected");
    traffic.run(&plan, &Plan::before_the_kill()).await;
    figures.told("part one is over");
    cluster.wait_until_shared(SHARE_PERCENT_MIN).await;
    let judge = Judge::new(&cluster, &company);
    judge.histories_are_equal("before the kill").await;

    // Part two: while everybody talks, one node dies.
    let orphaned = judge.conversations_owned_by(VICTIM);
    let kill = async {
        figures
            .wait_for_acks(
                Plan::before_the_kill().len() * company.people.len() + ACKS_BEFORE_THE_KILL,
            )
            .await;
        cluster.nodes[VICTIM].kill();
        figures.killed(&orphaned);
        figures.told("a node was killed");
    };
    let part_two = Plan::around_the_kill();
    figures.told("part two begins");
    tokio::join!(kill, traffic.run(&plan, &part_two));
    figures.told("part two is over");

    // The survivor alone has everything, and so has everybody who listened.
    traffic.everything_is_delivered().await;
    figures.told("everything is delivered");
    cluster.nodes[VICTIM].restart().await;
    let mut history = traffic.end().await;
    figures.print(&history);
    "two nodes lose nothing".clone_into(&mut history.meta.run);
    history.meta.seed = seed;
    let sent: BTreeSet<Uuid> = history.operations.iter().map(|sent| sent.command).collect();

    let judge = Judge::new(&cluster, &company);
    judge.histories_are_equal("after the restart").await;
    let report = judge.judge(history, figures.now()).await;
    assert!(report.is_clean(), "seed {seed}:\n{}", report.worst());
    assert_eq!(sent.len(), Plan::messages());
    assert!(figures.happened(), "the run is void: {figures:?}");
}
