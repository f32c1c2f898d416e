//! The socket floor: a bare WebSocket server that stores each message in a group-committed insert and broadcasts a frame encoded once.
//!
//! It speaks just enough of the protocol (hello, send, ack, event) that the same clients load it and a node. It is what the machine, the
//! kernel, axum and `PostgreSQL` can do; whatever a node needs on top of that is what Hubbub costs.
//!
//! Never: actors, a bus, sessions, projections, authorisation, healing. Nobody runs this.

mod room;
mod socket;
mod store;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use clap::Args;
use tokio::net::TcpListener;

pub(crate) use store::create_database;

use self::room::Rooms;
use self::store::Store;

/// What the floor is told by whoever starts it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where messages are stored.
    #[arg(long)]
    database_url: String,
}

/// Serves until the process is ended.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(serve(&options.database_url))
}

async fn serve(database_url: &str) -> anyhow::Result<()> {
    let rooms = Rooms::new(Store::start(database_url).await?);
    let app = Router::new()
        .route("/api/v1/ws", get(socket::upgrade))
        .with_state(rooms);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await.context("bind a port")?;
    println!("socket floor at http://{}", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it the kernel waits for the peer's acknowledgement before it sends the next small frame.
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("socket floor: no nodelay: {error}");
        }
    });
    axum::serve(listener, app).await.context("serve")
}
