//! How often things may be done. The other cases run with budgets that nobody reaches; these have a deployment of their own.

use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::close;
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::Login;
use serde_json::json;

use crate::harness::deployment::{Deployment, World};
use crate::harness::http::Request;
use crate::harness::person::Person;
use crate::harness::raw_socket::{RawSocket, send_frame};

/// Messages at once in the tight deployment.
const BURST: usize = 3;
/// Far more messages than that, at once.
const MESSAGES_TOO_MANY: usize = 50;
/// Sockets of one person in the tight deployment.
const SOCKETS: usize = 2;
/// Wrong passwords of one account in ten minutes, everywhere.
const WRONG_PASSWORDS: usize = 10;

/// Budgets so small that a case reaches them.
async fn tight(world: &World) -> Option<Deployment> {
    let settings = [
        "sends_per_second=1".to_owned(),
        format!("sends_burst={BURST}"),
        format!("sockets_per_user={SOCKETS}"),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Deployment::start(world.mode, &settings).await
}

pub(crate) async fn who_sends_too_much_is_told_when_to_send_again(world: &World) {
    let Some(tight) = tight(world).await else {
        return;
    };
    let ada = Person::register(&tight, "ada", 0).await;
    let ben = Person::register(&tight, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let mut socket = ada.socket(&[]).await;
    let ids: Vec<_> = (0..MESSAGES_TOO_MANY).map(|_| fresh_uuid()).collect();
    for id in &ids {
        let frame = send_frame(*id, chat, "and another thing");
        socket.feed_text(frame.to_string()).await;
    }
    socket.send(&json!({"t": "ping", "n": 1})).await;
    let mut stored = 0;
    let mut refused = None;
    for _ in &ids {
        let answer = socket
            .find(|frame| frame["t"] == "ack" || frame["t"] == "error")
            .await;
        if answer["t"] == "ack" {
            stored += 1;
        } else {
            refused = Some(answer);
        }
    }
    let refused = refused.expect("some are refused");
    assert_eq!(refused["code"], "rate_limited");
    assert!(
        refused["retry_after_ms"]
            .as_u64()
            .is_some_and(|wait| wait > 0)
    );

    let path = format!("/conversations/{chat}/messages");
    let answer = loop {
        let body = json!({"body": "over REST"}).to_string();
        let answer = ada.http().json("POST", &path, body).await;
        if answer.status >= 400 {
            break answer;
        }
        stored += 1;
    };
    assert_eq!(answer.said(), "429 rate_limited");
    let seconds = answer.headers["retry-after"].to_str().expect("text");
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0));
    assert!(answer.json()["retry_after_ms"].is_u64());

    assert_eq!(
        ben.log(chat).await.len(),
        stored + 1,
        "what is refused is not stored"
    );
    ben.say(chat, "my turn").await;
}

pub(crate) async fn one_socket_too_many_is_closed_with_4429(world: &World) {
    let Some(tight) = tight(world).await else {
        return;
    };
    let ada = Person::register(&tight, "ada", 0).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(ada.socket(&[]).await);
    }
    let mut one_too_many = RawSocket::open(&ada.urls[0], &ada.token).await;
    one_too_many.send(&json!({"t": "hello"})).await;
    assert_eq!(one_too_many.closed().await, Some(close::TOO_MANY_SOCKETS));
    for socket in &mut sockets {
        socket.is_alive(1).await;
    }
    // A place that becomes free is free.
    sockets.pop().expect("there is one").close().await;
    hubbub_testkit::wait::eventually(crate::harness::PATIENCE, "a free place", async || {
        let mut next = RawSocket::open(&ada.urls[0], &ada.token).await;
        next.send(&json!({"t": "hello"})).await;
        matches!(next.next().await, Ok(frame) if frame["t"] == "welcome")
    })
    .await;
}

pub(crate) async fn guessing_a_password_ends_after_ten_tries(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let login = Login {
        username: ada.user.username.clone(),
        password: "not-her-password-17".to_owned(),
        totp: None,
    };
    for try_no in 1..=WRONG_PASSWORDS {
        // Over all nodes: the budget is the account's.
        let rest = ada.rest.at(&ada.urls[try_no % ada.urls.len()]);
        let refused = rest.login(&login).await.expect_err("wrong");
        assert_eq!(refused.status(), Some(401), "try {try_no}");
    }
    for rest in ada.rests() {
        let refused = rest.login(&login).await.expect_err("wrong");
        let problem = refused.problem().expect("the server says why");
        assert_eq!(
            (problem.status, problem.code),
            (429, ErrorCode::RateLimited)
        );
        assert!(problem.retry_after_ms.is_some_and(|wait| wait > 0));
    }
    // Whoever is in stays in.
    assert_eq!(ada.rest.me().await.expect("a session").user, ada.user);
    let answer = ada
        .http()
        .request("GET", "/limits", Request::default())
        .await;
    let published = answer.json()["budgets"]["wrong_passwords"]["count"].clone();
    assert_eq!(published, json!(WRONG_PASSWORDS));
}
