//! Names and numbers that nobody else has: ids and ports.

use std::net::{Ipv4Addr, TcpListener};

use uuid::Uuid;

/// A new time-ordered id. Tests take ids from here: outside of tests they come from the caller.
#[expect(
    clippy::disallowed_methods,
    reason = "the blessed source of ids in tests"
)]
pub fn fresh_uuid() -> Uuid {
    Uuid::now_v7()
}

/// A TCP port on loopback that was free a moment ago.
///
/// Another process may take it before its user binds it, so whoever can should bind port 0 itself, and whoever cannot
/// should try again with another port.
///
/// # Panics
/// When the machine has no free port.
pub fn free_port() -> u16 {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|probe| probe.local_addr());
    match bound {
        Ok(address) => address.port(),
        Err(error) => panic!("no free port on loopback: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).expect("the port was free");
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(fresh_uuid(), fresh_uuid());
    }
}
