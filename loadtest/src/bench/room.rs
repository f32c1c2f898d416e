//! One large room: every member is connected, four of them send. A message counts when every member has it; until then it is under way,
//! and so many are under way at a time that the sockets, not the senders, set the pace.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Plan;
use super::phases::Phases;
use crate::load::{Heard, Ids, Order, Seat, Socket, heard, seqs};
use crate::parts::Charged;
use crate::report::{Latency, Row, count, per};

/// Members that send.
const SENDERS: usize = 4;
/// Messages of each that are under way.
const WINDOW: usize = 4;
/// Sockets that are opened at a time.
const OPENED_AT_ONCE: usize = 64;
/// Places for messages under way, by seq: far more than there are.
const PLACES: usize = 1_024;
/// What is under way at the end arrives within this time, or it is lost.
const LAST_ARRIVAL_MAX: Duration = Duration::from_secs(30);

/// Our figure, and the name of its ratio to the floor's.
pub(super) const COMPARED: [(&str, &str); 4] = [
    ("deliveries_per_s", "throughput_of_floor"),
    ("p99_ms", "p99_of_floor"),
    ("server_us_per_delivery", "server_of_floor"),
    ("cpu_us_per_delivery", "cpu_of_floor"),
];

/// Names of what one delivery costs: server, PostgreSQL, NATS, these together, and the clients.
const COSTS: [&str; 5] = [
    "server_us_per_delivery",
    "postgres_us_per_delivery",
    "nats_us_per_delivery",
    "cpu_us_per_delivery",
    "clients_us_per_delivery",
];

/// What a run of this scenario gives.
pub(super) struct Measured {
    pub(super) row: Row,
    /// Messages that were acknowledged.
    pub(super) acknowledged: u64,
}

/// Loads a target with one room of these members; the first four send.
pub(super) async fn measure(
    plan: &Plan,
    charged: Charged,
    name: &'static str,
    seats: &[Seat],
) -> anyhow::Result<Measured> {
    eprintln!("==> room at {name}, {} members", seats.len());
    let sockets: Vec<Socket> = stream::iter(seats)
        .map(Socket::open)
        .buffered(OPENED_AT_ONCE)
        .try_collect()
        .await?;
    let flight = Arc::new(Flight::new(seats.len())?);
    let mut members = JoinSet::new();
    for (number, (socket, seat)) in sockets.into_iter().zip(seats).enumerate() {
        let flight = Arc::clone(&flight);
        if number < SENDERS {
            let ids = Ids::new(plan.seed, u64::try_from(number)?);
            members.spawn(send(socket, seat.clone(), ids, flight));
        } else {
            members.spawn(receive(socket, flight));
        }
    }
    let measured = flight.phases.run(plan, charged).await?;
    flight.settle(&mut members).await?;

    let deliveries = flight.deliveries.load(Ordering::Relaxed);
    let messages = flight.messages.load(Ordering::Relaxed);
    ensure!(
        messages > 0,
        "no message reached everybody in the measured time"
    );
    let seconds = measured.took.as_secs_f64();
    let latency = flight
        .latency
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let row = Row::new("room", name)
        .with("members", u64::try_from(seats.len())?)
        .figure("deliveries_per_s", per(count(deliveries), seconds))
        .figure("messages_per_s", per(count(messages), seconds))
        .latency(&latency)
        .costs(&COSTS, measured.cost, deliveries);
    Ok(Measured {
        row,
        acknowledged: flight.acknowledged.load(Ordering::Relaxed),
    })
}

/// Messages under way, and what has arrived.
struct Flight {
    phases: Phases,
    members: u32,
    /// One permit per message that may be sent.
    free: Semaphore,
    /// Members that have the message of a seq, at seq modulo [`PLACES`].
    arrived: Vec<AtomicU32>,
    /// Time zero of the senders' stamps.
    begun: Instant,
    acknowledged: AtomicU64,
    /// Of the measured time.
    deliveries: AtomicU64,
    /// Of the measured time.
    messages: AtomicU64,
    /// Until the last member has it.
    latency: Mutex<Latency>,
}

impl Flight {
    fn new(members: usize) -> anyhow::Result<Self> {
        Ok(Self {
            phases: Phases::default(),
            members: u32::try_from(members)?,
            free: Semaphore::new(SENDERS * WINDOW),
            arrived: (0..PLACES).map(|_| AtomicU32::new(0)).collect(),
            begun: Instant::now(),
            acknowledged: AtomicU64::new(0),
            deliveries: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            latency: Mutex::new(Latency::new()?),
        })
    }

