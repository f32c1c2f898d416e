//! What the server refuses to read, and what it still knows about it.

#![expect(
    clippy::panic,
    reason = "a test stops at the first surprise, also in its helpers"
)]

use hubbub_wire::client::ClientFrame;
use hubbub_wire::error::ErrorCode;
use hubbub_wire::rest::{self, CreateConversation, Login};
use proptest::prelude::*;
use uuid::Uuid;

const ID: &str = "0190a3c4-5b6d-7e8f-9012-3456789abcde";
const CONVERSATION: &str = "018f2f6e-0000-7000-8000-0000000000c1";

fn refused(text: &str) -> (Option<Uuid>, String) {
    match ClientFrame::decode(text) {
        Ok(frame) => panic!("read as {frame:?}: {text}"),
        Err(bad) => {
            assert_eq!(bad.code, ErrorCode::Invalid);
            (bad.id, bad.detail)
        }
    }
}

/// Whether the refusal names the frame.
fn is_named(id: Option<Uuid>) -> bool {
    id.is_some_and(|id| id.to_string() == ID)
}

#[test]
fn an_unknown_field_is_refused_with_the_id() {
    let (named, detail) = refused(&format!(
        r#"{{"t":"send","id":"{ID}","conversation_id":"{CONVERSATION}","body":"x","colour":"red"}}"#
    ));
    assert!(is_named(named));
    assert!(detail.contains("unknown field `colour`"), "{detail}");
}

#[test]
fn an_unknown_field_inside_is_refused() {
    refused(
        r#"{"t":"hello","client":{"name":"x","version":"1","device_id":"018f2f6e-0000-7000-8000-0000000000c1","os":"y"}}"#,
    );
}

