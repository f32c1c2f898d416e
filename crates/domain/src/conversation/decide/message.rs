//! Saying something.

use crate::conversation::authorize::{Operation, Situation, authorize};
use crate::conversation::decide::Decision;
use crate::conversation::event::Event;
use crate::conversation::limits::MESSAGE_BODY_BYTES_MAX;
use crate::conversation::rejection::Rejection;
use crate::conversation::rules;
use crate::conversation::state::State;
use crate::position::MessageNo;

pub(super) fn send(
    state: &State,
    situation: Situation,
    body: &str,
    reply_to_no: Option<MessageNo>,
    thread_root_no: Option<MessageNo>,
) -> Result<Decision, Rejection> {
    authorize(situation, Operation::SendMessage)?;
    if body.len() > MESSAGE_BODY_BYTES_MAX {
        return Err(Rejection::Invalid {
            field: rules::FIELD_BODY,
            reason: rules::TOO_LONG,
        });
    }
    // Tabs and line breaks are how people write; the others break terminals and some stores (NUL in PostgreSQL's text).
    if body
        .chars()
        .any(|character| character.is_control() && !matches!(character, '\t' | '\n' | '\r'))
    {
        return Err(Rejection::Invalid {
            field: rules::FIELD_BODY,
            reason: rules::CONTROL_CHARACTERS,
        });
    }
    if rules::is_blank(body) {
        return Err(Rejection::Invalid {
            field: rules::FIELD_BODY,
            reason: rules::BLANK,
        });
    }
    for referred in [reply_to_no, thread_root_no].into_iter().flatten() {
        if referred == MessageNo::ZERO || referred > state.last_message_no() {
            return Err(Rejection::NoSuchMessage);
        }
    }
    Ok(Decision::Store(Event::MessageSent {
        message_no: state.last_message_no().next(),
        body: Some(body.to_owned()),
        reply_to_no,
        thread_root_no,
    }))
}
