//! Members' markers as max-registers: within a generation they only rise.

use std::collections::BTreeMap;

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::position::MessageNo;
use hubbub_domain::time::Timestamp;
use hubbub_event_log::Marker;
use hubbub_wire::bus::MarkRequest;

use crate::conversation::turn::MarkerMove;

/// The markers of one conversation; one entry per member who ever moved one, so bounded by the members there were.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Registers {
    markers: BTreeMap<UserId, Marker>,
}

impl Registers {
    /// As stored.
    pub(crate) fn restore(markers: Vec<Marker>) -> Self {
        Self {
            markers: markers
                .into_iter()
                .map(|marker| (marker.user, marker))
                .collect(),
        }
    }

    /// How many members have one.
    pub(crate) fn len(&self) -> usize {
        self.markers.len()
    }

    /// Moves a member's markers as far as the request and the head allow. A value above the head counts as the head: nobody has read
    /// what is not durable.
    pub(crate) fn advance(
        &mut self,
        conversation: ConversationId,
        request: &MarkRequest,
        head: MessageNo,
        at: Timestamp,
    ) -> MarkerMove {
        let marker = self.markers.entry(request.user).or_insert(Marker {
            conversation,
            user: request.user,
            generation: 0,
            read_no: MessageNo::ZERO,
            own_after: 0,
            delivered_no: MessageNo::ZERO,
            at,
        });
        let read_moved = raise(&mut marker.read_no, request.read_no, head);
        // Whoever has read a message has received it.
        let received = request.delivered_no.max(request.read_no);
        let delivered_moved = raise(&mut marker.delivered_no, received, head);
        if read_moved || delivered_moved {
            marker.at = at.max(marker.at);
        }
        MarkerMove {
            marker: *marker,
            read_moved,
            delivered_moved,
        }
    }
}

fn raise(register: &mut MessageNo, wanted: Option<MessageNo>, head: MessageNo) -> bool {
    let Some(wanted) = wanted else { return false };
    let value = wanted.min(head);
    let moved = value > *register;
    if moved {
        *register = value;
    }
    moved
}

#[cfg(test)]
mod tests {
    use hubbub_testkit::fresh_uuid;
    use proptest::prelude::*;

    use super::*;

    const HEAD: MessageNo = MessageNo::new(100);

    fn request(user: UserId, read: Option<u64>, delivered: Option<u64>) -> MarkRequest {
        MarkRequest {
            conversation: ConversationId::from_uuid(uuid::Uuid::nil()),
            user,
            read_no: read.map(MessageNo::new),
            delivered_no: delivered.map(MessageNo::new),
            wait_stored: false,
        }
    }

    fn apply(registers: &mut Registers, request: &MarkRequest) -> MarkerMove {
        registers.advance(
            request.conversation,
            request,
            HEAD,
            Timestamp::from_millis(5),
        )
    }

    #[test]
    fn reading_implies_having_received() {
        let user = UserId::from_uuid(fresh_uuid());
        let mut registers = Registers::default();
        let moved = apply(&mut registers, &request(user, Some(7), None));
        assert!(moved.read_moved && moved.delivered_moved);
        assert_eq!(moved.marker.delivered_no, MessageNo::new(7));
    }

    #[test]
    fn a_value_above_the_head_counts_as_the_head() {
        let user = UserId::from_uuid(fresh_uuid());
        let mut registers = Registers::default();
        let moved = apply(&mut registers, &request(user, Some(1_000), Some(2_000)));
        assert_eq!(
            (moved.marker.read_no, moved.marker.delivered_no),
            (HEAD, HEAD)
        );
    }

    #[test]
    fn a_smaller_value_moves_nothing() {
        let user = UserId::from_uuid(fresh_uuid());
        let mut registers = Registers::default();
        apply(&mut registers, &request(user, Some(9), None));
        let moved = apply(&mut registers, &request(user, Some(3), Some(9)));
        assert!(!moved.read_moved && !moved.delivered_moved);
        assert_eq!(moved.marker.read_no, MessageNo::new(9));
    }

    proptest! {
        #[test]
        fn any_order_of_requests_ends_at_the_largest_values(
            mut wants in prop::collection::vec((prop::option::of(0_u64..200), prop::option::of(0_u64..200)), 1..20),
            swap in any::<prop::sample::Index>(),
        ) {
            let user = UserId::from_uuid(uuid::Uuid::from_u128(1));
            let fold = |wants: &[(Option<u64>, Option<u64>)]| {
                let mut registers = Registers::default();
                for (read, delivered) in wants {
                    apply(&mut registers, &request(user, *read, *delivered));
                }
                registers
            };
            let one = fold(&wants);
            let middle = swap.index(wants.len());
            wants.rotate_left(middle);
            prop_assert_eq!(one, fold(&wants));
        }
    }
}
