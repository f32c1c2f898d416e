//! Where things are kept: SQLite files in a folder and a bus in this process, or PostgreSQL and NATS.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use hubbub_accounts::{Accounts, AccountsOptions, Identity};
use hubbub_bus::{Bus, MemoryBus, NatsBus, NatsOptions};
use hubbub_event_log::{EventLog, LogReader, PgLog, PgOptions, SqliteLog};
use hubbub_projections::Projections;
use hubbub_telemetry::{Clock, SystemClock};

use crate::settings::Settings;

/// Makes the folder for this user alone: passwords' hashes and everybody's messages are in it. One that exists stays as its owner made it.
fn make_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

/// Log, accounts, read models and bus of one node.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) identity: Arc<dyn Identity>,
    pub(crate) projections: Projections,
    pub(crate) bus: Arc<dyn Bus>,
}

impl Stores {
    /// Opens all of them, in the order of their migrations: log, accounts, read models.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        match (&settings.database_url, &settings.nats_url) {
            (Some(database), Some(nats)) => Self::cluster(settings, database, nats).await,
            _ => Self::embedded(&settings.data_dir).await,
        }
    }

    async fn embedded(dir: &Path) -> anyhow::Result<Self> {
        make_private(dir).with_context(|| format!("make the data folder {}", dir.display()))?;
        let log = SqliteLog::open(dir)
            .await
            .with_context(|| format!("open the log in {}", dir.display()))?;
        let log = Arc::new(log);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let identity = Accounts::open_sqlite(dir, AccountsOptions::default(), clock)
            .await
            .context("open the accounts")?;
        let reader: Arc<dyn LogReader> = log.clone();
        let projections = Projections::open_sqlite(dir, &SqliteLog::log_path(dir), reader)
            .await
            .context("open the read models")?;
        Ok(Self {
            log,
            identity: Arc::new(identity),
            projections,
            bus: Arc::new(MemoryBus::new()),
        })
    }

    async fn cluster(settings: &Settings, database: &str, nats: &str) -> anyhow::Result<Self> {
        let options = PgOptions {
            lanes: settings.lanes,
            migrate: settings.migrate,
            ..PgOptions::new(database)
        };
        let log = Arc::new(
            PgLog::open(options)
                .await
                .context("open the log in PostgreSQL")?,
        );
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = AccountsOptions {
            migrate: settings.migrate,
            ..AccountsOptions::default()
        };
        let identity = Accounts::open_postgres(database, accounts, clock)
            .await
            .context("open the accounts in PostgreSQL")?;
        let reader: Arc<dyn LogReader> = log.clone();
        let projections = Projections::open_postgres(database, settings.migrate, reader)
            .await
            .context("open the read models in PostgreSQL")?;
        let name = settings.node_id.clone().unwrap_or_default();
        let bus = NatsBus::connect(NatsOptions::new(nats, &name))
            .await
            .context("connect to NATS")?;
        Ok(Self {
            log,
            identity: Arc::new(identity),
            projections,
            bus: Arc::new(bus),
        })
    }

    /// Lets what was published leave this process.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.bus.flush().await {
            tracing::debug!(%error, "flush the bus");
        }
    }
}
