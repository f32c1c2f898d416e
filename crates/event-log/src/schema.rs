//! What both databases share of their migrations.

use sqlx::migrate::MigrateError;

use crate::port::OpenError;

/// This room's own table of migrations, so that rooms do not see each other's.
pub(crate) const MIGRATIONS_TABLE: &str = "_migrations_event_log";

/// A schema that this release does not know is unfit; a database that cannot be asked may come back.
pub(crate) fn unfit(error: MigrateError) -> OpenError {
    match error {
        MigrateError::VersionMissing(version) => OpenError::Unfit(format!(
            "the log has schema version {version}, which a newer release made; run that release"
        )),
        MigrateError::VersionMismatch(version) => OpenError::Unfit(format!(
            "schema version {version} of the log is not the one that this release knows"
        )),
        other => OpenError::Unavailable(other.into()),
    }
}
