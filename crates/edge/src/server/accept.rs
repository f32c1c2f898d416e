//! The accept loop: one task per connection, each with a time limit for its headers, all of them counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hubbub_telemetry::{Metrics, OnError, spawn_named};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::http::call::Peer;
use crate::server::bare;
use crate::server::framing::{AmbiguousFraming, Scanner};
use crate::server::stream::{Place, Stream};

/// Headers have to be there after this long; also how long a connection may be idle between requests.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of the head of a request at most.
const HEAD_BYTES_MAX: usize = 65_536;
/// Pause after the system refused a connection, for want of descriptors as a rule: the ones that are open go on.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the system may keep until they are accepted (it cuts this to its own limit): five thousand clients may come back
/// within one moment.
pub(crate) const BACKLOG: u32 = 8_192;
/// Connections that are being told to come back later, at once; more are closed without a word.
const REFUSALS_AT_ONCE: usize = 64;
/// How long someone is listened to who is told so: closing over unread bytes would take the answer back.
const REFUSAL_LINGER: Duration = Duration::from_millis(500);

/// What a listener works with.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) connections: TaskTracker,
    /// Connections end after the request that they are at.
    pub(crate) draining: CancellationToken,
    /// Nobody is accepted any more.
    pub(crate) closed: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

/// Accepts until `closed`. Who finds no place is told so; who was there stays.
pub(crate) async fn run(door: Door, router: Router) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_AT_ONCE));
    let mut spare = Spare::take();
    loop {
        let accepted = tokio::select! {
            () = door.closed.cancelled() => return,
            accepted = door.listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                if !spare.refuse_one(&door).await {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
                continue;
            }
        };
        if let Ok(permit) = Arc::clone(&door.places).try_acquire_owned() {
            let place = Place::new(permit, door.metrics.edge.connections.clone());
            let serve = serve(tcp, peer, place, router.clone(), door.draining.clone());
            spawn_named(
                "edge connection",
                OnError::Log,
                door.connections.track_future(serve),
            );
        } else {
            door.metrics.edge.connections_refused.inc();
            if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                spawn_named("edge refusal", OnError::Log, async move {
                    refuse(tcp).await;
                    drop(turn);
                });
            }
        }
    }
}

/// A descriptor that is kept so that there is one for saying no when all others are in use.
struct Spare(Option<std::fs::File>);

impl Spare {
    fn take() -> Self {
        Self(std::fs::File::open("/dev/null").ok())
    }

    /// Accepts one connection in place of the spare and tells it to come back; `false` when nothing could be done.
    async fn refuse_one(&mut self, door: &Door) -> bool {
        if self.0.take().is_none() {
            *self = Self::take();
            return false;
        }
        let next = tokio::time::timeout(Duration::ZERO, door.listener.accept()).await;
        let accepted = match next {
            Ok(Ok((tcp, _))) => {
                door.metrics.edge.connections_refused.inc();
                // What a fresh connection can take at once is more than this answer.
                drop(tcp.try_write(&bare::busy()));
                true
            }
            Ok(Err(_)) | Err(_) => false,
        };
        *self = Self::take();
        accepted && self.0.is_some()
    }
}

async fn refuse(mut tcp: TcpStream) {
    let answer = async {
        tcp.write_all(&bare::busy()).await?;
        tcp.shutdown().await?;
        let mut rest = [0; 1_024];
        while tcp.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    if let Ok(Err(error)) = tokio::time::timeout(REFUSAL_LINGER, answer).await {
        tracing::debug!(%error, "someone was not told that there is no place");
    }
}

async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    place: Place,
    router: Router,
    draining: CancellationToken,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let framing = AmbiguousFraming::default();
    let stream = Stream::new(tcp, place, Scanner::new(framing.clone()));
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(framing.clone());
        request
    });
    let mut http = http1::Builder::new();
    let late = draining.is_cancelled();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .keep_alive(!late)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        // Who comes late still hears the answer to one request.
        () = draining.cancelled(), if !late => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
