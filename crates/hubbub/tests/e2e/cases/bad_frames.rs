//! Frames and upgrades that are no good: the documented error or close code, and nothing in the log.

use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::{FRAME_BYTES_MAX, close};
use serde_json::json;
use uuid::Uuid;

use crate::harness::deployment::World;
use crate::harness::person::Person;
use crate::harness::raw_socket::{RawSocket, send_frame};

/// An upgrade that is refused: query, headers, status, code.
type Refused<'a> = (&'a str, Vec<(&'static str, &'a str)>, u16, &'static str);

/// One byte more than a message may have.
const BODY_BYTES_TOO_MANY: usize = 16_385;

pub(crate) async fn bad_frames_get_an_error_and_the_socket_stays(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let before = ada.head(chat).await;
    let id = fresh_uuid();
    let with = |field: &str, value: serde_json::Value| {
        let mut frame = send_frame(id, chat, "hello");
        frame[field] = value;
        frame.to_string()
    };
    // Text, and whether its id could be read.
    let cases: Vec<(String, bool)> = vec![
        ("hello?".to_owned(), false),
        (String::new(), false),
        ("null".to_owned(), false),
        ("[]".to_owned(), false),
        ("{}".to_owned(), false),
        (json!({"id": id}).to_string(), true),
        (json!({"t": 5, "id": id}).to_string(), true),
        (json!({"t": "sned", "id": id, "conversation_id": chat, "body": "x"}).to_string(), true),
        (json!({"t": "welcome"}).to_string(), false),
        (json!({"t": "ack", "id": id}).to_string(), true),
        (json!({"t": "hello"}).to_string(), false),
        (json!({"t": "send", "id": id}).to_string(), true),
        (json!({"t": "send", "id": "one", "conversation_id": chat, "body": "x"}).to_string(), false),
        (json!({"t": "send", "conversation_id": chat, "body": "x"}).to_string(), false),
        (format!(r#"{{"t":"send","id":"{id}","conversation_id":"{chat}","body":"a","body":"a"}}"#), true),
        (format!(r#"[{{"t":"send","id":"{id}","conversation_id":"{chat}","body":"a"}}]"#), false),
        (with("bdoy", json!("x")), true),
        (with("body", json!(5)), true),
        (with("body", json!(null)), true),
        (with("conversation_id", json!("general")), true),
        (with("retry", json!("yes")), true),
        (with("reply_to_no", json!(-1)), true),
        // Readable, but not allowed.
        (with("body", json!("")), true),
        (with("body", json!(" \n")), true),
        (with("body", json!("x".repeat(BODY_BYTES_TOO_MANY))), true),
        (json!({"t": "history", "id": id, "conversation_id": chat, "limit": 0}).to_string(), true),
        (json!({"t": "history", "id": id, "conversation_id": chat, "before_no": 1, "after_no": 1}).to_string(), true),
    ];
    for (n, (text, has_id)) in cases.into_iter().enumerate() {
        // Spread over the nodes, a socket each: ten on one socket would close it.
        let mut socket = RawSocket::open(&ada.urls[n % ada.urls.len()], &ada.token).await;
        socket.hello(&[]).await;
        socket.send_text(text.clone()).await;
        let shown: String = text.chars().take(120).collect();
        let error = socket.frame("error").await;
        assert_eq!(error["code"], json!("invalid"), "{shown}: {error}");
        let named = error.get("id").cloned().unwrap_or_default();
        assert_eq!(
            named,
            if has_id { json!(id) } else { json!(null) },
            "{shown}: {error}"
        );
        socket.is_alive(1).await;
    }
    assert_eq!(ada.head(chat).await, before, "nothing was stored");
    assert_eq!(ada.log(chat).await.len(), 1);
}

pub(crate) async fn a_send_to_no_conversation_is_not_found(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let mut socket = ada.socket(&[]).await;
    for conversation in [Uuid::nil(), Uuid::max(), fresh_uuid()] {
        let id = fresh_uuid();
        socket.say(id, conversation, "is anybody here?").await;
        let answer = socket.answer(id).await;
        assert_eq!(
            (&answer["t"], &answer["code"]),
            (&json!("error"), &json!("not_found"))
        );
    }
}

pub(crate) async fn a_frame_that_is_too_large_closes_the_socket_with_1009(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let frame_of = |bytes: usize| {
        let empty = send_frame(fresh_uuid(), chat, "").to_string().len();
        send_frame(fresh_uuid(), chat, &"x".repeat(bytes - empty)).to_string()
    };
    let mut socket = ada.socket(&[]).await;
    // The largest frame is still read; what is in it is too long for a message.
    socket.send_text(frame_of(FRAME_BYTES_MAX)).await;
    assert_eq!(socket.frame("error").await["code"], "invalid");
    socket.send_text(frame_of(FRAME_BYTES_MAX + 1)).await;
    assert_eq!(socket.closed().await, Some(close::TOO_LARGE));

    let mut socket = ada.socket(&[]).await;
    socket.send_text(frame_of(3_000_000)).await;
    // Whoever sends megabytes may see the line break before the code.
    assert!(matches!(
        socket.closed().await,
        Some(close::TOO_LARGE) | None
    ));
    assert_eq!(ada.log(chat).await.len(), 1, "nothing was stored");
}

pub(crate) async fn ten_bad_frames_in_a_minute_close_the_socket_with_1008(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let mut socket = ada.socket(&[]).await;
    for _ in 0..10 {
        socket.send_text("what?").await;
    }
    assert_eq!(socket.closed().await, Some(close::POLICY));
}

pub(crate) async fn hello_comes_first_and_in_time_with_a_sound_token(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let url = &ada.urls[0];

    let silent = async {
        let mut socket = RawSocket::open(url, &ada.token).await;
        assert_eq!(
            socket.closed().await,
            Some(close::SESSION_ENDED),
            "no hello within five seconds"
        );
    };
    let hasty = async {
        let mut socket = RawSocket::open(url, &ada.token).await;
        socket.send(&json!({"t": "ping", "n": 1})).await;
        assert_eq!(
            socket.closed().await,
            Some(close::POLICY),
            "another frame first"
        );
    };
    let forged = async {
        let mut socket = RawSocket::open_anonymous(url).await;
        socket
            .send(&json!({"t": "hello", "token": format!("{}x", ada.token)}))
            .await;
        assert_eq!(
            socket.closed().await,
            Some(close::SESSION_ENDED),
            "a bad token in hello"
        );
    };
    let without = async {
        let mut socket = RawSocket::open_anonymous(url).await;
        socket.send(&json!({"t": "hello"})).await;
        assert_eq!(
            socket.closed().await,
            Some(close::SESSION_ENDED),
            "no token at all"
        );
    };
    let sound = async {
        let mut socket = RawSocket::open_anonymous(url).await;
        socket
            .send(&json!({"t": "hello", "token": ada.token}))
            .await;
        let welcome = socket.frame("welcome").await;
        assert_eq!(welcome["user"]["id"], json!(ada.id()));
        for field in [
            "session_id",
            "device_id",
            "node",
            "server_time",
            "heartbeat_s",
            "limits",
        ] {
            assert!(welcome.get(field).is_some(), "{field} in {welcome}");
        }
        socket.frame("live").await;
    };
    tokio::join!(silent, hasty, forged, without, sound);
}

pub(crate) async fn an_upgrade_needs_a_sound_token_and_origin(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let cookie = format!("hubbub={}", ada.token);
    let bearer = format!("Bearer {}", ada.token);
    let bad_bearer = format!("Bearer {}x", ada.token);
    let own = ada.urls[0].clone();
    let in_url = format!("?token={}", ada.token);
    let refused: [Refused<'_>; 6] = [
        (
            "",
            vec![("authorization", &bad_bearer)],
            401,
            "unauthenticated",
        ),
        ("", vec![("cookie", &cookie)], 403, "forbidden"),
        (
            "",
            vec![("cookie", &cookie), ("origin", "https://evil.example")],
            403,
            "forbidden",
        ),
        (
            "",
            vec![("cookie", &cookie), ("origin", "null")],
            403,
            "forbidden",
        ),
        (&in_url, vec![], 400, "invalid"),
        (&in_url, vec![("authorization", &bearer)], 400, "invalid"),
    ];
    for (query, headers, status, code) in refused {
        let Err(answer) = RawSocket::try_open(&own, query, &headers).await else {
            panic!("an upgrade with {headers:?} must be refused");
        };
        assert_eq!(
            (answer.status, &answer.problem["code"]),
            (status, &json!(code)),
            "{headers:?}"
        );
    }
    let headers = [("cookie", cookie.as_str()), ("origin", own.as_str())];
    let mut socket = RawSocket::try_open(&own, "", &headers)
        .await
        .expect("the own page may connect");
    socket.hello(&[]).await;
    socket.is_alive(1).await;
}
