//! A small crowd that says a lot at once while something breaks, and what must be true afterwards.

use std::collections::BTreeSet;

use hubbub_wire::client::Cursor;
use hubbub_wire::client::outbound::Ack;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::harness::deployment::Deployment;
use crate::harness::listener::{Listener, say_until_stored};
use crate::harness::person::{Person, inbox};

/// People, spread over the nodes.
const PEOPLE: usize = 4;
/// Groups that everybody is in, so that both nodes own some of them.
const GROUPS: usize = 6;
/// Messages of each person in each group in one round.
const MESSAGES: usize = 10;
/// Messages of one round.
pub(crate) const ROUND: usize = PEOPLE * GROUPS * MESSAGES;

/// The crowd and every promise that it was given.
pub(crate) struct Crowd {
    pub(crate) people: Vec<Person>,
    groups: Vec<Uuid>,
    listeners: Vec<Listener>,
    acked: Vec<Ack>,
}

impl Crowd {
    pub(crate) async fn gather(cluster: &Deployment) -> Self {
        let mut people = Vec::new();
        for n in 0..PEOPLE {
            people.push(Person::register(cluster, &format!("p{n}"), n % 2).await);
        }
        let others: Vec<&Person> = people.iter().skip(1).collect();
        let mut groups = Vec::new();
        for n in 0..GROUPS {
            groups.push(people[0].group(&format!("group {n}"), &others).await);
        }
        let start: Vec<Cursor> = groups.iter().map(|group| (*group, 0, 0).into()).collect();
        let mut listeners = Vec::new();
        for person in &people {
            listeners.push(person.connect_from(start.clone()).await);
        }
        Self {
            people,
            groups,
            listeners,
            acked: Vec::new(),
        }
    }

    /// Everybody says something in every group, all at once; when so many of these messages were acked, `breaks` is
    /// called once. Returns when all of them were.
    pub(crate) async fn say_everything(&mut self, breaks_after: usize, breaks: impl AsyncFnOnce()) {
        let mut saying = JoinSet::new();
        for listener in &self.listeners {
            for group in &self.groups {
                for n in 0..MESSAGES {
                    let (client, group) = (listener.client.clone(), *group);
                    saying.spawn(async move {
                        say_until_stored(&client, group, &format!("message {n}")).await
                    });
                }
            }
        }
        let mut breaks = Some(breaks);
        let mut answered = 0;
        while let Some(ended) = saying.join_next().await {
            self.acked
                .push(ended.expect("everything is stored in the end"));
            answered += 1;
            if answered == breaks_after
                && let Some(breaks) = breaks.take()
            {
                breaks().await;
            }
        }
        assert_eq!(answered, ROUND);
    }

    /// Nothing lost, nothing doubled, nothing out of order, every count exact, on every node.
    pub(crate) async fn judge(&mut self) {
        for group in &self.groups {
            let log = self.people[0].log(*group).await;
            let head = log.last().expect("there are events").seq;
            let seqs: Vec<u64> = log.iter().map(|event| event.seq).collect();
            let dense: Vec<u64> = (1..=head).collect();
            assert_eq!(seqs, dense, "one order without holes");
            let stored = log.iter().skip(1);
            let stored: Vec<_> = stored
                .map(|event| (event.command_id, event.seq, event.epoch))
                .collect();
            let acked = self.acked.iter();
            let promised: BTreeSet<_> = acked
                .filter(|ack| ack.conversation_id == *group)
                .map(|ack| (ack.id, ack.seq, ack.epoch))
                .collect();
            assert_eq!(stored.len(), promised.len(), "nothing is stored twice");
            assert!(
                stored.iter().all(|place| promised.contains(place)),
                "each acked message stands where its ack said"
            );

            for (person, listener) in self.people.iter().zip(&mut self.listeners) {
                listener.wait_for_seq(*group, head).await;
                assert_eq!(listener.delivered_seqs(*group), seqs);
                for rest in person.rests() {
                    let inbox = inbox(&rest).await;
                    let entry = inbox.iter().find(|entry| entry.id == *group);
                    let entry = entry.expect("the group is in the inbox");
                    let unread = log.iter().filter(|event| {
                        event.message_no > Some(entry.read_no) && event.by != person.id()
                    });
                    assert_eq!(Some(entry.unread), u64::try_from(unread.count()).ok());
                    assert_eq!(entry.head_seq, head);
                }
            }
        }
    }
}
