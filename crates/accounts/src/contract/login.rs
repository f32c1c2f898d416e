//! Registration, passwords and their budget.

use futures_util::future::join_all;

use super::{Home, MINUTE_MS, PASSWORD, on_both_stores, origin, register, try_register};
use crate::port::{Identity, LoginError, NewUser, RegisterError};

on_both_stores!(
    a_registered_user_logs_in_and_the_token_says_who_it_is,
    a_username_is_taken_whatever_its_case,
    of_many_who_want_a_name_at_once_one_gets_it,
    every_field_that_does_not_fit_is_named,
    a_wrong_password_and_an_unknown_user_get_the_same_answer,
    ten_wrong_passwords_close_an_account_for_ten_minutes_on_every_node,
    parallel_guesses_do_not_outrun_the_budget,
    right_passwords_cost_nothing_of_the_budget,
    neither_token_nor_password_is_stored,
    what_was_registered_survives_a_restart,
);

async fn a_registered_user_logs_in_and_the_token_says_who_it_is(home: Home) {
    let accounts = home.open().await;
    let (user, session, token) = try_register(&accounts, " Ada ", " Ada Lovelace ")
        .await
        .expect("the name is free");
    assert_eq!(
        (user.username.as_str(), user.display_name.as_str()),
        ("ada", "Ada Lovelace")
    );
    assert_eq!((user.status.as_deref(), user.bot), (None, false));
    assert_eq!(session.user, user.id);
    let authenticated = accounts.authenticate(&token.0).await.expect("reads");
    assert_eq!(authenticated, Some(session.clone()));

    let (same, other_session, other_token) = accounts
        .login("ADA", PASSWORD, origin())
        .await
        .expect("the password is right");
    assert_eq!(same, user);
    assert_ne!(other_session.id, session.id);
    assert_ne!(other_token, token);
    for (token, session) in [(token, session), (other_token, other_session)] {
        let authenticated = accounts.authenticate(&token.0).await.expect("reads");
        assert_eq!(authenticated, Some(session), "both live");
    }
    let nobody = accounts.authenticate(&"0".repeat(64)).await.expect("reads");
    assert_eq!(nobody, None);
    assert_eq!(accounts.authenticate("x").await.expect("no query"), None);
}

async fn a_username_is_taken_whatever_its_case(home: Home) {
    let accounts = home.open().await;
    register(&accounts, "grace").await;
    let again = try_register(&accounts, "GRACE", "Somebody else").await;
    assert!(matches!(again, Err(RegisterError::Taken)), "{again:?}");
}

async fn of_many_who_want_a_name_at_once_one_gets_it(home: Home) {
    let (here, there) = (home.open().await, home.open().await);
    let wanting = (0..8).map(|number| {
        let node = if number % 2 == 0 { &here } else { &there };
        try_register(node, "root", "Me")
    });
    let results = join_all(wanting).await;
    let got = results.iter().filter(|result| result.is_ok()).count();
    let taken = results
        .iter()
        .filter(|result| matches!(result, Err(RegisterError::Taken)))
        .count();
    assert_eq!((got, taken), (1, 7), "{results:?}");
}

async fn every_field_that_does_not_fit_is_named(home: Home) {
    let accounts = home.open().await;
    let new = NewUser {
        username: "no spaces".to_owned(),
        display_name: "\u{202E}".to_owned(),
        password: "short".to_owned(),
        email: Some("nowhere".to_owned()),
    };
    let refused = accounts.register(new.clone(), origin()).await;
    let Err(RegisterError::Invalid(faults)) = refused else {
        panic!("taken: {refused:?}");
    };
    let mut fields: Vec<&str> = faults.iter().map(|(field, _)| *field).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["display_name", "email", "password", "username"]);

    let guessable = NewUser {
        username: "ok-name".to_owned(),
        display_name: "Fine".to_owned(),
        password: "password123456".to_owned(),
        email: Some("ada@example.org".to_owned()),
    };
    let refused = accounts.register(guessable, origin()).await;
    let Err(RegisterError::Invalid(faults)) = refused else {
        panic!("taken: {refused:?}");
    };
    assert_eq!(faults, [("password", "is too easy to guess")]);
}

