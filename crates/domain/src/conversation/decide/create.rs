//! Beginning a conversation.

use std::collections::BTreeSet;

use crate::conversation::authorize::{Operation, Situation, authorize};
use crate::conversation::command::{Command, NewConversation};
use crate::conversation::decide::Decision;
use crate::conversation::event::{Event, Kind, Posting, Role, Visibility};
use crate::conversation::limits::{
    CREATE_MEMBERS_MAX, RETENTION_DAYS_MAX, TITLE_CHARS_MAX, TOPIC_CHARS_MAX,
};
use crate::conversation::rejection::Rejection;
use crate::conversation::rules;
use crate::ids::{ConversationId, UserId};

/// The first event.
pub(super) fn begin(command: &Command, new: &NewConversation) -> Result<Decision, Rejection> {
    if new.members.len() > CREATE_MEMBERS_MAX {
        return invalid(rules::FIELD_MEMBERS, rules::TOO_MANY);
    }
    let others: BTreeSet<UserId> = new
        .members
        .iter()
        .copied()
        .filter(|user| *user != command.by)
        .collect();
    let derived = match new.kind {
        Kind::Direct => ConversationId::direct(command.by, only_other(&others)?),
        Kind::Group | Kind::Room => ConversationId::created(command.by, command.id),
    };
    if derived != command.conversation {
        return invalid(rules::FIELD_CONVERSATION_ID, rules::ID_NOT_DERIVED);
    }
    check_shape(new)?;

    let own_role = match new.kind {
        Kind::Direct => Role::Member,
        Kind::Group | Kind::Room => Role::Owner,
    };
    let mut members: Vec<(UserId, Role)> = others
        .into_iter()
        .map(|user| (user, Role::Member))
        .collect();
    members.push((command.by, own_role));
    members.sort_unstable_by_key(|(user, _)| *user);
    Ok(Decision::Store(Event::ConversationCreated {
        kind: new.kind,
        title: new.title.clone(),
        topic: new.topic.clone(),
        visibility: new.visibility,
        settings: new.settings,
        members,
        request_key: new.request_key,
    }))
}

/// Creating what exists: for a direct conversation that is how one finds it, from either side.
///
/// A group or room is created by exactly one command id, which the state remembers for ever, so coming here with one is a wrong id.
pub(super) fn again(
    command: &Command,
    new: &NewConversation,
    situation: Situation,
) -> Result<Decision, Rejection> {
    authorize(situation, Operation::See)?;
    match (situation.kind, new.kind) {
        (Kind::Direct, Kind::Direct) => {
            let others: BTreeSet<UserId> = new
                .members
                .iter()
                .copied()
                .filter(|user| *user != command.by)
                .collect();
            if ConversationId::direct(command.by, only_other(&others)?) == command.conversation {
                Ok(Decision::Already)
            } else {
                invalid(rules::FIELD_CONVERSATION_ID, rules::ID_NOT_DERIVED)
            }
        }
        (Kind::Direct | Kind::Group | Kind::Room, _) => Err(Rejection::Conflict {
            reason: rules::EXISTS,
        }),
    }
}

fn only_other(others: &BTreeSet<UserId>) -> Result<UserId, Rejection> {
    match (others.len(), others.first()) {
        (1, Some(other)) => Ok(*other),
        _ => Err(Rejection::Invalid {
            field: rules::FIELD_MEMBERS,
            reason: rules::EXACTLY_ONE_OTHER,
        }),
    }
}

fn check_shape(new: &NewConversation) -> Result<(), Rejection> {
    match new.kind {
        Kind::Direct => {
            refuse(
                new.title.is_some(),
                rules::FIELD_TITLE,
                rules::NONE_FOR_DIRECT,
            )?;
            refuse(
                new.topic.is_some(),
                rules::FIELD_TOPIC,
                rules::NONE_FOR_DIRECT,
            )?;
            refuse(
                new.settings.posting != Posting::Everyone,
                rules::FIELD_POSTING,
                rules::DIRECT_POSTING,
            )?;
        }
        Kind::Group => {}
        Kind::Room => refuse(
            new.title.is_none(),
            rules::FIELD_TITLE,
            rules::ROOM_NEEDS_TITLE,
        )?,
    }
    let public = new.visibility == Visibility::Public;
    refuse(
        public && new.kind != Kind::Room,
        rules::FIELD_VISIBILITY,
        rules::ONLY_ROOMS_PUBLIC,
    )?;
    check_line(new.title.as_deref(), rules::FIELD_TITLE, TITLE_CHARS_MAX)?;
    check_line(new.topic.as_deref(), rules::FIELD_TOPIC, TOPIC_CHARS_MAX)?;
    let days = new.settings.retention_days;
    let out_of_range = days.is_some_and(|days| !(1..=RETENTION_DAYS_MAX).contains(&days));
    refuse(
        out_of_range,
        rules::FIELD_RETENTION_DAYS,
        rules::RETENTION_RANGE,
    )
}

/// One line of at most `chars_max` characters with something to read in it.
fn check_line(text: Option<&str>, field: &'static str, chars_max: usize) -> Result<(), Rejection> {
    let Some(text) = text else { return Ok(()) };
    refuse(
        text.chars().nth(chars_max).is_some(),
        field,
        rules::TOO_LONG,
    )?;
    refuse(rules::is_blank(text), field, rules::BLANK)?;
    refuse(
        text.chars().any(char::is_control),
        field,
        rules::NOT_ONE_LINE,
    )
}

fn refuse(broken: bool, field: &'static str, reason: &'static str) -> Result<(), Rejection> {
    if broken {
        Err(Rejection::Invalid { field, reason })
    } else {
        Ok(())
    }
}

fn invalid(field: &'static str, reason: &'static str) -> Result<Decision, Rejection> {
    Err(Rejection::Invalid { field, reason })
}
