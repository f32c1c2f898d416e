//! F21: an embedded node is killed in the middle of commits, two hundred times. What was acked is there after every start, once
//! and in its place, and the database is whole.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use hubbub_checker::history::Time;
use hubbub_checker::{Digest, History, Limits, LogRow, Operation, OperationKind, Outcome, Place};
use hubbub_client::{Rest, RestError};
use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::words::ConversationKind;
use hubbub_wire::error::ErrorClass;
use hubbub_wire::rest::{CreateConversation, Register, SendMessage};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::clock::Clock;
use crate::figures::number;
use crate::judge;
use crate::row::{Fault, Measured, RowReport, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;
use crate::world::node::{Node, NodePlan, START_DEADLINE};

/// Kills; fewer in a short run.
const KILLS: u64 = 200;
const KILLS_SHORT: u64 = 10;
/// People who send at once, each in a conversation of its own and one with the next.
const PEOPLE: usize = 6;
/// The node lives so many milliseconds after it serves.
const LIFE_MS: std::ops::Range<u64> = 60..500;
/// What looks at the database from outside, file by file: its integrity, and the rows of the log.
const LOOK: &str = "import sqlite3,sys,glob
for f in sorted(glob.glob(sys.argv[1]+'/**/*.db',recursive=True)+glob.glob(sys.argv[1]+'/**/*.sqlite*',recursive=True)):
    if f.endswith('-wal') or f.endswith('-shm'): continue
    c=sqlite3.connect(f)
    print('integrity|'+c.execute('pragma integrity_check').fetchone()[0])
    if c.execute(\"select count(*) from sqlite_master where name='event_log'\").fetchone()[0]:
        for r in c.execute('select partition,\"offset\",epoch,hex(conversation_id),seq,hex(command_id) from event_log order by 1,2'):
            print('row|'+'|'.join(map(str,r)))
";

/// The row.
#[derive(Debug, Default)]
pub struct EmbeddedKills;

/// Someone who sends.
#[derive(Clone, Debug)]
struct Sender {
    user: Uuid,
    rest: Rest,
    conversations: Vec<Uuid>,
}

#[async_trait]
impl Fault for EmbeddedKills {
    fn id(&self) -> &'static str {
        "F21"
    }

    fn name(&self) -> &'static str {
        "embedded: kill -9 × 200 mid-commit"
    }

    fn expected(&self) -> &'static str {
        "integrity ok"
    }

    async fn inject(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        anyhow::bail!("this row has a course of its own")
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        anyhow::bail!("this row has a course of its own")
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict
            .at_most(
                "databases that are not whole",
                measured.extra("databases that are not whole"),
                0.0,
            )
            .is_promise = true;
        verdict.must_have_happened("kills", measured.count("kills"));
        verdict.must_have_happened("messages acked", measured.count("acked"));
        verdict.must_have_happened(
            "sends cut off by a kill",
            measured.count("unknown_attempts"),
        );
        verdict.must_have_happened("rows read behind the back", measured.count("events"));
    }

    async fn run(&mut self, bench: &Bench) -> anyhow::Result<RowReport> {
        let clock = Clock::start();
        let plan = NodePlan {
            binary: bench.binary.clone(),
            settings: vec![
                "sends_per_second=100000".to_owned(),
                "sends_burst=100000".to_owned(),
            ],
            ..NodePlan::default()
        };
        bench.progress.told("start");
        let mut node = Node::start("embedded", plan, None, Vec::new())?;
        node.ready().await?;
        let senders = gather(&node).await?;
        let history = Arc::new(Mutex::new(History::default()));
        let mut rng = StdRng::seed_from_u64(bench.seed);
        let kills = if bench.short { KILLS_SHORT } else { KILLS };
        for kill in 0..kills {
            if kill % 20 == 0 {
                bench.progress.told(&format!("kill {kill} of {kills}"));
            }
            let mut sending = JoinSet::new();
            for sender in &senders {
                sending.spawn(send_until_it_dies(
                    sender.clone(),
                    clock,
                    Arc::clone(&history),
                    rng.random(),
                ));
            }
            // The fault itself: a life ends at any moment, whatever is under way.
            tokio::time::sleep(Duration::from_millis(rng.random_range(LIFE_MS))).await;
            node.kill();
            while sending.join_next().await.is_some() {}
            node.start_again()?;
            node.ready().await?;
        }
        bench.progress.told("read everything");
        let mut history =
            std::mem::take(&mut *history.lock().unwrap_or_else(PoisonError::into_inner));
        for sender in &senders {
            // The first one is its own; the second one is read by who made it.
            for conversation in sender.conversations.iter().take(1) {
                let events = judge::events_of(&sender.rest, *conversation).await?;
                history.events.extend(events);
            }
        }
        node.terminate();
        let deadline = tokio::time::Instant::now() + START_DEADLINE;
        while node.exit_status().is_none() {
            ensure!(
                tokio::time::Instant::now() < deadline,
                "the node does not end"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let not_whole = look(node.data(), &mut history).await?;
        history.meta.run = self.id().to_owned();
        history.meta.seed = bench.seed;
        let report = hubbub_checker::check(&history, &Limits::default());
        let mut measured = Measured::default();
        let count_of = |wanted: fn(&Outcome) -> bool| {
            let all = history.operations.iter();
            all.filter(|operation| wanted(&operation.outcome)).count() as u64
        };
        for (name, count) in [
            ("kills", kills),
            ("sent", history.operations.len() as u64),
            (
                "acked",
                count_of(|outcome| matches!(outcome, Outcome::Acked(_))),
            ),
            (
                "unknown_attempts",
                count_of(|outcome| matches!(outcome, Outcome::Unknown)),
            ),
            ("events", history.log.len() as u64),
        ] {
            measured.counts.insert(name.to_owned(), count);
        }
        measured
            .extra
            .insert("databases that are not whole".to_owned(), number(not_whole));
        measured.judged(&report);
        let mut verdict = Verdict::default();
        self.judge(&measured, &mut verdict);
        let words = report.worst();
        if !words.is_empty() {
            judge::keep(
                &history,
                &bench.keep.join(format!("F21-{}.history", bench.seed)),
            );
        }
        Ok(RowReport::of(self, bench, measured, verdict, words))
    }
}

async fn gather(node: &Node) -> anyhow::Result<Vec<Sender>> {
    let anonymous = Rest::new(&node.url())?;
    let mut people = Vec::with_capacity(PEOPLE);
    for n in 0..PEOPLE {
        let register = Register {
            username: format!("chaos-{n}"),
            display_name: format!("Chaos {n}"),
            password: "tangerine-kiosk-walrus-42".to_owned(),
            email: None,
            invite: None,
        };
        let started = anonymous.register(&register).await.context("register")?;
        people.push((started.user.id, anonymous.with_token(&started.token)));
    }
    let mut senders: Vec<Sender> = people
        .iter()
        .map(|(user, rest)| Sender {
            user: *user,
            rest: rest.clone(),
            conversations: Vec::new(),
        })
        .collect();
    for n in 0..PEOPLE {
        let other = (n + 1) % PEOPLE;
        // Made first, so that everybody's own conversation is the first of its list.
        let new = CreateConversation {
            kind: ConversationKind::Group,
            members: Some(vec![people[other].0]),
            title: Some(format!("circle {n}")),
            topic: None,
            visibility: None,
            settings: None,
        };
        let made = people[n].1.create_conversation(&new, None).await;
        let id = made.context("make a conversation")?.id;
        senders[n].conversations.insert(0, id);
        senders[other].conversations.push(id);
    }
    ensure!(!senders.is_empty(), "somebody sends");
    Ok(senders)
}

/// Sends one message after the other until an answer does not come.
async fn send_until_it_dies(sender: Sender, clock: Clock, history: Arc<Mutex<History>>, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        let place = rng.random_range(0..sender.conversations.len());
        let Some(conversation) = sender.conversations.get(place).copied() else {
            return;
        };
        let body = format!("{:016x}", rng.random::<u64>());
        let command = fresh_uuid();
        let invoked_at: Time = clock.now();
        let message = SendMessage {
            body: body.clone(),
            reply_to_no: None,
            thread_root_no: None,
            attachments: None,
            scheduled_for: None,
        };
        let answer = sender
            .rest
            .send_message(conversation, &message, Some(command))
            .await;
        let outcome = match &answer {
            Ok(stored) => Outcome::Acked(Place {
                epoch: stored.epoch,
                seq: stored.seq,
                message_no: Some(stored.message_no),
                is_duplicate: false,
            }),
            Err(error) => outcome_of(error),
        };
        let is_over = matches!(outcome, Outcome::Unknown);
        history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .operations
            .push(Operation {
                command,
                conversation,
                user: sender.user,
                kind: OperationKind::Send,
                body: Some(Digest::of(&body)),
                node: 0,
                socket: None,
                invoked_at,
                ended_at: clock.now(),
                outcome,
                depends_on: None,
            });
        if is_over {
            return;
        }
    }
}

fn outcome_of(error: &RestError) -> Outcome {
    match error.problem() {
        Some(problem) if problem.code.class() != ErrorClass::Open => Outcome::Refused {
            code: problem.code.to_string(),
        },
        _nobody_knows => Outcome::Unknown,
    }
}

/// Looks at the database files; how many are not whole.
async fn look(data: &Path, history: &mut History) -> anyhow::Result<u64> {
    let output = tokio::process::Command::new("python3")
        .args(["-c", LOOK])
        .arg(data)
        .output()
        .await
        .context("start python3, which looks at the database from outside")?;
    ensure!(
        output.status.success(),
        "the database cannot be looked at: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut not_whole = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match *line.split('|').collect::<Vec<_>>().as_slice() {
            ["integrity", "ok"] => {}
            ["integrity", ..] => not_whole += 1,
            ["row", partition, offset, epoch, conversation, seq, command] => {
                history.log.push(LogRow {
                    partition: partition.parse()?,
                    offset: offset.parse()?,
                    epoch: epoch.parse()?,
                    conversation: conversation.parse()?,
                    seq: seq.parse()?,
                    command: command.parse()?,
                    crc_ok: true,
                    committed_at: None,
                });
            }
            _ => {}
        }
    }
    Ok(not_whole)
}
