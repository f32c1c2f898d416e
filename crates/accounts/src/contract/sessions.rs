//! Sessions, their ends, and the revisions that tell other nodes.

use std::collections::HashMap;

use futures_util::future::join_all;
use hubbub_domain::ids::UserId;
use hubbub_testkit::{fresh_uuid, wait};

use super::{DAY_MS, Home, MINUTE_MS, PASSWORD, changes_since, on_both_stores, origin, register};
use crate::port::{Identity, Session, SessionId};
use crate::secret;
use crate::store::{Keep, NewSession};

on_both_stores!(
    an_unused_session_ends_after_thirty_days_and_a_used_one_goes_on,
    a_session_ends_after_ninety_days_however_used,
    the_last_use_is_moved_at_most_once_a_minute,
    an_ended_session_is_dead_on_every_node_and_a_revision_says_so,
    ending_what_is_not_there_or_not_ones_own_changes_nothing,
    sessions_are_listed_newest_first_without_expired_ones,
    a_user_keeps_the_most_recently_used_sessions,
    a_reader_of_revisions_misses_no_concurrent_change,
);

async fn an_unused_session_ends_after_thirty_days_and_a_used_one_goes_on(home: Home) {
    let accounts = home.open().await;
    let (_, _, used) = register(&accounts, "ada").await;
    let (_, _, unused) = accounts
        .login("ada", PASSWORD, origin())
        .await
        .expect("the password is right");
    home.clock.advance_millis(20 * DAY_MS);
    assert!(
        accounts
            .authenticate(&used.0)
            .await
            .expect("reads")
            .is_some()
    );
    home.clock.advance_millis(10 * DAY_MS);
    assert!(
        accounts
            .authenticate(&unused.0)
            .await
            .expect("reads")
            .is_some(),
        "thirty days to the millisecond"
    );
    home.clock.advance_millis(30 * DAY_MS + 1);
    assert!(
        accounts
            .authenticate(&unused.0)
            .await
            .expect("reads")
            .is_none()
    );
    assert!(
        accounts
            .authenticate(&used.0)
            .await
            .expect("reads")
            .is_none()
    );
}

async fn a_session_ends_after_ninety_days_however_used(home: Home) {
    let accounts = home.open().await;
    let (user, session, token) = register(&accounts, "ada").await;
    for _ in 0..9 {
        home.clock.advance_millis(10 * DAY_MS);
        assert!(
            accounts
                .authenticate(&token.0)
                .await
                .expect("reads")
                .is_some()
        );
    }
    assert_eq!(
        accounts.live_sessions(user.id).await.expect("reads"),
        [session.id]
    );
    home.clock.advance_millis(1);
    assert!(
        accounts
            .authenticate(&token.0)
            .await
            .expect("reads")
            .is_none()
    );
    assert!(
        accounts
            .live_sessions(user.id)
            .await
            .expect("reads")
            .is_empty()
    );
}

async fn the_last_use_is_moved_at_most_once_a_minute(home: Home) {
    let accounts = home.open().await;
    let (user, session, token) = register(&accounts, "ada").await;
    let first = session.last_used_at;
    let mut seen = Vec::new();
    for _ in 0..4 {
        home.clock.advance_millis(MINUTE_MS / 2);
        let session = accounts.authenticate(&token.0).await.expect("reads");
        seen.push(session.expect("is live").last_used_at.millis_since(first) / 1_000);
    }
    assert_eq!(seen, [0, 60, 60, 120]);
    let listed = accounts.sessions(user.id).await.expect("reads");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].last_used_at.millis_since(first), 2 * MINUTE_MS);
}

async fn an_ended_session_is_dead_on_every_node_and_a_revision_says_so(home: Home) {
    let (here, there) = (home.open().await, home.open().await);
    let (user, session, token) = register(&here, "ada").await;
    let (_, other, other_token) = here
        .login("ada", PASSWORD, origin())
        .await
        .expect("the password is right");
    let before = there.highest_rev().await.expect("reads");
    let rev = here.end_session(user.id, session.id).await.expect("ends");
    assert!(rev > before);
    assert!(there.authenticate(&token.0).await.expect("reads").is_none());
    assert!(
        there
            .authenticate(&other_token.0)
            .await
            .expect("reads")
            .is_some()
    );
    assert_eq!(
        there.live_sessions(user.id).await.expect("reads"),
        [other.id]
    );
    assert_eq!(there.highest_rev().await.expect("reads"), rev);
    assert_eq!(changes_since(&there, before).await, [(user.id, rev)]);
    assert!(changes_since(&there, rev).await.is_empty());
}

