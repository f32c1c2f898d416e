//! Snapshots: golden bytes, round trip, and what is not believed.

use std::collections::BTreeMap;

use hubbub_domain::conversation::{
    AuthoredCommand, JoinHistory, Kind, Member, Posting, RecentCommand, RequestKey, RequestMac,
    Role, Settings, State, StateParts, Visibility,
};
use hubbub_domain::position::{MessageNo, Seq};
use hubbub_wire::snapshot::{SNAPSHOT_VERSION, decode, encode};
use proptest::prelude::{any, prop_assert_eq, proptest};
use proptest::sample::Index;
use proptest::test_runner::Config;

use crate::arbitrary::state;
use crate::support::{AT, check_golden, command_id, conversation, hex, user};

fn lived_in() -> State {
    let member = |role, no| Member {
        role,
        joined_seq: Seq::new(no + 1),
        joined_no: MessageNo::new(no),
        joined_at: AT,
    };
    let command = |seq, message_no: Option<u64>, mac: Option<u8>| AuthoredCommand {
        by: user(1),
        command: RecentCommand {
            id: command_id(),
            seq: Seq::new(seq),
            at: AT.plus_millis(1),
            message_no: message_no.map(MessageNo::new),
            mac: mac.map(|byte| RequestMac::from_bytes([byte; 16])),
        },
    };
    State::from_parts(StateParts {
        id: conversation(),
        kind: Some(Kind::Room),
        title: Some("Tea".to_owned()),
        topic: None,
        visibility: Visibility::Public,
        settings: Settings {
            join_history: JoinHistory::FromJoin,
            posting: Posting::Admins,
            receipts: false,
            retention_days: Some(365),
        },
        members: BTreeMap::from([
            (user(1), member(Role::Owner, 0)),
            (user(2), member(Role::Guest, 200)),
        ]),
        banned: BTreeMap::from([(user(3), AT)]),
        last_seq: Seq::new(300),
        last_at: AT.plus_millis(2),
        last_message_no: MessageNo::new(299),
        request_key: RequestKey::from_bytes([0x5C; 32]),
        created: Some(command(1, None, None)),
        recent: vec![
            command(299, Some(298), None),
            command(300, Some(299), Some(0xAB)),
        ],
        forgotten_until: Some(AT),
    })
}

#[test]
fn a_snapshot_is_written_and_read_as_it_always_was() {
    let bytes = encode(&lived_in()).unwrap();
    check_golden("snapshot/snapshot_v1.hex", &hex(&bytes));
    assert_eq!(decode(SNAPSHOT_VERSION, &bytes), Some(lived_in()));
}

#[test]
fn another_version_is_as_good_as_none() {
    let bytes = encode(&lived_in()).unwrap();
    assert_eq!(decode(SNAPSHOT_VERSION + 1, &bytes), None);
    assert_eq!(decode(0, &bytes), None);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn decoding_gives_back_the_state(state in state()) {
        let bytes = encode(&state).unwrap();
        prop_assert_eq!(decode(SNAPSHOT_VERSION, &bytes), Some(state));
    }

    #[test]
    fn a_rotten_snapshot_is_not_believed(state in state(), at in any::<Index>(), bit in 0_u8..8) {
        let mut bytes = encode(&state).unwrap().to_vec();
        let at = at.index(bytes.len());
        prop_assert_eq!(decode(SNAPSHOT_VERSION, &bytes[..at]), None);
        bytes[at] ^= 1 << bit;
        prop_assert_eq!(decode(SNAPSHOT_VERSION, &bytes), None);
    }
}
