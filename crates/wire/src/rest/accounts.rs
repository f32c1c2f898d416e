//! Register, log in, oneself, health.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use uuid::Uuid;

use crate::client::object::User;
use crate::time::Rfc3339;

/// Body of `POST /auth/register`. Answer: [`SessionStarted`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Register {
    /// Unique name.
    pub username: String,
    /// Name as people read it.
    pub display_name: String,
    /// Password in the clear; never logged.
    pub password: String,
    /// For mail about the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Invitation code, where registration needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invite: Option<String>,
}

/// Body of `POST /auth/login`. Answer: [`SessionStarted`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct Login {
    /// Unique name or e-mail address.
    pub username: String,
    /// Password in the clear; never logged.
    pub password: String,
    /// Second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totp: Option<String>,
}

/// A session began.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SessionStarted {
    /// Who one is.
    pub user: User,
    /// For `Authorization: Bearer`; shown this once.
    pub token: String,
}

/// Oneself: what others see, and what only oneself sees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct Me {
    /// What others see.
    #[serde(flatten)]
    pub user: User,
    /// For mail about the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub email: Option<String>,
}

/// Answer of `GET /healthz/live` and `GET /healthz/ready`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[ts(optional_fields)]
pub struct Health {
    /// Whether to send people here.
    pub status: HealthStatus,
    /// What is missing, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether to send people here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Yes.
    Ok,
    /// No: starting, draining, or without what it needs.
    Unavailable,
}

/// Secrets stay out of logs: who and how much, never what.
macro_rules! debug_without_secrets {
    ($($name:ident { $($shown:ident),+ }),+ $(,)?) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($shown), &self.$shown))+.finish_non_exhaustive()
            }
        })+
    };
}

debug_without_secrets! {
    Register { username },
    Login { username },
    SessionStarted { user },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_in_the_debug_text() {
        let login = Login {
            username: "ada".into(),
            password: "correct horse".into(),
            totp: Some("123456".into()),
        };
        let shown = format!("{login:?}");
        assert!(
            shown.contains("ada") && !shown.contains("horse") && !shown.contains("123456"),
            "{shown}"
        );
    }
}

/// Body of `PATCH /me`. Answer: [`Me`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
#[ts(optional_fields)]
pub struct ChangeProfile {
    /// Name as people read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// A line about now; empty takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// One of one's own logins, item of `GET /auth/sessions`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, TS)]
pub struct SessionShown {
    /// Names it; not a secret.
    pub id: Uuid,
    /// What the client said it is.
    pub device: String,
    /// From where.
    pub address: String,
    /// When it was made.
    pub created_at: Rfc3339,
    /// When it was last used, to the minute.
    pub last_used_at: Rfc3339,
    /// The one that asks.
    pub current: bool,
}
