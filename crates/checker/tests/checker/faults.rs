//! What may go wrong, as a change of a sound history. Each says whether the history offered a place for it.

mod choose;
mod log;
mod losses;
mod order;
mod shown;

use hubbub_checker::{History, Invariant};

use crate::world::Dice;
use log::*;
pub(crate) use losses::a_loss_is_told_of;
use losses::*;
use order::*;
pub(crate) use shown::reset_everybody_to_the_start;
use shown::*;

/// Plants a fault; false if the history has no place for it.
pub(crate) type Plant = fn(&mut History, &mut Dice) -> bool;

/// A fault, the invariant that must name it, and how it is planted.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) caught_by: Invariant,
    pub(crate) plant: Plant,
}

macro_rules! faults {
    ($($plant:ident => $invariant:ident),+ $(,)?) => {
        /// All of them.
        pub(crate) const FAULTS: &[Fault] = &[
            $(Fault { name: stringify!($plant), caught_by: Invariant::$invariant, plant: $plant },)+
        ];
    };
}

faults! {
    an_acked_row_is_lost => I1,
    an_ack_names_another_place => I1,
    another_text_is_stored => I1,
    a_refused_command_is_stored => I2,
    a_row_that_nobody_sent => I2,
    a_command_is_stored_twice => I3,
    two_acks_name_two_places => I3,
    an_offset_is_left_out => I4,
    two_seqs_change_places => I4,
    a_checksum_is_wrong => I4,
    a_socket_sees_another_text => I5,
    a_page_sees_another_author => I5,
    a_frame_of_another_epoch => I5,
    a_socket_never_hears_of_a_loss => I5,
    a_socket_hears_of_a_loss_too_late => I5,
    a_reset_does_not_reach_down_to_what_is_lost => I5,
    an_application_goes_on_holding_what_is_lost => I5,
    a_frame_comes_twice => I6,
    a_frame_is_skipped => I6,
    a_delivery_comes_twice => I6,
    a_delivery_is_skipped => I6,
    two_deliveries_change_places => I6,
    the_last_delivery_never_comes => I6,
    a_later_send_stands_before_an_acked_one => I7,
    pipelined_sends_change_places => I7,
    a_page_without_the_own_message => I8,
    an_inbox_goes_back_in_time => I8,
    an_inbox_leaves_a_conversation_out => I8,
    a_resume_leaves_out_the_first => I9,
    a_resume_sends_it_twice => I9,
    a_resume_stops_early => I9,
    a_count_is_one_too_high => I10,
    a_count_is_negative => I10,
    a_mention_is_forgotten => I10,
    a_removed_member_sees_the_next => I11,
    a_removed_member_still_hears => I11,
    a_stranger_hears => I11,
    an_epoch_falls => I12,
    an_epoch_is_acquired_twice => I12,
    two_serve_under_one_epoch => I12,
    a_row_commits_behind_a_takeover => I12,
    an_owner_differs_from_the_fold => I13,
    a_snapshot_differs_from_the_fold => I13,
    a_read_model_differs_from_the_fold => I14,
    a_rebuild_differs_from_the_fold => I14,
    a_quiet_page_lacks_an_edit => I14,
    an_ack_before_the_commit => I15,
    a_frame_before_the_commit => I15,
    a_frame_of_what_is_not_stored => I15,
    a_refusal_rests_on_nothing => I15,
    healing_takes_too_long => I16,
    healing_never_ends => I16,
    a_queue_above_its_bound => I17,
    a_golden_vector_does_not_decode => I18,
}
