//! What holds for every stored row.

use bytes::Bytes;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::position::{Epoch, Offset, PartitionId, Seq};
use hubbub_wire::stored::{DecodeError, EventRow};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::Index;
use proptest::test_runner::Config;

use crate::arbitrary::{recorded, row};

/// The checksum as `stored/checksum.rs` describes it, written down a second time.
fn crc_of(row: &EventRow) -> u32 {
    let mut bytes = Vec::new();
    bytes.extend(row.partition.get().to_be_bytes());
    bytes.extend(row.offset.get().to_be_bytes());
    bytes.extend(row.epoch.get().to_be_bytes());
    bytes.extend(row.conversation.uuid().as_bytes());
    bytes.extend(row.seq.get().to_be_bytes());
    bytes.extend(row.at.millis().to_be_bytes());
    bytes.extend(row.command_id.uuid().as_bytes());
    bytes.extend(row.kind.to_be_bytes());
    bytes.extend(row.ver.to_be_bytes());
    bytes.extend(row.fmt.to_be_bytes());
    assert_eq!(bytes.len(), 72);
    bytes.extend(&row.meta);
    crc32fast::hash(&bytes)
}

fn flipped(bytes: &Bytes, at: Index, bit: u8) -> Bytes {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    bytes.into()
}

fn corrupt_part(row: &EventRow) -> Option<&'static str> {
    match row.decode() {
        Err(DecodeError::Corrupt { part, .. }) => Some(part),
        Ok(_) | Err(DecodeError::Unknown { .. } | DecodeError::Malformed { .. }) => None,
    }
}

fn is_malformed(row: &EventRow) -> bool {
    matches!(row.decode(), Err(DecodeError::Malformed { .. }))
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn decoding_gives_back_what_was_encoded(recorded in recorded()) {
        let row = EventRow::encode(PartitionId::new(3), Offset::new(8), Epoch::new(2), &recorded).unwrap();
        prop_assert_eq!(row.crc, crc_of(&row));
        prop_assert_eq!(row.body_crc, row.body.as_deref().map(crc32fast::hash));
        prop_assert!(row.size_bytes() >= 72 + row.meta.len());
        prop_assert_eq!(row.decode().unwrap(), recorded);
    }

    #[test]
    fn one_wrong_bit_anywhere_is_noticed(row in row(), at in any::<Index>(), bit in 0_u8..8) {
        let mut rotten = row.clone();
        rotten.meta = flipped(&row.meta, at, bit);
        prop_assert_eq!(corrupt_part(&rotten), Some("meta"));

        if let Some(body) = &row.body {
            let mut rotten = row.clone();
            rotten.body = Some(flipped(body, at, bit));
            prop_assert_eq!(corrupt_part(&rotten), Some("body"));
            rotten.body = None;
            prop_assert_eq!(corrupt_part(&rotten), Some("body"));
        }
    }

    #[test]
    fn a_wrong_column_is_noticed(row in row()) {
        let conversation = ConversationId::from_uuid(uuid::Uuid::nil());
        let command_id = CommandId::from_uuid(uuid::Uuid::nil());
        let wrong = [
            EventRow { partition: PartitionId::new(row.partition.get() ^ 1), ..row.clone() },
            EventRow { offset: Offset::new(row.offset.get() ^ 1), ..row.clone() },
            EventRow { epoch: Epoch::new(row.epoch.get() ^ 1), ..row.clone() },
            EventRow { conversation, ..row.clone() },
            EventRow { seq: Seq::new(row.seq.get() ^ 1), ..row.clone() },
            EventRow { at: row.at.plus_millis(1), ..row.clone() },
            EventRow { command_id, ..row.clone() },
            EventRow { kind: row.kind ^ 1, ..row.clone() },
            EventRow { ver: row.ver ^ 1, ..row.clone() },
            EventRow { fmt: row.fmt ^ 1, ..row },
        ];
        for row in wrong {
            prop_assert_eq!(corrupt_part(&row), Some("meta"));
        }
    }

    #[test]
    fn what_this_release_does_not_know_is_unknown(row in row()) {
        let newer = [
            EventRow { kind: 99, ..row.clone() },
            EventRow { ver: 2, ..row.clone() },
            EventRow { ver: 0, ..row.clone() },
            EventRow { fmt: 2, ..row },
        ];
        for mut row in newer {
            row.crc = crc_of(&row);
            let columns = (row.kind, row.ver, row.fmt);
            match row.decode() {
                Err(DecodeError::Unknown { kind, ver, fmt }) => prop_assert_eq!((kind, ver, fmt), columns),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }

    #[test]
    fn a_struct_that_does_not_parse_is_malformed(row in row(), cut in any::<Index>()) {
        let mut shorter = row.clone();
        shorter.meta = row.meta.slice(..cut.index(row.meta.len()));
        shorter.crc = crc_of(&shorter);
        prop_assert!(is_malformed(&shorter));

        let mut longer = row;
        longer.meta = [longer.meta.as_ref(), &[0]].concat().into();
        longer.crc = crc_of(&longer);
        prop_assert!(is_malformed(&longer));
    }
}
