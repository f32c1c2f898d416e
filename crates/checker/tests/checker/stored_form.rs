//! The stored form of a history.

use hubbub_checker::History;
use hubbub_checker::history::lines::{BadHistory, VERSION};
use proptest::prelude::*;

use crate::world::sound;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_stored_history_comes_back_as_it_was(seed: u64) {
        let history = sound(seed);
        let lines: Vec<String> = history.lines().collect();
        prop_assert_eq!(lines.len(), history.len() + 1);
        let read = History::of_lines(lines.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(read, history);
    }
}

#[test]
fn a_history_of_another_version_is_refused() {
    let newer = format!("{{\"hubbub_history\":{}}}", VERSION + 1);
    assert!(matches!(
        History::of_lines([newer.as_str()]),
        Err(BadHistory::OtherVersion(version)) if version == VERSION + 1
    ));
    assert!(matches!(
        History::of_lines([]),
        Err(BadHistory::NoHeader(_))
    ));
}

#[test]
fn a_line_that_is_no_record_is_named() {
    let lines: Vec<String> = sound(1).lines().take(3).collect();
    let broken = [lines[0].as_str(), lines[1].as_str(), "{\"op\":7}"];
    assert!(matches!(
        History::of_lines(broken),
        Err(BadHistory::BadLine { number: 3, .. })
    ));
}