async fn a_wrong_password_and_an_unknown_user_get_the_same_answer(home: Home) {
    let accounts = home.open().await;
    register(&accounts, "ada").await;
    for (name, password) in [
        ("ada", "not the password at all"),
        ("ada", ""),
        ("nobody", PASSWORD),
        ("no such\u{0}name!", PASSWORD),
    ] {
        let refused = accounts.login(name, password, origin()).await;
        assert!(
            matches!(refused, Err(LoginError::Refused)),
            "{name:?}: {refused:?}"
        );
    }
}

async fn ten_wrong_passwords_close_an_account_for_ten_minutes_on_every_node(home: Home) {
    let (here, there) = (home.open().await, home.open().await);
    register(&here, "ada").await;
    for name in ["ada", "nobody"] {
        for number in 0..10 {
            let node = if number % 2 == 0 { &here } else { &there };
            let refused = node.login(name, "a wrong guess", origin()).await;
            assert!(
                matches!(refused, Err(LoginError::Refused)),
                "{number}: {refused:?}"
            );
        }
        for node in [&here, &there] {
            let later = node.login(name, PASSWORD, origin()).await;
            assert!(
                matches!(
                    later,
                    Err(LoginError::Later {
                        retry_after_ms: 600_000
                    })
                ),
                "the right one neither, and no difference for unknown users: {later:?}"
            );
        }
    }
    home.clock.advance_millis(10 * MINUTE_MS - 1);
    let later = here.login("ada", PASSWORD, origin()).await;
    assert!(
        matches!(later, Err(LoginError::Later { retry_after_ms: 1 })),
        "{later:?}"
    );
    home.clock.advance_millis(1);
    here.login("ADA", PASSWORD, origin())
        .await
        .expect("the window has passed");
}

async fn parallel_guesses_do_not_outrun_the_budget(home: Home) {
    let (here, there) = (home.open().await, home.open().await);
    register(&here, "ada").await;
    let guessing = (0..24).map(|number| {
        let node = if number % 2 == 0 { &here } else { &there };
        node.login("ada", "a wrong guess", origin())
    });
    let results = join_all(guessing).await;
    let judged = results
        .iter()
        .filter(|result| matches!(result, Err(LoginError::Refused)))
        .count();
    let put_off = results
        .iter()
        .filter(|result| matches!(result, Err(LoginError::Later { .. })))
        .count();
    assert_eq!((judged, put_off), (10, 14), "{results:?}");
}

async fn right_passwords_cost_nothing_of_the_budget(home: Home) {
    let accounts = home.open().await;
    register(&accounts, "ada").await;
    for number in 0..12 {
        let entered = accounts.login("ada", PASSWORD, origin()).await;
        assert!(entered.is_ok(), "{number}: {entered:?}");
    }
}

async fn neither_token_nor_password_is_stored(home: Home) {
    let accounts = home.open().await;
    let (_, _, token) = register(&accounts, "ada").await;
    let wrong = accounts
        .login("hunter2-in-the-wrong-field", "x", origin())
        .await;
    assert!(matches!(wrong, Err(LoginError::Refused)), "{wrong:?}");
    let stored = home.stored_bytes();
    let holds = |text: &str| {
        stored
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(
        holds("ada") && holds("$argon2id$"),
        "the look finds what is there"
    );
    assert!(!holds(PASSWORD));
    assert!(!holds(&token.0));
    assert!(!holds("hunter2"), "nor what was typed as a name");
    assert!(!format!("{token:?}").contains(&token.0));
}

async fn what_was_registered_survives_a_restart(home: Home) {
    let before = home.open().await;
    let (user, session, token) = register(&before, "ada").await;
    drop(before);
    let after = home.open().await;
    assert_eq!(
        after.authenticate(&token.0).await.expect("reads"),
        Some(session)
    );
    assert_eq!(after.user(user.id).await.expect("reads"), Some(user));
}
