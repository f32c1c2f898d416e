//! F9, embedded: the folder of a node that keeps everything itself runs full. Messages are refused with 507, what is stored can be read, and once
//! there is space, the same process takes the same messages; each is stored once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use hubbub_client::{Rest, RestError};
use hubbub_testkit::process::{ServerCommand, ServerProcess};
use hubbub_testkit::tmpfs::Tmpfs;
use hubbub_testkit::{free_port, fresh_uuid};
use hubbub_wire::client::words::ConversationKind;
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::{CreateConversation, Register, SendMessage};
use uuid::Uuid;

use crate::row::{Fault, Measured, RowReport, Verdict};
use crate::scene::{Bench, Scene};
use crate::world::World;
use crate::world::node::START_DEADLINE;

/// Room for the tables, a write-ahead log, and a few thousand messages.
const DISK_BYTES: u64 = 48 << 20;
/// Messages before the disk is full.
const MESSAGES_BEFORE: usize = 50;
/// Refusals that are waited for.
const REFUSALS: usize = 20;
/// Bytes of a message: each needs pages of its own.
const BODY_BYTES: usize = 3_000;
/// How long messages may go on fitting into what was left.
const FULL_DEADLINE: Duration = Duration::from_mins(1);
/// Limit of the matrix.
const BACK_MS_MAX: f64 = 10_000.0;
/// Pause between two attempts once there is space.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The row.
#[derive(Debug)]
pub struct FullFolder;

