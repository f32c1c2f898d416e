//! Memory of sockets that are logged in and say nothing, as the kernel counts the server's resident pages.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::task::JoinSet;

use crate::load::{Seat, Socket};
use crate::parts::{Charged, resident_bytes};
use crate::report::{Row, count, per};

/// Sockets that are opened at a time: a server greets each with a few reads.
const OPENED_AT_ONCE: usize = 64;
/// Time between two looks at the memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks until the memory is taken as it is.
const LOOKS_MAX: u32 = 20;

/// Our figure, and the name of its ratio to the floor's.
pub(super) const COMPARED: [(&str, &str); 1] = [("bytes_per_socket", "memory_of_floor")];

/// Opens every socket at a target that was just started, and compares its memory before and after.
pub(super) async fn measure(
    charged: Charged,
    name: &'static str,
    seats: &[Seat],
) -> anyhow::Result<Row> {
    eprintln!("==> idle at {name}, {} sockets", seats.len());
    // The first socket pays for what all share: code, pools, caches.
    let first = seats.first().context("at least one socket")?;
    let warm = Socket::open(first).await?;
    let before = settled(charged).await?;
    let sockets: Vec<Socket> = stream::iter(seats)
        .map(Socket::open)
        .buffer_unordered(OPENED_AT_ONCE)
        .try_collect()
        .await?;
    // Each answers the server's pings while it waits, as a client does.
    let mut open = JoinSet::new();
    for mut socket in sockets.into_iter().chain([warm]) {
        open.spawn(async move {
            loop {
                socket.next().await?;
            }
            #[expect(unreachable_code, reason = "it gives the block its type")]
            anyhow::Ok(())
        });
    }
    let after = settled(charged).await?;
    if let Some(ended) = open.try_join_next() {
        ended?.context("an idle socket was closed")?;
    }
    let sockets = u64::try_from(seats.len())?;
    let grown = after.saturating_sub(before);
    Ok(Row::new("idle", name)
        .with("sockets", sockets)
        .figure("before_mib", count(before) / 1_048_576.0)
        .figure("after_mib", count(after) / 1_048_576.0)
        .figure("bytes_per_socket", per(count(grown), count(sockets))))
}

/// The resident memory once it has stopped growing.
async fn settled(charged: Charged) -> anyhow::Result<u64> {
    let mut last = resident_bytes(charged.server)?;
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = resident_bytes(charged.server)?;
        // A page or two is noise.
        if now.abs_diff(last) < 65_536 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
