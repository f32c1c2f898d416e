//! Sessions that end while a socket is open: closed within a second, on every node (P8).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hubbub_accounts::SessionId;
use hubbub_bus::Delivery;
use hubbub_domain::ids::UserId;
use hubbub_wire::bus::UserChanged;
use hubbub_wire::client::close;

use crate::fanout::Seen;
use crate::fanout::hub::Hub;

/// Which account changes this node has heard of.
#[derive(Debug)]
pub(crate) struct Revisions {
    /// All up to here have been looked at.
    known: u64,
    /// Its count of changes is raised with every one heard; read by sockets around their authentication.
    seen: Arc<Seen>,
}

impl Revisions {
    pub(crate) fn new(known: u64, seen: Arc<Seen>) -> Self {
        Self { known, seen }
    }

    pub(crate) fn known(&self) -> u64 {
        self.known
    }

    pub(crate) fn changes(&self) -> u64 {
        self.seen.account_changes.load(Ordering::SeqCst)
    }

    /// A change was heard directly. Revisions in between may have been missed: only the next one in line moves what is known.
    fn hear(&mut self, rev: u64) {
        self.seen.account_changes.fetch_add(1, Ordering::SeqCst);
        if rev == self.known.saturating_add(1) {
            self.known = rev;
        }
    }

    /// Changes were read, all up to `rev`.
    fn read(&mut self, rev: u64) {
        self.seen.account_changes.fetch_add(1, Ordering::SeqCst);
        self.known = self.known.max(rev);
    }
}

impl Hub {
    pub(super) fn on_user_changed(&mut self, delivery: &Delivery) {
        match UserChanged::decode(&delivery.payload) {
            Ok(UserChanged { user, rev }) => {
                self.revisions.hear(rev);
                self.recheck(user);
            }
            Err(error) => tracing::warn!(%error, "an account change could not be read"),
        }
    }

    /// A broadcast says how far account changes go.
    pub(super) fn on_highest_rev(&mut self, rev: u64) {
        if rev > self.revisions.known() {
            self.jobs.read_changed(self.revisions.known());
        }
    }

    /// Accounts that changed, ascending by revision. `live`: for some of them the sessions that are left, judged for seats up to `up_to`.
    pub(super) fn on_changed(
        &mut self,
        changed: &[(UserId, u64)],
        live: &[(UserId, Vec<SessionId>)],
        up_to: u64,
    ) {
        let Some(highest) = changed.iter().map(|(_, rev)| *rev).max() else {
            return;
        };
        self.revisions.read(highest);
        for (user, left) in live {
            self.close_ended(*user, up_to, left);
        }
        for (user, _) in changed {
            if self.sessions.seated() != up_to || live.iter().all(|(asked, _)| asked != user) {
                self.recheck(*user);
            }
        }
    }

    /// Asks which sessions of a user are still live, when sockets of this node depend on it.
    pub(super) fn recheck(&mut self, user: UserId) {
        if self.sessions.has(user) {
            self.jobs.read_live_sessions(user, self.sessions.seated());
        }
    }

    /// Closes what `live` does not name. Who was seated after it was asked has been checked by themselves.
    pub(super) fn close_ended(&self, user: UserId, up_to: u64, live: &[SessionId]) {
        for seat in self.sessions.of(user) {
            if seat.order <= up_to && !live.contains(&seat.session) {
                seat.outbox.close(close::SESSION_ENDED, "session ended");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_revision_is_not_taken_for_known() {
        let mut revisions = Revisions::new(5, Arc::default());
        revisions.hear(6);
        assert_eq!(revisions.known(), 6);
        revisions.hear(8);
        assert_eq!(revisions.known(), 6, "7 was missed");
        revisions.read(8);
        assert_eq!((revisions.known(), revisions.changes()), (8, 3));
    }
}
