//! Unread counts: I10.

use std::collections::HashMap;

use uuid::Uuid;

use crate::history::{Event, Fact, InboxEntry, Reading};
use crate::index::Index;
use crate::report::Findings;

/// I10: an unread count is what a recount of the log up to the entry's head gives, never negative, and the marker is not
/// behind one's own last message nor beyond the newest one.
pub(super) fn unread_equals_a_recount(index: &Index<'_>, findings: &mut Findings) {
    let mut asked: HashMap<Uuid, Vec<(Uuid, u32, &InboxEntry)>> = HashMap::new();
    for read in &index.history.reads {
        if let Reading::Inbox { entries, .. } = &read.reading {
            for entry in entries {
                let asked = asked.entry(entry.conversation).or_default();
                asked.push((read.user, read.node, entry));
            }
        }
    }
    for (conversation, mut entries) in asked {
        let Some(log) = index.logs.get(&conversation) else {
            continue;
        };
        if log.events.is_empty() || index.has_losses(conversation) {
            continue;
        }
        entries.sort_by_key(|(_user, _node, entry)| entry.head_seq);
        let mut recount = Recount::of(&log.events);
        let mut events = log.events.iter().peekable();
        for (user, node, entry) in entries {
            while let Some(event) = events.next_if(|event| event.seq <= entry.head_seq) {
                recount.evolve(event);
            }
            let right = recount.of_reader(user, entry.read_no.max(entry.joined_no));
            let is_exact = entry.unread == right.unread
                && entry
                    .mentions
                    .is_none_or(|mentions| mentions == right.mentions)
                && entry.head_no == recount.head_no;
            let is_marker_sound = entry.read_no <= recount.head_no
                && (entry.marked_unread || entry.read_no >= right.own_no);
            findings.must(is_exact && is_marker_sound, || {
                format!(
                    "node {node} told {user} {entry:?}, but the log up to there says: {} messages, own last {}, unread {}, mentions {}",
                    recount.head_no, right.own_no, right.unread, right.mentions
                )
            });
        }
    }
}

/// The messages of a conversation up to a seq, counted so that any range is cheap.
struct Recount {
    head_no: u64,
    /// Messages that are not deleted, by number.
    all: Counts,
    /// The same of each sender, and the last one.
    own: HashMap<Uuid, (Numbers, u64)>,
    /// Those that mention someone, by somebody else.
    mentioning: HashMap<Uuid, Numbers>,
    senders: HashMap<u64, (Uuid, Vec<Uuid>)>,
}

/// What the log says for one reader.
struct Right {
    unread: i64,
    mentions: i64,
    own_no: u64,
}

impl Recount {
    fn of(events: &[&Event]) -> Self {
        let messages = events
            .iter()
            .filter_map(|event| event.fact.message_no())
            .max();
        Self {
            head_no: 0,
            all: Counts::up_to(messages.unwrap_or(0)),
            own: HashMap::new(),
            mentioning: HashMap::new(),
            senders: HashMap::new(),
        }
    }

    fn evolve(&mut self, event: &Event) {
        match &event.fact {
            Fact::Sent { no, mentions, .. } => {
                self.head_no = self.head_no.max(*no);
                self.all.add(*no, 1);
                let (own, last) = self.own.entry(event.by).or_default();
                own.insert(*no);
                *last = (*last).max(*no);
                let others: Vec<Uuid> = mentions
                    .iter()
                    .copied()
                    .filter(|user| *user != event.by)
                    .collect();
                for user in &others {
                    self.mentioning.entry(*user).or_default().insert(*no);
                }
                self.senders.insert(*no, (event.by, others));
            }
            Fact::Deleted { no } => {
                // Deleted twice, it is gone once.
                let Some((by, mentioned)) = self.senders.remove(no) else {
                    return;
                };
                self.all.add(*no, -1);
                if let Some((own, _last)) = self.own.get_mut(&by) {
                    own.remove(*no);
                }
                for user in mentioned {
                    if let Some(numbers) = self.mentioning.get_mut(&user) {
                        numbers.remove(*no);
                    }
                }
            }
            _no_message => {}
        }
    }

    fn of_reader(&self, user: Uuid, start: u64) -> Right {
        let (own_after, own_no) = self
            .own
            .get(&user)
            .map_or((0, 0), |(own, last)| (own.after(start), *last));
        Right {
            unread: self.all.after(start) - own_after,
            mentions: self
                .mentioning
                .get(&user)
                .map_or(0, |numbers| numbers.after(start)),
            own_no,
        }
    }
}

/// A Fenwick tree over message numbers.
struct Counts(Vec<i64>);

impl Counts {
    fn up_to(last: u64) -> Self {
        Self(vec![0; slot(last) + 1])
    }

    fn add(&mut self, no: u64, by: i64) {
        let mut at = slot(no).max(1);
        while let Some(count) = self.0.get_mut(at) {
            *count += by;
            at += at & at.wrapping_neg();
        }
    }

    fn until(&self, no: u64) -> i64 {
        let mut at = slot(no).min(self.0.len().saturating_sub(1));
        let mut sum = 0;
        while at > 0 {
            sum += self.0.get(at).copied().unwrap_or(0);
            at &= at - 1;
        }
        sum
    }

    fn after(&self, no: u64) -> i64 {
        self.until(u64::MAX) - self.until(no)
    }
}

/// The numbers of somebody's messages, ascending; deleted ones are kept apart.
#[derive(Default)]
struct Numbers {
    here: Vec<u64>,
    gone: Vec<u64>,
}

impl Numbers {
    fn insert(&mut self, no: u64) {
        self.here.push(no);
    }

    fn remove(&mut self, no: u64) {
        let at = self.gone.partition_point(|gone| *gone < no);
        self.gone.insert(at, no);
    }

    fn after(&self, start: u64) -> i64 {
        let behind = |numbers: &[u64]| numbers.len() - numbers.partition_point(|no| *no <= start);
        let (here, gone) = (behind(&self.here), behind(&self.gone));
        i64::try_from(here.saturating_sub(gone)).unwrap_or(i64::MAX)
    }
}

fn slot(no: u64) -> usize {
    usize::try_from(no).unwrap_or(usize::MAX)
}