#[test]
fn a_doubled_field_is_refused_whichever_it_is() {
    let (named, detail) = refused(&format!(
        r#"{{"t":"send","id":"{ID}","conversation_id":"{CONVERSATION}","body":"x","body":"y"}}"#
    ));
    assert_eq!(
        (is_named(named), detail.contains("duplicate field `body`")),
        (true, true),
        "{detail}"
    );
    refused(&format!(
        r#"{{"t":"send","t":"send","id":"{ID}","conversation_id":"{CONVERSATION}","body":"x"}}"#
    ));
    refused(&format!(r#"{{"t":"ping","n":1,"t":"ping","id":"{ID}"}}"#));
    refused(&format!(
        r#"{{"t":"send","id":"{ID}","id":"{ID}","conversation_id":"{CONVERSATION}","body":"x"}}"#
    ));
    refused(r#"{"t":"ping","n":1,"n":1}"#);
    refused(r#"{"t":"hello","cursors":[],"cursors":[]}"#);
}

#[test]
fn the_tag_may_stand_anywhere() {
    assert_eq!(
        ClientFrame::decode(r#"{"n":1,"t":"ping"}"#).unwrap(),
        ClientFrame::decode(r#"{"t":"ping","n":1}"#).unwrap()
    );
}

#[test]
fn wrong_types_are_refused_without_repeating_the_value() {
    for (field, value) in [
        ("conversation_id", "7"),
        ("body", "\"x\",\"reply_to_no\":\"3\""),
        ("body", "\"x\",\"reply_to_no\":-3"),
        ("body", "{}"),
    ] {
        let text = format!(
            r#"{{"t":"send","id":"{ID}","conversation_id":"{CONVERSATION}","{field}":{value}}}"#
        );
        refused(&text);
    }
    let (named, detail) = refused(&format!(
        r#"{{"t":"mark","conversation_id":"{CONVERSATION}","read_no":"secret"}}"#
    ));
    assert_eq!(named, None);
    assert!(!detail.contains("secret"), "{detail}");
    refused(&format!(
        r#"{{"t":"mark","conversation_id":"{CONVERSATION}","read_no":1.5}}"#
    ));
    refused(&format!(
        r#"{{"t":"hello","cursors":[["{CONVERSATION}",1]]}}"#
    ));
    refused(&format!(
        r#"{{"t":"hello","cursors":[["{CONVERSATION}",1,2,3]]}}"#
    ));
}

#[test]
fn an_ill_typed_id_is_not_taken_for_an_id() {
    for id in ["7", "null", "\"not-a-uuid\"", "[1,2]", "{}"] {
        let (named, _detail) = refused(&format!(
            r#"{{"t":"send","id":{id},"conversation_id":"{CONVERSATION}","body":"x"}}"#
        ));
        assert_eq!(named, None, "{id}");
    }
}

#[test]
fn no_type_an_unknown_one_and_a_server_only_one_are_refused() {
    assert!(is_named(refused(&format!(r#"{{"id":"{ID}"}}"#)).0));
    assert!(is_named(refused(&format!(r#"{{"t":7,"id":"{ID}"}}"#)).0));
    assert!(is_named(
        refused(&format!(r#"{{"t":"shout","id":"{ID}"}}"#)).0
    ));
    assert!(is_named(
        refused(&format!(r#"{{"t":"ack","id":"{ID}"}}"#)).0
    ));
    refused(r#"{"t":"Send"}"#);
}

#[test]
fn what_is_not_an_object_is_refused() {
    for text in [
        "",
        " ",
        "null",
        "7",
        "\"ping\"",
        "[]",
        r#"["ping",1]"#,
        r#"[{"t":"ping","n":1}]"#,
        "{",
        r#"{"t":"ping","n":1}}"#,
        r#"{"t":"ping","n":1,}"#,
        "\u{feff}{}",
    ] {
        refused(text);
    }
    // An array in place of an inner object: a derived struct alone would read it.
    refused(r#"{"t":"hello","client":["x","1","018f2f6e-0000-7000-8000-0000000000c1"]}"#);
}

#[test]
fn a_depth_bomb_is_refused() {
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    refused(&deep);
    refused(&format!(r#"{{"t":{deep}}}"#));
    refused(&format!(r#"{{"t":"ping","n":{deep}}}"#));
    refused(&format!(r#"{{"t":"ping","n":1,"x":{deep}}}"#));
    refused(&format!(
        r#"{{"t":"ping","n":1,"x":{}}}"#,
        "{\"a\":".repeat(10_000)
    ));
}

#[test]
fn a_request_body_is_read_as_strictly_as_a_frame() {
    assert!(rest::from_slice::<Login>(br#"{"username":"a","password":"b"}"#).is_ok());
    for body in [
        &br#"{"username":"a","password":"b","x":1}"#[..],
        br#"{"username":"a","password":"b","password":"c"}"#,
        br#"["a","b",null]"#,
        br#"{"username":"a"}"#,
        br#"{"username":"a","password":12345}"#,
        b"\xff",
        b"",
    ] {
        let refusal = rest::from_slice::<Login>(body).expect_err("it is refused");
        assert!(!refusal.detail.contains("12345"), "{refusal}");
    }
    let inner_array = br#"{"kind":"room","settings":["from_start","everyone",true,7]}"#;
    assert!(rest::from_slice::<CreateConversation>(inner_array).is_err());
    let inner_unknown = br#"{"kind":"room","settings":{"colour":"red"}}"#;
    assert!(rest::from_slice::<CreateConversation>(inner_unknown).is_err());
    assert!(
        rest::from_slice::<CreateConversation>(br#"{"kind":"room","settings":{"receipts":false}}"#)
            .is_ok()
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _read = ClientFrame::decode(&text);
        let _read = hubbub_wire::client::ServerFrame::decode(&text);
    }

    #[test]
    fn a_detail_is_short(field in "[a-z]{1,4000}") {
        if let Err(bad) = ClientFrame::decode(&format!(r#"{{"t":"ping","n":1,"{field}":1}}"#)) {
            prop_assert!(bad.detail.chars().count() <= 160);
        }
    }
}
