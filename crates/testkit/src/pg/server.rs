//! A whole private `PostgreSQL` instance: made in a fresh directory, stopped, killed, restarted, gone at the end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::binaries::Binaries;
use super::scratch::run_psql;
use crate::child::OwnedChild;
use crate::{free_port, wait};

/// How long a start may take: crash recovery and a cold disk included.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// How long a fast shutdown may take before it becomes a kill.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// Somebody else may take the free port before us; so often we try another one.
const PORT_TRIES: usize = 5;

/// Safe and roomy: everything that durability depends on stays at its default, which is on.
const BASE_SETTINGS: [(&str, &str); 6] = [
    ("listen_addresses", "127.0.0.1"),
    ("fsync", "on"),
    ("max_connections", "400"),
    ("shared_buffers", "128MB"),
    ("log_min_messages", "warning"),
    ("log_line_prefix", "%m [%p] %a "),
];

/// What the reference configuration asks of the server.
const REFERENCE: &str = include_str!("../../../../deploy/reference/postgresql/hubbub.conf");
/// The name of its copy beside `postgresql.conf`.
const REFERENCE_NAME: &str = "hubbub.conf";

/// A running private instance. Dropping it ends the server and removes its directory.
///
/// The superuser is `postgres`, without a password, on loopback only. Run by root, the server belongs to the system
/// user `postgres` (or `nobody`): `PostgreSQL` refuses to serve as root.
#[derive(Debug)]
pub struct PgServer {
    // Declared before `directory`: the child must end before its files go.
    child: Option<OwnedChild>,
    pub(super) binaries: Binaries,
    account: Option<Account>,
    directory: TempDir,
    /// Where the write-ahead log is, when not among the data.
    wal: Option<PathBuf>,
    pub(super) port: u16,
}

impl PgServer {
    /// Makes and starts an instance. `extra` are lines of `postgresql.conf`, which win over the kit's own.
    ///
    /// # Errors
    /// When no `PostgreSQL` 15 or newer is installed, or the server does not come up within 60 s; the error then
    /// carries the end of its log.
    pub fn start(extra: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut server = Self::prepare()?;
        server.initialise(extra)?;
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// Like [`start`](Self::start), with the settings of the reference configuration
    /// (`deploy/reference/postgresql/hubbub.conf`) between the kit's own and `extra`.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_reference(extra: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_reference_at(extra, None)
    }