async fn ending_what_is_not_there_or_not_ones_own_changes_nothing(home: Home) {
    let accounts = home.open().await;
    let (ada, _, token) = register(&accounts, "ada").await;
    let (grace, session, _) = register(&accounts, "grace").await;
    let session_of_ada = accounts.sessions(ada.id).await.expect("reads")[0].id;
    let rev = accounts
        .end_session(grace.id, session.id)
        .await
        .expect("ends");
    for (user, session) in [
        (grace.id, session.id),
        (grace.id, session_of_ada),
        (ada.id, SessionId(fresh_uuid())),
    ] {
        let again = accounts.end_session(user, session).await.expect("is fine");
        assert_eq!(again, rev, "the revision that says so already");
    }
    assert!(
        accounts
            .authenticate(&token.0)
            .await
            .expect("reads")
            .is_some()
    );
}

async fn sessions_are_listed_newest_first_without_expired_ones(home: Home) {
    let accounts = home.open().await;
    let (user, expired, _) = register(&accounts, "ada").await;
    let mut made = Vec::new();
    for _ in 0..3 {
        home.clock.advance_millis(11 * DAY_MS);
        let (_, session, _) = accounts
            .login("ada", PASSWORD, origin())
            .await
            .expect("the password is right");
        made.insert(0, session);
    }
    let listed = accounts.sessions(user.id).await.expect("reads");
    assert_eq!(listed, made);
    assert!(!listed.contains(&expired));
    assert_eq!(listed[0].origin, origin());
}

async fn a_user_keeps_the_most_recently_used_sessions(home: Home) {
    let accounts = home.open().await;
    let (user, first, _) = register(&accounts, "ada").await;
    let store = home.store().await;
    let rev = accounts.highest_rev().await.expect("reads");
    let keep = Keep {
        used_since: first.created_at,
        created_since: first.created_at,
        sessions_max: 2,
    };
    let mut newest = Vec::new();
    for number in 1..=3 {
        let at = first.created_at.plus_millis(number);
        let session = Session {
            id: SessionId(fresh_uuid()),
            created_at: at,
            last_used_at: at,
            ..first.clone()
        };
        let (_, token_hash) = secret::new_token().expect("the system has randomness");
        newest.insert(0, session.id);
        let session = NewSession {
            session,
            token_hash,
        };
        store
            .open_session(&session, fresh_uuid(), keep)
            .await
            .expect("opens");
    }
    newest.truncate(2);
    assert_eq!(
        accounts.live_sessions(user.id).await.expect("reads"),
        newest
    );
    let changes = changes_since(&accounts, rev).await;
    assert!(
        matches!(changes.as_slice(), [(changed, _)] if *changed == user.id),
        "other nodes learn of the ended ones: {changes:?}"
    );
}

/// The trap: a writer that took a lower number commits later than one with a higher number, and whoever has read the higher one in
/// between never looks for the lower one.
async fn a_reader_of_revisions_misses_no_concurrent_change(home: Home) {
    const USERS: usize = 6;
    const CHANGES: usize = 12;
    let accounts = home.open().await;
    let other_node = home.open().await;
    let mut users = Vec::new();
    for number in 0..USERS {
        users.push(register(&accounts, &format!("user-{number}")).await.0.id);
    }
    let start = accounts.highest_rev().await.expect("reads");

    let last = start + u64::try_from(USERS * CHANGES).expect("small");
    let reading = async {
        let (mut at, mut seen) = (start, HashMap::<UserId, u64>::new());
        wait::eventually(wait::DEADLINE, "the last revision", async || {
            for (user, rev) in accounts.changed_since(at, 3).await.expect("reads") {
                assert!(rev > at, "ascending");
                at = rev;
                seen.insert(user, rev);
            }
            at >= last
        })
        .await;
        seen
    };
    let changing = users.iter().enumerate().map(|(number, user)| {
        let node = if number % 2 == 0 {
            &accounts
        } else {
            &other_node
        };
        async move {
            for change in 0..CHANGES {
                let name = format!("name {change}");
                node.update_profile(*user, Some(&name), None)
                    .await
                    .expect("changes");
            }
        }
    });
    let (seen, _) = tokio::join!(reading, join_all(changing));
    let finally: HashMap<UserId, u64> = changes_since(&accounts, start).await.into_iter().collect();
    assert_eq!(finally.len(), USERS);
    assert_eq!(seen, finally, "every last change was seen on the way");
}
