//! The load: everybody connected, a steady stream of things that they do, drawn from the seed.
//!
//! Conversations are chosen by Zipf's law, so that one is hot and most are quiet. Whatever a person does is tried again until
//! it ends, as a patient client would, and every attempt is written down with its end.

pub mod aside;
pub mod churn;
pub mod read;
pub mod send;
pub mod stage;
pub mod voice;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hubbub_checker::{History, Subscription};
use hubbub_client::{Client, ClientOptions, Rest};
use hubbub_testkit::proxy::TcpProxy;
use hubbub_wire::client::Cursor;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::load::churn::{Guest, GuestState};
use crate::load::send::Again;
use crate::load::stage::{Stage, one};
use crate::load::voice::{Notes, Tap, Voice};
use crate::people::People;
use crate::world::World;

/// Exponent of Zipf's law: the hot conversation gets about a tenth of everything.
const ZIPF_EXPONENT: f64 = 0.6;
/// Things under way at once; more means that the cluster does not keep up, and new ones are skipped and counted.
const UNDER_WAY_MAX: usize = 2_000;
/// How long everybody may take to connect.
const CONNECT_DEADLINE: Duration = Duration::from_mins(2);
/// How long what is under way may take to end before somebody stops waiting for quiet.
const QUIET_DEADLINE: Duration = Duration::from_secs(90);
/// Pause between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Notices waiting for one client's application: everything of a run fits, so the harness never slows a socket.
const NOTICES_MAX: usize = 65_536;

/// How much of what is done, in a thousand.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    /// Messages.
    pub sends: u32,
    /// Marks.
    pub marks: u32,
    /// Pages of history.
    pub histories: u32,
    /// Inboxes.
    pub inboxes: u32,
    /// People removed, or added again.
    pub changes: u32,
    /// Forced reconnects.
    pub moves: u32,
    /// Messages, of a thousand, that are sent again on purpose.
    pub repeats_per_mille: u32,
    /// Messages, of a thousand, whose key is used again with another body.
    pub reuses_per_mille: u32,
    /// Bytes that every message is filled up to.
    pub body_bytes: usize,
    /// Of the connected people, so many at the beginning do nothing but listen.
    pub listeners: usize,
    /// Of the connected people, so many at the beginning are connected through a line that can be broken.
    pub fronted: usize,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            sends: 850,
            marks: 60,
            histories: 40,
            inboxes: 30,
            changes: 10,
            moves: 10,
            repeats_per_mille: 50,
            reuses_per_mille: 10,
            body_bytes: 0,
            listeners: 0,
            fronted: 0,
        }
    }
}

