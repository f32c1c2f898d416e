//! A command on its way to its owner, and the answer.
//!
//! Variants are numbered by their order here: new ones go to the end, none is ever removed or moved.

use bytes::Bytes;
use hubbub_domain::conversation::{Command, Intent, NewConversation, RequestKey, Settings};
use hubbub_domain::ids::{CommandId, ConversationId, Incarnation, UserId};
use hubbub_domain::position::{Epoch, MessageNo, PartitionId, Seq};
use hubbub_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bus::rejection::RejectionV1;
use crate::bus::{
    Accepted, BusDecodeError, CommandRequest, How, MarkRequest, OwnerReply, OwnerRequest, codec,
};
use crate::stored::codes;

#[derive(Serialize, Deserialize)]
struct RequestV1<'a> {
    partition: u16,
    epoch: u64,
    remaining_ms: u32,
    retry: bool,
    #[serde(borrow)]
    request: AskedV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum AskedV1<'a> {
    #[serde(borrow)]
    Command(CommandV1<'a>),
    Mark(MarkV1),
}

#[derive(Serialize, Deserialize)]
struct MarkV1 {
    conversation: [u8; 16],
    user: [u8; 16],
    read_no: Option<u64>,
    delivered_no: Option<u64>,
    wait_stored: bool,
}

#[derive(Serialize, Deserialize)]
struct CommandV1<'a> {
    id: [u8; 16],
    conversation: [u8; 16],
    by: [u8; 16],
    #[serde(borrow)]
    intent: IntentV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum IntentV1<'a> {
    #[serde(borrow)]
    Create(NewV1<'a>),
    AddMember {
        user: [u8; 16],
        role: u8,
    },
    Join,
    Leave,
    RemoveMember {
        user: [u8; 16],
    },
    ChangeRole {
        user: [u8; 16],
        role: u8,
    },
    SendMessage {
        body: &'a str,
        reply_to_no: Option<u64>,
        thread_root_no: Option<u64>,
    },
}

#[derive(Serialize, Deserialize)]
struct NewV1<'a> {
    kind: u8,
    members: Vec<[u8; 16]>,
    #[serde(borrow)]
    title: Option<&'a str>,
    #[serde(borrow)]
    topic: Option<&'a str>,
    visibility: u8,
    join_history: u8,
    posting: u8,
    receipts: bool,
    retention_days: Option<u32>,
    request_key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
enum ReplyV1<'a> {
    Accepted(AcceptedV1),
    Marked,
    #[serde(borrow)]
    Rejected(RejectionV1<'a>),
    WrongOwner {
        hint: Option<([u8; 16], u64)>,
    },
    Busy {
        retry_after_ms: u32,
    },
    Unavailable {
        retry_after_ms: u32,
    },
    StorageFull,
    Unknown,
}

#[derive(Serialize, Deserialize)]
struct AcceptedV1 {
    conversation: [u8; 16],
    epoch: u64,
    seq: u64,
    message_no: Option<u64>,
    at: i64,
    how: HowV1,
}

#[derive(Serialize, Deserialize)]
enum HowV1 {
    Stored,
    Duplicate,
    Already,
}

// === impl CommandRequest ===

