//! One JSON file per frame type and event kind: what it looks like on the wire. Files are added, never edited; the web
//! client's tests read the same files.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first surprise, also in its helpers"
)]

use std::collections::BTreeSet;
use std::path::Path;

use hubbub_wire::client::{ClientFrame, EventData, ServerFrame};
use serde_json::Value;

fn golden() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/client");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the golden folder is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path
                .file_stem()
                .expect("a file has a name")
                .to_string_lossy()
                .into_owned();
            (name, std::fs::read_to_string(&path).expect("it is text"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_frame_is_read_and_written_back_as_the_same_json() {
    for (name, text) in golden() {
        let expected: Value = serde_json::from_str(&text).unwrap();
        let written = if name.starts_with("client.") {
            let frame = ClientFrame::decode(&text).unwrap_or_else(|bad| panic!("{name}: {bad}"));
            serde_json::to_value(frame).unwrap()
        } else {
            let mut frames =
                ServerFrame::decode(&text).unwrap_or_else(|bad| panic!("{name}: {bad}"));
            assert_eq!(frames.len(), 1, "{name}");
            serde_json::to_value(frames.remove(0)).unwrap()
        };
        assert_eq!(written, expected, "{name}");
    }
}

#[test]
fn every_frame_type_and_event_kind_has_a_file() {
    let names: BTreeSet<String> = golden().into_iter().map(|(name, _text)| name).collect();
    let client = ClientFrame::TYPES.iter().map(|t| format!("client.{t}"));
    let server = ServerFrame::TYPES.iter().map(|t| format!("server.{t}"));
    let kinds = EventData::KINDS
        .iter()
        .map(|kind| format!("server.event.{kind}"));
    for wanted in client.chain(server).chain(kinds) {
        assert!(names.contains(&wanted), "no golden file {wanted}.json");
    }
}

#[test]
fn coalesced_frames_are_read_in_their_order() {
    let frames =
        ServerFrame::decode(r#" [{"t":"pong","n":1},{"t":"live"},{"t":"pong","n":2}]"#).unwrap();
    assert_eq!(
        serde_json::to_value(frames).unwrap(),
        serde_json::json!([{"t":"pong","n":1},{"t":"live"},{"t":"pong","n":2}])
    );
}

#[test]
fn what_a_newer_server_adds_does_not_disturb() {
    let frames =
        ServerFrame::decode(r#"[{"t":"confetti","amount":7},{"t":"pong","n":1,"jitter_us":3}]"#)
            .unwrap();
    assert!(matches!(
        frames[..],
        [ServerFrame::Unrecognised, ServerFrame::Pong(_)]
    ));

    let (_name, text) = golden()
        .into_iter()
        .find(|(name, _text)| name == "server.event")
        .unwrap();
    let newer = text.replace("message_sent", "message_sung");
    let frames = ServerFrame::decode(&newer).unwrap();
    let [ServerFrame::Event(event)] = &frames[..] else {
        panic!("not an event: {frames:?}")
    };
    assert_eq!((event.seq, event.event.kind()), (9, "message_sung"));
    assert_eq!(
        serde_json::to_value(&frames[0]).unwrap(),
        serde_json::from_str::<Value>(&newer).unwrap()
    );
}