#[async_trait]
impl Fault for FullFolder {
    fn id(&self) -> &'static str {
        "F9-sqlite"
    }

    fn name(&self) -> &'static str {
        "disk full: embedded node"
    }

    fn expected(&self) -> &'static str {
        "clear 507; nothing half-written; recovers without restart"
    }

    async fn inject(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        bail!("this row has a course of its own")
    }

    async fn heal(&mut self, _world: &mut World, _scene: &mut Scene) -> anyhow::Result<()> {
        bail!("this row has a course of its own")
    }

    fn judge(&self, measured: &Measured, verdict: &mut Verdict) {
        verdict.at_most(
            "taken again once there is space, ms",
            measured.extra("back_ms"),
            BACK_MS_MAX,
        );
        verdict.must_have_happened("answers 507", measured.count("answers_507"));
        verdict.must_have_happened("messages stored", measured.count("acked"));
        let other = measured.count("answers_unclear");
        verdict.at_most(
            "refused for another reason than space",
            crate::figures::number(other),
            0.0,
        );
    }

    async fn run(&mut self, bench: &Bench) -> anyhow::Result<RowReport> {
        let disk = Tmpfs::mount(DISK_BYTES).context("a small disk to be filled")?;
        let mut node = Embedded::start(bench, &disk).await?;
        let conversation = node.conversation().await?;
        let mut talk = Talk {
            rest: node.rest.clone(),
            conversation,
            acked: BTreeMap::new(),
            refused: Vec::new(),
            unclear: Vec::new(),
        };
        for _message in 0..MESSAGES_BEFORE {
            talk.say(fresh_uuid()).await;
        }
        ensure!(talk.refused.is_empty(), "refused although there is space");

        bench.progress.told("fill the disk");
        tokio::task::block_in_place(|| disk.fill())?;
        let began = Instant::now();
        while talk.refused.len() < REFUSALS {
            ensure!(
                began.elapsed() < FULL_DEADLINE,
                "the disk is full and nobody was told"
            );
            talk.say(fresh_uuid()).await;
        }
        let mut verdict = Verdict::default();
        let readable = node.rest.events(conversation, 1, Some(10)).await;
        verdict.must(
            readable.is_ok(),
            "what is stored cannot be read while the disk is full",
        );

        bench.progress.told("empty the disk");
        disk.empty()?;
        let began = Instant::now();
        let refusals = std::mem::take(&mut talk.refused);
        let refused = refusals.len();
        for command in refusals {
            while !talk.say(command).await {
                ensure!(
                    began.elapsed() < START_DEADLINE,
                    "nothing is stored although there is space"
                );
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        let back_ms = began.elapsed().as_secs_f64() * 1_000.0;

        talk.compare(&mut verdict).await?;
        node.kill_and_start_again(bench, &disk).await?;
        talk.compare(&mut verdict).await?;

        let mut measured = Measured::default();
        measured.extra.insert("back_ms".to_owned(), back_ms);
        for (name, count) in [
            ("acked", talk.acked.len()),
            ("answers_507", refused),
            ("answers_unclear", talk.unclear.len()),
        ] {
            measured
                .counts
                .insert(name.to_owned(), u64::try_from(count)?);
        }
        for words in talk.unclear {
            verdict.remark(format!("answered while the disk was full: {words}"));
        }
        self.judge(&measured, &mut verdict);
        let words = verdict.wrong.join("\n");
        Ok(RowReport::of(self, bench, measured, verdict, words))
    }
}

/// One node that keeps everything on the small disk.
struct Embedded {
    port: u16,
    rest: Rest,
    process: ServerProcess,
}

impl Embedded {
    async fn start(bench: &Bench, disk: &Tmpfs) -> anyhow::Result<Self> {
        let port = free_port();
        let process = spawn(bench, disk, port)?;
        let rest = Rest::new(&format!("http://127.0.0.1:{port}"))?;
        let mut node = Self {
            port,
            rest,
            process,
        };
        node.ready().await?;
        Ok(node)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while !self.rest.is_ready().await {
            let ended = self.process.exit_status();
            if ended.is_some() || began.elapsed() > START_DEADLINE {
                bail!(
                    "the node does not serve ({ended:?}): {:?}",
                    self.process.lines().last()
                );
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        Ok(())
    }

    async fn kill_and_start_again(&mut self, bench: &Bench, disk: &Tmpfs) -> anyhow::Result<()> {
        self.process.kill();
        self.process = spawn(bench, disk, self.port)?;
        self.ready().await
    }

    /// Two people and where they talk; from now on requests are the first one's.
    async fn conversation(&mut self) -> anyhow::Result<Uuid> {
        let ada = self.rest.register(&somebody("ada")).await?;
        let ben = self.rest.register(&somebody("ben")).await?;
        self.rest = self.rest.with_token(&ada.token);
        let new = CreateConversation {
            kind: ConversationKind::Direct,
            members: Some(vec![ben.user.id]),
            title: None,
            topic: None,
            visibility: None,
            settings: None,
        };
        Ok(self.rest.create_conversation(&new, None).await?.id)
    }
}

fn spawn(bench: &Bench, disk: &Tmpfs, port: u16) -> anyhow::Result<ServerProcess> {
    ServerCommand::new("embedded", &bench.binary)
        .args(["serve", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--data-dir".as_ref(), disk.path().join("data").as_os_str()])
        .args([
            "--set",
            "sends_per_second=100000",
            "--set",
            "sends_burst=100000",
        ])
        .spawn()
}

fn somebody(name: &str) -> Register {
    Register {
        username: name.to_owned(),
        display_name: name.to_owned(),
        password: "a long enough password".to_owned(),
        email: None,
        invite: None,
    }
}

/// What was said, and what came of it.
struct Talk {
    rest: Rest,
    conversation: Uuid,
    /// Seq of every command that was acked.
    acked: BTreeMap<Uuid, u64>,
    /// Commands that were answered with 507.
    refused: Vec<Uuid>,
    /// Answers that were neither, in words.
    unclear: Vec<String>,
}

impl Talk {
    /// Sends a message under this command id; `true` when it was stored.
    async fn say(&mut self, command: Uuid) -> bool {
        let message = SendMessage {
            body: format!("{command} {}", "x".repeat(BODY_BYTES)),
            reply_to_no: None,
            thread_root_no: None,
            attachments: None,
            scheduled_for: None,
        };
        let answer = self
            .rest
            .send_message(self.conversation, &message, Some(command))
            .await;
        match answer {
            Ok(stored) => {
                self.acked.insert(command, stored.seq);
                true
            }
            Err(error) => {
                if code(&error) == Some(ErrorCode::StorageFull) {
                    self.refused.push(command);
                } else {
                    self.unclear.push(error.to_string());
                }
                false
            }
        }
    }

    /// The log holds every acked message once, and nothing else after the first event.
    async fn compare(&self, verdict: &mut Verdict) -> anyhow::Result<()> {
        let mut stored = Vec::new();
        loop {
            let from = u64::try_from(stored.len())? + 1;
            let page = self.rest.events(self.conversation, from, Some(200)).await?;
            if page.items.is_empty() {
                break;
            }
            stored.extend(page.items.into_iter().map(|event| event.seq));
        }
        let dense = stored.iter().zip(1..).all(|(seq, wanted)| *seq == wanted);
        verdict.must(dense, "the log has holes");
        let acked = self.acked.len();
        let messages = stored.len().saturating_sub(1);
        verdict.must(
            messages == acked,
            &format!("{messages} messages are stored where {acked} were acked"),
        );
        Ok(())
    }
}

fn code(error: &RestError) -> Option<ErrorCode> {
    error.problem().map(|problem| problem.code)
}
