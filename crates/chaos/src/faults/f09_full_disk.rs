//! F9: a disk of the database server runs full, once the one with the tables and once the one with the write-ahead log. Writes are refused
//! with 507 or for now, nothing is half-written, and once there is space, the same nodes go on.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use hubbub_checker::Outcome;
use hubbub_testkit::tmpfs::Tmpfs;
use tokio::time::Instant;

use crate::row::{Course, Fault, Measured, RowReport, Verdict};
use crate::scene::{self, Bench, Scene};
use crate::world::World;

/// What the tables of a run need, three times over.
const HEAP_BYTES: u64 = 192 << 20;
/// Ten segments of the write-ahead log.
const WAL_BYTES: u64 = 160 << 20;
/// How long the load may take to use up what is left in the pages.
const FULL_DEADLINE: Duration = Duration::from_mins(1);
/// Seconds without space.
const FULL_S: f64 = 8.0;
/// How long after there is space commands may take; with the write-ahead log, after the server has recovered.
const COMMANDS_MS_MAX: f64 = 10_000.0;

/// Which disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Disk {
    Heap,
    Wal,
}

/// The row.
#[derive(Debug)]
pub struct FullDisk {
    which: Disk,
    disk: Option<Tmpfs>,
}

impl FullDisk {
    /// The disk with the tables.
    pub const fn of_the_tables() -> Self {
        Self {
            which: Disk::Heap,
            disk: None,
        }
    }

    /// The disk with the write-ahead log.
    pub const fn of_the_wal() -> Self {
        Self {
            which: Disk::Wal,
            disk: None,
        }
    }

    fn disk(&self) -> anyhow::Result<&Tmpfs> {
        self.disk.as_ref().context("a disk was mounted")
    }
}

#[async_trait]
impl Fault for FullDisk {
    fn id(&self) -> &'static str {
        match self.which {
            Disk::Heap => "F9",
            Disk::Wal => "F9-wal",
        }
    }

    fn name(&self) -> &'static str {
        match self.which {
            Disk::Heap => "disk full: tables of PostgreSQL",
            Disk::Wal => "disk full: write-ahead log of PostgreSQL",
        }
    }

    fn expected(&self) -> &'static str {
        "clear 507; nothing half-written; recovers without restart"
    }

    fn course(&self, bench: &Bench) -> Course {
        let mut course = Course::usual(bench);
        let path = self.disk.as_ref().map(|disk| disk.path().to_owned());
        let place: &mut Option<PathBuf> = match self.which {
            Disk::Heap => &mut course.shape.heap_disk,
            Disk::Wal => &mut course.shape.wal_disk,
        };
        *place = path;
        if self.which == Disk::Wal {
            for (name, value) in [("max_wal_size", "64MB"), ("min_wal_size", "32MB")] {
                let setting = (name.to_owned(), value.to_owned());
                course.shape.database_settings.push(setting);
            }
        }
        course
    }

    /// As long as a write may wait (P7).
    fn unheard_s(&self) -> u64 {
        6
    }

    async fn inject(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        let disk = self.disk()?;
        let filled = tokio::task::block_in_place(|| disk.fill())?;
        scene.note("ballast_bytes", crate::figures::number(filled));
        scene.injected(scene.all_conversations());
        match self.which {
            Disk::Heap => {
                let began = Instant::now();
                while refused_for_space(scene) == 0 {
                    if began.elapsed() > FULL_DEADLINE {
                        bail!("the disk is full and nobody was told");
                    }
                    scene.last(1.0).await;
                }
            }
            // Segments that are there already would last for a while.
            Disk::Wal => {
                while world
                    .database()
                    .sql("select pg_switch_wal(), txid_current()")
                    .await
                    .is_ok()
                {}
            }
        }
        scene.last(FULL_S).await;
        scene.note(
            "refused_for_space",
            crate::figures::number(refused_for_space(scene)),
        );
        Ok(())
    }

    async fn heal(&mut self, world: &mut World, scene: &mut Scene) -> anyhow::Result<()> {
        self.disk()?.empty()?;
        if self.which == Disk::Wal {
            // It ended itself, as it must when it cannot write its log. The nodes stay.
            let from = Instant::now();
            tokio::task::block_in_place(|| world.postgres.restart())?;
            let took = from.elapsed().as_secs_f64() * 1_000.0;
            scene.note("recovery of the database, ms", took);
        }
        Ok(())
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "commands once there is space, ms",
            measured.commands_ms.unwrap_or(f64::MAX),
            COMMANDS_MS_MAX,
        );
        let broken = measured
            .count("reconnects")
            .saturating_sub(measured.count("moves"));
        verdict.at_most("sockets lost", crate::figures::number(broken), 0.0);
        match self.which {
            Disk::Heap => {
                verdict.must(
                    measured.extra("refused_for_space") > 0.0,
                    "nobody was told that there is no space",
                );
            }
            Disk::Wal => verdict.must_have_happened(
                "writes refused for now or unknown",
                measured.count("refused_for_now") + measured.count("unknown_attempts"),
            ),
        }
    }

    async fn run(&mut self, bench: &Bench) -> anyhow::Result<RowReport> {
        let bytes = match self.which {
            Disk::Heap => HEAP_BYTES,
            Disk::Wal => WAL_BYTES,
        };
        self.disk = Some(Tmpfs::mount(bytes).context("a small disk to be filled")?);
        let report = scene::run(self, bench).await;
        self.disk = None;
        report
    }
}

/// Attempts that were answered with `storage_full` so far.
fn refused_for_space(scene: &Scene) -> u64 {
    let voices = scene.load.voices.iter();
    let refused = voices.map(|voice| {
        let notes = voice.notes();
        let operations = notes.history.operations.iter();
        operations
            .filter(|operation| matches!(&operation.outcome, Outcome::Refused { code } if code == "storage_full"))
            .count()
    });
    u64::try_from(refused.sum::<usize>()).unwrap_or(u64::MAX)
}
