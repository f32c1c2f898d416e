//! Numbers and ids as columns of a database, and back.
//!
//! Never: SQL.

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionId;
use uuid::Uuid;

use crate::port::ReadError;

/// A count or position as a signed column. Positions stay below 2^53; anything beyond `i64` would be refused as taken or absent.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A count or position from a signed column.
pub(crate) fn unsigned(column: &'static str, value: i64) -> Result<u64, ReadError> {
    u64::try_from(value).map_err(|_negative| misfit(column, value))
}

/// A small number from a wider column.
pub(crate) fn narrow<T: TryFrom<i64>>(column: &'static str, value: i64) -> Result<T, ReadError> {
    T::try_from(value).map_err(|_out_of_range| misfit(column, value))
}

/// A partition from its column.
pub(crate) fn partition(value: i64) -> Result<PartitionId, ReadError> {
    narrow("partition", value).map(PartitionId::new)
}

/// An owner from its nullable column.
pub(crate) fn owner(value: Option<Uuid>) -> Option<Incarnation> {
    value.map(Incarnation::from_uuid)
}

fn misfit(column: &'static str, value: i64) -> ReadError {
    ReadError::Inconsistent(format!("column {column} holds {value}"))
}
