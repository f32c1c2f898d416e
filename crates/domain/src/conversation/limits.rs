//! Every bound of a conversation, with its reason. Published by name in `GET /api/v1/limits`.

/// Bytes of UTF-8 in one message (PROTOCOL.md): a long page of text; larger texts belong into files.
pub const MESSAGE_BODY_BYTES_MAX: usize = 16_384;
/// Characters of a title: one line on a phone twice over.
pub const TITLE_CHARS_MAX: usize = 128;
/// Characters of a topic: one line of a wide screen.
pub const TOPIC_CHARS_MAX: usize = 512;
/// Members named when a conversation is created; more are added one by one, so that one event stays small.
pub const CREATE_MEMBERS_MAX: usize = 500;
/// Members of a group or room. Above 10,000 the state would have to stop holding them all (ARCHITECTURE.md §6).
pub const MEMBERS_MAX: usize = 10_000;
/// Least number of commands that the dedupe window remembers, whatever their age.
pub const DEDUPE_COMMANDS_MIN: usize = 256;
/// Most commands that the dedupe window remembers: bounds the window of the busiest conversation to about half a megabyte.
pub const DEDUPE_COMMANDS_MAX: usize = 4_096;
/// Commands younger than this stay in the window up to [`DEDUPE_COMMANDS_MAX`], in milliseconds: ten minutes (PROTOCOL.md).
pub const DEDUPE_AGE_MS: i64 = 600_000;
/// Days a conversation may keep messages at most when retention is set: a hundred years, so that arithmetic stays far from overflow.
pub const RETENTION_DAYS_MAX: u32 = 36_500;
/// How far ahead of the owner's clock the time in a `UUIDv7` may lie and still tell its age, in milliseconds: a minute is more than any
/// clock that is set by the network errs. Ids from further ahead are looked up in the log.
pub const COMMAND_ID_AHEAD_MS_MAX: i64 = 60_000;