    /// One member has received the text; its events are checked against what it had before.
    fn arrive(&self, order: &mut Order, text: &str) -> anyhow::Result<()> {
        let mut events = 0;
        for seq in seqs(text) {
            order.next(seq)?;
            events += 1;
            self.arrive_one(seq, text)?;
        }
        if events == 0 && heard(text)?.contains(&Heard::Behind) {
            bail!("a member was told that it is behind");
        }
        if self.phases.is_measured() {
            self.deliveries.fetch_add(events, Ordering::Relaxed);
        }
        Ok(())
    }

    fn arrive_one(&self, seq: u64, text: &str) -> anyhow::Result<()> {
        let place = &self.arrived[usize::try_from(seq)? % PLACES];
        if place.fetch_add(1, Ordering::Relaxed) + 1 < self.members {
            return Ok(());
        }
        place.store(0, Ordering::Relaxed);
        self.free.add_permits(1);
        if self.phases.is_measured() {
            self.messages.fetch_add(1, Ordering::Relaxed);
            if let Some(sent) = stamp_in(text) {
                let took = self.begun.elapsed().saturating_sub(sent);
                self.latency
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .record(took);
            }
        }
        Ok(())
    }

    /// Waits until nothing is under way any more, or tells who stood in the way.
    async fn settle(&self, members: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
        let all = u32::try_from(SENDERS * WINDOW)?;
        let settled = tokio::time::timeout(LAST_ARRIVAL_MAX, self.free.acquire_many(all)).await;
        while let Some(ended) = members.try_join_next() {
            ended?.context("a member left")?;
        }
        let _all_back = settled.context("a message did not reach everybody within 30 s")??;
        Ok(())
    }
}

/// A member that only reads.
async fn receive(mut socket: Socket, flight: Arc<Flight>) -> anyhow::Result<()> {
    let mut order = Order::default();
    loop {
        let text = socket.next().await?;
        flight.arrive(&mut order, &text)?;
    }
}

/// A member that sends whenever a place is free, and reads.
async fn send(
    mut socket: Socket,
    seat: Seat,
    mut ids: Ids,
    flight: Arc<Flight>,
) -> anyhow::Result<()> {
    let mut order = Order::default();
    loop {
        tokio::select! {
            text = socket.next() => hear(&text?, &mut order, &flight)?,
            free = flight.free.acquire(), if !flight.phases.has_ended() => {
                if flight.phases.has_ended() {
                    continue;
                }
                free?.forget();
                let body = stamped(flight.begun.elapsed());
                socket.say(&seat, ids.next(), &body).await?;
            }
        }
    }
}

/// A sender also hears acks, which have a seq of their own.
fn hear(text: &str, order: &mut Order, flight: &Flight) -> anyhow::Result<()> {
    let mut events = 0;
    for frame in heard(text)? {
        match frame {
            Heard::Ack { .. } => {
                flight.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Event { seq, .. } => {
                order.next(seq)?;
                events += 1;
                flight.arrive_one(seq, text)?;
            }
            Heard::Refused(words) => bail!("a message was refused: {words}"),
            Heard::Behind => bail!("a sender was told that it is behind"),
            Heard::Live | Heard::Other => {}
        }
    }
    if flight.phases.is_measured() {
        flight.deliveries.fetch_add(events, Ordering::Relaxed);
    }
    Ok(())
}

/// A body of 100 characters that begins with its time, in microseconds.
fn stamped(at: Duration) -> String {
    format!(
        "{:0>16} {}",
        at.as_micros(),
        "while the relay clicks and the tape winds on and on, all members read this line at once"
    )
}

/// The time in the first body of a text.
fn stamp_in(text: &str) -> Option<Duration> {
    let (_, body) = text.split_once("\"body\":\"")?;
    let (digits, _) = body.split_once(' ')?;
    digits.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_from_the_frame() {
        let at = Duration::from_micros(1_234_567);
        let frame = format!(r#"{{"t":"event","data":{{"body":"{}"}}}}"#, stamped(at));
        assert_eq!(stamp_in(&frame), Some(at));
        assert_eq!(stamp_in(r#"{"t":"live"}"#), None);
    }

    #[test]
    fn a_message_is_done_when_the_last_member_has_it() {
        let flight = Flight::new(2).unwrap();
        flight.free.try_acquire_many(16).unwrap().forget();
        let mut orders = [Order::default(), Order::default()];
        flight
            .arrive(&mut orders[0], r#"{"t":"event","seq":7}"#)
            .unwrap();
        assert_eq!(flight.free.available_permits(), 0);
        flight
            .arrive(&mut orders[1], r#"{"t":"event","seq":7}"#)
            .unwrap();
        assert_eq!(flight.free.available_permits(), 1);
        flight
            .arrive(&mut orders[1], r#"{"t":"event","seq":9}"#)
            .unwrap_err();
        flight
            .arrive(&mut orders[0], r#"{"t":"resync","all":true}"#)
            .unwrap_err();
    }
}
