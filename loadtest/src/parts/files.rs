//! Open files: a socket is one here and one in the server.

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to what `sockets` need, for this process and its children.
pub(crate) fn raise_open_files(sockets: u64) -> anyhow::Result<()> {
    /// Logs, libraries, database connections, listeners.
    const OTHERS: u64 = 1_000;
    let wanted = sockets + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let possible = limit.maximum.is_none_or(|maximum| maximum >= wanted);
    ensure!(
        possible,
        "{sockets} sockets need {wanted} open files and this system allows {}: run `ulimit -Hn {wanted}` as root, or take fewer",
        limit.maximum.unwrap_or_default()
    );
    let raised = Rlimit {
        current: limit.maximum.or(Some(wanted)),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}
