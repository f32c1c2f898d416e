//! Names and numbers that nobody else has: ids and ports.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use uuid::Uuid;

/// A new time-ordered id. Tests take ids from here: outside of tests they come from the caller.
#[expect(
    clippy::disallowed_methods,
    reason = "the blessed source of ids in tests"
)]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}

/// The lowest port that is given out: below are the services of the system.
const PORT_MIN: u16 = 12_000;
/// Where the system begins to choose ports for outgoing connections, unless it says otherwise.
const EPHEMERAL_MIN_USUAL: u16 = 32_768;
/// Where the system says so.
const EPHEMERAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// A TCP port on loopback that was free a moment ago; no other call in this process is given the same one.
///
/// It lies below those that the system gives to outgoing connections: a server that is killed finds it free again when it comes back,
/// though thousands of clients connect meanwhile. Another process may still take it before its user binds it, so whoever can should
/// bind port 0 itself, and whoever cannot should try again with another port.
///
/// # Panics
/// When the machine has no free port.
pub fn free_port() -> u16 {
    /// Ports given out by this process, those that were not free included.
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    /// Each process begins elsewhere.
    static FIRST: OnceLock<u32> = OnceLock::new();
    let span = u32::from(ephemeral_min() - PORT_MIN);
    let first = *FIRST.get_or_init(|| {
        let random = fresh_uuid().as_u64_pair().1;
        u32::try_from(random % u64::from(span)).unwrap_or(0)
    });
    for _probe in 0..span {
        let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % span;
        let port = PORT_MIN.saturating_add(u16::try_from(place).unwrap_or(0));
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on loopback")
}

fn ephemeral_min() -> u16 {
    let range = std::fs::read_to_string(EPHEMERAL_RANGE).unwrap_or_default();
    let first = range.split_whitespace().next();
    first
        .and_then(|port| port.parse().ok())
        .filter(|port| *port > PORT_MIN)
        .unwrap_or(EPHEMERAL_MIN_USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("the port was free");
    }

    #[test]
    fn no_port_is_given_twice_and_none_that_an_outgoing_connection_may_take() {
        let ports: std::collections::BTreeSet<u16> = (0..200).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| *port < ephemeral_min()));
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(fresh_uuid(), fresh_uuid());
    }
}