/// Everybody who is connected, and what they do.
#[derive(Debug)]
pub struct Load {
    /// Clock, counters, waits.
    pub stage: Arc<Stage>,
    /// Everybody who is connected.
    pub voices: Vec<Arc<Voice>>,
    /// Who is who, and who talks where.
    pub people: Arc<People>,
    seed: u64,
    mix: Mix,
    /// Lines in front of the nodes, in their order, for those who are connected through one; empty without.
    pub fronts: Vec<TcpProxy>,
    listening: JoinSet<()>,
    pacer: Option<JoinHandle<()>>,
    /// Things a second.
    rate: watch::Sender<f64>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// Connects everybody, each at its home node, and waits until all have caught up.
    ///
    /// # Errors
    /// When somebody cannot connect.
    pub async fn connect(
        world: &World,
        people: People,
        clock: Clock,
        seed: u64,
        mix: Mix,
    ) -> anyhow::Result<Self> {
        let people = Arc::new(people);
        let node_urls = world.urls_from(0);
        let first_url = node_urls.first().context("there is a node")?;
        let http = Rest::new(first_url)?;
        let mut fronts = Vec::new();
        if mix.fronted > 0 {
            for node in &world.nodes {
                fronts.push(TcpProxy::start(node.address()).await?);
            }
        }
        let mut voices = Vec::with_capacity(people.clients);
        let mut listening = JoinSet::new();
        for n in 0..people.clients {
            let person = people.persons.get(n).context("everybody has an account")?;
            let home = n % node_urls.len();
            let mut urls = world.urls_from(home);
            if n < mix.fronted {
                urls = fronts
                    .iter()
                    .map(|front| format!("http://{}", front.listen_addr()))
                    .collect();
                urls.rotate_left(home);
            }
            let notes = Arc::new(Mutex::new(Notes {
                down_since: Some(clock.now()),
                ..Notes::default()
            }));
            let conversations: BTreeMap<Uuid, usize> = people
                .conversations_of(n)
                .filter_map(|index| Some((people.conversations.get(index)?.id, index)))
                .collect();
            let mut options = ClientOptions::new(urls, person.token.clone(), "chaos");
            options.cursors = conversations
                .keys()
                .map(|id| Cursor::from((*id, 0, 0)))
                .collect();
            options.notices_max = NOTICES_MAX;
            options.http = Some(http.clone());
            options.seed = Some(seed.wrapping_add(n as u64));
            options.tap = Some(Arc::new(Tap {
                n,
                user: person.id,
                home,
                nodes: node_urls.len(),
                clock,
                notes: Arc::clone(&notes),
            }));
            let (client, events) = Client::connect(options)?;
            listening.spawn(voice::listen(
                n,
                conversations,
                clock,
                Arc::clone(&notes),
                events,
            ));
            let rests = node_urls
                .iter()
                .map(|url| http.at(url).with_token(&person.token))
                .collect();
            voices.push(Arc::new(Voice::new(
                n, person.id, home, client, rests, notes,
            )));
        }
        let deadline = Instant::now() + CONNECT_DEADLINE;
        for voice in &voices {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                voice.client.wait_caught_up(left).await,
                "client {} does not connect: {:?}",
                voice.n,
                voice.client.state()
            );
        }
        Ok(Self {
            stage: Arc::new(Stage::new(clock)),
            voices,
            people,
            seed,
            mix,
            fronts,
            listening,
            pacer: None,
            rate: watch::Sender::new(0.0),
            stop: watch::Sender::new(false),
        })
    }

    /// Begins, or goes on at another rate: things a second.
    pub fn run_at(&mut self, per_second: f64) {
        self.rate.send_replace(per_second);
        if self.pacer.is_none() {
            let pacer = Pacer {
                stage: Arc::clone(&self.stage),
                voices: self.voices.clone(),
                people: Arc::clone(&self.people),
                rng: StdRng::seed_from_u64(self.seed ^ 0x10ad),
                mix: self.mix,
                weights: zipf(self.people.conversations.len()),
                guests: guests_of(&self.people),
                said: 0,
                under_way: JoinSet::new(),
            };
            self.pacer = Some(tokio::spawn(
                pacer.run(self.rate.subscribe(), self.stop.subscribe()),
            ));
        }
    }

    /// The rate at which it runs.
    pub fn rate(&self) -> f64 {
        *self.rate.borrow()
    }

    /// Connections that have ended so far.
    pub fn reconnects(&self) -> u64 {
        let ended = self.voices.iter().map(|voice| voice.notes().reconnects);
        ended.sum()
    }

    /// Messages acked so far.
    pub fn acked(&self) -> u64 {
        stage::value(&self.stage.done.acked)
    }

    /// Waits until every message asked for so far has ended, for at most [`QUIET_DEADLINE`]; to be called at rate 0.
    pub async fn quiet(&self) {
        self.until_under_way_at_most(0).await;
    }

    /// Waits until at most so many messages have not ended, for at most [`QUIET_DEADLINE`].
    pub async fn until_under_way_at_most(&self, most: u64) {
        let deadline = Instant::now() + QUIET_DEADLINE;
        let done = &self.stage.done;
        while stage::value(&done.sent)
            > most
                + stage::value(&done.acked)
                + stage::value(&done.failed)
                + stage::value(&done.open)
            && Instant::now() < deadline
        {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Stops asking for new things and waits for the end of those under way; what has not ended by then is given up and
    /// recorded as open.
    pub async fn stop(&mut self, patience: Duration) {
        self.stop.send_replace(true);
        if let Some(mut pacer) = self.pacer.take() {
            let ended = tokio::time::timeout(patience, &mut pacer).await;
            if ended.is_err() {
                self.stage.give_up();
                // It panicked or ended: nothing is under way either way.
                let _ended = pacer.await;
            }
        }
    }

    /// Somebody says something in every conversation of the list, now; returns when each was acked once, or `false` at the
    /// deadline.
    pub async fn probe(&self, conversations: &[usize], deadline: Duration) -> bool {
        let mut probing = JoinSet::new();
        for index in conversations {
            let Some(conversation) = self.people.conversations.get(*index) else {
                continue;
            };
            // Somebody whose own connection stands, if there is one.
            let speaker = conversation
                .members
                .iter()
                .filter_map(|member| self.voices.get(*member))
                .max_by_key(|voice| {
                    (
                        voice.n >= self.mix.listeners,
                        voice.client.state().is_caught_up(),
                    )
                });
            let Some(voice) = speaker.cloned() else {
                continue;
            };
            let stage = Arc::clone(&self.stage);
            let id = conversation.id;
            let body = format!("probe of {index} at {}", stage.clock.now());
            probing.spawn(async move {
                send::send(&stage, &voice, id, body, Again::No)
                    .await
                    .is_some()
            });
        }
        let all = async {
            let mut all = true;
            while let Some(probed) = probing.join_next().await {
                all &= probed.unwrap_or(false);
            }
            all
        };
        tokio::time::timeout(deadline, all).await.unwrap_or(false)
    }

    /// Waits until every client was told the head of each of its conversations; who has not been is returned, in words.
    pub async fn converge(
        &self,
        heads: &BTreeMap<Uuid, u64>,
        deadline: Duration,
    ) -> Result<(), String> {
        let end = Instant::now() + deadline;
        loop {
            let behind = self.who_is_behind(heads);
            if behind.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                let shown: Vec<String> = behind.iter().take(5).cloned().collect();
                return Err(format!("{} behind: {}", behind.len(), shown.join("; ")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn who_is_behind(&self, heads: &BTreeMap<Uuid, u64>) -> Vec<String> {
        let mut behind = Vec::new();
        for voice in &self.voices {
            let notes = voice.notes();
            for index in self.people.conversations_of(voice.n) {
                let Some(conversation) = self.people.conversations.get(index) else {
                    continue;
                };
                let head = heads.get(&conversation.id).copied().unwrap_or(0);
                let told = notes.last_seq.get(&conversation.id).copied().unwrap_or(0);
                if told < head {
                    behind.push(format!(
                        "client {} was told {told} of {head} of conversation {index} ({:?})",
                        voice.n,
                        voice.client.state()
                    ));
                }
            }
        }
        behind
    }

    /// Ends all clients and hands over what they have written down. `is_complete`: everybody was seen at the head.
    pub async fn end(mut self, is_complete: bool) -> Told {
        self.stop(Duration::ZERO).await;
        // Before the clients go on purpose.
        let reconnects = self.reconnects();
        for voice in &self.voices {
            voice.client.close().await;
        }
        while let Some(ended) = self.listening.join_next().await {
            drop(ended);
        }
        let mut told = Told {
            reconnects,
            ..Told::default()
        };
        for voice in &self.voices {
            for index in self.people.conversations_of(voice.n) {
                let Some(conversation) = self.people.conversations.get(index) else {
                    continue;
                };
                told.history.subscriptions.push(Subscription {
                    subscription: voice::subscription(voice.n, index),
                    user: voice.user,
                    conversation: conversation.id,
                    after: Some(0),
                    is_complete,
                });
            }
            let mut notes = voice.notes();
            told.breaks
                .insert(voice.n, std::mem::take(&mut notes.breaks));
            told.resyncs += notes.resyncs;
            told.unreadable += notes.unreadable;
            told.history.append(std::mem::take(&mut notes.history));
        }
        told
    }
}

/// What all clients have written down.
#[derive(Debug, Default)]
pub struct Told {
    /// For the checker.
    pub history: History,
    /// Stretches without a caught-up connection, by person.
    pub breaks: BTreeMap<usize, Vec<(u64, u64)>>,
    /// Connections that ended.
    pub reconnects: u64,
    /// `resync` frames.
    pub resyncs: u64,
    /// Frames that could not be read.
    pub unreadable: u64,
}

/// Asks for one thing after the other.
struct Pacer {
    stage: Arc<Stage>,
    voices: Vec<Arc<Voice>>,
    people: Arc<People>,
    rng: StdRng,
    mix: Mix,
    /// Cumulated weights of the conversations, up to 1.
    weights: Vec<f64>,
    /// Who comes and goes, and who lets them: the maker of the conversation.
    guests: Vec<(usize, Arc<Guest>)>,
    said: u64,
    under_way: JoinSet<()>,
}

impl Pacer {
    async fn run(mut self, mut rate: watch::Receiver<f64>, mut stop: watch::Receiver<bool>) {
        let mut next = Instant::now();
        while !*stop.borrow() {
            let per_second = *rate.borrow_and_update();
            if per_second <= 0.0 {
                tokio::select! {
                    _changed = rate.changed() => {}
                    _stopped = stop.changed() => {}
                }
                next = Instant::now();
                continue;
            }
            next += Duration::from_secs_f64(1.0 / per_second);
            // A stall of the harness itself is not made up for by a burst.
            next = next.max(
                Instant::now()
                    .checked_sub(Duration::from_millis(100))
                    .unwrap_or(next),
            );
            tokio::select! {
                () = tokio::time::sleep_until(next) => self.act(),
                _stopped = stop.changed() => {}
            }
            while self.under_way.try_join_next().is_some() {}
        }
        while self.under_way.join_next().await.is_some() {}
    }

    fn act(&mut self) {
        if self.under_way.len() >= UNDER_WAY_MAX {
            one(&self.stage.done.skipped);
            return;
        }
        let at = self.rng.random::<f64>();
        let index = self.weights.partition_point(|weight| *weight < at);
        let Some(conversation) = self.people.conversations.get(index) else {
            return;
        };
        // Members stand in no order of their indices, but for the hot conversation; most rows have no listeners at all.
        let members: Vec<usize> = conversation
            .members
            .iter()
            .copied()
            .filter(|member| *member >= self.mix.listeners)
            .collect();
        if members.is_empty() {
            return;
        }
        let member = members[self.rng.random_range(0..members.len())];
        let Some(voice) = self.voices.get(member).cloned() else {
            return;
        };
        let (stage, id) = (Arc::clone(&self.stage), conversation.id);
        let node = self.rng.random_range(0..voice.nodes);
        let Mix {
            sends,
            marks,
            histories,
            inboxes,
            changes,
            moves,
            ..
        } = self.mix;
        let choice = self
            .rng
            .random_range(0..sends + marks + histories + inboxes + changes + moves);
        if choice < sends {
            self.said += 1;
            let mut body = format!(
                "{} in {index} by {member}: {:016x} ",
                self.said,
                self.rng.random::<u64>()
            );
            let missing = self.mix.body_bytes.saturating_sub(body.len());
            body.push_str(&"x".repeat(missing));
            let again = self.again(node);
            self.under_way.spawn(async move {
                let _recorded = send::send(&stage, &voice, id, body, again).await;
            });
        } else if choice < sends + marks {
            self.under_way.spawn(async move {
                let newest = voice.notes().last_no.get(&id).copied();
                if newest.is_some() {
                    one(&stage.done.marks);
                    voice.client.mark(id, newest, newest).await;
                }
            });
        } else if choice < sends + marks + histories {
            self.under_way
                .spawn(async move { read::history(&stage, &voice, node, id, false).await });
        } else if choice < sends + marks + histories + inboxes {
            self.under_way
                .spawn(async move { read::inbox(&stage, &voice, node, false).await });
        } else if choice < sends + marks + histories + inboxes + changes {
            if self.guests.is_empty() {
                return;
            }
            let place = self.rng.random_range(0..self.guests.len());
            let Some((maker, guest)) = self.guests.get(place) else {
                return;
            };
            let (maker, guest) = (self.voices.get(*maker).cloned(), Arc::clone(guest));
            self.under_way.spawn(async move {
                if let Some(maker) = maker {
                    churn::change(&stage, &maker, &guest, node).await;
                }
            });
        } else {
            one(&stage.done.moves);
            self.under_way
                .spawn(async move { voice.move_to(node).await });
        }
    }

    fn again(&mut self, node: usize) -> Again {
        let choice = self.rng.random_range(0..1_000);
        if choice < self.mix.reuses_per_mille {
            Again::OtherBody
        } else if choice < self.mix.reuses_per_mille + self.mix.repeats_per_mille {
            match self.rng.random_range(0..3) {
                0 => Again::AtOnce,
                1 => Again::AfterTheAck,
                _ => Again::OverRest(node),
            }
        } else {
            Again::No
        }
    }
}

/// Everybody who comes and goes; they are in at the beginning.
fn guests_of(people: &People) -> Vec<(usize, Arc<Guest>)> {
    let of = |conversation: &crate::people::Conversation| {
        let user = people.persons.get(conversation.guest?)?.id;
        let guest = Guest {
            conversation: conversation.id,
            user,
            state: tokio::sync::Mutex::new(GuestState {
                is_in: true,
                open: None,
            }),
        };
        Some((*conversation.members.first()?, Arc::new(guest)))
    };
    people.conversations.iter().filter_map(of).collect()
}

/// Cumulated weights of `count` things by Zipf's law, up to 1.
fn zipf(count: usize) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "some dozens of conversations")]
    let weight = |n: usize| 1.0 / ((n + 1) as f64).powf(ZIPF_EXPONENT);
    let all: f64 = (0..count).map(weight).sum();
    (0..count)
        .scan(0.0, |sum, n| {
            *sum += weight(n) / all;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::zipf;

    #[test]
    fn the_first_conversation_is_hot_and_the_weights_end_at_one() {
        let weights = zipf(60);
        assert!(weights[0] > 0.05 && weights[0] < 0.2, "{}", weights[0]);
        assert!(weights[0] > weights[59] - weights[58]);
        assert!((weights[59] - 1.0).abs() < 1e-9);
    }
}
