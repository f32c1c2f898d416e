//! A TCP line that can be broken in every way that matters: cut, refused, held, slow, flapping, or with one direction
//! swallowed while the other still works; and that can lead to another server from now on.
//!
//! A test points its client at [`TcpProxy::listen_addr`] and turns the switches while the client works. Switches act on
//! open and on new connections alike, and [`TcpProxy::resume`] sets them all back.
//!
//! Never: knowledge of what the bytes mean.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes moved at once. Small, so that a held direction fills the kernel's buffers and not ours.
const CHUNK_BYTES: usize = 16 * 1024;

/// A running proxy. Dropping it closes the port and every connection through it.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    switches: watch::Sender<Switches>,
    upstream: watch::Sender<SocketAddr>,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
    flapping: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy)]
struct Switches {
    refuse: bool,
    requests: Flow,
    replies: Flow,
    delay: Duration,
    /// How often everything was cut; a connection lives as long as the number it was born with.
    cuts: u64,
}

/// What happens to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Pass,
    /// Kept, in order, until the direction passes again.
    Hold,
    /// Thrown away for good.
    Swallow,
}

/// What went through, for tests that must know that the fault really happened.
#[derive(Debug, Default)]
struct Seen {
    open: AtomicUsize,
    swallowed_bytes: AtomicU64,
    held_chunks: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Requests,
    Replies,
}

impl Switches {
    const PASSING: Self = Self {
        refuse: false,
        requests: Flow::Pass,
        replies: Flow::Pass,
        delay: Duration::ZERO,
        cuts: 0,
    };

    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::Requests => self.requests,
            Direction::Replies => self.replies,
        }
    }
}

impl TcpProxy {
    /// Listens on a free port of loopback and connects each client to `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (switches, watching) = watch::channel(Switches::PASSING);
        let seen = Arc::new(Seen::default());
        let (upstream, leading_to) = watch::channel(upstream);
        let accepting = tokio::spawn(accept(listener, leading_to, watching, Arc::clone(&seen)));
        Ok(Self {
            address,
            switches,
            upstream,
            seen,
            accepting,
            flapping: Mutex::new(None),
        })
    }

    /// Where clients connect.
    pub fn listen_addr(&self) -> SocketAddr {
        self.address
    }

    /// `url` with its `host:port` replaced by this proxy's: a database or bus URL through the proxy.
    pub fn url_through(&self, url: &str) -> String {
        let start = url.find("://").map_or(0, |scheme_end| scheme_end + 3);
        let (scheme, rest) = url.split_at(start);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let user = authority
            .rsplit_once('@')
            .map_or_else(String::new, |(user, _)| format!("{user}@"));
        format!("{scheme}{user}{}{path}", self.address)
    }

    /// Leads new connections to another server and closes the open ones, as a balancer does that follows the primary.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.upstream.send_replace(upstream);
        self.cut();
    }

    /// Closes every open connection now; new ones are served.
    pub fn cut(&self) {
        self.switches.send_modify(|now| now.cuts += 1);
    }

    /// Closes new connections as soon as they arrive; open ones stay. With [`cut`](Self::cut): the server is gone.
    pub fn refuse_new(&self) {
        self.switches.send_modify(|now| now.refuse = true);
    }

    /// Keeps what clients send from now on, in order, until [`resume`](Self::resume).
    pub fn hold_requests(&self) {
        self.switches.send_modify(|now| now.requests = Flow::Hold);
    }

    /// Keeps what the server answers from now on, in order, until [`resume`](Self::resume). The server still does
    /// what it was asked.
    pub fn hold_replies(&self) {
        self.switches.send_modify(|now| now.replies = Flow::Hold);
    }

    /// Throws away what the server answers from now on. The server still does what it was asked: this makes an
    /// unknown outcome. A connection that lost bytes cannot be used again; cut it before resuming.
    pub fn swallow_replies(&self) {
        self.switches.send_modify(|now| now.replies = Flow::Swallow);
    }

    /// Throws away what clients send from now on, while the server's words still arrive: one direction of a broken
    /// route. A connection that lost bytes cannot be used again; cut it before resuming.
    pub fn swallow_requests(&self) {
        self.switches
            .send_modify(|now| now.requests = Flow::Swallow);
    }

    /// Nothing arrives in either direction and no connection is closed: a cable pulled out in the middle. New
    /// connections are taken and lead nowhere, too.
    pub fn swallow_all(&self) {
        self.switches.send_modify(|now| {
            now.requests = Flow::Swallow;
            now.replies = Flow::Swallow;
        });
    }

    /// Down for that long, up for that long, again and again until [`resume`](Self::resume). Down means: nothing
    /// arrives and nothing is closed; what was swallowed from is cut when the line comes up, as its ends notice then.
    pub fn flap(&self, down: Duration, up: Duration) {
        let switches = self.switches.clone();
        let flapping = tokio::spawn(async move {
            loop {
                switches.send_modify(|now| {
                    now.requests = Flow::Swallow;
                    now.replies = Flow::Swallow;
                });
                tokio::time::sleep(down).await;
                switches.send_modify(|now| {
                    now.requests = Flow::Pass;
                    now.replies = Flow::Pass;
                    now.cuts += 1;
                });
                tokio::time::sleep(up).await;
            }
        });
        self.set_flapping(Some(flapping));
    }

    fn set_flapping(&self, task: Option<JoinHandle<()>>) {
        let mut current = self.flapping.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *current, task) {
            before.abort();
        }
    }

    /// Every chunk of either direction waits this long before it goes on.
    pub fn delay(&self, delay: Duration) {
        self.switches.send_modify(|now| now.delay = delay);
    }

    /// Everything passes again, without delay.
    pub fn resume(&self) {
        self.set_flapping(None);
        self.switches.send_modify(|now| {
            *now = Switches {
                cuts: now.cuts,
                ..Switches::PASSING
            };
        });
    }

    /// Connections open at this moment.
    pub fn open_connections(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Bytes thrown away since the start: above zero means that somebody did speak.
    pub fn swallowed_bytes(&self) -> u64 {
        self.seen.swallowed_bytes.load(Ordering::Relaxed)
    }

    /// Chunks that had to wait for [`resume`](Self::resume) since the start: above zero means that something is, or
    /// was, held.
    pub fn held_chunks(&self) -> u64 {
        self.seen.held_chunks.load(Ordering::Relaxed)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        // The connections end by themselves: their switches are gone.
        self.accepting.abort();
        self.set_flapping(None);
    }
}

