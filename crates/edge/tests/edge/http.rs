//! Requests that go well: auth, conversations, messages, cookies, headers, the web client.

use hubbub_edge::EdgeLimits;
use hubbub_testkit::fresh_uuid;
use serde_json::{Value, json};

use crate::rig::{Rig, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_register_and_chat_over_rest() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let direct = json!({"kind": "direct", "members": [bob.id, ada.id]});
    let created = rig
        .api(&ada, "POST", "/conversations", Some(direct.clone()))
        .await;
    assert_eq!(created.status, 201);
    let id = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.json()["peer"]["username"], bob.name);
    let again = rig
        .api(
            &bob,
            "POST",
            "/conversations",
            Some(json!({"kind": "direct", "members": [ada.id]})),
        )
        .await;
    assert_eq!(
        (again.status, again.json()["id"].as_str()),
        (200, Some(id.as_str()))
    );
    let stored = rig.send(&ada, id.parse().unwrap(), "hello").await;
    assert_eq!(
        (&stored["message_no"], &stored["seq"]),
        (&json!(1), &json!(2))
    );
    let inbox = rig.api(&bob, "GET", "/inbox", None).await.json();
    assert_eq!(
        (&inbox["items"][0]["unread"], &inbox["next_cursor"]),
        (&json!(1), &Value::Null)
    );
    let marker = rig
        .api(
            &bob,
            "PUT",
            &format!("/conversations/{id}/marker"),
            Some(json!({"read_no": 1})),
        )
        .await;
    assert_eq!(marker.status, 204);
    assert_eq!(
        rig.api(&bob, "GET", "/inbox", None).await.json()["items"][0]["unread"],
        0
    );
    let page = rig
        .api(&bob, "GET", &format!("/conversations/{id}/messages"), None)
        .await
        .json();
    assert_eq!(page["items"][0]["body"], "hello");
    assert!(
        page["items"][0].get("command_id").is_none(),
        "shown to its author only"
    );
    let one = rig
        .api(
            &ada,
            "GET",
            &format!("/conversations/{id}/messages/1"),
            None,
        )
        .await
        .json();
    assert!(one["command_id"].is_string());
    let events = rig
        .api(
            &bob,
            "GET",
            &format!("/conversations/{id}/events?from_seq=2&limit=1"),
            None,
        )
        .await
        .json();
    assert_eq!(
        (&events["items"][0]["kind"], &events["next_cursor"]),
        (&json!("message_sent"), &Value::Null)
    );
    let found = rig
        .api(&bob, "GET", &format!("/users?query={}", ada.name), None)
        .await
        .json();
    assert_eq!(found["items"][0]["id"], json!(ada.id));
    assert!(found["items"][0].get("email").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_twice_with_one_key_is_one_group() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let (token, key) = (format!("Bearer {}", ada.token), fresh_uuid().to_string());
    let headers = [
        ("Authorization", token.as_str()),
        ("Idempotency-Key", key.as_str()),
    ];
    let create = async |title: &str| {
        let body = json!({"kind": "group", "title": title});
        call(
            rig.addr(),
            "POST",
            "/api/v1/conversations",
            &headers,
            Some(&body),
        )
        .await
    };
    let (one, two) = (create("a").await, create("a").await);
    assert_eq!((one.status, two.status), (201, 201));
    assert_eq!(one.json()["id"], two.json()["id"]);
    assert_eq!(create("b").await.code(), "idempotency_mismatch");
    let bad = [
        ("Authorization", token.as_str()),
        ("Idempotency-Key", "seven"),
    ];
    let bad = call(
        rig.addr(),
        "POST",
        "/api/v1/conversations",
        &bad,
        Some(&json!({"kind": "group", "title": "a"})),
    )
    .await;
    assert_eq!((bad.status, bad.code().as_str()), (400, "invalid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_are_found_joined_and_left() {
    let rig = Rig::start().await;
    let (ada, bob) = (rig.person("ada").await, rig.person("bob").await);
    let room = json!({"kind": "room", "title": "garden", "visibility": "public"});
    let id = rig
        .api(&ada, "POST", "/conversations", Some(room))
        .await
        .json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let rooms = rig.api(&bob, "GET", "/rooms?query=gard", None).await.json();
    assert_eq!(rooms["items"][0]["id"], json!(id));
    let shown = rig
        .api(&bob, "GET", &format!("/conversations/{id}"), None)
        .await;
    assert_eq!(
        (shown.status, &shown.json()["my_role"]),
        (200, &Value::Null)
    );
    rig.send(&ada, id.parse().unwrap(), "among members").await;
    let seen = rig
        .api(&bob, "GET", &format!("/conversations/{id}"), None)
        .await
        .json();
    assert_eq!(
        (&seen["head_no"], seen.get("last_message")),
        (&json!(1), None)
    );
    let messages = format!("/conversations/{id}/messages");
    assert_eq!(
        rig.api(&bob, "GET", &messages, None).await.code(),
        "forbidden"
    );
    assert_eq!(
        rig.api(&bob, "POST", &messages, Some(json!({"bad": 1})))
            .await
            .code(),
        "forbidden"
    );
    for _ in 0..2 {
        let joined = rig
            .api(&bob, "POST", &format!("/conversations/{id}/join"), None)
            .await;
        assert_eq!(
            (joined.status, &joined.json()["my_role"]),
            (200, &json!("member"))
        );
    }
    let members = rig
        .api(&bob, "GET", &format!("/conversations/{id}/members"), None)
        .await
        .json();
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    for _ in 0..2 {
        assert_eq!(
            rig.api(&bob, "POST", &format!("/conversations/{id}/leave"), None)
                .await
                .status,
            204
        );
    }
    assert_eq!(
        rig.api(&ada, "POST", &format!("/conversations/{id}/leave"), None)
            .await
            .code(),
        "conflict"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_works_from_our_own_pages_only() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let own = format!("http://localhost:{}", rig.addr().port());
    let login = json!({"username": ada.name, "password": "a long enough passphrase 7"});
    let foreign = [("Origin", "http://evil.example")];
    let refused = call(
        rig.addr(),
        "POST",
        "/api/v1/auth/login",
        &foreign,
        Some(&login),
    )
    .await;
    assert_eq!(refused.code(), "forbidden");
    let silent = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&login)).await;
    assert!(!silent.headers.contains_key("set-cookie"));
    let answer = call(
        rig.addr(),
        "POST",
        "/api/v1/auth/login",
        &[("Origin", &own)],
        Some(&login),
    )
    .await;
    let set = &answer.headers["set-cookie"];
    assert!(
        set.starts_with("hubbub=") && set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    let cookie = set.split(';').next().unwrap();
    assert_eq!(
        call(rig.addr(), "GET", "/api/v1/me", &[("Cookie", cookie)], None)
            .await
            .status,
        200
    );
    let change = json!({"status": "here"});
    let patch = async |headers: &[(&str, &str)]| {
        call(rig.addr(), "PATCH", "/api/v1/me", headers, Some(&change)).await
    };
    assert_eq!(patch(&[("Cookie", cookie)]).await.code(), "forbidden");
    assert_eq!(
        patch(&[("Cookie", cookie), ("Origin", "http://evil.example")])
            .await
            .code(),
        "forbidden"
    );
    assert_eq!(
        patch(&[("Cookie", cookie), ("Sec-Fetch-Site", "cross-site")])
            .await
            .code(),
        "forbidden"
    );
    assert_eq!(
        patch(&[("Cookie", cookie), ("Origin", &own)]).await.status,
        200
    );
    assert_eq!(
        patch(&[("Cookie", cookie), ("Sec-Fetch-Site", "same-origin")])
            .await
            .status,
        200
    );
    let out = call(
        rig.addr(),
        "POST",
        "/api/v1/auth/logout",
        &[("Cookie", cookie), ("Origin", &own)],
        None,
    )
    .await;
    assert!(out.headers["set-cookie"].contains("Max-Age=0"));
    assert_eq!(
        call(rig.addr(), "GET", "/api/v1/me", &[("Cookie", cookie)], None)
            .await
            .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_tls_the_cookie_is_bound_to_the_host() {
    let rig = Rig::with(1, EdgeLimits::default(), Some("https://chat.example")).await;
    let ada = rig.person("ada").await;
    let login = json!({"username": ada.name, "password": "a long enough passphrase 7"});
    let own = [("Origin", "https://chat.example")];
    let answer = call(rig.addr(), "POST", "/api/v1/auth/login", &own, Some(&login)).await;
    let set = &answer.headers["set-cookie"];
    assert!(
        set.starts_with("__Host-hubbub=") && set.contains("Secure") && set.contains("Path=/"),
        "{set}"
    );
    assert!(answer.headers["strict-transport-security"].contains("max-age"));
    let plain = format!("http://{}", rig.addr());
    let other = call(
        rig.addr(),
        "POST",
        "/api/v1/auth/login",
        &[("Origin", &plain)],
        Some(&login),
    )
    .await;
    assert_eq!(other.code(), "forbidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sees_and_ends_ones_own_sessions() {
    let rig = Rig::start().await;
    let (ada, eve) = (rig.person("ada").await, rig.person("eve").await);
    let login = json!({"username": ada.name, "password": "a long enough passphrase 7"});
    let second = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&login))
        .await
        .json();
    let sessions = rig.api(&ada, "GET", "/auth/sessions", None).await.json();
    let items = sessions["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    let other = items.iter().find(|item| item["current"] == false).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        rig.api(&eve, "DELETE", &format!("/auth/sessions/{other}"), None)
            .await
            .code(),
        "not_found"
    );
    assert_eq!(
        rig.api(&ada, "DELETE", &format!("/auth/sessions/{other}"), None)
            .await
            .status,
        204
    );
    let token = format!("Bearer {}", second["token"].as_str().unwrap());
    assert_eq!(
        call(
            rig.addr(),
            "GET",
            "/api/v1/me",
            &[("Authorization", &token)],
            None
        )
        .await
        .status,
        401
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_carries_the_security_headers() {
    let rig = Rig::start().await;
    let paths = [
        "/",
        "/login",
        "/c/x",
        "/api/v1/limits",
        "/api/v1/none",
        "/api/v1/me",
        "/healthz/live",
        "/assets/none.js",
    ];
    for path in paths {
        let answer = call(rig.addr(), "GET", path, &[], None).await;
        let csp = &answer.headers["content-security-policy"];
        assert!(
            csp.contains("default-src 'self'") && csp.contains("frame-ancestors 'none'"),
            "{path}: {csp}"
        );
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert!(answer.headers.contains_key("referrer-policy"), "{path}");
        if path.starts_with("/api") {
            assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        }
    }
    let page = call(rig.addr(), "GET", "/", &[], None).await;
    assert_eq!(
        (page.status, page.headers["content-type"].as_str()),
        (200, "text/html; charset=utf-8")
    );
    assert_eq!(
        call(rig.addr(), "GET", "/assets/none.js", &[], None)
            .await
            .code(),
        "not_found"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_client_is_served_when_it_is_built_and_a_word_about_it_when_not() {
    let rig = Rig::start().await;
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../web/dist/index.html")
        .exists();
    for path in ["/", "/login", "/c/0190"] {
        let page = call(rig.addr(), "GET", path, &[("Accept", "text/html")], None).await;
        let text = String::from_utf8(page.body).unwrap();
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(text.contains("/assets/"), built, "{path}: {text}");
        assert_eq!(page.headers["cache-control"], "no-cache");
    }
    let post = call(rig.addr(), "POST", "/login", &[], None).await;
    assert_eq!(post.status, 405);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_health_are_for_everyone_and_metrics_on_their_own_listener() {
    let rig = Rig::start().await;
    let limits = call(rig.addr(), "GET", "/api/v1/limits", &[], None)
        .await
        .json();
    assert_eq!(
        (
            &limits["message_body_bytes"],
            &limits["cursor_catch_up_events"]
        ),
        (&json!(16_384), &json!(1_000))
    );
    assert_eq!(
        call(rig.addr(), "GET", "/healthz/live", &[], None)
            .await
            .json()["status"],
        "ok"
    );
    assert_eq!(
        call(rig.addr(), "GET", "/api/v1/healthz/ready", &[], None)
            .await
            .status,
        200
    );
    rig.bus.set_status(hubbub_bus::BusStatus::Down);
    assert_eq!(
        call(rig.addr(), "GET", "/healthz/ready", &[], None)
            .await
            .status,
        503
    );
    let metrics = call(
        rig.edges[0].metrics_addr().unwrap(),
        "GET",
        "/metrics",
        &[],
        None,
    )
    .await;
    assert!(
        String::from_utf8(metrics.body)
            .unwrap()
            .contains("hubbub_edge_http_seconds")
    );
    assert_ne!(
        call(rig.addr(), "GET", "/metrics", &[], None).await.headers["content-type"],
        "text/plain; version=0.0.4"
    );
}
