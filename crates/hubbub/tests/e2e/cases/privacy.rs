//! What one may not see looks exactly like what is not there.

use hubbub_testkit::fresh_uuid;
use serde_json::json;
use uuid::Uuid;

use crate::harness::deployment::World;
use crate::harness::http::Request;
use crate::harness::person::Person;

pub(crate) async fn a_conversation_of_others_answers_exactly_as_an_unknown_one(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let eve = Person::register(world, "eve", 1).await;
    let theirs = ada.group("Not for eve", &[&ben]).await;
    ada.say(theirs, "between us").await;
    let before = ada.head(theirs).await;

    for url in &eve.urls {
        let http = crate::harness::http::Http::new(url).with_token(&eve.token);
        for (method, path, body) in requests(&ben, &eve) {
            let ask = async |conversation: Uuid| {
                let path = format!("/conversations/{conversation}{path}");
                match body.as_deref() {
                    Some(body) => http.json(method, &path, body).await,
                    None => http.request(method, &path, Request::default()).await,
                }
            };
            let hidden = ask(theirs).await;
            let unknown = ask(fresh_uuid()).await;
            assert_eq!(hidden.status, 404, "{method} {path} {body:?}: {hidden:?}");
            assert_eq!(
                hidden.without_request_id(),
                unknown.without_request_id(),
                "{method} {path} {body:?}"
            );
            assert!(!String::from_utf8_lossy(&hidden.body).contains(&theirs.to_string()));
        }
    }
    assert_eq!(ada.head(theirs).await, before, "nothing was stored");
}

/// Every way to ask for something of a conversation: reads, writes, and writes whose body is no good either (one that may
/// not see the place is not told about the body).
fn requests(member: &Person, stranger: &Person) -> Vec<(&'static str, String, Option<String>)> {
    let mut requests = Vec::new();
    for path in [
        "",
        "/messages",
        "/messages?limit=5",
        "/messages/1",
        "/events",
        "/events?from_seq=1",
        "/members",
    ] {
        requests.push(("GET", path.to_owned(), None));
        requests.push(("HEAD", path.to_owned(), None));
    }
    let bodies = [
        json!({"body": "let me in"}).to_string(),
        json!({"body": ""}).to_string(),
        "{".to_owned(),
    ];
    for body in bodies {
        requests.push(("POST", "/messages".to_owned(), Some(body)));
    }
    for body in [
        json!({"user_id": stranger.id()}).to_string(),
        "[]".to_owned(),
    ] {
        requests.push(("POST", "/members".to_owned(), Some(body)));
    }
    for who in [member.id(), stranger.id(), fresh_uuid()] {
        let path = format!("/members/{who}");
        requests.push((
            "PATCH",
            path.clone(),
            Some(json!({"role": "owner"}).to_string()),
        ));
        requests.push(("DELETE", path, None));
    }
    requests.push((
        "PUT",
        "/marker".to_owned(),
        Some(json!({"read_no": 1}).to_string()),
    ));
    requests.push((
        "PUT",
        "/marker".to_owned(),
        Some(json!({"read_no": "x"}).to_string()),
    ));
    requests.push((
        "POST",
        "/mark-unread".to_owned(),
        Some(json!({"from_no": 1}).to_string()),
    ));
    requests.push(("POST", "/join".to_owned(), None));
    requests.push(("POST", "/leave".to_owned(), None));
    requests
}

pub(crate) async fn over_a_socket_too_there_is_no_difference(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let eve = Person::register(world, "eve", 1).await;
    let theirs = ada.group("Not for eve", &[&ben]).await;
    let said = fresh_uuid();
    ada.try_say(theirs, "between us", Some(said))
        .await
        .expect("it is stored");
    let before = ada.head(theirs).await;

    let mut socket = eve.socket(&[]).await;
    for (t, fields) in [
        ("send", json!({"body": "let me in"})),
        ("send", json!({"body": ""})),
        ("send", json!({"body": "between us", "retry": true})),
        ("history", json!({"limit": 5})),
    ] {
        // A fresh id, and the id of a command that is stored there.
        for id in [fresh_uuid(), said] {
            let mut answers = Vec::new();
            for conversation in [theirs, fresh_uuid()] {
                let mut frame = json!({"t": t, "id": id, "conversation_id": conversation});
                for (name, value) in fields.as_object().expect("an object") {
                    frame[name] = value.clone();
                }
                socket.send(&frame).await;
                answers.push(socket.find(|frame| frame["id"] == json!(id)).await);
            }
            assert_eq!(
                (&answers[0]["t"], &answers[0]["code"]),
                (&json!("error"), &json!("not_found"))
            );
            assert_eq!(answers[0], answers[1]);
        }
    }
    socket
        .send(&json!({"t": "mark", "conversation_id": theirs, "read_no": 1}))
        .await;
    socket.is_alive(1).await;
    assert_eq!(ada.head(theirs).await, before, "nothing was stored");
}
