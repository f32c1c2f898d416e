//! What a request may not be: read strictly, and refused as the client's mistake.

use serde_json::{Value, json};

use crate::rig::{Rig, call};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_for_what_is_no_text_is_the_clients_mistake() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    for path in [
        "/rooms?query=%00",
        "/rooms?query=a%00b",
        "/users?query=a%00b",
    ] {
        let answer = rig.api(&ada, "GET", path, None).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_page_by_page() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let login = json!({"username": ada.name, "password": "a long enough passphrase 7"});
    for _ in 0..4 {
        let answer = call(rig.addr(), "POST", "/api/v1/auth/login", &[], Some(&login)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let ids = |page: &Value| -> Vec<Value> {
        let items = page["items"].as_array().unwrap();
        items.iter().map(|session| session["id"].clone()).collect()
    };
    let all = rig.api(&ada, "GET", "/auth/sessions", None).await.json();
    assert_eq!((ids(&all).len(), &all["next_cursor"]), (5, &Value::Null));
    let (mut paged, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("/auth/sessions?limit=2{cursor}");
        let page = rig.api(&ada, "GET", &path, None).await.json();
        paged.extend(ids(&page));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((paged, pages), (ids(&all), 3));
    for query in [
        "limit=0",
        "limit=201",
        "limit=abc",
        "cursor=x",
        "colour=red",
    ] {
        let path = format!("/auth/sessions?{query}");
        let answer = rig.api(&ada, "GET", &path, None).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "invalid"),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_json_in_utf8_and_nothing_that_has_to_be_unpacked() {
    let rig = Rig::start().await;
    let ada = rig.person("ada").await;
    let group = rig.group(&ada, &[]).await;
    let path = format!("/api/v1/conversations/{group}/messages");
    let bearer = format!("Bearer {}", ada.token);
    let body = json!({"body": "hi"}).to_string();
    for (headers, status) in [
        ("Content-Type: application/json\r\n", 201),
        ("Content-Type: application/json; charset=UTF-8\r\n", 201),
        (
            "Content-Type: application/json\r\nContent-Encoding: identity\r\n",
            201,
        ),
        (
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            415,
        ),
        ("Content-Type: application/json; charset=latin1\r\n", 415),
    ] {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {bearer}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            rig.addr(),
            body.len(),
        );
        let answer = crate::rig::raw(rig.addr(), request.as_bytes()).await;
        assert_eq!(answer.status, status, "{headers}");
    }
}
