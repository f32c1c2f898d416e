//! Direct messages in a closed loop: each couple has one message under way; it counts when the other person's socket has it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{bail, ensure};
use tokio::task::JoinSet;

use super::Plan;
use super::phases::Phases;
use crate::load::{Heard, Ids, Order, Seat, Socket, heard};
use crate::parts::Charged;
use crate::report::{Latency, Row, count, per};

/// Text of a message: 100 characters, the seed assumption of the architecture.
const BODY: &str = "The quick brown fox jumps over the lazy dog while the relay clicks and the tape winds on and on and on.";

/// Our figure, and the name of its ratio to the floor's.
pub(super) const COMPARED: [(&str, &str); 4] = [
    ("messages_per_s", "throughput_of_floor"),
    ("p99_ms", "p99_of_floor"),
    ("server_us_per_message", "server_of_floor"),
    ("cpu_us_per_message", "cpu_of_floor"),
];

/// Names of what one message costs: server, PostgreSQL, NATS, these together, and the clients.
const COSTS: [&str; 5] = [
    "server_us_per_message",
    "postgres_us_per_message",
    "nats_us_per_message",
    "cpu_us_per_message",
    "clients_us_per_message",
];

/// What a run of this scenario gives.
pub(super) struct Measured {
    pub(super) row: Row,
    /// Messages that were acknowledged, per couple in the order given.
    pub(super) acknowledged: Vec<u64>,
}

/// Loads a target with these couples.
pub(super) async fn measure(
    plan: &Plan,
    charged: Charged,
    name: &'static str,
    couples: &[(Seat, Seat)],
) -> anyhow::Result<Measured> {
    eprintln!("==> dm at {name}, {} pairs", couples.len());
    let mut open = Vec::with_capacity(couples.len());
    for (from, to) in couples {
        open.push((
            Socket::open(from).await?,
            Socket::open(to).await?,
            from.clone(),
        ));
    }
    let phases = Arc::new(Phases::default());
    let mut loops = JoinSet::new();
    for (number, (from, to, seat)) in open.into_iter().enumerate() {
        let ids = Ids::new(plan.seed, u64::try_from(number)?);
        let couple = Couple {
            from,
            to,
            seat,
            ids,
            told: Told::default(),
            received: Order::default(),
        };
        let phases = Arc::clone(&phases);
        loops.spawn(async move { couple.run(&phases).await.map(|result| (number, result)) });
    }
    let measured = phases.run(plan, charged).await?;

    let mut acknowledged = vec![0; couples.len()];
    let mut latency = Latency::new()?;
    let mut messages = 0;
    while let Some(ended) = loops.join_next().await {
        let (number, result) = ended??;
        acknowledged[number] = result.sent;
        messages += result.measured;
        latency.add(&result.latency)?;
    }
    ensure!(
        messages > 0,
        "no message was delivered in the measured time"
    );
    let row = Row::new("dm", name)
        .with("pairs", u64::try_from(couples.len())?)
        .figure(
            "messages_per_s",
            per(count(messages), measured.took.as_secs_f64()),
        )
        .latency(&latency)
        .costs(&COSTS, measured.cost, messages);
    Ok(Measured { row, acknowledged })
}

struct Couple {
    from: Socket,
    to: Socket,
    seat: Seat,
    ids: Ids,
    told: Told,
    received: Order,
}

/// What the sender was told.
#[derive(Default)]
struct Told {
    acks: u64,
    own: Order,
}

struct CoupleResult {
    sent: u64,
    /// Delivered within the measured time.
    measured: u64,
    latency: Latency,
}

impl Couple {
    async fn run(mut self, phases: &Phases) -> anyhow::Result<CoupleResult> {
        let mut result = CoupleResult {
            sent: 0,
            measured: 0,
            latency: Latency::new()?,
        };
        while !phases.has_ended() {
            let id = self.ids.next();
            let begun = Instant::now();
            self.from.say(&self.seat, id, BODY).await?;
            result.sent += 1;
            self.until_received(result.sent).await?;
            if phases.is_measured() {
                result.latency.record(begun.elapsed());
                result.measured += 1;
            }
        }
        while self.told.acks < result.sent || self.told.own.events() < result.sent {
            let text = self.from.next_in_time().await?;
            self.told.hear(&text)?;
        }
        ensure!(
            self.told.acks == result.sent,
            "{} acks of {} messages",
            self.told.acks,
            result.sent
        );
        ensure!(
            self.told.own.last() == self.received.last(),
            "the two sides ended at different events"
        );
        Ok(result)
    }

    /// Reads both sockets until the receiver has so many messages.
    async fn until_received(&mut self, messages: u64) -> anyhow::Result<()> {
        while self.received.events() < messages {
            tokio::select! {
                text = self.to.next_in_time() => {
                    for frame in heard(&text?)? {
                        match frame {
                            Heard::Event { seq, .. } => self.received.next(seq)?,
                            Heard::Refused(words) => bail!("the receiver was refused: {words}"),
                            Heard::Behind => bail!("the receiver was told that it is behind"),
                            Heard::Ack { .. } | Heard::Live | Heard::Other => {}
                        }
                    }
                }
                text = self.from.next() => self.told.hear(&text?)?,
            }
        }
        Ok(())
    }
}

impl Told {
    fn hear(&mut self, text: &str) -> anyhow::Result<()> {
        for frame in heard(text)? {
            match frame {
                Heard::Ack { .. } => self.acks += 1,
                Heard::Event { seq, .. } => self.own.next(seq)?,
                Heard::Refused(words) => bail!("a message was refused: {words}"),
                Heard::Behind => bail!("the sender was told that it is behind"),
                Heard::Live | Heard::Other => {}
            }
        }
        Ok(())
    }
}
