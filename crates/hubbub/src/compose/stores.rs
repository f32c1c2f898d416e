//! Where things are kept: SQLite files in a folder and a bus in this process, or PostgreSQL and NATS.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use hubbub_accounts::{Accounts, AccountsOptions, Identity};
use hubbub_bus::{Bus, MemoryBus, NatsBus, NatsOptions};
use hubbub_event_log::{Durability, EventLog, LogReader, OpenError, PgLog, PgOptions, SqliteLog};
use hubbub_projections::{PostgresOptions, Projections, Reader};
use hubbub_telemetry::{Clock, SystemClock};

use super::pools::{self, Pools};
use crate::advice::{self, advised};
use crate::settings::{self, Settings};

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
    /// For ownership and the composition itself.
    pub(crate) log: Arc<dyn EventLog>,
    /// For the actors: reads that nobody else makes wait.
    pub(crate) owner_log: Arc<dyn EventLog>,
    /// For the edge.
    pub(crate) edge_log: Arc<dyn LogReader>,
    pub(crate) identity: Arc<dyn Identity>,
    /// The same, for its numbers.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) projections: Projections,
    /// The queries of this node's edge.
    pub(crate) reader: Arc<Reader>,
    pub(crate) bus: Arc<dyn Bus>,
    /// `None` in embedded mode.
    pub(crate) pools: Option<Pools>,
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
        make_private(dir).map_err(|error| {
            let what = format!("make the data folder {}", dir.display());
            advised(&what, &error, advice::FOLDER)
        })?;
        let log = SqliteLog::open(dir).await.map_err(|error| {
            let what = format!("open the log in {}", dir.display());
            unopened(error, &what, advice::FOLDER)
        })?;
        let log = Arc::new(log);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = Accounts::open_sqlite(dir, AccountsOptions::default(), clock)
            .await
            .context("open the accounts")?;
        let accounts = Arc::new(accounts);
        let reader: Arc<dyn LogReader> = log.clone();
        let projections = Projections::open_sqlite(dir, &SqliteLog::log_path(dir), reader)
            .await
            .context("open the read models")?;
        Ok(Self {
            owner_log: log.clone(),
            edge_log: log.clone(),
            log,
            identity: accounts.clone(),
            accounts,
            reader: Arc::new(projections.reader()),
            projections,
            bus: Arc::new(MemoryBus::new()),
            pools: None,
        })
    }

    async fn cluster(settings: &Settings, database: &str, nats: &str) -> anyhow::Result<Self> {
        let options = PgOptions {
            lanes: settings.lanes,
            owner_reads: settings.owner_connections,
            migrate: settings.migrate,
            durability: match settings.durability {
                settings::Durability::Local => Durability::Local,
                settings::Durability::Replicated => Durability::Replicated,
            },
            ..PgOptions::new(database)
        };
        let log = PgLog::open(options)
            .await
            .map_err(|error| unopened(error, "open the log in PostgreSQL", advice::DATABASE))?;
        pools::check(&log, settings).await?;
        let owner = log.for_owner();
        let edge = log.with_own_reads("hubbub/edge", settings.edge_connections);
        let tail = log.with_own_reads("hubbub/tail", settings.projector_connections);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = AccountsOptions {
            migrate: settings.migrate,
            connections: settings.account_connections,
            ..AccountsOptions::default()
        };
        let accounts = Accounts::open_postgres(database, accounts, clock)
            .await
            .context("open the accounts in PostgreSQL")?;
        let accounts = Arc::new(accounts);
        let edge_log: Arc<dyn LogReader> = Arc::new(edge.clone());
        let read_models = PostgresOptions {
            migrate: settings.migrate,
            query_connections: settings.query_connections,
            projector_connections: settings.projector_connections,
            ..PostgresOptions::new(database)
        };
        let projections =
            Projections::open_postgres(read_models, Arc::clone(&edge_log), Arc::new(tail.clone()))
                .await
                .context("open the read models in PostgreSQL")?;
        let bus = NatsBus::connect(nats_options(settings, nats)?)
            .await
            .map_err(|error| advised("connect to NATS", &error, advice::BUS))?;
        Ok(Self {
            log: Arc::new(log),
            owner_log: Arc::new(owner.clone()),
            edge_log,
            identity: accounts.clone(),
            accounts: Arc::clone(&accounts),
            reader: Arc::new(projections.reader()),
            projections,
            bus: Arc::new(bus),
            pools: Some(Pools {
                owner,
                edge,
                tail,
                accounts,
            }),
        })
    }

    /// Lets what was published leave this process.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.bus.flush().await {
            tracing::debug!(%error, "flush the bus");
        }
    }
}

/// A log that is not fit says itself what to do; for one that is not there the advice is given.
fn unopened(error: OpenError, what: &str, advice: &'static str) -> anyhow::Error {
    match error {
        OpenError::Unavailable(_) => advised(what, &error, advice),
        OpenError::Unfit(_) => anyhow::Error::new(error).context(what.to_owned()),
    }
}

/// Where NATS is and what opens it.
fn nats_options(settings: &Settings, url: &str) -> anyhow::Result<NatsOptions> {
    let name = settings.node_id.clone().unwrap_or_default();
    let nkey_seed = match &settings.nats_nkey_file {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read the nkey in {}", file.display()))?;
            Some(seed_in(&text).with_context(|| format!("find a seed in {}", file.display()))?)
        }
        None => None,
    };
    let credentials = settings
        .nats_user
        .clone()
        .zip(settings.nats_password.clone());
    Ok(NatsOptions {
        credentials,
        nkey_seed,
        ..NatsOptions::new(url, name)
    })
}

/// The seed in what `nk -gen user` writes: a line that begins with `SU`, whatever comments stand around it.
fn seed_in(text: &str) -> anyhow::Result<String> {
    let seed = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("SU"));
    seed.map(str::to_owned)
        .context("no line begins with SU: the seed of a user's nkey")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{make_private, nats_options, seed_in};
    use crate::settings::Settings;

    #[test]
    fn the_data_folder_is_for_its_owner_alone_and_an_existing_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let mode =
            |dir: &std::path::Path| std::fs::metadata(dir).unwrap().permissions().mode() & 0o777;
        let fresh = parent.path().join("a").join("b");
        make_private(&fresh).unwrap();
        assert_eq!(mode(&fresh), 0o700);
        let shared = parent.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o750)).unwrap();
        make_private(&shared).unwrap();
        assert_eq!(mode(&shared), 0o750);
    }

    #[test]
    fn a_seed_is_found_among_comments_and_anything_else_is_named() {
        assert_eq!(seed_in("# node one\n  SUAB\nUABC\n").unwrap(), "SUAB");
        assert!(seed_in("UABC").is_err(), "a public key");
        let settings = Settings {
            nats_nkey_file: Some("/nowhere/seed".into()),
            ..Settings::default()
        };
        let error = nats_options(&settings, "nats://x").unwrap_err();
        assert!(error.to_string().contains("/nowhere/seed"), "{error}");
    }
}
