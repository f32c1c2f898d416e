//! How many connections the server takes.

use sqlx::Row as _;

use super::{PgLog, fault};
use crate::port::StoreError;

/// What the server allows and what is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerPlaces {
    /// Connections for everyone who is not a superuser.
    pub connections_max: u32,
    /// Connections of clients now, this log's own included.
    pub taken: u32,
}

impl PgLog {
    /// Asks the server how many connections it takes and how many are taken.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn server_places(&self) -> Result<ServerPlaces, StoreError> {
        let query = sqlx::query(
            "select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
                (select count(*) from pg_stat_activity where backend_type = 'client backend')::int",
        );
        let rows = self
            .shared
            .control
            .fetch(query)
            .await
            .map_err(fault::store)?;
        let number = |column: usize| match rows.first() {
            Some(row) => row
                .try_get::<i32, _>(column)
                .map(|number| u32::try_from(number).unwrap_or(0))
                .map_err(fault::store),
            None => Ok(0),
        };
        Ok(ServerPlaces {
            connections_max: number(0)?,
            taken: number(1)?,
        })
    }
}
