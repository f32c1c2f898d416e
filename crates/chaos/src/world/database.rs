//! The database behind the nodes' backs: what they really stored, read with `psql`, and people made without hashing passwords.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hubbub_testkit::pg::Binaries;
use tokio::process::Command;

/// One look at the database may take this long: a whole log is some megabytes.
const LOOK_TIMEOUT: Duration = Duration::from_mins(1);

/// Looks at one database.
#[derive(Clone, Debug)]
pub struct Database {
    psql: PathBuf,
    url: String,
}

impl Database {
    /// The database at this superuser URL.
    ///
    /// # Errors
    /// When no `PostgreSQL` is installed.
    pub fn at(url: &str) -> anyhow::Result<Self> {
        let binaries = Binaries::find().context("no PostgreSQL 15 or newer is installed")?;
        Ok(Self {
            psql: binaries.path("psql"),
            url: url.to_owned(),
        })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements and returns what `psql` prints: a line per row, columns separated by `|`.
    ///
    /// # Errors
    /// When the database cannot be reached or refuses.
    pub async fn sql(&self, statements: &str) -> anyhow::Result<String> {
        self.sql_within(LOOK_TIMEOUT, statements).await
    }

    /// Runs statements that may take so long.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub async fn sql_within(&self, limit: Duration, statements: &str) -> anyhow::Result<String> {
        let running = Command::new(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
            .args(["--set", "ON_ERROR_STOP=1", "--dbname", &self.url])
            .args(["--command", statements])
            .env("PGCONNECT_TIMEOUT", "5")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(limit, running)
            .await
            .context("psql gave no answer")?
            .context("start psql")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("psql: {}", reason.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned())
    }

    /// One number.
    ///
    /// # Errors
    /// As [`sql`](Self::sql), and when the answer is no number.
    pub async fn number(&self, query: &str) -> anyhow::Result<u64> {
        let text = self.sql(query).await?;
        text.parse()
            .with_context(|| format!("{text:?} is no number"))
    }

    /// Makes a fresh database of that name in this instance, with further words of `create database`.
    ///
    /// # Errors
    /// As [`sql`](Self::sql).
    pub async fn create(&self, name: &str, options: &str) -> anyhow::Result<Self> {
        self.sql(&format!(
            "create database {name} template template0 {options}"
        ))
        .await?;
        let (instance, _old) = self
            .url
            .rsplit_once('/')
            .context("a URL names a database")?;
        Ok(Self {
            psql: self.psql.clone(),
            url: format!("{instance}/{name}"),
        })
    }
}
