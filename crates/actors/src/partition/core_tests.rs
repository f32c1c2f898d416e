//! Offsets are dense, also after a take-back; a partition that was left places nothing.

use std::time::Instant;

use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};
use hubbub_domain::position::{Epoch, MessageNo, Offset, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use hubbub_telemetry::TraceContext;
use uuid::Uuid;

use crate::conversation::turn::{Decided, Round, Ticket};
use crate::partition::core::{NoPlace, PartitionCore, Phase};

fn conversation(n: u128) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_u128(n))
}

fn decided(of: u128, seq: u64) -> Decided {
    Decided {
        ticket: Ticket(seq),
        recorded: Recorded {
            conversation: conversation(of),
            seq: Seq::new(seq),
            at: Timestamp::from_millis(1),
            by: UserId::from_uuid(Uuid::from_u128(1)),
            command_id: CommandId::from_uuid(Uuid::from_u128(seq.into())),
            request_mac: None,
            event: Event::MessageSent {
                message_no: MessageNo::new(seq),
                body: Some("said".to_owned()),
                reply_to_no: None,
                thread_root_no: None,
            },
        },
        recipients: Some(vec![UserId::from_uuid(Uuid::from_u128(1))]),
        deadline: Instant::now(),
    }
}

fn serving() -> PartitionCore {
    let mut core = PartitionCore::new(PartitionId::new(3), Epoch::new(9), Offset::new(40));
    core.serve();
    core
}

fn place(core: &mut PartitionCore, of: u128, seq: u64) -> u64 {
    let round = core.round();
    core.place(round, decided(of, seq), None)
        .unwrap()
        .row
        .offset
        .get()
}

#[test]
fn offsets_follow_the_head_without_holes_and_a_commit_names_each_conversation_once() {
    let mut core = serving();
    let offsets: Vec<u64> = [(1, 5), (2, 8), (1, 6)]
        .map(|(of, seq)| place(&mut core, of, seq))
        .to_vec();
    assert_eq!(offsets, [41, 42, 43]);
    let committed = core.committed(Offset::new(43));
    assert_eq!(committed.events, 3);
    let newest: Vec<(ConversationId, u64)> = committed
        .conversations
        .iter()
        .map(|(id, seq)| (*id, seq.get()))
        .collect();
    assert_eq!(newest, [(conversation(1), 6), (conversation(2), 8)]);
    let (batch, _) = committed.publication.unwrap();
    assert_eq!(
        (batch.base_offset, batch.epoch, batch.events.len()),
        (Offset::new(41), Epoch::new(9), 3)
    );
}

#[test]
fn a_conversation_is_in_flight_until_its_last_row_is_durable() {
    let mut core = serving();
    place(&mut core, 1, 5);
    place(&mut core, 2, 1);
    place(&mut core, 1, 6);
    core.committed(Offset::new(42));
    assert!(core.is_in_flight(conversation(1)) && !core.is_in_flight(conversation(2)));
    core.committed(Offset::new(43));
    assert!(!core.is_in_flight(conversation(1)));
}

#[test]
fn a_take_back_frees_the_offsets_and_voids_what_was_decided_before() {
    let mut core = serving();
    place(&mut core, 1, 5);
    core.committed(Offset::new(41));
    place(&mut core, 1, 6);
    place(&mut core, 2, 1);
    let old = core.round();
    core.take_back(old.next());
    assert!(!core.is_in_flight(conversation(1)));
    assert!(matches!(
        core.place(old, decided(1, 7), None),
        Err(NoPlace::Void)
    ));
    assert_eq!(place(&mut core, 1, 6), 42);
    assert_eq!(core.committed(Offset::new(42)).events, 1);
}

#[test]
fn a_commit_is_published_with_the_trace_of_its_first_command_that_has_one() {
    let trace =
        TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    let mut core = serving();
    for seq in 1..=3 {
        let trace = (seq == 2).then(|| trace.clone());
        core.place(Round::default(), decided(1, seq), trace)
            .unwrap();
    }
    let (_, first) = core.committed(Offset::new(43)).publication.unwrap();
    assert_eq!(first, Some(trace));
}

#[test]
fn only_one_reason_for_leaving_counts_and_nothing_is_placed_afterwards() {
    let mut core = serving();
    place(&mut core, 1, 5);
    assert!(core.leave(Phase::InDoubt));
    assert!(!core.leave(Phase::Stopped));
    assert_eq!(core.phase(), Phase::InDoubt);
    assert!(matches!(
        core.place(Round::default(), decided(1, 6), None),
        Err(NoPlace::Void)
    ));
    assert!(!core.is_in_flight(conversation(1)));
}

#[test]
fn what_is_in_flight_still_finds_its_end_while_handing_off() {
    let mut core = serving();
    place(&mut core, 1, 5);
    core.hand_off();
    assert!(core.phase().answers());
    assert_eq!(core.committed(Offset::new(41)).events, 1);
}
