//! The black-box suite: real processes, asked over HTTP and WebSocket, as PROTOCOL.md says.
//!
//! Owns: the list of cases, and that the same list holds in both shapes of Hubbub: an embedded node, and a cluster of two
//! nodes on `PostgreSQL` and NATS with the people of each case spread over both. Cluster cases say `skipped: …` without
//! the two services.
//!
//! Never: a look inside a server, a sleep, an expectation about how long something takes.
//!
//! Start reading at [`cases!`] below, then at the case that interests you.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, also in its helpers, and a failed one shows what the nodes said"
)]

mod cases;
#[path = "../harness/harness.rs"]
mod harness;

/// The list of cases as tests of one mode. `shared` cases meet in one deployment; `own` cases get one of their own, which
/// they may end and start again.
macro_rules! tests_in_mode {
    (
        $mode:ident:
        shared { $($shared_room:ident :: { $($shared:ident),+ $(,)? })+ }
        own { $($own_room:ident :: { $($own:ident),+ $(,)? })+ }
    ) => {
        use crate::cases;
        use crate::harness::deployment::{Deployment, Mode, World};

        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $shared() {
                if let Some(world) = World::join(Mode::$mode).await {
                    cases::$shared_room::$shared(&world).await;
                }
            }
        )+)+
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $own() {
                if let Some(mut deployment) = Deployment::start(Mode::$mode, &[]).await {
                    cases::$own_room::$own(&mut deployment).await;
                }
            }
        )+)+
    };
}

/// The same list for both modes.
macro_rules! cases {
    ($($list:tt)+) => {
        mod embedded {
            tests_in_mode! { Embedded: $($list)+ }
        }
        mod cluster {
            tests_in_mode! { Cluster: $($list)+ }

            /// Only a cluster has a bus that can be lost.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_is_said_while_the_bus_is_gone_arrives_when_it_is_back() {
                if let Some(mut cluster) = Deployment::start(Mode::Cluster, &[]).await {
                    cases::bus_loss::what_is_said_while_the_bus_is_gone_arrives_when_it_is_back(
                        &mut cluster,
                    )
                    .await;
                }
            }

            /// Only in a cluster somebody else takes over.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_node_that_sleeps_through_its_lease_stores_nothing_as_the_owner_it_was() {
                if let Some(mut cluster) = Deployment::start(Mode::Cluster, &[]).await {
                    cases::zombie::a_node_that_sleeps_through_its_lease_stores_nothing_as_the_owner_it_was(
                        &mut cluster,
                    )
                    .await;
                }
            }

            /// Only a cluster has a database that can die without it.
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_database_that_dies_under_load_loses_nothing_and_doubles_nothing() {
                cases::store_loss::a_database_that_dies_under_load_loses_nothing_and_doubles_nothing()
                    .await;
            }
        }
    };
}

cases! {
    shared {
        accounts::{
            people_register_log_in_and_log_out,
            a_wrong_password_and_an_unknown_name_get_the_same_answer,
            a_taken_name_a_bad_name_and_a_weak_password_are_refused,
            a_logout_closes_the_sockets_of_its_session_on_every_node,
            the_directory_finds_people_by_their_names,
        }
        direct::{
            a_direct_chat_goes_both_ways_with_history_and_exact_unread_counts,
            both_sides_beginning_a_direct_chat_at_once_get_the_same_one,
            the_other_person_is_told_of_a_new_direct_chat,
            after_an_ack_the_own_history_and_inbox_contain_the_message,
            two_people_talking_at_once_see_one_order,
        }
        idempotency::{
            a_repeated_send_gets_the_same_answer_and_stores_nothing,
            a_repeated_rest_send_gets_the_same_answer_and_stores_nothing,
            an_id_of_another_request_is_a_mismatch_for_everyone,
            a_group_made_again_with_its_key_is_the_same_group,
        }
        membership::{
            an_added_member_hears_added_and_then_the_own_joining_first,
            a_removed_member_hears_of_it_and_then_nothing,
            a_member_who_leaves_cannot_read_any_more,
            the_last_owner_cannot_leave_and_roles_rule_who_may_do_what,
            a_removed_member_is_removed_from_open_sockets_on_every_node,
        }
        rooms::{
            a_public_room_is_found_and_joined_and_a_private_one_is_not,
            a_visitor_sees_a_public_room_but_nothing_that_was_said_there,
        }
        budgets::{
            who_sends_too_much_is_told_when_to_send_again,
            one_socket_too_many_is_closed_with_4429,
            guessing_a_password_ends_after_ten_tries,
        }
        delivery::{
            pipelined_messages_keep_their_order,
            every_pipelined_message_is_acked_once_with_its_place,
            typing_reaches_the_other_side_and_nobody_else,
            a_client_that_closes_in_order_is_answered_in_order,
            a_library_client_moves_between_nodes_and_misses_nothing,
        }
        resume::{
            a_resumed_socket_gets_exactly_what_it_missed_before_anything_new,
            a_hello_without_cursors_starts_live_everywhere,
            cursors_of_unknown_conversations_are_passed_over,
            a_cursor_more_than_a_thousand_events_behind_gets_a_resync,
            a_cursor_that_the_log_never_held_gets_a_reset,
        }
        markers::{ marks_reach_the_other_side_and_clear_the_unread_count }
        reading::{
            history_is_paged_before_after_and_around,
            cursors_of_history_pages_lead_through_all_of_it,
            a_socket_asks_for_pages_as_well,
            raw_events_tell_everything_that_happened,
        }
        privacy::{
            a_conversation_of_others_answers_exactly_as_an_unknown_one,
            over_a_socket_too_there_is_no_difference,
        }
        bad_requests::{
            bad_messages_get_the_documented_answer_and_store_nothing,
            bad_paths_queries_and_bodies_get_the_documented_answer,
            nobody_writes_without_a_sound_token_and_origin,
            a_bad_key_a_foreign_media_type_and_a_token_in_the_url_are_refused,
            a_log_in_from_a_foreign_page_is_refused_and_one_from_the_own_page_gets_a_cookie,
            every_answer_carries_the_security_headers,
        }
        bad_frames::{
            bad_frames_get_an_error_and_the_socket_stays,
            a_send_to_no_conversation_is_not_found,
            a_frame_that_is_too_large_closes_the_socket_with_1009,
            ten_bad_frames_in_a_minute_close_the_socket_with_1008,
            hello_comes_first_and_in_time_with_a_sound_token,
            an_upgrade_needs_a_sound_token_and_origin,
        }
    }
    own {
        durability::{
            a_restart_after_sigterm_keeps_everything,
            a_node_killed_in_mid_traffic_keeps_every_acked_message_exactly_once,
            sigterm_lets_messages_on_their_way_end_well,
        }
    }
}
