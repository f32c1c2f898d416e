//! Registering, logging in, logging out.

use hubbub_client::{Notice, Reason, State};
use hubbub_wire::client::close;
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::{Login, Register};

use crate::harness::deployment::World;
use crate::harness::person::{PASSWORD, Person, unique};

pub(crate) async fn people_register_log_in_and_log_out(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    assert_eq!(ada.rest.me().await.expect("a session").user, ada.user);

    let again = ada.log_in_again(world, 1).await;
    assert_eq!(again.user, ada.user);
    assert_ne!(
        again.token, ada.token,
        "each session has a token of its own"
    );

    ada.rest.logout().await.expect("logging out works");
    for rest in ada.rests() {
        let refused = rest.me().await.expect_err("the session has ended");
        let problem = refused.problem().expect("the server says why");
        assert_eq!(
            (problem.status, problem.code),
            (401, ErrorCode::Unauthenticated)
        );
    }
    assert_eq!(
        again.rest.me().await.expect("the other session lives").user,
        ada.user
    );
}

pub(crate) async fn a_wrong_password_and_an_unknown_name_get_the_same_answer(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let mut answers = Vec::new();
    for (username, password) in [
        (ada.user.username.clone(), "not-her-password-17"),
        (unique("nobody"), PASSWORD),
    ] {
        let login = Login {
            username,
            password: password.to_owned(),
            totp: None,
        };
        let refused = ada
            .rest
            .login(&login)
            .await
            .expect_err("nobody gets in like that");
        let mut problem = refused.problem().expect("the server says why").clone();
        assert_eq!(
            (problem.status, problem.code),
            (401, ErrorCode::Unauthenticated)
        );
        problem.request_id.clear();
        answers.push(problem);
    }
    assert_eq!(answers[0], answers[1]);
}

pub(crate) async fn a_taken_name_a_bad_name_and_a_weak_password_are_refused(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let taken = ada.user.username.clone();
    let cases = [
        (taken.clone(), PASSWORD.to_owned(), 409, ErrorCode::Conflict),
        (
            taken.to_uppercase(),
            PASSWORD.to_owned(),
            409,
            ErrorCode::Conflict,
        ),
        (
            unique("weak"),
            "password".to_owned(),
            422,
            ErrorCode::Invalid,
        ),
        (unique("long"), "x".repeat(5_000), 422, ErrorCode::Invalid),
        (
            "no spaces please".to_owned(),
            PASSWORD.to_owned(),
            422,
            ErrorCode::Invalid,
        ),
        (String::new(), PASSWORD.to_owned(), 422, ErrorCode::Invalid),
    ];
    for (username, password, status, code) in cases {
        let register = Register {
            username: username.clone(),
            display_name: "Somebody".to_owned(),
            password,
            email: None,
            invite: None,
        };
        let refused = ada.rest.register(&register).await.expect_err(&username);
        let problem = refused.problem().expect("the server says why");
        assert_eq!(
            (problem.status, problem.code),
            (status, code),
            "{username}: {problem:?}"
        );
    }
}

pub(crate) async fn a_logout_closes_the_sockets_of_its_session_on_every_node(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let elsewhere = ada.log_in_again(world, 1).await;
    let mut other_session = elsewhere.socket(&[]).await;
    let mut sockets = Vec::new();
    for url in &ada.urls {
        let mut socket = crate::harness::raw_socket::RawSocket::open(url, &ada.token).await;
        socket.hello(&[]).await;
        sockets.push(socket);
    }
    let mut library = ada.connect().await;

    ada.rest.logout().await.expect("logging out works");
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, Some(close::SESSION_ENDED));
    }
    library
        .until("the library to give up", |notice| match notice {
            Notice::State(State::Disconnected { reason, .. }) => Some(reason.clone()),
            _other => None,
        })
        .await;
    assert_eq!(
        library.client.state(),
        State::Disconnected {
            reason: Reason::SessionEnded,
            retry_at_ms: None
        },
        "an ended session is not tried again"
    );
    other_session.is_alive(1).await;
}

pub(crate) async fn the_directory_finds_people_by_their_names(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    for rest in ada.rests() {
        let search = hubbub_wire::rest::SearchQuery {
            query: Some(ben.user.username.clone()),
            ..hubbub_wire::rest::SearchQuery::default()
        };
        let found = rest.users(&search).await.expect("the directory answers");
        assert_eq!(found.items, std::slice::from_ref(&ben.user));
        assert_eq!(rest.user(ben.id()).await.expect("he is known"), ben.user);
    }
}
