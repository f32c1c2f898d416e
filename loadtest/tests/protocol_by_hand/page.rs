//! The notation of the page: blocks of commands, and patterns of what they print.
//!
//! A block is a fence `sh`; the fence `json` after it has one pattern per line. A pattern is JSON in which `"…"` stands for
//! any value; an object may have more fields than its pattern. Each pattern wants an answer of its own, in any order.

use serde_json::Value;

/// Stands for any value.
const ANY: &str = "…";

/// One fence of commands and what the page says they print.
pub(crate) struct Block {
    /// Where it stands on the page.
    pub(crate) line: usize,
    pub(crate) commands: String,
    /// It uses `wscat`.
    pub(crate) needs_wscat: bool,
    pub(crate) expected: Vec<Value>,
}

/// The blocks of a page, in order.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside: Option<&str> = None;
    for (number, line) in page.lines().enumerate() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(info)) => {
                inside = Some(info);
                if info == "sh" || info.starts_with("sh ") {
                    blocks.push(Block {
                        line: number + 1,
                        commands: String::new(),
                        needs_wscat: info.ends_with(" wscat"),
                        expected: Vec::new(),
                    });
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some(info), None) => {
                let Some(block) = blocks.last_mut() else {
                    continue;
                };
                if info.starts_with("sh") {
                    block.commands.push_str(line);
                    block.commands.push('\n');
                } else if info == "json" {
                    let pattern = serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
                    block.expected.push(pattern);
                }
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The line that is printed before block `number`.
pub(crate) fn mark(number: usize) -> String {
    format!("--- block {number} ---")
}

/// Every JSON value that block `number` printed; of an array of frames, each frame.
pub(crate) fn printed_by(number: usize, output: &str) -> Vec<Value> {
    let (this, next) = (mark(number), mark(number + 1));
    let lines = output
        .lines()
        .skip_while(|line| *line != this)
        .take_while(|line| *line != next);
    let mut values = Vec::new();
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Value::Array(several)) => values.extend(several),
            Ok(value) => values.push(value),
            Err(_no_json) => {}
        }
    }
    values
}

/// The patterns that found no answer of their own.
pub(crate) fn missing<'a>(expected: &'a [Value], printed: &[Value]) -> Vec<&'a Value> {
    let mut left: Vec<&Value> = printed.iter().collect();
    let mut missing = Vec::new();
    for pattern in expected {
        match left.iter().position(|value| is_like(value, pattern)) {
            Some(found) => {
                left.remove(found);
            }
            None => missing.push(pattern),
        }
    }
    missing
}

fn is_like(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (_, Value::String(any)) if any == ANY => true,
        (Value::Object(fields), Value::Object(patterns)) => {
            patterns.iter().all(|(name, pattern)| {
                fields
                    .get(name)
                    .is_some_and(|value| is_like(value, pattern))
            })
        }
        (Value::Array(items), Value::Array(patterns)) => {
            items.len() == patterns.len()
                && items
                    .iter()
                    .zip(patterns)
                    .all(|(item, pattern)| is_like(item, pattern))
        }
        _ => value == pattern,
    }
}

/// The URL in a line of the server's.
pub(crate) fn url_in(line: &str) -> Option<&str> {
    let (_, rest) = line.split_at(line.find("http://127.0.0.1:")?);
    rest.split_whitespace()
        .next()
        .map(|url| url.trim_end_matches(['/', ',', '.', ';']))
}

#[test]
fn a_pattern_wants_its_fields_and_an_answer_of_its_own() {
    let read = |text| serde_json::from_str::<Value>(text).unwrap();
    let printed = [
        read(r#"{"t":"ack","seq":2,"more":[1]}"#),
        read(r#"{"t":"live"}"#),
    ];
    assert!(missing(&[read(r#"{"seq":"…","t":"ack"}"#)], &printed).is_empty());
    assert_eq!(
        missing(&[read(r#"{"t":"ack","seq":3}"#)], &printed).len(),
        1
    );
    let twice = [read(r#"{"t":"live"}"#), read(r#"{"t":"live"}"#)];
    assert_eq!(missing(&twice, &printed).len(), 1);
    assert_eq!(missing(&[read(r#"{"more":[]}"#)], &printed).len(), 1);
}

#[test]
fn blocks_keep_their_answers_and_arrays_are_taken_apart() {
    let page = "a\n```sh\none\n```\nb\n```json\n{\"a\": 1}\n```\n```console\n$ no\n```\n```sh wscat\ntwo\n```\n";
    let blocks = blocks(page);
    let told: Vec<_> = blocks
        .iter()
        .map(|block| {
            (
                block.commands.as_str(),
                block.expected.len(),
                block.needs_wscat,
            )
        })
        .collect();
    assert_eq!(told, [("one\n", 1, false), ("two\n", 0, true)]);

    let output =
        "--- block 0 ---\nnoise\n[{\"t\":\"a\"},{\"t\":\"b\"}]\n--- block 1 ---\n{\"t\":\"c\"}\n";
    assert_eq!(
        (printed_by(0, output).len(), printed_by(1, output).len()),
        (2, 1)
    );
}
