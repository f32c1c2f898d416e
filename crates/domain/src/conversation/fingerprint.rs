//! Telling a repetition from a reuse: a keyed hash of what was asked.
//!
//! The log keeps `HMAC-SHA256(request key of the conversation, fingerprint)`, cut to 16 bytes, beside each event: enough to see
//! that the same command id came with another request, useless for guessing at erased text once it is removed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::conversation::command::{Command, Intent, NewConversation};
use crate::conversation::event::{JoinHistory, Kind, Posting, Role, Visibility};

/// Random key of one conversation, made by whoever creates it and stored in its first event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestKey([u8; 32]);

impl RequestKey {
    /// Wraps 32 random bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the stored form.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestKey(…)")
    }
}

/// sha256 over (who asks, what is asked) in a fixed, length-prefixed form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u8; 32]);

/// Keyed form of a [`Fingerprint`] as stored, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct RequestMac([u8; 16]);

impl RequestMac {
    /// Wraps stored bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the stored form.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl Fingerprint {
    /// The fingerprint of a command: its conversation, its author and its intent; not its id.
    ///
    /// The encoding is stored for ever (through the MAC): a field may be added only so that its absence hashes as before.
    pub fn of(command: &Command) -> Self {
        let mut fields = Fields(Sha256::new());
        fields.bytes(command.conversation.uuid().as_bytes());
        fields.bytes(command.by.uuid().as_bytes());
        fields.intent(&command.intent);
        Self(fields.0.finalize().into())
    }

    /// The stored form under a conversation's key.
    pub fn mac(&self, key: &RequestKey) -> RequestMac {
        // HMAC takes a key of any length, so the error cannot occur; the zero MAC would match nothing stored.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bytes()) else {
            return RequestMac([0; 16]);
        };
        mac.update(&self.0);
        let full = mac.finalize().into_bytes();
        let mut cut = [0_u8; 16];
        for (to, from) in cut.iter_mut().zip(full.iter()) {
            *to = *from;
        }
        RequestMac(cut)
    }
}

/// Writes fields so that no two different requests give the same bytes: a tag per variant, a length before each value.
struct Fields(Sha256);

impl Fields {
    fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn optional_text(&mut self, text: Option<&str>) {
        match text {
            None => self.tag(0),
            Some(text) => {
                self.tag(1);
                self.bytes(text.as_bytes());
            }
        }
    }

    fn optional_number(&mut self, number: Option<u64>) {
        match number {
            None => self.tag(0),
            Some(number) => {
                self.tag(1);
                self.number(number);
            }
        }
    }

    fn role(&mut self, role: Role) {
        self.tag(match role {
            Role::Guest => 0,
            Role::Member => 1,
            Role::Admin => 2,
            Role::Owner => 3,
        });
    }

    fn intent(&mut self, intent: &Intent) {
        match intent {
            Intent::Create(new) => {
                self.tag(1);
                self.new_conversation(new);
            }
            Intent::AddMember { user, role } => {
                self.tag(2);
                self.bytes(user.uuid().as_bytes());
                self.role(*role);
            }
            Intent::Join => self.tag(3),
            Intent::Leave => self.tag(4),
            Intent::RemoveMember { user } => {
                self.tag(5);
                self.bytes(user.uuid().as_bytes());
            }
            Intent::ChangeRole { user, role } => {
                self.tag(6);
                self.bytes(user.uuid().as_bytes());
                self.role(*role);
            }
            Intent::SendMessage {
                body,
                reply_to_no,
                thread_root_no,
            } => {
                self.tag(7);
                self.bytes(body.as_bytes());
                self.optional_number(reply_to_no.map(super::super::position::MessageNo::get));
                self.optional_number(thread_root_no.map(super::super::position::MessageNo::get));
            }
        }
    }

    fn new_conversation(&mut self, new: &NewConversation) {
        self.tag(match new.kind {
            Kind::Direct => 0,
            Kind::Group => 1,
            Kind::Room => 2,
        });
        self.number(u64::try_from(new.members.len()).unwrap_or(u64::MAX));
        for member in &new.members {
            self.bytes(member.uuid().as_bytes());
        }
        self.optional_text(new.title.as_deref());
        self.optional_text(new.topic.as_deref());
        self.tag(match new.visibility {
            Visibility::Private => 0,
            Visibility::Public => 1,
        });
        self.tag(match new.settings.join_history {
            JoinHistory::FromStart => 0,
            JoinHistory::FromJoin => 1,
        });
        self.tag(match new.settings.posting {
            Posting::Everyone => 0,
            Posting::Admins => 1,
        });
        self.tag(u8::from(new.settings.receipts));
        self.optional_number(new.settings.retention_days.map(u64::from));
    }
}