async fn accept(
    listener: TcpListener,
    upstream: watch::Receiver<SocketAddr>,
    switches: watch::Receiver<Switches>,
    seen: Arc<Seen>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let now = *switches.borrow();
        if now.refuse {
            continue;
        }
        let upstream = *upstream.borrow();
        tokio::spawn(serve(
            client,
            upstream,
            switches.clone(),
            Arc::clone(&seen),
            now.cuts,
        ));
    }
}

/// One connection, from its first byte until both sides are done or it is cut.
async fn serve(
    mut client: TcpStream,
    upstream: SocketAddr,
    switches: watch::Receiver<Switches>,
    seen: Arc<Seen>,
    born: u64,
) {
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    // Nagle's delay would be a fault that nobody asked for. Failing to switch it off fails nothing else.
    let _slower_at_worst = client.set_nodelay(true).and(server.set_nodelay(true));
    seen.open.fetch_add(1, Ordering::Relaxed);
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let requests = pump(
        client_in,
        server_out,
        Direction::Requests,
        switches.clone(),
        &seen,
    );
    let replies = pump(
        server_in,
        client_out,
        Direction::Replies,
        switches.clone(),
        &seen,
    );
    let mut until_cut = switches.clone();
    tokio::select! {
        _both_done = async { tokio::join!(requests, replies) } => {}
        _cut_or_dropped = until_cut.wait_for(|now| now.cuts != born) => {}
    }
    seen.open.fetch_sub(1, Ordering::Relaxed);
}

