//! Every text that a rejection can carry, in one closed table.
//!
//! A rejection holds `&'static str`s so that it costs nothing; when it crosses the bus its text is looked up here again. A
//! text that an older or newer release does not know becomes the general one of its class. The words are shown to people:
//! changing one is a change of what they read, not of behaviour.

macro_rules! texts {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        $($(#[$doc])+ pub const $name: &str = $text;)+

        /// All of them; `known` looks here.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

texts! {
    // === rules (forbidden) ===
    /// General: a rule that this release has no words for.
    RULE_UNNAMED = "not allowed here";
    /// Not a member of a conversation that can be seen.
    MEMBERS_ONLY = "only members may do this";
    /// Guests read.
    GUESTS_READ_ONLY = "guests may only read";
    /// `posting: admins`.
    POSTING_ADMINS_ONLY = "only admins may post here";
    /// Managing members needs a role for it.
    MANAGING_NEEDS_ADMIN = "only admins and owners manage members";
    /// Owner and admin change roles below their own.
    ROLE_NOT_BELOW_OWN = "only roles below your own can be given or changed";
    /// Someone at or above the own role.
    PERSON_NOT_BELOW_OWN = "only people with a role below your own can be removed";
    /// Two people, for ever these two.
    DIRECT_STAYS_TWO = "a direct conversation never gains a third person";
    /// Leaving or removing someone there.
    DIRECT_CANNOT_BE_LEFT = "a direct conversation cannot be left";
    /// Both are equal there.
    DIRECT_HAS_NO_ROLES = "a direct conversation has no roles";
    /// A ban defeats joining, and being added.
    BANNED = "this person is banned here";

    // === reasons (conflict) ===
    /// General: a conflict that this release has no words for.
    CONFLICT_UNNAMED = "the present state stands against it";
    /// The last owner cannot leave.
    LAST_OWNER_STAYS = "the last owner cannot leave";
    /// The last owner cannot be demoted.
    LAST_OWNER_KEEPS_ROLE = "the last owner cannot be demoted";
    /// `MEMBERS_MAX` reached.
    FULL = "the conversation has as many members as it may have";
    /// An event of it is damaged, or of a release that this one does not know.
    UNREADABLE = "an event of this conversation cannot be read, so it is read-only for now";
    /// The id is taken by another creation, which no derived id can be.
    EXISTS = "the conversation exists already";

    // === reasons (invalid) ===
    /// General: a fault that this release has no words for.
    INVALID_UNNAMED = "is not allowed";
    /// Nothing, or nothing but white space.
    BLANK = "must not be blank";
    /// Over a limit of `GET /api/v1/limits`.
    TOO_LONG = "is too long";
    /// Line breaks and other control characters.
    NOT_ONE_LINE = "must be one line without control characters";
    /// Control characters other than tab and line breaks.
    CONTROL_CHARACTERS = "must not contain control characters";
    /// Too many people at once.
    TOO_MANY = "are too many at once";
    /// A direct conversation is between oneself and one other person.
    EXACTLY_ONE_OTHER = "must name exactly one other person";
    /// Only rooms can be found.
    ONLY_ROOMS_PUBLIC = "only a room can be public";
    /// Rooms are found by title.
    ROOM_NEEDS_TITLE = "a room needs a title";
    /// Direct conversations are named by their people.
    NONE_FOR_DIRECT = "a direct conversation has none";
    /// Nobody could say anything in it.
    DIRECT_POSTING = "both people of a direct conversation can always post";
    /// Zero, or beyond `RETENTION_DAYS_MAX`.
    RETENTION_RANGE = "must be between 1 and 36500 days";
    /// The id of a new conversation follows from who creates it and how.
    ID_NOT_DERIVED = "does not follow from its creator and key";

    // === fields ===
    /// General: a field that this release does not know.
    FIELD_UNNAMED = "request";
    /// Text of a message.
    FIELD_BODY = "body";
    /// Title of a conversation.
    FIELD_TITLE = "title";
    /// Topic of a conversation.
    FIELD_TOPIC = "topic";
    /// People named at creation.
    FIELD_MEMBERS = "members";
    /// Listed or not.
    FIELD_VISIBILITY = "visibility";
    /// Who may post.
    FIELD_POSTING = "settings.posting";
    /// How long messages are kept.
    FIELD_RETENTION_DAYS = "settings.retention_days";
    /// Which conversation.
    FIELD_CONVERSATION_ID = "conversation_id";
}

/// The static form of a text of this table; `None` for any other.
pub fn known(text: &str) -> Option<&'static str> {
    ALL.iter().copied().find(|candidate| *candidate == text)
}

/// Whether a text shows nothing: white space and characters without width only.
pub(crate) fn is_blank(text: &str) -> bool {
    text.chars().all(|character| {
        character.is_whitespace()
            || matches!(
                character,
                // Soft hyphen, fillers, zero-width space to joiner, word joiner, byte order mark.
                '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
            )
    })
}
