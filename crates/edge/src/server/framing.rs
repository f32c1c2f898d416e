//! Notices requests that say their length in two ways (RFC 9112 §6.1: a sign of smuggling).
//!
//! The HTTP library resolves such a request by itself and hides the second length, so the bytes are looked at on their way in. Only the
//! refusal depends on it; what is a request and where it ends stays the library's judgement.
//!
//! Never: more than [`LINE_BYTES_MAX`] bytes in hand, a guess after the first thing that is not plain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The beginning of a line that is kept: the longest name looked for, and a length.
const LINE_BYTES_MAX: usize = 64;

/// Says whether a request of this connection gave both lengths.
#[derive(Clone, Debug, Default)]
pub(crate) struct AmbiguousFraming(Arc<AtomicBool>);

impl AmbiguousFraming {
    pub(crate) fn was_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct Scanner {
    seen: AmbiguousFraming,
    state: State,
    line: Vec<u8>,
    /// Something other than empty lines has come since the last request.
    begun: bool,
    chunked: bool,
    upgrade: bool,
    length: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// Not followed any further: a chunked body, an upgrade, or nonsense. The connection ends after it.
    Off,
}

impl Scanner {
    pub(crate) fn new(seen: AmbiguousFraming) -> Self {
        Self {
            seen,
            state: State::Head,
            line: Vec::new(),
            begun: false,
            chunked: false,
            upgrade: false,
            length: None,
        }
    }

    /// Bytes as they came from the network.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Off => return,
                State::Body(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = bytes.get(here..).unwrap_or_default();
                    let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
                    self.state = if left == 0 {
                        State::Head
                    } else {
                        State::Body(left)
                    };
                }
                State::Head => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                    let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
                    self.line.extend(piece.iter().take(room));
                    bytes = bytes
                        .get(piece.len().saturating_add(1)..)
                        .unwrap_or_default();
                    if end.is_some() {
                        self.end_of_line();
                    }
                }
            }
        }
    }

    fn end_of_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.is_empty() {
            if self.begun {
                self.end_of_head();
            }
            return;
        }
        self.begun = true;
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let value = std::str::from_utf8(value).unwrap_or_default().trim();
            self.length = Some(value.parse().unwrap_or(u64::MAX));
        }
    }

    fn end_of_head(&mut self) {
        if self.chunked && self.length.is_some() {
            self.seen.0.store(true, Ordering::Relaxed);
        }
        self.state = match self.length {
            _ if self.chunked || self.upgrade => State::Off,
            Some(u64::MAX) => State::Off,
            Some(0) | None => State::Head,
            Some(length) => State::Body(length),
        };
        self.begun = false;
        self.length = None;
        if self.state == State::Off {
            self.line = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(bytes: &[u8], piece: usize) -> bool {
        let flag = AmbiguousFraming::default();
        let mut scanner = Scanner::new(flag.clone());
        for piece in bytes.chunks(piece) {
            scanner.feed(piece);
        }
        flag.was_seen()
    }

    const BOTH: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

    #[test]
    fn both_lengths_in_either_order_are_noticed() {
        assert!(seen(BOTH, 1_000));
        assert!(seen(
            b"POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\ncontent-length:3\r\n\r\n",
            1_000
        ));
    }

    #[test]
    fn what_stands_in_a_body_is_not_a_head() {
        let inner = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let request = format!(
            "POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}",
            inner.len()
        );
        assert!(!seen(request.as_bytes(), 1_000));
        let mut followed = request.into_bytes();
        followed.extend(BOTH);
        assert!(seen(&followed, 1_000), "the request after it is looked at");
    }

    #[test]
    fn plain_requests_in_a_row_are_fine() {
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n";
        assert!(!seen(request, 1_000));
    }

    proptest! {
        #[test]
        fn however_the_bytes_arrive_the_judgement_is_the_same(piece in 1_usize..40) {
            prop_assert!(seen(BOTH, piece));
        }

        #[test]
        fn nonsense_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..40) {
            seen(&bytes, piece);
        }
    }
}