/// Moves the bytes of one direction; ends with the source, or when the sink is closed.
async fn pump(
    mut source: impl AsyncReadExt + Unpin,
    mut sink: impl AsyncWriteExt + Unpin,
    direction: Direction,
    mut switches: watch::Receiver<Switches>,
    seen: &Seen,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // A reset ends the direction like a close.
        let length = source.read(&mut chunk).await.unwrap_or(0);
        if length == 0 {
            // What cannot carry bytes cannot carry the news that there will be no more, either.
            switches
                .wait_for(|now| now.flow(direction) == Flow::Pass)
                .await
                .map_err(|_proxy_dropped| io::ErrorKind::BrokenPipe)?;
            return sink.shutdown().await;
        }
        if switches.borrow().flow(direction) == Flow::Hold {
            seen.held_chunks.fetch_add(1, Ordering::Relaxed);
        }
        let passing = switches
            .wait_for(|now| now.flow(direction) != Flow::Hold)
            .await
            .map(|now| *now)
            .map_err(|_proxy_dropped| io::ErrorKind::BrokenPipe)?;
        if passing.flow(direction) == Flow::Swallow {
            let swallowed = u64::try_from(length).unwrap_or(u64::MAX);
            seen.swallowed_bytes.fetch_add(swallowed, Ordering::Relaxed);
            continue;
        }
        tokio::time::sleep(passing.delay).await;
        sink.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::wait::{DEADLINE, eventually};

    /// A server that answers every byte with the next one, and remembers what it got.
    struct Upstream {
        address: SocketAddr,
        received: Arc<Mutex<Vec<u8>>>,
    }

    impl Upstream {
        async fn start() -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await
                .expect("binds");
            let address = listener.local_addr().expect("is bound");
            let received = Arc::new(Mutex::new(Vec::new()));
            let remembered = Arc::clone(&received);
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let remembered = Arc::clone(&remembered);
                    tokio::spawn(async move {
                        while let Ok(byte) = stream.read_u8().await {
                            remembered.lock().expect("not poisoned").push(byte);
                            if stream.write_u8(byte + 1).await.is_err() {
                                break;
                            }
                        }
                    });
                }
            });
            Self { address, received }
        }

        fn received(&self) -> Vec<u8> {
            self.received.lock().expect("not poisoned").clone()
        }
    }

    async fn connected() -> (Upstream, TcpProxy, TcpStream) {
        let upstream = Upstream::start().await;
        let proxy = TcpProxy::start(upstream.address).await.expect("starts");
        let mut client = TcpStream::connect(proxy.listen_addr())
            .await
            .expect("connects");
        assert_eq!(ask(&mut client, 1).await, 2);
        (upstream, proxy, client)
    }

    async fn ask(client: &mut TcpStream, byte: u8) -> u8 {
        client.write_u8(byte).await.expect("sends");
        client.read_u8().await.expect("is answered")
    }

    #[tokio::test]
    async fn a_swallowed_reply_was_executed_and_never_arrives() {
        let (upstream, proxy, mut client) = connected().await;
        proxy.swallow_replies();
        client.write_u8(10).await.expect("sends");
        eventually(DEADLINE, "the reply to be swallowed", async || {
            proxy.swallowed_bytes() == 1
        })
        .await;
        assert_eq!(upstream.received(), [1, 10]);
        proxy.resume();
        assert_eq!(ask(&mut client, 20).await, 21, "not the reply to 10");
    }

    #[tokio::test]
    async fn a_swallowed_request_is_never_executed_while_the_server_is_still_heard() {
        let (upstream, proxy, mut client) = connected().await;
        proxy.swallow_requests();
        client.write_u8(10).await.expect("sends");
        eventually(DEADLINE, "the request to be swallowed", async || {
            proxy.swallowed_bytes() == 1
        })
        .await;
        assert_eq!(upstream.received(), [1]);
        proxy.resume();
        assert_eq!(ask(&mut client, 20).await, 21);
        assert_eq!(upstream.received(), [1, 20]);
    }

    #[tokio::test]
    async fn nobody_hears_of_an_end_that_is_swallowed() {
        let (_upstream, proxy, mut client) = connected().await;
        proxy.swallow_all();
        client.write_u8(10).await.expect("sends");
        drop(client);
        eventually(DEADLINE, "the request to be swallowed", async || {
            proxy.swallowed_bytes() == 1
        })
        .await;
        assert_eq!(proxy.open_connections(), 1, "the server does not know");
        proxy.cut();
        eventually(DEADLINE, "the line to be closed", async || {
            proxy.open_connections() == 0
        })
        .await;
    }

    #[tokio::test]
    async fn a_flapping_line_comes_and_goes_until_it_is_resumed() {
        let (_upstream, proxy, _client) = connected().await;
        let one_byte = async || {
            let mut line = TcpStream::connect(proxy.listen_addr())
                .await
                .expect("connects");
            line.write_u8(3).await.is_ok() && line.read_u8().await.is_ok()
        };
        proxy.flap(Duration::from_millis(50), Duration::from_millis(50));
        let (mut came, mut went) = (false, false);
        eventually(DEADLINE, "the line to have come and gone", async || {
            let arrived = one_byte().await;
            came |= arrived;
            went |= !arrived;
            came && went
        })
        .await;
        proxy.resume();
        proxy.cut();
        assert!(one_byte().await, "it stays up");
    }

    #[tokio::test]
    async fn a_line_leads_to_another_server_from_now_on() {
        let (first, proxy, mut client) = connected().await;
        let second = Upstream::start().await;
        proxy.lead_to(second.address);
        assert!(client.read_u8().await.is_err(), "the old line is cut");
        let mut next = TcpStream::connect(proxy.listen_addr())
            .await
            .expect("connects");
        assert_eq!(ask(&mut next, 3).await, 4);
        assert_eq!((first.received(), second.received()), (vec![1], vec![3]));
    }

    #[tokio::test]
    async fn a_held_reply_arrives_in_order_after_resuming() {
        let (upstream, proxy, mut client) = connected().await;
        proxy.hold_replies();
        client.write_u8(10).await.expect("sends");
        eventually(DEADLINE, "the reply to be held", async || {
            proxy.held_chunks() == 1
        })
        .await;
        assert_eq!(upstream.received(), [1, 10]);
        proxy.resume();
        assert_eq!(client.read_u8().await.expect("arrives"), 11);
        assert_eq!(ask(&mut client, 20).await, 21);
    }

    #[tokio::test]
    async fn a_held_request_does_not_reach_the_server_before_resuming() {
        let (upstream, proxy, mut client) = connected().await;
        proxy.hold_requests();
        client.write_u8(10).await.expect("sends");
        eventually(DEADLINE, "the request to be held", async || {
            proxy.held_chunks() == 1
        })
        .await;
        assert_eq!(upstream.received(), [1]);
        proxy.resume();
        assert_eq!(client.read_u8().await.expect("is answered"), 11);
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open_and_serves_what_comes() {
        let (_upstream, proxy, mut client) = connected().await;
        assert_eq!(proxy.open_connections(), 1);
        proxy.cut();
        assert!(client.read_u8().await.is_err(), "the line is cut");
        let mut next = TcpStream::connect(proxy.listen_addr())
            .await
            .expect("connects");
        assert_eq!(ask(&mut next, 3).await, 4);
    }

    #[tokio::test]
    async fn a_refusing_proxy_keeps_open_lines_and_closes_new_ones() {
        let (_upstream, proxy, mut client) = connected().await;
        proxy.refuse_new();
        let mut refused = TcpStream::connect(proxy.listen_addr())
            .await
            .expect("connects");
        assert!(refused.read_u8().await.is_err(), "closed at once");
        assert_eq!(ask(&mut client, 5).await, 6);
    }

    #[tokio::test]
    async fn a_url_is_pointed_at_the_proxy_and_nothing_else_of_it_changes() {
        let (_upstream, proxy, _client) = connected().await;
        let address = proxy.listen_addr();
        assert_eq!(
            proxy.url_through("postgres://postgres@127.0.0.1:5432/db?x=1"),
            format!("postgres://postgres@{address}/db?x=1")
        );
        assert_eq!(
            proxy.url_through("nats://127.0.0.1:4222"),
            format!("nats://{address}")
        );
    }
}
