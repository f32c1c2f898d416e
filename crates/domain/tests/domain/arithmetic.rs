//! Places, ids and counts as numbers.

use hubbub_domain::conversation::rules;
use hubbub_domain::ids::{CommandId, ConversationId};
use hubbub_domain::inbox::UnreadInputs;
use hubbub_domain::position::{MessageNo, PartitionCount};
use hubbub_domain::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;
use uuid::Uuid;

use crate::support::{command_id, user};

#[test]
fn partition_counts_are_powers_of_two_up_to_all_slots() {
    let valid: Vec<u16> = (0..=u16::MAX)
        .filter_map(PartitionCount::new)
        .map(PartitionCount::get)
        .collect();
    let powers: Vec<u16> = (0..=14).map(|exponent| 1 << exponent).collect();
    assert_eq!(valid, powers);
}

#[test]
fn a_direct_conversation_has_one_id_from_either_side() {
    let id = ConversationId::direct(user(1), user(2));
    assert_eq!(id, ConversationId::direct(user(2), user(1)));
    assert_ne!(id, ConversationId::direct(user(1), user(3)));
    assert_ne!(id, ConversationId::created(user(1), command_id(1)));
    assert_eq!(id.uuid().get_version_num(), 8);
    // Derived ids are stored: this one may never change.
    assert_eq!(id.to_string(), "78d68721-debb-823c-b880-232869a63e25");
    assert_eq!(
        ConversationId::created(user(1), command_id(1)).to_string(),
        "f4ed0de7-7c64-80b4-a394-00eaab74a2c7"
    );
}

#[test]
fn a_command_id_tells_its_time_only_when_it_is_time_ordered() {
    let seven: CommandId = "019b76da-a800-7000-8000-000000000001".parse().unwrap();
    assert_eq!(
        seven.made_at(),
        Some(Timestamp::from_millis(0x019b_76da_a800))
    );
    let four: CommandId = "019b76da-a800-4000-8000-000000000001".parse().unwrap();
    assert_eq!(four.made_at(), None);
    assert_eq!(CommandId::from_uuid(Uuid::nil()).made_at(), None);
}

#[test]
fn a_text_of_a_rejection_can_be_found_again() {
    assert_eq!(
        rules::known("only members may do this"),
        Some(rules::MEMBERS_ONLY)
    );
    assert_eq!(rules::known("settings.posting"), Some(rules::FIELD_POSTING));
    assert_eq!(rules::known("anything else"), None);
}

/// What one member sees, message by message, without any arithmetic.
struct Naive {
    /// Message by oneself, and whether it was deleted.
    messages: Vec<(bool, bool)>,
    read_no: usize,
    joined_no: usize,
}

impl Naive {
    fn unread(&self, marker: usize) -> u64 {
        let after = self.messages.iter().skip(marker);
        u64::try_from(after.filter(|(own, deleted)| !own && !deleted).count()).unwrap()
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn doubling_the_partitions_splits_each_in_two(bits in any::<u128>(), exponent in 0_u32..14) {
        let id = ConversationId::from_uuid(Uuid::from_u128(bits));
        let count = PartitionCount::new(1 << exponent).unwrap();
        let doubled = PartitionCount::new(1 << (exponent + 1)).unwrap();
        let before = count.partition_of(id).get();
        assert!(before < count.get());
        assert_eq!(doubled.partition_of(id).get() / 2, before);
    }

    #[test]
    fn unread_equals_a_recount(
        messages in vec((any::<bool>(), any::<bool>()), 0..40),
        read_no in 0_usize..50,
        joined_no in 0_usize..50,
        after_mark_unread in any::<bool>(),
    ) {
        let joined_no = joined_no.min(messages.len());
        let naive = Naive { messages, read_no, joined_no };
        // After mark-unread the own messages no longer move the marker; the read model then counts them as own_between.
        let last_own = naive.messages.iter().rposition(|(own, _)| *own).map_or(0, |index| index + 1);
        let own_no = if after_mark_unread { 0 } else { last_own };
        let marker = naive.read_no.max(own_no).max(naive.joined_no).min(naive.messages.len());
        let count = |wanted: fn(&(bool, bool)) -> bool| {
            let after = naive.messages.iter().skip(marker);
            u64::try_from(after.filter(|message| wanted(message)).count()).unwrap()
        };
        let no = |number: usize| MessageNo::new(u64::try_from(number).unwrap());
        let inputs = UnreadInputs {
            head_no: no(naive.messages.len()),
            read_no: no(naive.read_no),
            own_no: no(own_no),
            joined_no: no(naive.joined_no),
            deleted_between: count(|(own, deleted)| !own && *deleted),
            own_between: count(|(own, _)| *own),
        };
        assert_eq!(inputs.effective_read_no(), no(marker));
        assert_eq!(inputs.unread(), naive.unread(marker));
    }

    #[test]
    fn unread_is_never_negative_nor_more_than_there_is(numbers in any::<[u64; 6]>()) {
        let [head_no, read_no, own_no, joined_no, deleted_between, own_between] = numbers;
        let inputs = UnreadInputs {
            head_no: MessageNo::new(head_no),
            read_no: MessageNo::new(read_no),
            own_no: MessageNo::new(own_no),
            joined_no: MessageNo::new(joined_no),
            deleted_between,
            own_between,
        };
        assert!(inputs.unread() <= head_no);
    }
}