    /// Like [`start_reference`](Self::start_reference), with the write-ahead log in a directory of that disk: a small
    /// one can run full.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_reference_with_wal(extra: &[(&str, &str)], disk: &Path) -> anyhow::Result<Self> {
        Self::start_reference_at(extra, Some(disk))
    }

    fn start_reference_at(extra: &[(&str, &str)], wal_disk: Option<&Path>) -> anyhow::Result<Self> {
        let mut server = Self::prepare()?;
        if let Some(disk) = wal_disk {
            server.wal = Some(server.own_directory(disk, "wal")?);
        }
        let mut settings = vec![("include", REFERENCE_NAME)];
        settings.extend(extra);
        server.initialise(&settings)?;
        std::fs::write(server.data_path().join(REFERENCE_NAME), REFERENCE)
            .context("write the reference settings")?;
        server.start_on_a_free_port()?;
        Ok(server)
    }

    /// An instance without data that does not run.
    pub(super) fn prepare() -> anyhow::Result<Self> {
        let binaries = Binaries::find().context("no PostgreSQL 15 or newer is installed")?;
        let account = Account::for_server()?;
        let directory = fresh_directory(account.as_ref())?;
        Ok(Self {
            child: None,
            binaries,
            account,
            directory,
            wal: None,
            port: 0,
        })
    }

    /// Runs statements as the superuser and returns what `psql` prints: one line per row, columns separated by `|`.
    ///
    /// # Errors
    /// When the server does not run or a statement fails.
    pub fn psql(&self, statements: &str) -> anyhow::Result<String> {
        run_psql(&self.binaries.path("psql"), &self.url(), statements)
    }

    /// Makes a directory that belongs to the server's account, for a tablespace on another disk.
    ///
    /// # Errors
    /// When it cannot be made or given away.
    pub fn own_directory(&self, disk: &Path, name: &str) -> anyhow::Result<PathBuf> {
        let path = disk.join(name);
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        if let Some(account) = &self.account {
            chown(&path, Some(account.user), Some(account.group))
                .context("give the directory to the server's account")?;
        }
        Ok(path)
    }

    /// Where the server keeps its data.
    pub fn data_path(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The superuser URL of the database `postgres`.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The port on loopback; it stays over a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(OwnedChild::id)
    }

    /// The server's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Fast shutdown: connections are cut, everything is written, a start needs no recovery.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.end(Signal::INT, STOP_DEADLINE);
        }
    }

    /// `kill -9` of the server and its backends, like a power cut of the process: a start goes through recovery.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The postmaster stands still while its children are counted, so none can be born in between.
        child.signal(Signal::STOP);
        let backends = children_of(child.id());
        child.kill();
        for backend in backends {
            if let Some(pid) = Pid::from_raw(backend) {
                // Gone already is as good as killed: a backend ends by itself when its postmaster dies.
                let _gone_already = kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Starts again on the same port and data after [`stop`](Self::stop) or [`kill`](Self::kill); stops first when
    /// running.
    ///
    /// # Errors
    /// When the server does not come up within 60 s.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        // After a kill the last backend may hold the shared memory for a moment, and the postmaster refuses to start.
        for _ in 1..PORT_TRIES {
            if self.try_start()? {
                return Ok(());
            }
        }
        if self.try_start()? {
            return Ok(());
        }
        bail!("PostgreSQL did not restart:\n{}", self.log_end())
    }

    fn initialise(&self, extra: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command = self.command("initdb");
        if let Some(wal) = &self.wal {
            command.arg("--waldir").arg(wal);
        }
        let output = command
            .arg("--pgdata")
            .arg(self.data_path())
            .args(["--username", "postgres", "--auth", "trust"])
            .args(["--encoding", "UTF8", "--locale", "C"])
            .output()
            .context("start initdb")?;
        if !output.status.success() {
            bail!("initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let path = self.data_path().join("postgresql.conf");
        let mut file = File::options()
            .append(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        for (name, value) in BASE_SETTINGS.iter().chain(extra) {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''"))?;
        }
        Ok(())
    }

    pub(super) fn start_on_a_free_port(&mut self) -> anyhow::Result<()> {
        for _ in 0..PORT_TRIES {
            self.port = free_port();
            if self.try_start()? {
                return Ok(());
            }
        }
        bail!("PostgreSQL did not start:\n{}", self.log_end())
    }

    /// Starts the server on `self.port`; `false` when it ended by itself, as it does when the port is taken.
    fn try_start(&mut self) -> anyhow::Result<bool> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .context("open the server's log")?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data_path())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.directory.path())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        let mut child = OwnedChild::new(child);
        let psql = self.binaries.path("psql");
        let url = self.url();
        let mut ended = false;
        let mut answer = Ok(String::new());
        let answered = wait::blocking_try(START_DEADLINE, || {
            ended = child.exit_status().is_some();
            answer = run_psql(&psql, &url, "select 1");
            ended || answer.is_ok()
        });
        if !answered {
            let waited = format!(
                "PostgreSQL gave no answer within {START_DEADLINE:?}:\n{}",
                self.log_end()
            );
            return answer.map(|_| false).context(waited);
        }
        if ended {
            return Ok(false);
        }
        self.child = Some(child);
        Ok(true)
    }

    /// One of the server's programs, run by the server's account in the server's directory.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.path(program));
        command
            .current_dir(self.directory.path())
            .env_remove("LC_ALL")
            .env("LC_MESSAGES", "C")
            .stdin(Stdio::null());
        if let Some(account) = &self.account {
            command.uid(account.user).gid(account.group);
        }
        command
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn log_end(&self) -> String {
        const LINES: usize = 20;
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The unprivileged account that a server started by root belongs to.
#[derive(Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    /// `None` when we are not root: then the server is ours.
    fn for_server() -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        let account = ["postgres", "nobody"]
            .iter()
            .find_map(|name| Self::find(&passwd, name))
            .context(
                "root may not run PostgreSQL, and there is neither a user postgres nor nobody",
            )?;
        Ok(Some(account))
    }

    fn find(passwd: &str, name: &str) -> Option<Self> {
        let line = passwd
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(Self {
            user: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

/// A new directory that the server's account owns and can enter: root's own `TMPDIR` may be closed to it.
fn fresh_directory(account: Option<&Account>) -> anyhow::Result<TempDir> {
    let own = std::env::temp_dir();
    let parent: &Path = match account {
        None => &own,
        Some(_) => ["/var/tmp", "/tmp"]
            .iter()
            .map(Path::new)
            .find(|path| open_to_everyone(path))
            .unwrap_or(&own),
    };
    let directory = tempfile::Builder::new()
        .prefix("hubbub-pg-")
        .tempdir_in(parent)
        .with_context(|| format!("make a directory in {}", parent.display()))?;
    if let Some(account) = account {
        chown(directory.path(), Some(account.user), Some(account.group))
            .context("give the directory to the server's account")?;
    }
    Ok(directory)
}

fn open_to_everyone(path: &Path) -> bool {
    const OTHERS_MAY_ENTER: u32 = 0o001;
    path.metadata()
        .is_ok_and(|found| found.is_dir() && found.mode() & OTHERS_MAY_ENTER != 0)
}

/// The ids of a process's children, from `/proc`; empty where there is none.
fn children_of(parent: u32) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut children = Vec::new();
    for entry in entries.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `pid (name) state ppid …`, where the name may hold anything, a parenthesis too.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ppid = after_name
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok());
        if ppid == Some(parent) {
            children.push(pid);
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;
    use crate::tmpfs::Tmpfs;

    #[test]
    fn what_was_committed_survives_a_kill_and_the_port_stays() {
        // Needs the programs, not the shared instance; without either, `PgScratch` says that it skips.
        if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
            return;
        }
        let mut server = PgServer::start(&[("max_connections", "20")]).expect("starts");
        let psql = server.binaries.path("psql");
        let url = server.url();
        let committed = "create table kept (n int); insert into kept values (7)";
        run_psql(&psql, &url, committed).expect("commits");

        server.kill();
        run_psql(&psql, &url, "select 1").expect_err("nobody answers after the kill");

        server.restart().expect("recovers");
        assert_eq!(server.url(), url);
        let found = run_psql(&psql, &url, "select n from kept").expect("reads");
        assert_eq!(found, "7");
        let extra = run_psql(&psql, &url, "show max_connections").expect("reads");
        assert_eq!(extra, "20");
        let fsync = run_psql(&psql, &url, "show fsync").expect("reads");
        assert_eq!(fsync, "on");
    }

    #[test]
    fn a_full_disk_under_a_tablespace_refuses_rows_and_nothing_else() {
        if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
            return;
        }
        let Some(disk) = Tmpfs::mount_or_skip(16 * 1024 * 1024) else {
            return;
        };
        let server = PgServer::start_reference(&[("shared_buffers", "16MB")]).expect("starts");
        let place = server.own_directory(disk.path(), "heap").expect("is made");
        let place = place.display();
        server
            .psql(&format!("create tablespace small location '{place}'"))
            .expect("is taken");
        server
            .psql("create table rows (t text) tablespace small")
            .expect("fits");
        disk.fill().expect("fills");
        let insert = "insert into rows select repeat('x', 1000) from generate_series(1, 100)";
        let refused = server.psql(insert).expect_err("no space");
        assert!(
            refused.to_string().contains("No space left on device"),
            "{refused}"
        );
        disk.empty().expect("empties");
        server
            .psql(insert)
            .expect("there is space, without a restart");
    }

    #[test]
    fn a_full_disk_under_the_log_ends_the_server_and_space_brings_it_back() {
        if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
            return;
        }
        let Some(disk) = Tmpfs::mount_or_skip(96 * 1024 * 1024) else {
            return;
        };
        let extra = [
            ("shared_buffers", "16MB"),
            ("max_wal_size", "48MB"),
            ("min_wal_size", "32MB"),
        ];
        let mut server = PgServer::start_reference_with_wal(&extra, disk.path()).expect("starts");
        server
            .psql("create table kept (t text); insert into kept values ('safe')")
            .expect("commits");
        disk.fill().expect("fills");
        let insert = "insert into kept select repeat('x', 1000) from generate_series(1, 100000)";
        server.psql(insert).expect_err("no space for the log");
        disk.empty().expect("empties");
        server.restart().expect("recovers");
        let kept = server
            .psql("select count(*) from kept where t = 'safe'")
            .expect("reads");
        assert_eq!(kept, "1");
        server.psql(insert).expect("there is space");
    }

    #[test]
    fn the_directory_goes_with_the_server() {
        if settings::read_or_skip(settings::PG_URL, "PostgreSQL").is_none() {
            return;
        }
        let server = PgServer::start(&[]).expect("starts");
        let directory = server.directory.path().to_owned();
        assert!(directory.is_dir());
        drop(server);
        assert!(!directory.exists());
    }

    #[test]
    fn an_account_is_found_by_its_whole_name() {
        let passwd =
            "root:x:0:0:r:/root:/bin/sh\npostgres:x:108:117:P:/var/lib/postgresql:/bin/bash\n";
        let account = Account::find(passwd, "postgres").expect("is there");
        assert_eq!((account.user, account.group), (108, 117));
        assert!(Account::find(passwd, "post").is_none());
    }
}