impl CommandRequest {
    /// The message.
    pub fn encode(&self) -> Bytes {
        let request = match &self.request {
            OwnerRequest::Command(command) => AskedV1::Command(of_command(command)),
            OwnerRequest::Mark(mark) => AskedV1::Mark(MarkV1 {
                conversation: mark.conversation.uuid().into_bytes(),
                user: mark.user.uuid().into_bytes(),
                read_no: mark.read_no.map(MessageNo::get),
                delivered_no: mark.delivered_no.map(MessageNo::get),
                wait_stored: mark.wait_stored,
            }),
        };
        codec::seal(&RequestV1 {
            partition: self.partition.get(),
            epoch: self.epoch.get(),
            remaining_ms: self.remaining_ms,
            retry: self.retry,
            request,
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no request of a protocol that this release speaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        const MESSAGE: &str = "CommandRequest";
        let request: RequestV1<'_> = codec::open(MESSAGE, bytes)?;
        let asked = match request.request {
            AskedV1::Command(command) => {
                OwnerRequest::Command(to_command(command).map_err(codec::malformed(MESSAGE))?)
            }
            AskedV1::Mark(mark) => OwnerRequest::Mark(MarkRequest {
                conversation: conversation_id(mark.conversation),
                user: user_id(mark.user),
                read_no: mark.read_no.map(MessageNo::new),
                delivered_no: mark.delivered_no.map(MessageNo::new),
                wait_stored: mark.wait_stored,
            }),
        };
        Ok(Self {
            partition: PartitionId::new(request.partition),
            epoch: Epoch::new(request.epoch),
            remaining_ms: request.remaining_ms,
            retry: request.retry,
            request: asked,
        })
    }
}

// === impl OwnerReply ===

impl OwnerReply {
    /// The message.
    pub fn encode(&self) -> Bytes {
        codec::seal(&match self {
            Self::Accepted(accepted) => ReplyV1::Accepted(AcceptedV1 {
                conversation: accepted.conversation.uuid().into_bytes(),
                epoch: accepted.epoch.get(),
                seq: accepted.seq.get(),
                message_no: accepted.message_no.map(MessageNo::get),
                at: accepted.at.millis(),
                how: match accepted.how {
                    How::Stored => HowV1::Stored,
                    How::Duplicate => HowV1::Duplicate,
                    How::Already => HowV1::Already,
                },
            }),
            Self::Marked => ReplyV1::Marked,
            Self::Rejected(rejection) => ReplyV1::Rejected(RejectionV1::of(*rejection)),
            Self::WrongOwner { hint } => ReplyV1::WrongOwner {
                hint: hint
                    .map(|(incarnation, epoch)| (incarnation.uuid().into_bytes(), epoch.get())),
            },
            Self::Busy { retry_after_ms } => ReplyV1::Busy {
                retry_after_ms: *retry_after_ms,
            },
            Self::Unavailable { retry_after_ms } => ReplyV1::Unavailable {
                retry_after_ms: *retry_after_ms,
            },
            Self::StorageFull => ReplyV1::StorageFull,
            Self::Unknown => ReplyV1::Unknown,
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`BusDecodeError`] when this is no reply of a protocol that this release speaks. Whether the command was stored is then open.
    pub fn decode(bytes: &[u8]) -> Result<Self, BusDecodeError> {
        const MESSAGE: &str = "OwnerReply";
        Ok(match codec::open::<ReplyV1<'_>>(MESSAGE, bytes)? {
            ReplyV1::Accepted(accepted) => Self::Accepted(Accepted {
                conversation: conversation_id(accepted.conversation),
                epoch: Epoch::new(accepted.epoch),
                seq: Seq::new(accepted.seq),
                message_no: accepted.message_no.map(MessageNo::new),
                at: Timestamp::from_millis(accepted.at),
                how: match accepted.how {
                    HowV1::Stored => How::Stored,
                    HowV1::Duplicate => How::Duplicate,
                    HowV1::Already => How::Already,
                },
            }),
            ReplyV1::Marked => Self::Marked,
            ReplyV1::Rejected(rejection) => Self::Rejected(
                rejection
                    .into_rejection()
                    .map_err(codec::malformed(MESSAGE))?,
            ),
            ReplyV1::WrongOwner { hint } => Self::WrongOwner {
                hint: hint.map(|(incarnation, epoch)| {
                    (
                        Incarnation::from_uuid(Uuid::from_bytes(incarnation)),
                        Epoch::new(epoch),
                    )
                }),
            },
            ReplyV1::Busy { retry_after_ms } => Self::Busy { retry_after_ms },
            ReplyV1::Unavailable { retry_after_ms } => Self::Unavailable { retry_after_ms },
            ReplyV1::StorageFull => Self::StorageFull,
            ReplyV1::Unknown => Self::Unknown,
        })
    }
}

// === commands ===

fn of_command(command: &Command) -> CommandV1<'_> {
    CommandV1 {
        id: command.id.uuid().into_bytes(),
        conversation: command.conversation.uuid().into_bytes(),
        by: command.by.uuid().into_bytes(),
        intent: match &command.intent {
            Intent::Create(new) => IntentV1::Create(of_new(new)),
            Intent::AddMember { user, role } => IntentV1::AddMember {
                user: user.uuid().into_bytes(),
                role: codes::of_role(*role),
            },
            Intent::Join => IntentV1::Join,
            Intent::Leave => IntentV1::Leave,
            Intent::RemoveMember { user } => IntentV1::RemoveMember {
                user: user.uuid().into_bytes(),
            },
            Intent::ChangeRole { user, role } => IntentV1::ChangeRole {
                user: user.uuid().into_bytes(),
                role: codes::of_role(*role),
            },
            Intent::SendMessage {
                body,
                reply_to_no,
                thread_root_no,
            } => IntentV1::SendMessage {
                body,
                reply_to_no: reply_to_no.map(MessageNo::get),
                thread_root_no: thread_root_no.map(MessageNo::get),
            },
        },
    }
}

fn to_command(command: CommandV1<'_>) -> Result<Command, postcard::Error> {
    let intent = match command.intent {
        IntentV1::Create(new) => Intent::Create(to_new(new)?),
        IntentV1::AddMember { user, role } => Intent::AddMember {
            user: user_id(user),
            role: codes::to_role(role)?,
        },
        IntentV1::Join => Intent::Join,
        IntentV1::Leave => Intent::Leave,
        IntentV1::RemoveMember { user } => Intent::RemoveMember {
            user: user_id(user),
        },
        IntentV1::ChangeRole { user, role } => Intent::ChangeRole {
            user: user_id(user),
            role: codes::to_role(role)?,
        },
        IntentV1::SendMessage {
            body,
            reply_to_no,
            thread_root_no,
        } => Intent::SendMessage {
            body: body.to_owned(),
            reply_to_no: reply_to_no.map(MessageNo::new),
            thread_root_no: thread_root_no.map(MessageNo::new),
        },
    };
    Ok(Command {
        id: CommandId::from_uuid(Uuid::from_bytes(command.id)),
        conversation: conversation_id(command.conversation),
        by: user_id(command.by),
        intent,
    })
}

fn of_new(new: &NewConversation) -> NewV1<'_> {
    NewV1 {
        kind: codes::of_kind(new.kind),
        members: new
            .members
            .iter()
            .map(|user| user.uuid().into_bytes())
            .collect(),
        title: new.title.as_deref(),
        topic: new.topic.as_deref(),
        visibility: codes::of_visibility(new.visibility),
        join_history: codes::of_join_history(new.settings.join_history),
        posting: codes::of_posting(new.settings.posting),
        receipts: new.settings.receipts,
        retention_days: new.settings.retention_days,
        request_key: *new.request_key.bytes(),
    }
}

fn to_new(new: NewV1<'_>) -> Result<NewConversation, postcard::Error> {
    Ok(NewConversation {
        kind: codes::to_kind(new.kind)?,
        members: new.members.into_iter().map(user_id).collect(),
        title: new.title.map(str::to_owned),
        topic: new.topic.map(str::to_owned),
        visibility: codes::to_visibility(new.visibility)?,
        settings: Settings {
            join_history: codes::to_join_history(new.join_history)?,
            posting: codes::to_posting(new.posting)?,
            receipts: new.receipts,
            retention_days: new.retention_days,
        },
        request_key: RequestKey::from_bytes(new.request_key),
    })
}

fn user_id(bytes: [u8; 16]) -> UserId {
    UserId::from_uuid(Uuid::from_bytes(bytes))
}

fn conversation_id(bytes: [u8; 16]) -> ConversationId {
    ConversationId::from_uuid(Uuid::from_bytes(bytes))
}
