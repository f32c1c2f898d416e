//! Who may be shown what: I11.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Access, Fact, Time};
use crate::index::{By, Index, Sighting};
use crate::limits::Limits;
use crate::report::Findings;

/// I11: nobody is shown an event outside of their membership, and nothing a second after it (or their session) ended.
pub(super) fn nothing_is_shown_to_outsiders(
    index: &Index<'_>,
    limits: &Limits,
    findings: &mut Findings,
) {
    let ends = Ends::of(index);
    for sighting in index.sightings() {
        let Some(user) = sighting.user else {
            continue;
        };
        let (conversation, seq) = (sighting.event.conversation, sighting.event.seq);
        findings.looked();
        let log = index.logs.get(&conversation);
        let is_visible =
            log.is_none_or(|log| log.events.is_empty() || log.is_visible_to(user, seq));
        let was_lost = index.was_lost((conversation, seq), sighting.event.epoch, sighting.at);
        if !is_visible && !was_lost {
            findings.found(|| {
                format!("{:?} of {user} was shown seq {seq} of {conversation}, of which they are no member there", sighting.by)
            });
        }
        // To be told that one is out, however late by a node that stood still, is no access.
        let tells_the_end =
            matches!(&sighting.event.fact, Fact::Removed { user: gone } if *gone == user);
        if !tells_the_end
            && let Some((ended_at, access)) =
                ends.over(index, user, &sighting, limits.after_removal)
        {
            findings.found(|| {
                format!(
                    "{:?} of {user} was shown seq {seq} of {conversation} at {}, though {access:?} ended at {ended_at}",
                    sighting.by, sighting.at
                )
            });
        }
    }
}

/// Changes of access, ascending by time.
struct Ends(HashMap<(Uuid, Scope), Vec<(Time, bool)>>);

/// [`Access`] as a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Scope {
    Conversation(Uuid),
    Session(Uuid),
    Account,
}

impl Ends {
    fn of(index: &Index<'_>) -> Self {
        let mut changes: HashMap<(Uuid, Scope), Vec<(Time, bool)>> = HashMap::new();
        for change in &index.history.access {
            let scope = match change.access {
                Access::Conversation(conversation) => Scope::Conversation(conversation),
                Access::Session(session) => Scope::Session(session),
                Access::Account => Scope::Account,
            };
            let changes = changes.entry((change.user, scope)).or_default();
            changes.push((change.at, change.ended));
        }
        for changes in changes.values_mut() {
            changes.sort_unstable();
        }
        Self(changes)
    }

    /// The access that had ended too long ago for this sighting.
    fn over(
        &self,
        index: &Index<'_>,
        user: Uuid,
        sighting: &Sighting<'_>,
        grace: Time,
    ) -> Option<(Time, Scope)> {
        // What a library still hands out after the socket has brought it in time is no fault of the server.
        let By::Socket(socket) = sighting.by else {
            return None;
        };
        let session = index.sockets.get(&socket).and_then(|socket| socket.session);
        let scopes = [
            Some(Scope::Conversation(sighting.event.conversation)),
            session.map(Scope::Session),
            Some(Scope::Account),
        ];
        scopes.into_iter().flatten().find_map(|scope| {
            let changes = self.0.get(&(user, scope))?;
            let until = changes.partition_point(|(at, _ended)| *at <= sighting.at);
            let (ended_at, ended) = changes.get(until.checked_sub(1)?)?;
            (*ended && sighting.at > ended_at + grace).then_some((*ended_at, scope))
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::history::{
        Access, AccessChange, Event, Fact, Frame, FrameSeen, History, SECOND, Socket,
    };
    use crate::{Invariant, Limits, check};

    const CHAT: Uuid = Uuid::from_u128(0xc1);
    const ADA: Uuid = Uuid::from_u128(0xa1);
    const BEN: Uuid = Uuid::from_u128(0xb1);

    fn event(seq: u64, fact: Fact) -> Event {
        Event {
            conversation: CHAT,
            epoch: 1,
            seq,
            command: Some(Uuid::from_u128(u128::from(seq))),
            by: ADA,
            fact,
        }
    }

    /// Ben was removed at second 1, and is shown this event at second 13 by a node that stood still.
    fn shown_late(shown: usize) -> u64 {
        let events = vec![
            event(
                1,
                Fact::Created {
                    members: vec![ADA, BEN],
                },
            ),
            event(2, Fact::HistoryFromJoin(false)),
            event(3, Fact::Removed { user: BEN }),
        ];
        let mut history = History::default();
        history.sockets.push(Socket {
            socket: 1,
            user: BEN,
            session: None,
            node: 0,
            hello_at: 0,
            cursors: Vec::new(),
        });
        history.frames.push(FrameSeen {
            socket: 1,
            at: 13 * SECOND,
            frame: Frame::Event(events[shown].clone()),
        });
        history.access.push(AccessChange {
            at: SECOND,
            user: BEN,
            access: Access::Conversation(CHAT),
            ended: true,
        });
        history.events = events;
        check(&history, &Limits::default()).count(Invariant::I11)
    }

    #[test]
    fn the_end_itself_may_be_told_late_and_nothing_else() {
        assert_eq!(shown_late(2), 0, "the own removal");
        assert_eq!(shown_late(1), 1, "anything before it");
    }
}
