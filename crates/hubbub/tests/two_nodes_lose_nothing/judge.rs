//! Reads everything that is there in the end, over the interface and behind its back, and judges the run.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use hubbub_client::Rest;
use uuid::Uuid;

use crate::checker::{self, Broken, Command, Logs, Row, SocketLog, Subscription, UnreadCount};
use crate::company::Company;
use crate::harness::deployment::Deployment;
use crate::harness::person::{Person, history, inbox, log};

/// Faults that a failed run prints; the rest are counted.
const FAULTS_SHOWN: usize = 40;

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

    /// What is broken; empty when every invariant held.
    pub(crate) async fn judge(
        &self,
        commands: &[Command],
        subscriptions: &[Subscription],
        sockets: &[SocketLog],
    ) -> Broken {
        let mut broken = Broken::new();
        let logs = self.logs(&mut broken).await;
        let rows = self.rows();
        let counts = self.unread_counts().await;
        for found in [
            checker::acked_is_in_the_log_exactly_once(commands, &logs),
            checker::the_log_holds_only_what_was_sent(commands, &logs),
            checker::one_command_one_event(commands, &rows),
            checker::the_log_is_dense(&rows),
            checker::the_interface_shows_the_log(&rows, &logs),
            checker::everything_is_delivered_once_in_order(subscriptions, &logs),
            checker::every_socket_rises_by_one(sockets),
            checker::acks_order_what_comes_later(commands),
            checker::unread_equals_a_recount(&counts, &logs),
        ] {
            broken.extend(found);
        }
        self.histories_show_the_log(&logs, &mut broken).await;
        println!(
            "judged: {} events in {} conversations, {} rows, {} subscriptions, {} sockets, {} unread counts",
            logs.values().map(Vec::len).sum::<usize>(),
            logs.len(),
            rows.len(),
            subscriptions.len(),
            sockets.len(),
            counts.len(),
        );
        broken
    }

    /// The log of every conversation, which must be the same on both nodes.
    async fn logs(&self, broken: &mut Broken) -> Logs {
        let mut logs = Logs::new();
        for conversation in &self.company.conversations {
            let person = &self.company.people[conversation.people[0]];
            let [one, other] = both_nodes(person);
            let (log, elsewhere) =
                tokio::join!(log(&one, conversation.id), log(&other, conversation.id));
            if log != elsewhere {
                broken.push(format!(
                    "the log of {} differs between the nodes",
                    conversation.id
                ));
            }
            logs.insert(conversation.id, log);
        }
        logs
    }

    fn rows(&self) -> Vec<Row> {
        let rows = self.cluster.sql(
            "select partition, \"offset\", epoch, conversation_id, seq, command_id from event_log order by 1, 2",
        );
        rows.lines().map(row).collect()
    }

    /// Every unread count that anybody is told, by either node.
    async fn unread_counts(&self) -> Vec<UnreadCount> {
        let mut counts = Vec::new();
        for person in &self.company.people {
            let [one, other] = both_nodes(person);
            let (here, there) = tokio::join!(inbox(&one), inbox(&other));
            counts.extend(here.into_iter().chain(there).map(|entry| UnreadCount {
                user: person.id(),
                conversation: entry.id,
                read_no: entry.read_no,
                joined_no: entry.joined_no,
                head_no: entry.head_no,
                unread: entry.unread,
            }));
        }
        counts
    }

    /// History is what the log says.
    async fn histories_show_the_log(&self, logs: &Logs, broken: &mut Broken) {
        for conversation in &self.company.conversations {
            let person = &self.company.people[conversation.people[0]];
            let shown: Vec<_> = history(&person.rest, conversation.id)
                .await
                .into_iter()
                .map(|message| (message.message_no, message.seq, message.epoch, message.by))
                .collect();
            let stored: Vec<_> = logs[&conversation.id]
                .iter()
                .filter_map(|event| {
                    event
                        .message_no
                        .map(|no| (no, event.seq, event.epoch, event.by))
                })
                .collect();
            if shown != stored {
                broken.push(format!(
                    "I14: the history of {} is not what its log says",
                    conversation.id
                ));
            }
        }
    }
}

/// The first faults, a line each.
pub(crate) fn shortened(broken: &Broken) -> String {
    let mut text = String::new();
    for fault in broken.iter().take(FAULTS_SHOWN) {
        let _infallible = writeln!(text, "{fault}");
    }
    if broken.len() > FAULTS_SHOWN {
        let _infallible = writeln!(text, "… and {} more", broken.len() - FAULTS_SHOWN);
    }
    text
}

/// The same person's interface at the home node and at the other.
fn both_nodes(person: &Person) -> [Rest; 2] {
    [0, 1].map(|node| person.rest.at(&person.urls[node]))
}

fn row(line: &str) -> Row {
    let columns: Vec<&str> = line.split('|').collect();
    let [partition, offset, epoch, conversation, seq, command] = columns[..] else {
        panic!("not a row: {line}");
    };
    Row {
        partition: partition.parse().expect("a number"),
        offset: offset.parse().expect("a number"),
        epoch: epoch.parse().expect("a number"),
        conversation: conversation.parse().expect("an id"),
        seq: seq.parse().expect("a number"),
        command: command.parse().expect("an id"),
    }
}
