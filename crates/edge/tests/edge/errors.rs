//! Requests that go wrong, and that what went wrong is said in the words of the contract.

use hubbub_edge::EdgeLimits;
use hubbub_testkit::fresh_uuid;
use serde_json::{Value, json};

use crate::rig::{Answer, Rig, call, raw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_seen_answers_as_nothing_does_and_before_the_body_is_read() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let group = rig.group(&ada, &[]).await;
    rig.send(&ada, group, "secret").await;
    let comparable = |mut answer: Answer| {
        assert_eq!(answer.code(), "not_found");
        answer.headers.remove("date");
        let mut problem = answer.json();
        problem["request_id"] = Value::Null;
        (answer.status, answer.headers, answer.body.len(), problem)
    };
    let bad = || Some(json!({"nonsense": true}));
    let nobody = eve.id;
    let cases: Vec<(&str, String, Option<Value>)> = vec![
        ("GET", String::new(), None),
        ("GET", "/messages".into(), None),
        ("GET", "/messages?limit=nonsense".into(), None),
        ("GET", "/messages/1".into(), None),
        ("POST", "/messages".into(), bad()),
        ("GET", "/events".into(), None),
        ("GET", "/members".into(), None),
        ("POST", "/members".into(), bad()),
        ("PATCH", format!("/members/{nobody}"), bad()),
        ("DELETE", format!("/members/{nobody}"), None),
        ("PUT", "/marker".into(), bad()),
        ("POST", "/join".into(), None),
        ("POST", "/leave".into(), None),
    ];
    for (method, path, body) in cases {
        let mut answers = Vec::new();
        for id in [
            group.to_string(),
            fresh_uuid().to_string(),
            "no-uuid".into(),
        ] {
            let answer = rig
                .api(
                    &eve,
                    method,
                    &format!("/conversations/{id}{path}"),
                    body.clone(),
                )
                .await;
            answers.push(comparable(answer));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
        assert_eq!(answers[0], answers[2], "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_a_session_are_refused_before_anything_else() {
    let rig = Rig::start().await;
    for (method, path) in [
        ("GET", "/me"),
        ("GET", "/inbox?limit=0"),
        ("POST", "/conversations"),
        ("GET", "/conversations/none/messages"),
        ("GET", "/users/none"),
        ("POST", "/auth/logout"),
    ] {
        let answer = call(rig.addr(), method, &format!("/api/v1{path}"), &[], None).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "unauthenticated"),
            "{method} {path}"
        );
        let wrong = call(
            rig.addr(),
            method,
            &format!("/api/v1{path}"),
            &[("Authorization", "Bearer x")],
            None,
        )
        .await;
        assert_eq!(wrong.code(), "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_requests_are_told_what_is_wrong_with_them() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let token = format!("Bearer {}", ada.token);
    let messages = format!("/conversations/{group}/messages");
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1&limit=2",
        "colour=1",
        "before_no=1&after_no=2",
        "cursor=zzz",
    ] {
        let answer = rig
            .api(&ada, "GET", &format!("{messages}?{query}"), None)
            .await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid"),
            "{query}"
        );
    }
    for body in [
        json!({}),
        json!({"body": 7}),
        json!({"body": "x", "colour": 1}),
        json!(["x"]),
        json!("x"),
    ] {
        let answer = rig.api(&ada, "POST", &messages, Some(body.clone())).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid"),
            "{body}"
        );
    }
    for body in [json!({"body": " "}), json!({"body": "x".repeat(16_385)})] {
        let answer = rig.api(&ada, "POST", &messages, Some(body)).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"));
        assert!(answer.json()["fields"]["body"].is_string());
    }
    let missing = rig
        .api(
            &ada,
            "POST",
            &messages,
            Some(json!({"body": "x", "reply_to_no": 9})),
        )
        .await;
    assert_eq!(missing.status, 404);
    let send = async |content_type: &str, body: &str| {
        let request = format!(
            "POST /api/v1{messages} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: {token}\r\n\
             {content_type}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        raw(rig.addr(), request.as_bytes()).await
    };
    let json_type = "Content-Type: application/json\r\n";
    assert_eq!(
        send("", "{\"body\":\"x\"}").await.code(),
        "unsupported_media_type"
    );
    assert_eq!(
        send("Content-Type: text/plain\r\n", "{\"body\":\"x\"}")
            .await
            .code(),
        "unsupported_media_type"
    );
    assert_eq!(
        send(json_type, "{\"body\":\"x\",\"body\":\"y\"}")
            .await
            .code(),
        "invalid"
    );
    assert_eq!(send(json_type, "{\"body\":").await.code(), "invalid");
    assert_eq!(
        send(
            json_type,
            &format!("{{\"body\":\"{}\"}}", "x".repeat(2_000_000))
        )
        .await
        .code(),
        "too_large"
    );
    let head = rig
        .api(&ada, "GET", &format!("/conversations/{group}"), None)
        .await
        .json();
    assert_eq!(head["head_seq"], 1, "nothing of this was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_methods_that_do_not_exist_are_problems_too() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    assert_eq!(
        rig.api(&ada, "GET", "/nothing/here", None).await.code(),
        "not_found"
    );
    let answer = rig.api(&ada, "DELETE", "/inbox", None).await;
    assert_eq!((answer.status, answer.code().as_str()), (405, "invalid"));
    assert!(answer.headers["allow"].contains("GET"));
    assert_eq!(
        rig.api(&ada, "GET", "/me?token=abc", None).await.status,
        400
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_is_refused_and_ends_the_connection() {
    let rig = Rig::start().await;
    for lengths in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let request = format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{lengths}\r\n0\r\n\r\n\
             GET /api/v1/limits HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let answer = raw(rig.addr(), request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(!text.contains("HTTP/1.1"), "one answer only: {text}");
        assert_eq!(answer.code(), "invalid");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_is_read_like_any_other() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let request = format!(
        "PATCH /api/v1/me HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"displa\r\nf\r\ny_name\":\"Ada L\"\r\n1\r\n}}\r\n0\r\n\r\n",
        ada.token
    );
    let answer = raw(rig.addr(), request.as_bytes()).await;
    assert_eq!(
        (answer.status, &answer.json()["display_name"]),
        (200, &json!("Ada L")),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weak_password_and_a_taken_name_are_told_apart() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let register = async |name: &str, password: &str| {
        let body = json!({"username": name, "display_name": "x", "password": password});
        call(
            rig.addr(),
            "POST",
            "/api/v1/auth/register",
            &[],
            Some(&body),
        )
        .await
    };
    let weak = register("someone-else", "short").await;
    assert_eq!((weak.status, weak.code().as_str()), (422, "invalid"));
    assert!(weak.json()["fields"]["password"].is_string());
    assert_eq!(
        register(&ada.name, "a long enough passphrase 7")
            .await
            .code(),
        "conflict"
    );
    let wrong = json!({"username": ada.name, "password": "not the passphrase 99"});
    let wrong = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&wrong)).await;
    assert_eq!(
        (wrong.status, wrong.code().as_str()),
        (401, "unauthenticated")
    );
    assert!(!String::from_utf8(wrong.body).unwrap().contains(&ada.name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_over_the_budget_are_put_off() {
    let mut limits = EdgeLimits::default();
    limits.budgets.sends = hubbub_wire::rest::Budget {
        count: 1,
        per_s: 60,
        burst: Some(2),
    };
    let rig = Rig::with(1, limits, None).await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    rig.send(&ada, group, "one").await;
    rig.send(&ada, group, "two").await;
    let path = format!("/conversations/{group}/messages");
    let third = rig
        .api(&ada, "POST", &path, Some(json!({"body": "three"})))
        .await;
    assert_eq!((third.status, third.code().as_str()), (429, "rate_limited"));
    assert!(third.headers["retry-after"].parse::<u64>().unwrap() >= 1);
    assert!(third.json()["retry_after_ms"].as_u64().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_at_all_is_told_so_in_the_same_words() {
    let rig = Rig::start().await;
    let many = "x-many: 1\r\n".repeat(120);
    let cases = [
        ("NONSENSE\r\n\r\n".to_owned(), 400),
        (
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)),
            414,
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"
                .to_owned(),
            400,
        ),
    ];
    for (request, status) in cases {
        let answer = raw(rig.addr(), request.as_bytes()).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, "invalid"),
            "{answer:?}"
        );
        assert!(answer.headers["content-security-policy"].contains("frame-ancestors"));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_names_one_request_also_where_no_id_follows_from_it() {
    let rig = Rig::start().await;
    let (ada, bob, eve) = (
        rig.person("ada").await,
        rig.person("bob").await,
        rig.person("eve").await,
    );
    let (token, key) = (format!("Bearer {}", ada.token), fresh_uuid().to_string());
    let direct = async |other: uuid::Uuid| {
        let headers = [
            ("Authorization", token.as_str()),
            ("Idempotency-Key", key.as_str()),
        ];
        let body = json!({"kind": "direct", "members": [other]});
        call(
            rig.addr(),
            "POST",
            "/api/v1/conversations",
            &headers,
            Some(&body),
        )
        .await
    };
    assert_eq!(direct(bob.id).await.status, 201);
    assert_eq!(direct(bob.id).await.status, 201);
    assert_eq!(direct(eve.id).await.code(), "idempotency_mismatch");

    let name = format!("new-{}", fresh_uuid().as_u128() % 1_000_000_000);
    let register = async |key: &str, display_name: &str| {
        let body = json!({"username": name, "display_name": display_name, "password": "a long enough passphrase 7"});
        call(
            rig.addr(),
            "POST",
            "/api/v1/auth/register",
            &[("Idempotency-Key", key)],
            Some(&body),
        )
        .await
    };
    assert_eq!(register("seven", "New").await.status, 400);
    let (first, again) = (register(&key, "New").await, register(&key, "New").await);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.json()["user"], again.json()["user"]);
    assert_eq!(register(&key, "Other").await.code(), "idempotency_mismatch");
    assert_eq!(
        register(&fresh_uuid().to_string(), "New").await.code(),
        "conflict"
    );
}
