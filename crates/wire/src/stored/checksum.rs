//! CRC-32 (IEEE) of a row, to notice rot on disk and on the way. Not a defence against people.
//!
//! `crc` runs over these columns, each big-endian and of fixed width, then `meta` as it is:
//!
//! ```text
//! bytes  0..2   partition     u16         50..66  command_id   16 bytes
//!        2..10  offset        u64         66..68  kind         i16
//!       10..18  epoch         u64         68..70  ver          i16
//!       18..34  conversation  16 bytes    70..72  fmt          i16
//!       34..42  seq           u64         72..    meta
//!       42..50  at (millis)   i64
//! ```
//!
//! `body_crc` runs over `body` alone, so that erasing a body touches nothing else.

use crate::stored::EventRow;

pub(super) fn of_columns_and_meta(row: &EventRow) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&row.partition.get().to_be_bytes());
    hasher.update(&row.offset.get().to_be_bytes());
    hasher.update(&row.epoch.get().to_be_bytes());
    hasher.update(row.conversation.uuid().as_bytes());
    hasher.update(&row.seq.get().to_be_bytes());
    hasher.update(&row.at.millis().to_be_bytes());
    hasher.update(row.command_id.uuid().as_bytes());
    hasher.update(&row.kind.to_be_bytes());
    hasher.update(&row.ver.to_be_bytes());
    hasher.update(&row.fmt.to_be_bytes());
    hasher.update(&row.meta);
    hasher.finalize()
}

pub(super) fn of_body(body: &[u8]) -> u32 {
    crc32fast::hash(body)
}
