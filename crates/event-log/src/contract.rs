//! What every implementation of the ports must show, as a library of behaviours and a macro that runs them all.
//!
//! ```ignore
//! // `fresh()` yields an empty store, and whatever must live as long as it does; `None` skips the test.
//! async fn fresh() -> Option<(MyLog, ())> { /* … */ }
//! hubbub_event_log::event_log_contract!(fresh());
//! ```
//!
//! Never: a behaviour that only one store has; those are tested beside that store.
//!
//! Start reading at `append.rs`.

#![expect(
    clippy::missing_panics_doc,
    reason = "a behaviour is a test: it panics when the store does not show it, and its name says what that is"
)]

pub mod append;
mod build;
pub mod markers;
pub mod ownership;
pub mod progress;
pub mod reads;
pub mod snapshots;

pub use self::build::registration;
pub use self::build::{
    batch, body_row, claim_all, claim_every, command, conversation, incarnation, marker, marker_at,
    must, row, row_of, user,
};

/// Runs every behaviour as a test of its own. `$fresh` is a future of `Option<(impl EventLog, impl Sized)>`.
#[macro_export]
macro_rules! event_log_contract {
    ($fresh:expr) => {
        $crate::event_log_contract! { $fresh;
            append: [
                appended_rows_come_back_as_they_were,
                an_encoded_event_decodes_after_the_store,
                a_batch_of_many_partitions_commits_together,
                a_stale_partition_is_skipped_while_its_neighbours_commit,
                an_append_under_an_old_epoch_stores_nothing,
                a_taken_command_id_is_a_conflict_and_nothing_of_the_batch_is_stored,
                a_command_id_twice_in_one_batch_is_a_conflict,
                a_taken_offset_or_seq_is_a_conflict_of_position,
                a_row_sent_again_under_the_same_epoch_is_a_conflict_of_position,
                rows_that_leave_a_hole_in_their_partition_are_refused_with_the_whole_batch,
                rows_that_leave_a_hole_in_their_conversation_are_refused_with_the_whole_batch,
                a_hole_behind_a_fence_is_only_fenced,
                the_largest_batch_commits_and_a_larger_one_is_refused,
                a_batch_without_rows_tells_who_still_owns,
                one_command_id_may_be_used_in_two_conversations,
            ],
            reads: [
                a_tail_is_dense_and_ascending_and_cut_at_its_limit,
                a_conversation_is_read_in_pieces_across_its_partition_neighbours,
                what_is_not_there_is_empty,
                heads_follow_the_appends,
            ],
            markers: [
                markers_only_rise_within_a_generation,
                a_higher_generation_replaces_a_marker,
                markers_of_a_stale_partition_are_not_written,
                markers_of_one_member_in_one_batch_are_merged,
            ],
            snapshots: [
                the_newest_snapshot_of_a_version_is_loaded,
                two_snapshots_are_kept,
                a_snapshot_saved_twice_is_one,
            ],
            progress: [
                a_watermark_is_what_the_owner_wrote_last,
                a_former_owner_moves_no_watermark,
            ],
            ownership: [
                a_cluster_is_created_once,
                an_acquire_is_conditional_on_owner_and_epoch,
                epochs_rise_and_never_repeat,
                an_acquire_reads_the_head_and_writes_the_lineage,
                a_released_partition_has_no_owner_and_keeps_its_epoch,
                a_release_of_somebody_elses_partition_changes_nothing,
                a_new_incarnation_declares_the_older_ones_of_its_node_dead,
                a_retired_incarnation_is_stopped_for_good,
                a_heartbeat_is_seen_by_others,
                a_stranger_has_no_heartbeat,
            ],
        }
    };
    ($fresh:expr; $($group:ident: [$($behaviour:ident,)*],)*) => {
        $($(
            #[tokio::test]
            async fn $behaviour() {
                if let Some((log, _kept)) = $fresh.await {
                    $crate::contract::$group::$behaviour(&log).await;
                }
            }
        )*)*
    };
}
