//! What a client of a benchmark reads of a text: carefully where it sends, at a glance where it only receives.

use std::borrow::Cow;

use anyhow::Context as _;
use serde::Deserialize;
use uuid::Uuid;

/// A frame, as far as a scenario cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Stored.
    Ack { id: Uuid, seq: u64 },
    /// Delivered.
    Event { seq: u64, command: Option<Uuid> },
    /// Refused, in the server's words.
    Refused(String),
    /// Everything missed has been delivered.
    Live,
    /// The server gave up delivering everything to this socket: the run has failed.
    Behind,
    /// Nothing of interest.
    Other,
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    t: Cow<'a, str>,
    id: Option<Uuid>,
    command_id: Option<Uuid>,
    seq: Option<u64>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

/// The frames of a text, in order.
pub(crate) fn heard(text: &str) -> anyhow::Result<Vec<Heard>> {
    if text.starts_with('[') {
        let raw: Vec<Raw<'_>> = serde_json::from_str(text).context("read an array of frames")?;
        Ok(raw.into_iter().map(Heard::from).collect())
    } else {
        let raw: Raw<'_> = serde_json::from_str(text).context("read a frame")?;
        Ok(vec![raw.into()])
    }
}

impl From<Raw<'_>> for Heard {
    fn from(raw: Raw<'_>) -> Self {
        match (raw.t.as_ref(), raw.seq, raw.id) {
            ("ack", Some(seq), Some(id)) => Self::Ack { id, seq },
            ("event", Some(seq), _) => Self::Event {
                seq,
                command: raw.command_id,
            },
            ("error", ..) => {
                let words = [raw.code, raw.detail]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>();
                Self::Refused(words.join(": "))
            }
            ("live", ..) => Self::Live,
            ("resync" | "reset" | "drain" | "removed", ..) => Self::Behind,
            _ => Self::Other,
        }
    }
}

/// The seqs of the events in a text for a client that sends nothing: no other frame of the protocol has a field of that name.
/// Several hundred thousand texts a second are read like this, so it looks for the field and for nothing else.
pub(crate) fn seqs(text: &str) -> impl Iterator<Item = u64> + '_ {
    const FIELD: &str = "\"seq\":";
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, behind) = rest.split_once(FIELD)?;
        let digits = behind.trim_start();
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let (number, after) = digits.split_at(end);
        rest = after;
        number.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_own_examples_are_read() {
        let of = |text: &str| heard(text).unwrap();
        let golden = |name: &str| {
            let path = format!(
                "{}/../crates/wire/tests/golden/client/server.{name}.json",
                env!("CARGO_MANIFEST_DIR")
            );
            std::fs::read_to_string(path).unwrap()
        };
        assert!(matches!(
            of(&golden("ack"))[..],
            [Heard::Ack { seq: 9, .. }]
        ));
        assert!(matches!(
            of(&golden("event"))[..],
            [Heard::Event {
                seq: 9,
                command: Some(_)
            }]
        ));
        assert!(matches!(of(&golden("error"))[..], [Heard::Refused(_)]));
        assert_eq!(of(&golden("live")), [Heard::Live]);
        assert_eq!(of(&golden("resync")), [Heard::Behind]);
        assert_eq!(of(&golden("welcome")), [Heard::Other]);
        assert_eq!(
            of(r#"[{"t":"live"},{"t":"pong","n":1}]"#),
            [Heard::Live, Heard::Other]
        );
        assert!(heard("nonsense").is_err());
    }

    #[test]
    fn a_glance_finds_the_seqs_of_events_and_of_nothing_else() {
        let text = r#"[{"t":"event","seq":12,"data":{}},{"t":"event","seq": 13}]"#;
        assert_eq!(seqs(text).collect::<Vec<_>>(), [12, 13]);
        assert_eq!(
            seqs(r#"{"t":"added","conversation":{"head_seq":4}}"#).count(),
            0
        );
    }
}
