//! What holds for every bus message.

use bytes::Bytes;
use hubbub_domain::conversation::{Rejection, rules};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId};
use hubbub_wire::bus::{
    BUS_MESSAGE_BYTES_MAX, BusDecodeError, CommandRequest, Ephemeral, EvBatch, EvEntry,
    HeadBroadcast, MarkRequest, OwnerReply, OwnerRequest, OwnershipHint, RangeReply, RangeRequest,
    UserChanged,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::Config;

use crate::arbitrary::{command, conversation, entry, message_no, user};

fn batch(base_offset: u64, events: Vec<EvEntry>) -> EvBatch {
    EvBatch {
        partition: PartitionId::new(7),
        epoch: Epoch::new(3),
        base_offset: Offset::new(base_offset),
        events,
    }
}

type Refused = fn(&[u8]) -> bool;

/// No decoder may panic or take what is not all there.
fn decode_as_everything(bytes: &[u8]) -> [Result<(), BusDecodeError>; 9] {
    [
        EvBatch::decode(bytes).map(drop),
        RangeReply::decode(bytes).map(drop),
        CommandRequest::decode(bytes).map(drop),
        OwnerReply::decode(bytes).map(drop),
        HeadBroadcast::decode(bytes).map(drop),
        RangeRequest::decode(bytes).map(drop),
        Ephemeral::decode(bytes).map(drop),
        UserChanged::decode(bytes).map(drop),
        OwnershipHint::decode(bytes).map(drop),
    ]
}

#[test]
fn another_protocol_and_an_empty_message_are_refused() {
    for result in decode_as_everything(&[]) {
        assert!(
            matches!(result, Err(BusDecodeError::Protocol { found: None, .. })),
            "{result:?}"
        );
    }
    for result in decode_as_everything(&[2, 0, 0, 0]) {
        assert!(
            matches!(result, Err(BusDecodeError::Protocol { found: Some(2), .. })),
            "{result:?}"
        );
    }
}

#[test]
fn a_message_over_the_bound_is_refused_unread() {
    let huge = vec![1; BUS_MESSAGE_BYTES_MAX + 1];
    for result in decode_as_everything(&huge) {
        assert!(
            matches!(result, Err(BusDecodeError::TooLarge { .. })),
            "{result:?}"
        );
    }
}

#[test]
fn a_declared_length_beyond_the_message_is_malformed() {
    // Partition, epoch and base offset, then a list of 2^63 events.
    let lie = [
        1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ];
    let result = EvBatch::decode(&lie);
    assert!(
        matches!(result, Err(BusDecodeError::Malformed { .. })),
        "{result:?}"
    );
}

#[test]
fn every_text_of_a_rejection_survives_the_crossing() {
    for text in rules::ALL {
        let rejections = [
            Rejection::Forbidden { rule: text },
            Rejection::Conflict { reason: text },
            Rejection::Invalid {
                field: text,
                reason: text,
            },
        ];
        for rejection in rejections {
            let reply = OwnerReply::Rejected(rejection);
            assert_eq!(OwnerReply::decode(&reply.encode()).unwrap(), reply);
        }
    }
}

#[test]
fn a_text_of_another_release_becomes_the_general_one() {
    let crossed =
        |rejection| OwnerReply::decode(&OwnerReply::Rejected(rejection).encode()).unwrap();
    let new = "a text of tomorrow";
    assert_eq!(
        crossed(Rejection::Forbidden { rule: new }),
        OwnerReply::Rejected(Rejection::Forbidden {
            rule: rules::RULE_UNNAMED
        })
    );
    assert_eq!(
        crossed(Rejection::Conflict { reason: new }),
        OwnerReply::Rejected(Rejection::Conflict {
            reason: rules::CONFLICT_UNNAMED
        })
    );
    let general = Rejection::Invalid {
        field: rules::FIELD_UNNAMED,
        reason: rules::INVALID_UNNAMED,
    };
    assert_eq!(
        crossed(Rejection::Invalid {
            field: new,
            reason: new
        }),
        OwnerReply::Rejected(general)
    );
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(128) })]

    #[test]
    fn events_come_out_as_they_went_in(base in any::<u64>(), events in vec(entry(), 0..6)) {
        let batch = batch(base, events.clone());
        let message = batch.encode();
        prop_assert_eq!(&EvBatch::decode(&message).unwrap(), &batch);
        let shared = EvBatch::decode_shared(&message).unwrap();
        prop_assert_eq!(&shared, &batch);
        for entry in &shared.events {
            prop_assert!(message.as_ptr_range().contains(&entry.row.meta.as_ptr()));
        }
        let reply = RangeReply { events };
        prop_assert_eq!(RangeReply::decode(&reply.encode()).unwrap(), reply);
    }

    #[test]
    fn commands_and_marks_come_out_as_they_went_in(
        command in command(),
        numbers in any::<(u16, u64, u32, bool, bool)>(),
        markers in (option::of(message_no()), option::of(message_no())),
        place in (conversation(), user()),
    ) {
        let (partition, epoch, remaining_ms, retry, wait_stored) = numbers;
        let (read_no, delivered_no) = markers;
        let (conversation, user) = place;
        let mark = MarkRequest { conversation, user, read_no, delivered_no, wait_stored };
        for request in [OwnerRequest::Command(command), OwnerRequest::Mark(mark)] {
            let request = CommandRequest {
                partition: PartitionId::new(partition),
                epoch: Epoch::new(epoch),
                remaining_ms,
                retry,
                request,
            };
            prop_assert_eq!(CommandRequest::decode(&request.encode()).unwrap(), request);
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(mut bytes in vec(any::<u8>(), 1..200)) {
        bytes[0] = 1;
        drop(decode_as_everything(&bytes));
    }

    #[test]
    fn a_message_cut_short_or_drawn_long_is_refused(events in vec(entry(), 1..3), command in command()) {
        let request = CommandRequest {
            partition: PartitionId::new(7),
            epoch: Epoch::new(3),
            remaining_ms: 5_000,
            retry: false,
            request: OwnerRequest::Command(command),
        };
        let messages: [(Bytes, Refused); 2] = [
            (batch(1, events).encode(), |bytes| EvBatch::decode(bytes).is_err()),
            (request.encode(), |bytes| CommandRequest::decode(bytes).is_err()),
        ];
        for (message, refused) in messages {
            for length in 0..message.len() {
                prop_assert!(refused(&message[..length]), "cut at {length}");
            }
            prop_assert!(refused(&[message.as_ref(), &[0]].concat()));
        }
    }

    #[test]
    fn a_split_batch_is_dense_small_and_complete(
        base in 1_u64..1_000,
        events in vec(entry(), 0..20),
        bytes_max in 1_200_usize..3_000,
    ) {
        let pieces = batch(base, events.clone()).split(bytes_max);
        let mut next = base;
        let mut joined = Vec::new();
        for piece in pieces {
            prop_assert_eq!(piece.base_offset.get(), next);
            prop_assert!(!piece.events.is_empty());
            prop_assert!(piece.encode().len() <= bytes_max);
            next += u64::try_from(piece.events.len()).unwrap();
            joined.extend(piece.events);
        }
        prop_assert_eq!(&joined, &events);
        for alone in batch(base, events.clone()).split(0) {
            prop_assert_eq!(alone.events.len(), 1);
        }
        let reply = RangeReply::fitting(events.clone(), bytes_max);
        prop_assert!(reply.encode().len() <= bytes_max);
        prop_assert!(events.starts_with(&reply.events));
        prop_assert_eq!(RangeReply::fitting(events.clone(), usize::MAX).events, events);
    }

    #[test]
    fn short_messages_come_out_as_they_went_in(
        place in (conversation(), user()),
        on in any::<bool>(),
        rev in any::<u64>(),
    ) {
        let (conversation, user) = place;
        let typing = Ephemeral::Typing { conversation, user, on };
        prop_assert_eq!(Ephemeral::decode(&typing.encode()).unwrap(), typing);
        let changed = UserChanged { user, rev };
        prop_assert_eq!(UserChanged::decode(&changed.encode()).unwrap(), changed);
        let request = RangeRequest {
            partition: PartitionId::new(1),
            after: Offset::new(rev),
            to: Offset::new(MessageNo::new(rev).next().get()),
        };
        prop_assert_eq!(RangeRequest::decode(&request.encode()).unwrap(), request);
    }
}
