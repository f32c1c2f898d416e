//! Reads what is there in the end, over the interface and behind its back, and adds it to the history.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};
use hubbub_checker::{Event, Happened, History, LineageRow, LogRow};
use hubbub_client::Rest;
use uuid::Uuid;

use crate::load::{Load, read};
use crate::people::People;
use crate::world::World;

/// Events of one page: the most that the contract gives.
const PAGE: u32 = 200;
/// Reads at once.
const READS_AT_ONCE: usize = 8;
/// People who read everything in the end, spread over all.
const READERS_MAX: usize = 60;

/// The head of every conversation, as the log has it.
///
/// # Errors
/// When the database cannot be asked.
pub async fn heads(world: &World) -> anyhow::Result<BTreeMap<Uuid, u64>> {
    let rows = world
        .database()
        .sql("select conversation_id, max(seq) from event_log group by 1")
        .await?;
    rows.lines()
        .map(|line| {
            let (conversation, seq) = line.split_once('|').context("two columns")?;
            Ok((conversation.parse()?, seq.parse()?))
        })
        .collect()
}

/// Everybody reads inbox and histories once more, at every node, now that nothing is under way.
pub async fn read_in_the_end(load: &Load) {
    let every = load.voices.len().div_ceil(READERS_MAX).max(1);
    let mut reads = Vec::new();
    for voice in load.voices.iter().step_by(every) {
        reads.extend((0..voice.nodes).map(|node| (Arc::clone(voice), node, None)));
    }
    for conversation in &load.people.conversations {
        let reader = conversation
            .members
            .first()
            .and_then(|member| load.voices.get(*member));
        let Some(voice) = reader else { continue };
        let of = Some(conversation.id);
        reads.extend((0..voice.nodes).map(|node| (Arc::clone(voice), node, of)));
    }
    let stage = Arc::clone(&load.stage);
    let reading = stream::iter(reads).map(|(voice, node, conversation)| {
        let stage = Arc::clone(&stage);
        async move {
            match conversation {
                Some(conversation) => {
                    read::history(&stage, &voice, node, conversation, true).await;
                }
                None => read::inbox(&stage, &voice, node, true).await,
            }
        }
    });
    reading
        .buffer_unordered(READS_AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

/// Adds the log: rows and lineage behind the back, contents over the interface.
///
/// # Errors
/// When either cannot be read.
pub async fn add_log(world: &World, people: &People, history: &mut History) -> anyhow::Result<()> {
    let rows = world
        .database()
        .sql(
            "select partition, \"offset\", epoch, conversation_id, seq, command_id from event_log order by 1, 2",
        )
        .await?;
    for line in rows.lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let [partition, offset, epoch, conversation, seq, command] = columns[..] else {
            anyhow::bail!("not a row: {line}");
        };
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
    let lineage = world
        .database()
        .sql("select partition, epoch, start_offset, coalesce(owner::text, '') from log_epoch order by 1, 2")
        .await?;
    for line in lineage.lines() {
        let columns: Vec<&str> = line.split('|').collect();
        let [partition, epoch, start_offset, owner] = columns[..] else {
            anyhow::bail!("not a row: {line}");
        };
        history.lineage.push(LineageRow {
            partition: partition.parse()?,
            epoch: epoch.parse()?,
            start_after: start_offset.parse()?,
            owner: owner.parse().ok(),
            at: None,
        });
    }
    let urls = world.urls_from(0);
    let anonymous = Rest::new(urls.first().context("there is a node")?)?;
    let mut questions = Vec::with_capacity(people.conversations.len());
    for (n, conversation) in people.conversations.iter().enumerate() {
        let token = conversation
            .members
            .first()
            .and_then(|member| people.persons.get(*member))
            .map(|person| person.token.clone())
            .unwrap_or_default();
        let url = urls.get(n % urls.len()).cloned().unwrap_or_default();
        questions.push((anonymous.at(&url).with_token(&token), conversation.id));
    }
    let logs = stream::iter(questions)
        .map(|(rest, conversation)| async move { events_of(&rest, conversation).await })
        .buffered(READS_AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    for log in logs {
        history.events.extend(log?);
    }
    Ok(())
}

/// Every event of a conversation, over the interface.
///
/// # Errors
/// When a page cannot be read.
pub async fn events_of(rest: &Rest, conversation: Uuid) -> anyhow::Result<Vec<Event>> {
    let mut all: Vec<Event> = Vec::new();
    loop {
        let from_seq = all.last().map_or(1, |event| event.seq + 1);
        let page = rest
            .events(conversation, from_seq, Some(PAGE))
            .await
            .with_context(|| format!("read the events of {conversation}"))?;
        all.extend(page.items.iter().map(Event::from));
        if page.next_cursor.is_none() {
            return Ok(all);
        }
    }
}

/// Adds what the nodes say that happened.
pub fn add_counters(world: &World, history: &mut History) {
    let of = |metric: &str| world.counted(metric);
    history.happened(Happened::FencedAppend, of("hubbub_log_fenced_total"));
    history.happened(Happened::UnknownOutcome, of("hubbub_log_unknown_total"));
    history.happened(Happened::HealedGap, of("hubbub_feed_healed_gaps_total"));
    history.happened(
        Happened::HealedLastMessage,
        of("hubbub_feed_healed_last_total"),
    );
}

/// Stores a history for whoever looks into a broken run; failing to is not worth failing for.
pub fn keep(history: &History, path: &Path) {
    use std::io::Write as _;
    let Ok(file) = std::fs::File::create(path) else {
        return;
    };
    let mut file = std::io::BufWriter::new(file);
    for line in history.lines() {
        if writeln!(file, "{line}").is_err() {
            return;
        }
    }
}
