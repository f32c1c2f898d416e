//! From any stored version to the domain event of today: the only place where old shapes are known.

use hubbub_domain::conversation::{Event, RequestKey, RequestMac, Settings};
use hubbub_domain::ids::UserId;
use hubbub_domain::position::MessageNo;
use serde::Deserialize;
use uuid::Uuid;

use crate::stored::{
    KIND_CONVERSATION_CREATED, KIND_MEMBER_ADDED, KIND_MEMBER_REMOVED, KIND_MESSAGE_SENT,
    KIND_ROLE_CHANGED, codes, v1,
};

/// What a row says besides its columns.
pub(super) struct Said {
    pub(super) by: UserId,
    pub(super) request_mac: Option<RequestMac>,
    pub(super) event: Event,
}

/// `Ok(None)` for a (kind, version) that this release does not know.
pub(super) fn said(
    kind: i16,
    ver: i16,
    meta: &[u8],
    body: Option<&[u8]>,
) -> Result<Option<Said>, postcard::Error> {
    match (kind, ver) {
        (KIND_CONVERSATION_CREATED, 1) => created(whole(meta)?, body).map(Some),
        (KIND_MEMBER_ADDED, 1) => {
            let v1::MemberAddedMeta { origin, user, role } = whole(meta)?;
            let event = Event::MemberAdded {
                user: user_id(user),
                role: codes::to_role(role)?,
            };
            Ok(Some(Said::new(&origin, event)))
        }
        (KIND_MEMBER_REMOVED, 1) => {
            let v1::MemberRemovedMeta {
                origin,
                user,
                reason,
            } = whole(meta)?;
            let event = Event::MemberRemoved {
                user: user_id(user),
                reason: codes::to_reason(reason)?,
            };
            Ok(Some(Said::new(&origin, event)))
        }
        (KIND_ROLE_CHANGED, 1) => {
            let v1::RoleChangedMeta { origin, user, role } = whole(meta)?;
            let event = Event::RoleChanged {
                user: user_id(user),
                role: codes::to_role(role)?,
            };
            Ok(Some(Said::new(&origin, event)))
        }
        (KIND_MESSAGE_SENT, 1) => {
            let v1::MessageSentMeta {
                origin,
                message_no,
                reply_to_no,
                thread_root_no,
            } = whole(meta)?;
            let body = body.map(whole::<v1::MessageSentBody<'_>>).transpose()?;
            let event = Event::MessageSent {
                message_no: MessageNo::new(message_no),
                body: body.map(|body| body.text.to_owned()),
                reply_to_no: reply_to_no.map(MessageNo::new),
                thread_root_no: thread_root_no.map(MessageNo::new),
            };
            Ok(Some(Said::new(&origin, event)))
        }
        _ => Ok(None),
    }
}

fn created(meta: v1::CreatedMeta, body: Option<&[u8]>) -> Result<Said, postcard::Error> {
    let body = body.map(whole::<v1::CreatedBody<'_>>).transpose()?;
    let settings = Settings {
        join_history: codes::to_join_history(meta.join_history)?,
        posting: codes::to_posting(meta.posting)?,
        receipts: meta.receipts,
        retention_days: meta.retention_days,
    };
    let mut members = Vec::with_capacity(meta.members.len());
    for (user, role) in meta.members {
        members.push((user_id(user), codes::to_role(role)?));
    }
    let event = Event::ConversationCreated {
        kind: codes::to_kind(meta.kind)?,
        title: body.as_ref().and_then(|body| body.title).map(str::to_owned),
        topic: body.as_ref().and_then(|body| body.topic).map(str::to_owned),
        visibility: codes::to_visibility(meta.visibility)?,
        settings,
        members,
        request_key: RequestKey::from_bytes(meta.request_key),
    };
    Ok(Said::new(&meta.origin, event))
}

impl Said {
    fn new(origin: &v1::Origin, event: Event) -> Self {
        Self {
            by: user_id(origin.by),
            request_mac: origin.request_mac.map(RequestMac::from_bytes),
            event,
        }
    }
}

fn user_id(bytes: [u8; 16]) -> UserId {
    UserId::from_uuid(Uuid::from_bytes(bytes))
}

/// Parses all of `bytes`: bytes left over mean that this is not the struct it claims to be.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, postcard::Error> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(postcard::Error::DeserializeBadEncoding)
    }
}
