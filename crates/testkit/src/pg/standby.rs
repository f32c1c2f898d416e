//! A second server that follows the first over the wire, and takes its place.
//!
//! Never: a decision about who is primary (a test says so, as an operator would).

use std::fs::File;
use std::io::Write;

use anyhow::{Context, bail};

use super::server::PgServer;
use crate::wait;

impl PgServer {
    /// A streaming standby of this primary under that name: a copy of its data with the same settings, which answers
    /// queries and follows. Blocks for some seconds.
    ///
    /// # Errors
    /// When the copy fails or the standby does not come up within 60 s.
    pub fn start_standby(&self, name: &str) -> anyhow::Result<Self> {
        let mut standby = Self::prepare()?;
        standby.copy_from(self, name)?;
        standby.start_on_a_free_port()?;
        Ok(standby)
    }

    /// From now on a commit waits until the standby of that name has it on its disk, too; returns when the standby is
    /// known to stream. An empty name ends the waiting.
    ///
    /// # Errors
    /// When the server refuses, or no standby of that name streams within a minute.
    pub fn synchronise_with(&self, name: &str) -> anyhow::Result<()> {
        let names = if name.is_empty() {
            String::new()
        } else {
            format!("FIRST 1 ({name})")
        };
        // Two calls: ALTER SYSTEM wants to be alone.
        self.psql(&format!(
            "alter system set synchronous_standby_names = '{names}'"
        ))?;
        self.psql("select pg_reload_conf()")?;
        let wanted = format!(
            "select count(*) from pg_stat_replication where application_name = '{name}' \
             and state = 'streaming' and sync_state = 'sync'"
        );
        let streams = || self.psql(&wanted).is_ok_and(|count| count == "1");
        if name.is_empty() || wait::blocking_try(wait::DEADLINE, streams) {
            return Ok(());
        }
        bail!("no standby {name} streams:\n{}", self.log())
    }

    /// Makes this standby a primary, as `pg_ctl promote` does; returns when it accepts writes.
    ///
    /// # Errors
    /// When it is no standby, or is not promoted within a minute.
    pub fn promote(&mut self) -> anyhow::Result<()> {
        let output = self
            .command("pg_ctl")
            .args(["promote", "--wait", "--timeout", "60", "--pgdata"])
            .arg(self.data_path())
            .output()
            .context("start pg_ctl")?;
        if !output.status.success() {
            bail!(
                "pg_ctl promote: {}{}",
                String::from_utf8_lossy(&output.stderr),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        Ok(())
    }

    /// Gives up what it has and follows that primary under that name, on the same port: the old primary's way back
    /// after a failover.
    ///
    /// # Errors
    /// As [`start_standby`](Self::start_standby).
    pub fn follow(&mut self, primary: &Self, name: &str) -> anyhow::Result<()> {
        self.stop();
        std::fs::remove_dir_all(self.data_path()).context("remove the old data")?;
        self.copy_from(primary, name)?;
        self.restart()
    }

    /// Whether it follows another server.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn is_standby(&self) -> anyhow::Result<bool> {
        Ok(self.psql("select pg_is_in_recovery()")? == "t")
    }

    /// `pg_basebackup` into an absent data directory, ready to follow.
    fn copy_from(&self, primary: &Self, name: &str) -> anyhow::Result<()> {
        let conninfo = format!("host=127.0.0.1 port={} user=postgres", primary.port);
        let output = self
            .command("pg_basebackup")
            .args([
                "--dbname",
                &conninfo,
                "--checkpoint=fast",
                "--wal-method=stream",
            ])
            .args(["--write-recovery-conf", "--no-password", "--pgdata"])
            .arg(self.data_path())
            .output()
            .context("start pg_basebackup")?;
        if !output.status.success() {
            bail!("pg_basebackup: {}", String::from_utf8_lossy(&output.stderr));
        }
        let path = self.data_path().join("postgresql.auto.conf");
        let mut file = File::options()
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        // The last one wins. The primary's own wish for a synchronous standby came with the copy; once promoted, this
        // server would wait for itself.
        writeln!(
            file,
            "primary_conninfo = '{conninfo} application_name={name}'"
        )?;
        writeln!(file, "synchronous_standby_names = ''")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn what_was_committed_is_on_the_standby_that_takes_over_and_the_old_primary_comes_back_behind_it()
     {
        if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
            return;
        }
        let extra = [("max_connections", "30"), ("shared_buffers", "16MB")];
        let mut primary = PgServer::start_reference(&extra).expect("starts");
        let timeout = primary.psql("show idle_in_transaction_session_timeout");
        assert_eq!(
            timeout.expect("answers"),
            "2s",
            "the reference settings are in force"
        );
        let mut standby = primary.start_standby("standby").expect("follows");
        primary.synchronise_with("standby").expect("streams");
        assert!(standby.is_standby().expect("answers"));
        standby
            .psql("create table no (n int)")
            .expect_err("a standby takes no writes");

        primary
            .psql("create table kept (n int); insert into kept values (7)")
            .expect("commits");
        primary.kill();
        standby.promote().expect("takes over");
        assert!(!standby.is_standby().expect("answers"));
        assert_eq!(standby.psql("select n from kept").expect("reads"), "7");
        standby
            .psql("insert into kept values (8)")
            .expect("waits for nobody");

        primary.follow(&standby, "standby").expect("comes back");
        standby.synchronise_with("standby").expect("streams");
        standby
            .psql("insert into kept values (9)")
            .expect("commits");
        let arrived = || {
            let rows = primary.psql("select string_agg(n::text, ' ' order by n) from kept");
            rows.is_ok_and(|rows| rows == "7 8 9")
        };
        wait::blocking_until(wait::DEADLINE, "the old primary to have all of it", arrived);
    }
}
