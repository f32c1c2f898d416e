//! How many connections of clients the limit of open descriptors leaves room for. A node that runs out of them could not reach its database
//! either, so it takes fewer sockets instead: new ones are refused, the open ones stay.

use anyhow::bail;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is neither a client nor a pooled connection: files of the log and its journal, the listeners, the
/// metrics listener's connections (64), NATS, the exporter, the threads' event queues; with room to look around in.
const RESERVE: u64 = 160;
/// Connections of clients at most unless the settings say another number (ARCHITECTURE.md §12: 50,000 sockets per edge).
const CONNECTIONS_MAX: u64 = 60_000;
/// Fewer would not serve anybody well: a limit this low is a mistake.
const CONNECTIONS_MIN: u64 = 16;

/// Raises the limit of descriptors as far as this process may, and says how many connections of clients it leaves room for beside `pooled`
/// connections to the database.
///
/// # Errors
/// A sentence for the operator when there is no room for `wanted` (0 = as many as possible), or for anybody.
pub(super) fn connections(wanted: u32, pooled: u32) -> anyhow::Result<usize> {
    let limit = raised();
    let connections = room(u64::from(wanted), limit, u64::from(pooled))?;
    tracing::info!(
        connections,
        descriptors = limit,
        reserved = RESERVE + u64::from(pooled),
        "room for connections of clients"
    );
    Ok(usize::try_from(connections).unwrap_or(usize::MAX))
}

/// The limit after raising it; the highest number when there is none.
fn raised() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let highest = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if now.current == now.maximum {
        return now.current.unwrap_or(u64::MAX);
    }
    match setrlimit(Resource::Nofile, highest) {
        Ok(()) => now.maximum.unwrap_or(u64::MAX),
        Err(error) => {
            tracing::debug!(%error, "the limit of descriptors stays as it is");
            now.current.unwrap_or(u64::MAX)
        }
    }
}

fn room(wanted: u64, limit: u64, pooled: u64) -> anyhow::Result<u64> {
    let left = limit.saturating_sub(RESERVE.saturating_add(pooled));
    if left < CONNECTIONS_MIN {
        bail!(
            "the limit of {limit} open descriptors leaves no room for clients; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    if wanted > left {
        bail!(
            "connections = {wanted} needs more than the limit of {limit} open descriptors; raise it (ulimit -n, LimitNOFILE) or set at most {left}"
        );
    }
    Ok(if wanted == 0 {
        left.min(CONNECTIONS_MAX)
    } else {
        wanted
    })
}

#[cfg(test)]
mod tests {
    use super::{CONNECTIONS_MAX, RESERVE, room};

    #[test]
    fn what_is_reserved_is_never_given_to_clients() {
        assert_eq!(room(0, 1_024, 45).unwrap(), 1_024 - RESERVE - 45);
        assert_eq!(room(0, 1_048_576, 45).unwrap(), CONNECTIONS_MAX);
        assert_eq!(room(0, u64::MAX, 45).unwrap(), CONNECTIONS_MAX);
        assert_eq!(room(70_000, u64::MAX, 45).unwrap(), 70_000);
        assert_eq!(room(100, 1_024, 45).unwrap(), 100);
    }

    #[test]
    fn a_limit_that_does_not_suffice_is_a_mistake_that_is_named() {
        let refused = room(2_000, 1_024, 45).unwrap_err().to_string();
        assert!(refused.contains("at most 819"), "{refused}");
        assert!(room(0, 200, 45).is_err());
        assert!(room(0, 10, 45).is_err());
    }
}
