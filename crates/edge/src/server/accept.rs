//! The accept loop: one task per connection, each with a time limit for its headers, all of them counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hubbub_telemetry::{OnError, spawn_named};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::http::call::Peer;
use crate::server::framing::{AmbiguousFraming, Scanner};
use crate::server::stream::Stream;

/// Headers have to be there after this long; also how long a connection may be idle between requests.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of the head of a request at most.
const HEAD_BYTES_MAX: usize = 65_536;
/// Pause after the system refused a connection, for want of descriptors as a rule: the ones that are open go on.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until `draining`; then every connection finishes its request and ends.
pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    places: Arc<Semaphore>,
    connections: TaskTracker,
    draining: CancellationToken,
) {
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((tcp, peer)) => Some((tcp, peer, place)),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    None
                }
            }
        };
        tokio::select! {
            () = draining.cancelled() => return,
            accepted = accepted => {
                if let Some((tcp, peer, place)) = accepted {
                    let serve = serve(tcp, peer, place, router.clone(), draining.clone());
                    spawn_named("edge connection", OnError::Log, connections.track_future(serve));
                }
            }
        }
    }
}

async fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
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
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    let mut connection = Box::pin(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
