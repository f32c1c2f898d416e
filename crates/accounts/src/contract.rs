//! What accounts do, as one suite on both stores. Every case opens its own empty one, and some open it twice, as two nodes do.

mod login;
mod people;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;

use hubbub_domain::ids::UserId;
use hubbub_domain::time::Timestamp;
use hubbub_telemetry::ManualClock;
use hubbub_testkit::pg::PgScratch;

use crate::port::{Identity, NewUser, Origin, RegisterError, Session, SessionToken, User};
use crate::service::{Accounts, AccountsOptions};
use crate::store::Store;
use crate::store::postgres::PostgresStore;
use crate::store::sqlite::SqliteStore;

pub(crate) const PASSWORD: &str = "mild walrus paints 7 fences";
pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

macro_rules! on_both_stores {
    ($($case:ident),* $(,)?) => {
        mod in_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    super::$case(crate::contract::Home::sqlite()).await;
                }
            )*
        }

        mod in_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let Some(home) = crate::contract::Home::postgres() else { return };
                    super::$case(home).await;
                }
            )*
        }
    };
}
pub(crate) use on_both_stores;

/// An empty database and a clock for whoever opens it.
pub(crate) struct Home {
    place: Place,
    pub(crate) clock: ManualClock,
}

enum Place {
    Directory(tempfile::TempDir),
    Database(PgScratch),
}

impl Home {
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("hubbub-accounts-")
            .tempdir()
            .expect("makes a directory");
        Self::at(Place::Directory(directory))
    }

    pub(crate) fn postgres() -> Option<Self> {
        PgScratch::create().map(|scratch| Self::at(Place::Database(scratch)))
    }

    fn at(place: Place) -> Self {
        let clock = ManualClock::new(Timestamp::from_millis(1_800_000_000_000));
        Self { place, clock }
    }

    pub(crate) async fn open(&self) -> Accounts {
        self.open_with(AccountsOptions::default()).await
    }

    pub(crate) async fn open_with(&self, options: AccountsOptions) -> Accounts {
        let clock = Arc::new(self.clock.clone());
        let opened = match &self.place {
            Place::Directory(directory) => {
                Accounts::open_sqlite(directory.path(), options, clock).await
            }
            Place::Database(scratch) => {
                Accounts::open_postgres(scratch.url(), options, clock).await
            }
        };
        opened.expect("opens")
    }

    /// The store itself, for what the service does not show.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        match &self.place {
            Place::Directory(directory) => Arc::new(
                SqliteStore::open(directory.path(), true)
                    .await
                    .expect("opens"),
            ),
            Place::Database(scratch) => Arc::new(
                PostgresStore::open(scratch.url(), 4, true)
                    .await
                    .expect("opens"),
            ),
        }
    }

    /// Everything that is stored, as bytes to look for secrets in.
    pub(crate) fn stored_bytes(&self) -> Vec<u8> {
        match &self.place {
            Place::Directory(directory) => {
                let files = std::fs::read_dir(directory.path()).expect("lists");
                let paths: Vec<PathBuf> = files.map(|file| file.expect("lists").path()).collect();
                paths
                    .iter()
                    .flat_map(|path| std::fs::read(path).expect("reads"))
                    .collect()
            }
            Place::Database(scratch) => ["account", "session", "login_attempt"]
                .iter()
                .map(|table| scratch.psql(&format!("select row::text from {table} as row")))
                .collect::<String>()
                .into_bytes(),
        }
    }
}

pub(crate) fn origin() -> Origin {
    Origin {
        device: "test".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

pub(crate) async fn try_register(
    accounts: &Accounts,
    username: &str,
    display_name: &str,
) -> Result<(User, Session, SessionToken), RegisterError> {
    let new = NewUser {
        username: username.to_owned(),
        display_name: display_name.to_owned(),
        password: PASSWORD.to_owned(),
        email: None,
    };
    accounts.register(new, origin()).await
}

pub(crate) async fn register(accounts: &Accounts, username: &str) -> (User, Session, SessionToken) {
    try_register(accounts, username, username)
        .await
        .expect("the name is free")
}

pub(crate) async fn changes_since(accounts: &Accounts, rev: u64) -> Vec<(UserId, u64)> {
    accounts.changed_since(rev, 1_000).await.expect("reads")
}
