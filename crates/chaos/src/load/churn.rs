//! People who are removed and added again while everything goes on.

use std::sync::Arc;

use hubbub_checker::history::Time;
use hubbub_checker::{Access, AccessChange, Operation, OperationKind, Outcome};
use hubbub_client::RestError;
use hubbub_testkit::fresh_uuid;
use hubbub_wire::error::ErrorClass;
use hubbub_wire::rest::AddMember;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::load::stage::{Stage, one};
use crate::load::voice::Voice;

/// Someone who comes and goes in one conversation.
#[derive(Debug)]
pub struct Guest {
    /// Where.
    pub conversation: Uuid,
    /// Who.
    pub user: Uuid,
    /// Whether they are in, and the command of a change that nobody knows the end of; only one change at a time.
    pub state: Mutex<GuestState>,
}

/// Whether a guest is in.
#[derive(Clone, Copy, Debug)]
pub struct GuestState {
    /// As far as known.
    pub is_in: bool,
    /// The command of a change whose end nobody knows, and when it was asked for first: it is asked for again with the same id.
    pub open: Option<(Uuid, Time)>,
}

/// Whoever made the conversation removes the guest, or adds them again.
pub async fn change(stage: &Stage, maker: &Arc<Voice>, guest: &Arc<Guest>, node: usize) {
    let Ok(mut state) = guest.state.try_lock() else {
        return;
    };
    let Some(rest) = maker.rests.get(node) else {
        return;
    };
    let invoked_at: Time = stage.clock.now();
    let (command, first_asked_at) = state.open.unwrap_or_else(|| (fresh_uuid(), invoked_at));
    let (conversation, user) = (guest.conversation, guest.user);
    let leaves = state.is_in;
    let answer = if leaves {
        rest.remove_member(conversation, user, Some(command)).await
    } else {
        let add = AddMember {
            user_id: user,
            role: None,
        };
        rest.add_member(conversation, &add, Some(command))
            .await
            .map(drop)
    };
    let outcome = match &answer {
        Ok(()) => Outcome::Done,
        Err(error) => outcome_of(error),
    };
    let ended_at = stage.clock.now();
    match &outcome {
        Outcome::Done => {
            one(&stage.done.comings_and_goings);
            state.is_in = !leaves;
            state.open = None;
            // A beginning counts from its first question on: its events may come before its answer, also those of an attempt whose
            // answer was lost.
            let at = if leaves { ended_at } else { first_asked_at };
            maker.notes().history.access.push(AccessChange {
                at,
                user,
                access: Access::Conversation(conversation),
                ended: leaves,
            });
        }
        Outcome::Unknown => state.open = Some((command, first_asked_at)),
        _refused => {}
    }
    let kind = if leaves {
        OperationKind::Remove { user }
    } else {
        OperationKind::Add { user }
    };
    maker.notes().history.operations.push(Operation {
        command,
        conversation,
        user: maker.user,
        kind,
        body: None,
        node: u32::try_from(node).unwrap_or(u32::MAX),
        socket: None,
        invoked_at,
        ended_at,
        outcome,
        depends_on: None,
    });
}

fn outcome_of(error: &RestError) -> Outcome {
    match error.problem() {
        Some(problem) if problem.code.class() != ErrorClass::Open => Outcome::Refused {
            code: problem.code.to_string(),
        },
        _nobody_knows => Outcome::Unknown,
    }
}
