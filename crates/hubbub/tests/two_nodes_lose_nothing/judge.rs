//! Reads everything that is there in the end, over the interface and behind its back, and judges the run.

use std::collections::BTreeSet;

use hubbub_checker::{
    Event, History, InboxEntry, Limits, LineageRow, LogRow, Message, Read, Reading, Report, check,
};
use hubbub_client::Rest;
use uuid::Uuid;

use crate::company::Company;
use crate::harness::deployment::Deployment;
use crate::harness::person::{Person, history, inbox, log};

/// Someone who looks at the cluster from both sides.
pub(crate) struct Judge<'a> {
    cluster: &'a Deployment,
    company: &'a Company,
}

impl<'a> Judge<'a> {
    pub(crate) const fn new(cluster: &'a Deployment, company: &'a Company) -> Self {
        Self { cluster, company }
    }

    /// The conversations whose partition this node owns now.
    pub(crate) fn conversations_owned_by(&self, node: usize) -> BTreeSet<Uuid> {
        let name = self.cluster.nodes[node].name();
        let owned = self.cluster.sql(&format!(
            "select distinct e.conversation_id from event_log e join log_partition p on p.partition = e.partition \
             join node n on n.incarnation = p.owner where n.node_id = '{name}'"
        ));
        owned.lines().map(|id| id.parse().expect("an id")).collect()
    }

    /// Every page of history is the same on both nodes, for a member at home on either.
    pub(crate) async fn histories_are_equal(&self, when: &str) {
        for conversation in &self.company.conversations {
            let (first, last) = (
                conversation.people[0],
                conversation.people[conversation.people.len() - 1],
            );
            for person in [first, last] {
                let [one, other] = both_nodes(&self.company.people[person]);
                let (here, there) = tokio::join!(
                    history(&one, conversation.id),
                    history(&other, conversation.id)
                );
                assert!(
                    here == there,
                    "{when}: the history of {} differs between the nodes",
                    conversation.id
                );
            }
        }
    }

    /// Adds everything that can be read in the end, and judges all of it.
    pub(crate) async fn judge(&self, mut history: History, now: u64) -> Report {
        history.log = self.rows();
        history.lineage = self.lineage();
        for conversation in &self.company.conversations {
            let person = &self.company.people[conversation.people[0]];
            let [one, other] = both_nodes(person);
            let (here, there) =
                tokio::join!(log(&one, conversation.id), log(&other, conversation.id));
            assert!(
                here == there,
                "the log of {} differs between the nodes",
                conversation.id
            );
            history.events.extend(here.iter().map(Event::from));
        }
        self.read_everything(&mut history, now).await;
        let report = check(&history, &Limits::default());
        println!("judged, by invariant: {:?}", report.examined);
        report
    }

    /// What everybody is shown in the end, by either node.
    async fn read_everything(&self, history: &mut History, now: u64) {
        for (n, person) in self.company.people.iter().enumerate() {
            for (node, rest) in both_nodes(person).iter().enumerate() {
                let read = |reading| Read {
                    user: person.id(),
                    node: u32::try_from(node).expect("two nodes"),
                    invoked_at: now,
                    ended_at: now,
                    is_quiet: true,
                    reading,
                };
                let entries = inbox(rest).await;
                history.push(read(Reading::Inbox {
                    entries: entries.iter().map(InboxEntry::from).collect(),
                    complete: true,
                }));
                let firsts = self.company.conversations.iter();
                for conversation in firsts.filter(|conversation| conversation.people[0] == n) {
                    let items = self::history(rest, conversation.id).await;
                    history.push(read(Reading::Page {
                        conversation: conversation.id,
                        newest: true,
                        items: items.iter().map(Message::from).collect(),
                    }));
                }
            }
        }
    }

    fn rows(&self) -> Vec<LogRow> {
        let rows = self.cluster.sql(
            "select partition, \"offset\", epoch, conversation_id, seq, command_id from event_log order by 1, 2",
        );
        rows.lines().map(row).collect()
    }

    fn lineage(&self) -> Vec<LineageRow> {
        let rows = self
            .cluster
            .sql("select partition, epoch, start_offset, owner from log_epoch order by 1, 2");
        rows.lines().map(epoch).collect()
    }
}

/// The same person's interface at the home node and at the other.
fn both_nodes(person: &Person) -> [Rest; 2] {
    [0, 1].map(|node| person.rest.at(&person.urls[node]))
}

fn row(line: &str) -> LogRow {
    let columns: Vec<&str> = line.split('|').collect();
    let [partition, offset, epoch, conversation, seq, command] = columns[..] else {
        panic!("not a row: {line}");
    };
    LogRow {
        partition: partition.parse().expect("a number"),
        offset: offset.parse().expect("a number"),
        epoch: epoch.parse().expect("a number"),
        conversation: conversation.parse().expect("an id"),
        seq: seq.parse().expect("a number"),
        command: command.parse().expect("an id"),
        crc_ok: true, // who reads it over the interface would have been told otherwise
        committed_at: None,
    }
}

fn epoch(line: &str) -> LineageRow {
    let columns: Vec<&str> = line.split('|').collect();
    let [partition, epoch, start_after, owner] = columns[..] else {
        panic!("not a row: {line}");
    };
    LineageRow {
        partition: partition.parse().expect("a number"),
        epoch: epoch.parse().expect("a number"),
        start_after: start_after.parse().expect("a number"),
        owner: owner.parse().ok(),
        at: None,
    }
}
