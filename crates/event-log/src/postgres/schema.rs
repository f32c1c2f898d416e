//! The schema: brought up to date, or found fit as it is.

use std::collections::HashSet;

use sqlx::PgConnection;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};

use crate::port::OpenError;
use crate::schema::{MIGRATIONS_TABLE, unfit};

pub(super) async fn prepare(connection: &mut PgConnection, migrate: bool) -> Result<(), OpenError> {
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    if migrate {
        migrator.run(connection).await.map_err(unfit)
    } else {
        check(connection, &migrator).await
    }
}

/// Every migration of this release applied, and none of a later one.
async fn check(connection: &mut PgConnection, migrator: &Migrator) -> Result<(), OpenError> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(MIGRATIONS_TABLE)
        .fetch_one(&mut *connection)
        .await
        .map_err(super::fault::open)?;
    let applied: HashSet<i64> = if exists {
        let list = connection
            .list_applied_migrations(MIGRATIONS_TABLE)
            .await
            .map_err(unfit)?;
        list.into_iter()
            .map(|migration| migration.version)
            .collect()
    } else {
        HashSet::new()
    };
    if let Some(unknown) = applied
        .iter()
        .find(|version| !migrator.version_exists(**version))
    {
        return Err(unfit(MigrateError::VersionMissing(*unknown)));
    }
    match migrator
        .iter()
        .find(|migration| !applied.contains(&migration.version))
    {
        Some(missing) => Err(OpenError::Unfit(format!(
            "the log has no schema version {}; run `hubbub migrate` first",
            missing.version
        ))),
        None => Ok(()),
    }
}
