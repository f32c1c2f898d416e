//! Profiles and the directory.

use hubbub_domain::ids::UserId;
use hubbub_testkit::fresh_uuid;

use super::{Home, changes_since, on_both_stores, register, try_register};
use crate::port::{AccountsError, Identity, RegisterError};
use crate::service::Accounts;

on_both_stores!(
    known_users_are_found_by_id_and_unknown_ones_left_out,
    people_are_found_by_any_part_of_their_names_in_any_case,
    wildcards_are_ordinary_characters,
    pages_of_people_follow_each_other_without_hole_or_repeat,
    a_cursor_from_elsewhere_is_refused,
    a_changed_profile_is_seen_and_a_revision_says_so,
    a_profile_that_does_not_fit_or_does_not_exist_is_not_changed,
);

async fn names(accounts: &Accounts, query: &str) -> Vec<String> {
    let page = accounts.search(query, None, 50).await.expect("reads");
    assert_eq!(page.next_cursor, None);
    page.items.into_iter().map(|user| user.username).collect()
}

async fn known_users_are_found_by_id_and_unknown_ones_left_out(home: Home) {
    let accounts = home.open().await;
    let (ada, ..) = register(&accounts, "ada").await;
    let (grace, ..) = register(&accounts, "grace").await;
    let stranger = UserId::from_uuid(fresh_uuid());
    let mut found = accounts
        .users(&[grace.id, stranger, ada.id])
        .await
        .expect("reads");
    found.sort_by(|one, other| one.username.cmp(&other.username));
    assert_eq!(found, [ada.clone(), grace]);
    assert!(accounts.users(&[]).await.expect("no query").is_empty());
    assert_eq!(accounts.user(ada.id).await.expect("reads"), Some(ada));
    assert_eq!(accounts.user(stranger).await.expect("reads"), None);
}

async fn people_are_found_by_any_part_of_their_names_in_any_case(home: Home) {
    let accounts = home.open().await;
    for (username, display_name) in [
        ("ada", "Ada Lovelace"),
        ("grace", "Grace Hopper"),
        ("jose", "JOSÉ Ñandú"),
    ] {
        try_register(&accounts, username, display_name)
            .await
            .expect("the name is free");
    }
    assert_eq!(names(&accounts, "LOVE").await, ["ada"]);
    assert_eq!(names(&accounts, " Grace ").await, ["grace"]);
    assert_eq!(names(&accounts, "josé ñ").await, ["jose"]);
    assert_eq!(names(&accounts, "ac").await, ["ada", "grace"]);
    assert_eq!(names(&accounts, "zz").await, Vec::<String>::new());
    assert_eq!(names(&accounts, "").await, ["ada", "grace", "jose"]);
    assert_eq!(
        names(&accounts, "a\u{0}da").await,
        ["ada"],
        "what no name can hold is left out"
    );
}

async fn wildcards_are_ordinary_characters(home: Home) {
    let accounts = home.open().await;
    for (username, display_name) in [
        ("percent", "100% Pure"),
        ("under_score", "Under"),
        ("underxscore", "Back\\slash"),
    ] {
        try_register(&accounts, username, display_name)
            .await
            .expect("the name is free");
    }
    assert_eq!(names(&accounts, "%").await, ["percent"]);
    assert_eq!(names(&accounts, "0% p").await, ["percent"]);
    assert_eq!(names(&accounts, "r_s").await, ["under_score"]);
    assert_eq!(names(&accounts, "\\").await, ["underxscore"]);
}

async fn pages_of_people_follow_each_other_without_hole_or_repeat(home: Home) {
    let accounts = home.open().await;
    let usernames = ["a-1", "a.2", "a_3", "ab4", "b-5"];
    for username in usernames {
        register(&accounts, username).await;
    }
    let (mut cursor, mut found) = (None, Vec::new());
    for _ in 0..3 {
        let page = accounts
            .search("", cursor.as_deref(), 2)
            .await
            .expect("reads");
        found.extend(page.items.into_iter().map(|user| user.username));
        cursor = page.next_cursor;
    }
    assert_eq!(found, usernames, "by the bytes of the username");
    assert_eq!(cursor, None);
    let exact = accounts.search("", None, 5).await.expect("reads");
    assert_eq!(exact.next_cursor, None, "a full last page is the last");
}

async fn a_cursor_from_elsewhere_is_refused(home: Home) {
    let accounts = home.open().await;
    for cursor in ["", "ada", "u.", "u.ADA", "u.a b", "u.' or 1=1"] {
        let page = accounts.search("", Some(cursor), 2).await;
        assert!(
            matches!(page, Err(AccountsError::BadCursor)),
            "{cursor}: {page:?}"
        );
    }
}

async fn a_changed_profile_is_seen_and_a_revision_says_so(home: Home) {
    let (here, there) = (home.open().await, home.open().await);
    let (ada, ..) = register(&here, "ada").await;
    let before = here.highest_rev().await.expect("reads");
    let changed = here
        .update_profile(ada.id, Some(" Countess "), Some(" calculating "))
        .await
        .expect("fits");
    assert_eq!(
        (changed.display_name.as_str(), changed.status.as_deref()),
        ("Countess", Some("calculating"))
    );
    assert_eq!(
        there.user(ada.id).await.expect("reads"),
        Some(changed.clone())
    );
    assert_eq!(names(&there, "countess").await, ["ada"]);
    let changes = changes_since(&there, before).await;
    assert_eq!(
        changes,
        [(ada.id, there.highest_rev().await.expect("reads"))]
    );
    let rev = changes[0].1;

    let same = here
        .update_profile(ada.id, Some("Countess"), None)
        .await
        .expect("fits");
    assert_eq!(same, changed, "what is not given stays");
    assert!(
        changes_since(&there, rev).await.is_empty(),
        "nothing has changed"
    );
    let cleared = here
        .update_profile(ada.id, None, Some("  "))
        .await
        .expect("fits");
    assert_eq!(cleared.status, None);
    assert_eq!(cleared.display_name, "Countess");
    assert_eq!(changes_since(&there, rev).await.len(), 1);
}

async fn a_profile_that_does_not_fit_or_does_not_exist_is_not_changed(home: Home) {
    let accounts = home.open().await;
    let (ada, ..) = register(&accounts, "ada").await;
    let before = accounts.highest_rev().await.expect("reads");
    let refused = accounts
        .update_profile(ada.id, Some("\u{202E}"), Some(&"x".repeat(200)))
        .await;
    assert!(
        matches!(&refused, Err(RegisterError::Invalid(faults)) if faults.len() == 2),
        "{refused:?}"
    );
    let stranger = UserId::from_uuid(fresh_uuid());
    let gone = accounts.update_profile(stranger, Some("Me"), None).await;
    assert!(matches!(gone, Err(RegisterError::Gone)), "{gone:?}");
    assert_eq!(accounts.user(ada.id).await.expect("reads"), Some(ada));
    assert_eq!(accounts.highest_rev().await.expect("reads"), before);
}
