//! Requests that are no good: the documented answer, and nothing in the log.

use hubbub_testkit::fresh_uuid;
use serde_json::json;

use crate::harness::deployment::World;
use crate::harness::http::{Http, Request};
use crate::harness::person::{PASSWORD, Person, unique};

/// One byte more than a message may have.
const BODY_BYTES_TOO_MANY: usize = 16_385;
/// Far more than any request may have.
const REQUEST_BYTES_TOO_MANY: usize = 4 * 1_048_576;

pub(crate) async fn bad_messages_get_the_documented_answer_and_store_nothing(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let before = ada.head(chat).await;
    let path = format!("/conversations/{chat}/messages");
    let long = json!({"body": "x".repeat(BODY_BYTES_TOO_MANY)}).to_string();
    let huge = json!({"body": "x".repeat(REQUEST_BYTES_TOO_MANY)}).to_string();
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let cases = [
        // Not readable as a message.
        ("", "400 invalid"),
        ("{", "400 invalid"),
        ("null", "400 invalid"),
        (r#"["hello"]"#, "400 invalid"),
        (&nested, "400 invalid"),
        ("{}", "400 invalid"),
        (r#"{"body":5}"#, "400 invalid"),
        (r#"{"body":null}"#, "400 invalid"),
        (r#"{"body":"a","bdoy":"b"}"#, "400 invalid"),
        (r#"{"body":"a","body":"a"}"#, "400 invalid"),
        (r#"{"body":"a"#, "400 invalid"),
        (r#"{"body":"\ud800"}"#, "400 invalid"),
        (r#"{"body":"a"} {"body":"b"}"#, "400 invalid"),
        (r#"{"body":"a","reply_to_no":-1}"#, "400 invalid"),
        (r#"{"body":"a","reply_to_no":1.5}"#, "400 invalid"),
        // Readable, but not allowed.
        (r#"{"body":""}"#, "422 invalid"),
        (r#"{"body":" \n "}"#, "422 invalid"),
        (r#"{"body":"a\u0000b"}"#, "422 invalid"),
        (&long, "422 invalid"),
        (&huge, "413 too_large"),
    ];
    for url in &ada.urls {
        let http = Http::new(url).with_token(&ada.token);
        for (body, expected) in cases {
            let answer = http.json("POST", &path, body).await;
            let shown: String = body.chars().take(80).collect();
            assert_eq!(answer.said(), expected, "{shown}: {answer:?}");
        }
        let not_utf8 = http.json("POST", &path, b"{\"body\":\"\xff\"}").await;
        assert_eq!(not_utf8.said(), "400 invalid");
    }
    assert_eq!(ada.head(chat).await, before, "nothing was stored");
    assert_eq!(ada.log(chat).await.len(), 1);
}

pub(crate) async fn bad_paths_queries_and_bodies_get_the_documented_answer(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let messages = format!("/conversations/{chat}/messages");
    let members = format!("/conversations/{chat}/members");
    let group = ada.group("Choir", &[&ben]).await;
    let own_members = format!("/conversations/{group}/members");
    let stranger = json!({"user_id": fresh_uuid()}).to_string();
    let writes = [
        (members.as_str(), stranger.as_str(), "403 forbidden"),
        // Who may not do it is told so whatever the body says; who may is told about the body.
        (&members, r#"{"user_id":"me"}"#, "403 forbidden"),
        (&own_members, r#"{"user_id":"me"}"#, "400 invalid"),
        (&own_members, stranger.as_str(), "422 invalid"),
        ("/conversations", r#"{"kind":"cluster"}"#, "400 invalid"),
        ("/conversations", r#"{"kind":"direct"}"#, "422 invalid"),
        (
            "/conversations",
            r#"{"kind":"direct","members":[]}"#,
            "422 invalid",
        ),
        ("/conversations", r#"{"kind":"room"}"#, "422 invalid"),
        (
            "/conversations/not-an-id/messages",
            r#"{"body":"a"}"#,
            "404 not_found",
        ),
        ("/no/such/thing", "{}", "404 not_found"),
        ("/inbox", "{}", "405 invalid"),
    ];
    let reads = [
        "/inbox?limit=0",
        "/inbox?limit=201",
        "/inbox?limit=many",
        "/inbox?limti=5",
        "/inbox?limit=5&limit=5",
        "/inbox?cursor=made-up",
        "/inbox?filter=everything",
        "/rooms?limit=0",
        "/users?limit=0",
        &format!("{messages}?before_no=1&after_no=1"),
        &format!("{messages}?before_no=x"),
        &format!("{messages}?at=yesterday"),
        &format!("{messages}?limit=0"),
        &format!("{messages}?body=1"),
        &format!("/conversations/{chat}/events?from_seq=first"),
    ];
    for url in &ada.urls {
        let http = Http::new(url).with_token(&ada.token);
        for (path, body, expected) in writes {
            let answer = http.json("POST", path, body).await;
            assert_eq!(answer.said(), expected, "{path} {body}: {answer:?}");
        }
        for path in reads {
            assert_eq!(http.get(path).await.said(), "400 invalid", "{path}");
        }
        for path in [
            "/conversations/not-an-id",
            "/no/such/thing",
            "/users/nobody",
        ] {
            assert_eq!(http.get(path).await.said(), "404 not_found", "{path}");
        }
    }
    assert_eq!(ada.log(chat).await.len(), 1, "nothing was stored");
}

pub(crate) async fn nobody_writes_without_a_sound_token_and_origin(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let path = format!("/conversations/{chat}/messages");
    let body = json!({"body": "a sound message"}).to_string();
    let json_type = ("content-type", "application/json");
    let cookie = format!("hubbub={}", ada.token);
    let bad_token = format!("Bearer {}x", ada.token);
    let own_origin = ada.urls[0].clone();
    let anonymous = ada.http().anonymous();
    let cases = [
        (&anonymous, vec![json_type], "401 unauthenticated"),
        (
            &anonymous,
            vec![json_type, ("authorization", &bad_token)],
            "401 unauthenticated",
        ),
        (
            &anonymous,
            vec![json_type, ("authorization", "Basic YWRhOmFkYQ==")],
            "401 unauthenticated",
        ),
        (
            &anonymous,
            vec![json_type, ("cookie", &cookie)],
            "403 forbidden",
        ),
        (
            &anonymous,
            vec![
                json_type,
                ("cookie", &cookie),
                ("origin", "https://evil.example"),
            ],
            "403 forbidden",
        ),
        (
            &anonymous,
            vec![json_type, ("cookie", &cookie), ("origin", "null")],
            "403 forbidden",
        ),
        (
            &anonymous,
            vec![
                json_type,
                ("cookie", &cookie),
                ("sec-fetch-site", "cross-site"),
            ],
            "403 forbidden",
        ),
    ];
    for (http, headers, expected) in cases {
        let request = Request {
            headers: headers.clone(),
            body: Some(body.clone().into_bytes()),
        };
        let answer = http.request("POST", &path, request).await;
        assert_eq!(answer.said(), expected, "{headers:?}");
    }
    assert_eq!(ada.log(chat).await.len(), 1, "nothing was stored");

    // The same request is welcome when it is in order: with a key, and with a cookie from the own origin.
    let sound = [
        ("cookie", cookie.as_str()),
        ("origin", own_origin.as_str()),
        json_type,
    ];
    let request = Request {
        headers: sound.to_vec(),
        body: Some(body.into_bytes()),
    };
    assert!(anonymous.request("POST", &path, request).await.status < 300);
    assert_eq!(ada.log(chat).await.len(), 2);
}

pub(crate) async fn a_bad_key_a_foreign_media_type_and_a_token_in_the_url_are_refused(
    world: &World,
) {
    let ada = Person::register(world, "ada", 0).await;
    let ben = Person::register(world, "ben", 1).await;
    let chat = ada.direct(&ben).await;
    let path = format!("/conversations/{chat}/messages");
    let body = json!({"body": "a sound message"}).to_string();
    let json_type = ("content-type", "application/json");
    let anonymous = ada.http().anonymous();
    let http = ada.http();
    for (headers, expected) in [
        (
            vec![json_type, ("idempotency-key", "my-key")],
            "400 invalid",
        ),
        (
            vec![("content-type", "text/plain")],
            "415 unsupported_media_type",
        ),
        (vec![], "415 unsupported_media_type"),
    ] {
        let request = Request {
            headers: headers.clone(),
            body: Some(body.clone().into_bytes()),
        };
        let answer = http.request("POST", &path, request).await;
        assert_eq!(answer.said(), expected, "{headers:?}");
    }
    for parameter in ["token", "access_token"] {
        let in_url = format!("/me?{parameter}={}", ada.token);
        assert_eq!(
            anonymous.get(&in_url).await.said(),
            "400 invalid",
            "a token in a URL is refused"
        );
        assert_eq!(
            http.get(&in_url).await.said(),
            "400 invalid",
            "also beside a sound one"
        );
    }
    assert_eq!(anonymous.get("/me").await.said(), "401 unauthenticated");
    assert_eq!(ada.log(chat).await.len(), 1, "nothing was stored");
}

pub(crate) async fn a_log_in_from_a_foreign_page_is_refused_and_one_from_the_own_page_gets_a_cookie(
    world: &World,
) {
    let ada = Person::register(world, "ada", 0).await;
    let http = ada.http().anonymous();
    let body = json!({"username": ada.user.username, "password": PASSWORD}).to_string();
    let log_in = async |origin: Option<&str>| {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let request = Request {
            headers,
            body: Some(body.clone().into_bytes()),
        };
        http.request("POST", "/auth/login", request).await
    };
    assert_eq!(
        log_in(Some("https://evil.example")).await.said(),
        "403 forbidden"
    );

    let own_page = log_in(Some(&ada.urls[0])).await;
    assert!(own_page.status < 300, "{own_page:?}");
    let cookie = own_page
        .headers
        .get("set-cookie")
        .expect("a cookie")
        .to_str()
        .expect("text");
    for attribute in ["hubbub=", "HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(
            cookie.contains(attribute),
            "{attribute} in the cookie's attributes"
        );
    }
    let no_page = log_in(None).await;
    assert!(
        no_page.status < 300 && no_page.headers.get("set-cookie").is_none(),
        "a program gets no cookie"
    );

    let register =
        json!({"username": unique("foreign"), "display_name": "F", "password": PASSWORD})
            .to_string();
    let request = Request {
        headers: vec![
            ("content-type", "application/json"),
            ("origin", "https://evil.example"),
        ],
        body: Some(register.into_bytes()),
    };
    assert_eq!(
        http.request("POST", "/auth/register", request).await.said(),
        "403 forbidden"
    );
}

pub(crate) async fn every_answer_carries_the_security_headers(world: &World) {
    let ada = Person::register(world, "ada", 0).await;
    for answer in [
        ada.http().get("/me").await,
        ada.http().anonymous().get("/me").await,
        ada.http().get("/no/such/thing").await,
        ada.http().anonymous().get("/limits").await,
    ] {
        let header = |name: &str| {
            let value = answer
                .headers
                .get(name)
                .unwrap_or_else(|| panic!("no {name} in {answer:?}"));
            value.to_str().expect("text").to_owned()
        };
        assert!(header("content-security-policy").contains("default-src"));
        assert!(header("content-security-policy").contains("frame-ancestors"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        header("referrer-policy");
    }
    let own = ada.http().get("/me").await;
    assert!(
        own.headers["cache-control"]
            .to_str()
            .expect("text")
            .contains("no-store")
    );
}
