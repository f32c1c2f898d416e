//! A connection's bytes: looked at on the way in, and closed so that the last answer arrives.
//!
//! A socket that is closed while unread bytes wait is reset by the kernel, and the peer may lose what it has not read yet: a 413, a
//! close frame. So after the end the rest is read and thrown away for a moment.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hubbub_telemetry::metrics::IntGauge;
use hubbub_telemetry::{OnError, spawn_named};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use crate::server::bare;
use crate::server::framing::Scanner;

/// How long the rest of a connection is read.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it.
const LINGER_BYTES_MAX: usize = 4_194_304;
/// Read at once meanwhile.
const LINGER_BUFFER_BYTES: usize = 8_192;

/// A place among all connections; counted while it is held.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit, open: IntGauge) -> Self {
        open.inc();
        Self {
            _permit: permit,
            open,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// One accepted connection. Holds its place among all connections until it is really closed.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: Option<TcpStream>,
    place: Option<Place>,
    scanner: Scanner,
    ended: bool,
    /// What goes out instead of a bare refusal of the library, and how much of it has.
    instead: Option<(Vec<u8>, usize)>,
    /// The last write was not taken whole: what comes next is its rest, not the beginning of an answer.
    mid_write: bool,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, place: Place, scanner: Scanner) -> Self {
        Self {
            tcp: Some(tcp),
            place: Some(place),
            scanner,
            ended: false,
            instead: None,
            mid_write: false,
        }
    }

    fn tcp(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.tcp
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Stream {
    /// Writes the rest of what goes out instead.
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((answer, mut sent)) = self.instead.take() else {
            return Poll::Ready(Ok(()));
        };
        loop {
            let rest = answer.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                self.instead = Some((answer, sent));
                return Poll::Ready(Ok(()));
            }
            match self.tcp()?.poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => sent = sent.saturating_add(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some((answer, sent));
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.ended || Handle::try_current().is_err() {
            return;
        }
        if let Some(tcp) = self.tcp.take() {
            spawn_named("edge linger", OnError::Log, linger(tcp, self.place.take()));
        }
    }
}

async fn linger(mut tcp: TcpStream, place: Option<Place>) {
    let rest = async {
        if tcp.shutdown().await.is_err() {
            return;
        }
        let mut buffer = vec![0; LINGER_BUFFER_BYTES];
        let mut total = 0_usize;
        while let Ok(read) = tcp.read(&mut buffer).await {
            total = total.saturating_add(read);
            if read == 0 || total > LINGER_BYTES_MAX {
                return;
            }
        }
    };
    // The peer may never end its side; that is what the limit is for.
    tokio::time::timeout(LINGER, rest).await.unwrap_or_default();
    drop(place);
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.tcp()?.poll_read(cx, buffer);
        if let Poll::Ready(result) = &polled {
            let fresh = buffer.filled().get(before..).unwrap_or_default();
            self.ended |= result.is_err() || (fresh.is_empty() && buffer.remaining() > 0);
            self.scanner.feed(fresh);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.instead.is_none() && !self.mid_write {
            self.instead = bare::replacement(bytes).map(|answer| (answer, 0));
        }
        if self.instead.is_none() {
            let polled = self.tcp()?.poll_write(cx, bytes);
            self.mid_write = !matches!(polled, Poll::Ready(Ok(written)) if written == bytes.len());
            return polled;
        }
        ready!(self.poll_instead(cx))?;
        // The library closes after such an answer; whatever else it writes until then is part of it.
        Poll::Ready(Ok(bytes.len()))
    }

    // Vectored writes are left out: an answer arrives in one piece that way, and can be looked at.

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp()?.poll_shutdown(cx)
    }
}
