//! One table, one connection, one statement in flight; what comes meanwhile is the next statement's batch.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::room::Delivery;

/// Messages waiting for the next statement at most; senders wait beyond it.
const WAITING_MAX: usize = 8_192;
/// Rows in one statement at most: as in the event log's lanes.
const ROWS_MAX: usize = 512;
/// Committed batches waiting to be delivered at most: delivering keeps up or the writer waits.
const BATCHES_MAX: usize = 4;

/// A message to store.
pub(super) struct Message {
    pub(super) room: Uuid,
    pub(super) seq: i64,
    pub(super) command: Uuid,
    pub(super) body: String,
    /// Done when the message is committed.
    pub(super) delivery: Delivery,
}

/// Where messages are handed in.
#[derive(Clone, Debug)]
pub(super) struct Store {
    waiting: mpsc::Sender<Message>,
}

impl Store {
    /// Connects, makes the table, and starts the writer.
    pub(super) async fn start(database_url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(database_url)
            .await
            .context("connect")?;
        sqlx::query(
            "create table if not exists floor_message (room uuid not null, seq bigint not null, command uuid not null, \
             body text not null, at timestamptz not null default now(), primary key (room, seq))",
        )
        .execute(&mut connection)
        .await
        .context("make the table")?;
        let (waiting, taken) = mpsc::channel(WAITING_MAX);
        let (committed, delivered) = mpsc::channel(BATCHES_MAX);
        tokio::spawn(write_all(connection, taken, committed));
        tokio::spawn(deliver_all(delivered));
        Ok(Self { waiting })
    }

    /// Hands a message in; waits while too many do.
    pub(super) async fn put(&self, message: Message) {
        // Without a writer nothing is stored and nobody is told so.
        let _no_writer = self.waiting.send(message).await;
    }
}

async fn write_all(
    mut connection: PgConnection,
    mut waiting: mpsc::Receiver<Message>,
    committed: mpsc::Sender<Vec<Delivery>>,
) {
    let mut batch = Vec::with_capacity(ROWS_MAX);
    while waiting.recv_many(&mut batch, ROWS_MAX).await > 0 {
        match write(&mut connection, &mut batch).await {
            Ok(deliveries) => {
                if committed.send(deliveries).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // Nobody is told "stored", and the run fails by its own check.
                eprintln!("socket floor: {error:#}");
                return;
            }
        }
    }
}

/// One after another, while the next statement runs: every socket sees the order of the log.
async fn deliver_all(mut committed: mpsc::Receiver<Vec<Delivery>>) {
    while let Some(deliveries) = committed.recv().await {
        for delivery in deliveries {
            delivery.deliver();
        }
    }
}

async fn write(
    connection: &mut PgConnection,
    batch: &mut Vec<Message>,
) -> anyhow::Result<Vec<Delivery>> {
    let (mut rooms, mut seqs) = (
        Vec::with_capacity(batch.len()),
        Vec::with_capacity(batch.len()),
    );
    let (mut commands, mut bodies) = (
        Vec::with_capacity(batch.len()),
        Vec::with_capacity(batch.len()),
    );
    let mut deliveries = Vec::with_capacity(batch.len());
    for message in batch.drain(..) {
        rooms.push(message.room);
        seqs.push(message.seq);
        commands.push(message.command);
        bodies.push(message.body);
        deliveries.push(message.delivery);
    }
    sqlx::query(
        "insert into floor_message (room, seq, command, body) \
         select * from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[])",
    )
    .bind(rooms)
    .bind(seqs)
    .bind(commands)
    .bind(bodies)
    .execute(connection)
    .await
    .context("store messages")?;
    Ok(deliveries)
}

/// Makes a database beside the one of `server_url` and gives its URL.
pub(crate) async fn create_database(server_url: &str, name: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(server_url).await.context("connect")?;
    // `name` is one of this program's own constants.
    sqlx::query(AssertSqlSafe(format!("create database {name}")))
        .execute(&mut connection)
        .await
        .context("create a database")?;
    connection.close().await.context("disconnect")?;
    let (server, _database) = server_url
        .rsplit_once('/')
        .context("a URL names its database")?;
    Ok(format!("{server}/{name}"))
}
