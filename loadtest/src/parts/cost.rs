//! Processor time and memory of children, as the kernel counts them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Length of the kernel's tick in `/proc/<pid>/stat`: `USER_HZ` is 100 on every architecture that Linux is built for today.
const TICK: Duration = Duration::from_millis(10);

/// The processes that a scenario is charged for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charged {
    pub(crate) server: u32,
    pub(crate) postmaster: u32,
    /// The floor has none.
    pub(crate) nats: Option<u32>,
}

/// Processor time spent so far, in user and kernel mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) server: Duration,
    /// With its backends.
    pub(crate) postgres: Duration,
    pub(crate) nats: Duration,
    /// This process: the load takes its share of the cores, too.
    pub(crate) clients: Duration,
}

impl Cost {
    /// What was spent until now.
    pub(crate) fn now(charged: Charged) -> anyhow::Result<Self> {
        let nats = charged
            .nats
            .map_or(Ok(Duration::ZERO), |pid| anyhow::Ok(stat(pid)?.own))?;
        Ok(Self {
            server: stat(charged.server)?.own,
            postgres: with_children(charged.postmaster)?,
            nats,
            clients: stat(std::process::id())?.own,
        })
    }

    /// What was spent since then.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            server: self.server.saturating_sub(earlier.server),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            nats: self.nats.saturating_sub(earlier.nats),
            clients: self.clients.saturating_sub(earlier.clients),
        }
    }

    /// Everything but the load itself.
    pub(crate) fn of_system(self) -> Duration {
        self.server + self.postgres + self.nats
    }
}

/// The child of this process with that program name.
pub(crate) fn child_named(name: &str) -> Option<u32> {
    let own = std::process::id();
    let is_it = |pid: &u32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        comm.is_ok_and(|comm| comm.trim_end() == name)
            && stat(*pid).is_ok_and(|stat| stat.parent == own)
    };
    let entries = std::fs::read_dir("/proc").ok()?;
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(is_it)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes
        .with_context(|| format!("no VmRSS in {path}"))?
        .parse()?;
    Ok(kilobytes * 1_024)
}

/// A backend that ended has left its time with the postmaster, so nothing is counted twice and little is lost.
fn with_children(parent: u32) -> anyhow::Result<Duration> {
    let own = stat(parent)?;
    let mut sum = own.own + own.reaped;
    for entry in std::fs::read_dir("/proc").context("list processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that ends between the listing and the look is no longer a child.
        if let Ok(child) = stat(pid)
            && child.parent == parent
        {
            sum += child.own;
        }
    }
    Ok(sum)
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    own: Duration,
    /// Of children that have ended and were waited for.
    reaped: Duration,
}

fn stat(pid: u32) -> anyhow::Result<Stat> {
    let path = Path::new("/proc").join(pid.to_string()).join("stat");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("understand {}", path.display()))
}

/// The fields behind the name, which stands in parentheses and may hold anything (proc(5): fields 4, 14 to 17).
fn parse(text: &str) -> anyhow::Result<Stat> {
    let Some((_, fields)) = text.rsplit_once(')') else {
        bail!("no name");
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let field = |number: usize| -> anyhow::Result<u32> {
        fields
            .get(number - 3)
            .with_context(|| format!("no field {number}"))?
            .parse()
            .context("not a number")
    };
    Ok(Stat {
        parent: field(4)?,
        own: TICK * (field(14)? + field(15)?),
        reaped: TICK * (field(16)? + field(17)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (post (gres) x) S 3 7 7 0 -1 4 1 2 3 4 11 12 13 14 20 0 1 0 99 0 0";
        let expected = Stat {
            parent: 3,
            own: TICK * 23,
            reaped: TICK * 27,
        };
        assert_eq!(parse(text).unwrap(), expected);
        assert!(parse("7 broken").is_err());
    }

    #[test]
    fn this_process_has_memory_and_a_parent() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 100_000);
        assert!(stat(pid).unwrap().parent > 0);
    }
}
