//! A database that only one test knows, in the instance of `HUBBUB_TEST_PG_URL`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::binaries::find_psql;
use crate::{fresh_uuid, settings};

/// A uniquely named empty database, dropped with its connections when the value is dropped.
#[derive(Debug)]
pub struct PgScratch {
    psql: PathBuf,
    admin_url: String,
    name: String,
    url: String,
}

impl PgScratch {
    /// Makes a database in the instance that `HUBBUB_TEST_PG_URL` names.
    ///
    /// `None` after printing `skipped: …` when the variable is unset. Blocks for the time of one `create database`
    /// (about 0.1 s), which an asynchronous test may do as well.
    ///
    /// # Panics
    /// When the database cannot be made, and when the variable is missing although `HUBBUB_TEST_REQUIRE` is `1`.
    pub fn create() -> Option<Self> {
        let admin_url = settings::read_or_skip(settings::PG_URL, "PostgreSQL")?;
        match Self::create_at(&admin_url) {
            Ok(scratch) => Some(scratch),
            Err(error) => panic!("no scratch database: {error:#}"),
        }
    }

    /// Makes a database in the instance of this superuser URL.
    ///
    /// # Errors
    /// When `psql` is not installed or the instance refuses.
    pub fn create_at(admin_url: &str) -> anyhow::Result<Self> {
        let psql = find_psql().context("psql is not installed")?;
        let name = format!("hubbub_test_{}", fresh_uuid().simple());
        // template0 has no connections that could hold up a dozen tests which create at the same time.
        let command = format!("create database {name} template template0");
        run_psql(&psql, admin_url, &command)?;
        Ok(Self {
            psql,
            admin_url: admin_url.to_owned(),
            url: with_database(admin_url, &name),
            name,
        })
    }

    /// The URL of the new database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in the database as its superuser and returns what `psql` prints: one line per row, columns
    /// separated by `|`. For a test that must look behind the back of the room under test.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn psql(&self, statements: &str) -> String {
        match run_psql(&self.psql, &self.url, statements) {
            Ok(printed) => printed,
            Err(error) => panic!("psql: {error:#}"),
        }
    }
}

impl Drop for PgScratch {
    fn drop(&mut self) {
        let command = format!("drop database if exists {} with (force)", self.name);
        if let Err(error) = run_psql(&self.psql, &self.admin_url, &command) {
            eprintln!("scratch database {} stays behind: {error:#}", self.name);
        }
    }
}

pub(super) fn run_psql(psql: &Path, url: &str, statements: &str) -> anyhow::Result<String> {
    let output = Command::new(psql)
        .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
        .args(["--set", "ON_ERROR_STOP=1", "--dbname", url])
        .args(["--command", statements])
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", psql.display()))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", output.status, reason.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// The same URL with another database name; parameters after `?` stay.
fn with_database(url: &str, name: &str) -> String {
    let (address, parameters) = match url.split_once('?') {
        Some((address, parameters)) => (address, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority_start = address.find("://").map_or(0, |scheme_end| scheme_end + 3);
    let (scheme, rest) = address.split_at(authority_start);
    let authority = rest.split('/').next().unwrap_or(rest);
    format!("{scheme}{authority}/{name}{parameters}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_name_is_replaced_and_parameters_stay() {
        let expected = "postgres://postgres@127.0.0.1:5432/mine";
        for url in [
            "postgres://postgres@127.0.0.1:5432/postgres",
            "postgres://postgres@127.0.0.1:5432/",
            "postgres://postgres@127.0.0.1:5432",
        ] {
            assert_eq!(with_database(url, "mine"), expected);
        }
        assert_eq!(
            with_database("postgres://a:b@h/x?sslmode=disable", "mine"),
            "postgres://a:b@h/mine?sslmode=disable"
        );
    }

    #[test]
    fn a_scratch_database_is_empty_and_gone_after_its_test() {
        let Some(scratch) = PgScratch::create() else {
            return;
        };
        let tables = "select count(*) from pg_tables where schemaname = 'public'";
        assert_eq!(scratch.psql(tables), "0");

        let Some(neighbour) = PgScratch::create() else {
            return;
        };
        assert_ne!(scratch.name(), neighbour.name());
        let name = scratch.name().to_owned();
        drop(scratch);
        let left = format!("select count(*) from pg_database where datname = '{name}'");
        assert_eq!(neighbour.psql(&left), "0");
    }
}
