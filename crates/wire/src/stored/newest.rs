//! From a domain event to the newest stored version of its kind: the only place that chooses what is written.

use bytes::Bytes;
use hubbub_domain::conversation::{Event, Recorded};
use hubbub_domain::position::MessageNo;
use serde::Serialize;

use crate::stored::{
    EncodeError, KIND_CONVERSATION_CREATED, KIND_MEMBER_ADDED, KIND_MEMBER_REMOVED,
    KIND_MESSAGE_SENT, KIND_ROLE_CHANGED, codes, v1,
};

/// The part of a row that depends on the kind.
pub(super) struct Payload {
    pub(super) kind: i16,
    pub(super) ver: i16,
    pub(super) meta: Bytes,
    pub(super) body: Option<Bytes>,
}

pub(super) fn payload(recorded: &Recorded) -> Result<Payload, EncodeError> {
    let origin = v1::Origin {
        by: recorded.by.uuid().into_bytes(),
        request_mac: recorded.request_mac.map(|mac| *mac.bytes()),
    };
    match &recorded.event {
        Event::ConversationCreated {
            kind,
            title,
            topic,
            visibility,
            settings,
            members,
            request_key,
        } => {
            let meta = v1::CreatedMeta {
                origin,
                kind: codes::of_kind(*kind),
                visibility: codes::of_visibility(*visibility),
                join_history: codes::of_join_history(settings.join_history),
                posting: codes::of_posting(settings.posting),
                receipts: settings.receipts,
                retention_days: settings.retention_days,
                members: members
                    .iter()
                    .map(|(user, role)| (user.uuid().into_bytes(), codes::of_role(*role)))
                    .collect(),
                request_key: *request_key.bytes(),
            };
            let body = v1::CreatedBody {
                title: title.as_deref(),
                topic: topic.as_deref(),
            };
            let written = (title.is_some() || topic.is_some()).then_some(&body);
            encoded(KIND_CONVERSATION_CREATED, &meta, written)
        }
        Event::MemberAdded { user, role } => {
            let user = user.uuid().into_bytes();
            let meta = v1::MemberAddedMeta {
                origin,
                user,
                role: codes::of_role(*role),
            };
            encoded(KIND_MEMBER_ADDED, &meta, NO_BODY)
        }
        Event::MemberRemoved { user, reason } => {
            let user = user.uuid().into_bytes();
            let meta = v1::MemberRemovedMeta {
                origin,
                user,
                reason: codes::of_reason(*reason),
            };
            encoded(KIND_MEMBER_REMOVED, &meta, NO_BODY)
        }
        Event::RoleChanged { user, role } => {
            let user = user.uuid().into_bytes();
            let meta = v1::RoleChangedMeta {
                origin,
                user,
                role: codes::of_role(*role),
            };
            encoded(KIND_ROLE_CHANGED, &meta, NO_BODY)
        }
        Event::MessageSent {
            message_no,
            body,
            reply_to_no,
            thread_root_no,
        } => {
            let meta = v1::MessageSentMeta {
                origin,
                message_no: message_no.get(),
                reply_to_no: reply_to_no.map(MessageNo::get),
                thread_root_no: thread_root_no.map(MessageNo::get),
            };
            let body = body.as_deref().map(|text| v1::MessageSentBody { text });
            encoded(KIND_MESSAGE_SENT, &meta, body.as_ref())
        }
    }
}

const NO_BODY: Option<&()> = None;

/// Every kind is at version 1 today.
fn encoded(
    kind: i16,
    meta: &impl Serialize,
    body: Option<&impl Serialize>,
) -> Result<Payload, EncodeError> {
    let failed = |source| EncodeError { kind, source };
    let meta = postcard::to_stdvec(meta).map_err(failed)?;
    let body = body.map(postcard::to_stdvec).transpose().map_err(failed)?;
    Ok(Payload {
        kind,
        ver: 1,
        meta: meta.into(),
        body: body.map(Bytes::from),
    })
}
