//! The benchmark: which scenarios, on which parts, in which order.
//!
//! A scenario loads the bare server of [`crate::floor`] first and a node right after it, with the same clients and the same figures, so that
//! the ratio of the two says what Hubbub costs on this machine at this hour. Start reading at [`Stage`], then [`dm`].

mod append_floor;
mod dm;
mod idle;
mod phases;
mod plan;
mod room;
mod stage;

use anyhow::bail;
use clap::{Args, ValueEnum};

use self::plan::Plan;
use self::stage::Stage;
use crate::parts;
use crate::report::{HUBBUB, Report, Run, SOCKET_FLOOR};

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// The append statement over 1, 2 and 4 lanes, batches of 1, 64 and 512; SQLite too; and one fsync.
    AppendFloor,
    /// Every scenario below on the bare server only.
    SocketFloor,
    /// Couples: one sends, waits until the other has it, and sends again.
    Dm,
    /// One large room, four senders, every member connected.
    Room,
    /// Memory of sockets that are logged in and do nothing.
    Idle,
}

/// `hubbub-loadtest bench`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) only: Vec<Scenario>,
    /// Seconds that are measured, after a warm-up. [default: 10]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(crate) seconds: Option<u64>,
    /// Couples of `dm`, several runs. [default: 1,10,200]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..=2_000))]
    pub(crate) pairs: Vec<u64>,
    /// Members of `room`. [default: 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(4..=10_000))]
    pub(crate) members: Option<u64>,
    /// Sockets of `idle`. [default: 5000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub(crate) sockets: Option<u64>,
    /// Seed of the ids.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// A quick look: fewer seconds, couples, members and sockets.
    #[arg(long)]
    pub(crate) short: bool,
}

/// Runs what was asked for; every child is gone when this returns, also after Ctrl-C.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let plan = Plan::of(options);
    parts::raise_open_files(plan.open_sockets_max())?;
    if !parts::is_release() {
        eprintln!(
            "==> a build for debugging: the figures say nothing about speed (cargo xtask bench builds for release)"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = measure(&plan) => ended,
            () = interrupted() => bail!("interrupted"),
        }
    })
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let run = Run {
        seed: plan.seed,
        seconds: plan.seconds.as_secs(),
        revision: parts::revision(),
        is_release: parts::is_release(),
    };
    // A test's run does not replace figures that somebody waited for.
    let name = if parts::is_release() {
        "bench/results.jsonl"
    } else {
        "bench/results-debug.jsonl"
    };
    let file = parts::target_directory()?.join(name);
    let mut report = Report::new(run, &file)?;
    let mut stage = Stage::set(plan)?;

    if plan.has(Scenario::AppendFloor) {
        append_floor::measure(plan, &stage, &mut report).await?;
    }
    if plan.floor_has(Scenario::Dm) {
        for &pairs in &plan.pairs {
            dm(plan, &mut stage, &mut report, pairs).await?;
        }
    }
    if plan.floor_has(Scenario::Room) {
        room(plan, &mut stage, &mut report).await?;
    }
    if plan.floor_has(Scenario::Idle) {
        idle(plan, &mut stage, &mut report).await?;
    }
    report.print_table();
    eprintln!("==> {}", file.display());
    Ok(())
}

async fn dm(
    plan: &Plan,
    stage: &mut Stage<'_>,
    report: &mut Report,
    pairs: usize,
) -> anyhow::Result<()> {
    let (floor, couples) = stage.floor_couples(pairs).await?;
    let measured = dm::measure(plan, floor, SOCKET_FLOOR, &couples).await?;
    report.add(measured.row)?;
    if !plan.has(Scenario::Dm) {
        return Ok(());
    }
    let (node, couples, senders) = stage.node_couples(pairs).await?;
    let measured = dm::measure(plan, node, HUBBUB, &couples).await?;
    let told = senders.into_iter().zip(measured.acknowledged);
    stage
        .check_stored(
            told.map(|((person, conversation), sent)| (person, conversation, sent))
                .collect(),
        )
        .await?;
    report.add_against_floor(measured.row, &dm::COMPARED)
}

async fn room(plan: &Plan, stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (floor, seats) = stage.floor_room(plan.members).await?;
    let measured = room::measure(plan, floor, SOCKET_FLOOR, &seats).await?;
    report.add(measured.row)?;
    if !plan.has(Scenario::Room) {
        return Ok(());
    }
    let (node, seats, owner) = stage.node_room(plan.members).await?;
    let measured = room::measure(plan, node, HUBBUB, &seats).await?;
    let conversation = seats
        .first()
        .map(|seat| seat.conversation)
        .unwrap_or_default();
    stage
        .check_stored(vec![(owner, conversation, measured.acknowledged)])
        .await?;
    report.add_against_floor(measured.row, &room::COMPARED)
}

async fn idle(plan: &Plan, stage: &mut Stage<'_>, report: &mut Report) -> anyhow::Result<()> {
    let (floor, seats) = stage.fresh_floor_seats(plan.sockets).await?;
    report.add(idle::measure(floor, SOCKET_FLOOR, &seats).await?)?;
    if !plan.has(Scenario::Idle) {
        return Ok(());
    }
    let (node, seats) = stage.fresh_node_seats(plan.sockets).await?;
    let row = idle::measure(node, HUBBUB, &seats).await?;
    report.add_against_floor(row, &idle::COMPARED)
}

/// Until somebody asks us to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}
