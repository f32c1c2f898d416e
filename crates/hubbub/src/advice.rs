//! The last word of a command that cannot go on: one line, what is wrong and what to do about it.
//!
//! Never: the same said twice, as chains of errors do that name their cause and carry it, too.

use std::error::Error;

/// What is said when the data folder cannot be used.
pub(crate) const FOLDER: &str =
    "name a folder that this user may write to with --data-dir (setting data_dir)";
/// When the database cannot be reached.
pub(crate) const DATABASE: &str = "start PostgreSQL, or correct --database-url (setting database_url): host, database, user, password";
/// When the bus cannot be reached.
pub(crate) const BUS: &str =
    "start NATS, or correct --nats-url and the settings nats_user, nats_password, nats_nkey_file";
/// When the address cannot be listened on.
pub(crate) const ADDRESS: &str =
    "end what uses this address, or name another one with --listen (setting listen)";

/// `what` went wrong because of `error`, and what helps.
pub(crate) fn advised(
    what: &str,
    error: &(dyn Error + 'static),
    advice: &'static str,
) -> anyhow::Error {
    anyhow::anyhow!("{what}: {}; {advice}", sentence(error))
}

/// An error with its causes in one line; a cause that was named already is left out.
pub(crate) fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !said.contains(&text) {
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&text);
        }
        next = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::{advised, sentence};

    #[derive(Debug, thiserror::Error)]
    #[error("store unavailable: {0}")]
    struct Outer(#[source] std::io::Error);

    fn refused() -> Outer {
        Outer(std::io::Error::other("connection\nrefused"))
    }

    #[test]
    fn a_cause_is_named_once_and_in_one_line() {
        assert_eq!(
            sentence(&refused()),
            "store unavailable: connection refused"
        );
        let chain = anyhow::Error::new(refused()).context("open the log");
        assert_eq!(
            sentence(chain.as_ref()),
            "open the log: store unavailable: connection refused"
        );
    }

    #[test]
    fn the_advice_comes_last() {
        let error = advised("open the log", &refused(), "start it");
        assert_eq!(
            error.to_string(),
            "open the log: store unavailable: connection refused; start it"
        );
    }
}
