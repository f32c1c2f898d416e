//! Idempotency keys of requests that are no commands of one conversation: remembered for a day, on this node, in memory.
//!
//! Commands remember their ids for ever, in the log. Creating a direct conversation is one, but under a key of the asker's own choice;
//! registering is none. Here is only told whether a key was used for another request, and whether the same one went well before.
//!
//! Never: a password, a token, a body; of a request only a keyed hash.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use hubbub_domain::ids::{CommandId, UserId};
use moka::future::Cache;

use crate::error::Refusal;

/// How long a key is remembered (PROTOCOL.md, Idempotency).
const AGE_MAX: Duration = Duration::from_hours(24);
/// Keys remembered: some 10 MB.
const KEYS_MAX: u64 = 100_000;

/// The keys of a node.
pub(crate) struct Keys {
    used: Cache<(Option<UserId>, CommandId), u64>,
    /// Random at every start, so that the hash says nothing about the request.
    hasher: RandomState,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            used: Cache::builder()
                .max_capacity(KEYS_MAX)
                .time_to_live(AGE_MAX)
                .build(),
            hasher: RandomState::new(),
        }
    }

    /// Whether this very request went well before under this key. `user`: nobody, before there is an account.
    ///
    /// # Errors
    /// [`Refusal`] when another request did.
    pub(crate) async fn check(
        &self,
        user: Option<UserId>,
        key: CommandId,
        request: &(impl Hash + Sync),
    ) -> Result<bool, Refusal> {
        match self.used.get(&(user, key)).await {
            None => Ok(false),
            Some(hash) if hash == self.hasher.hash_one(request) => Ok(true),
            Some(_) => Err(Refusal::other_request()),
        }
    }

    /// This request went well under this key.
    pub(crate) async fn keep(
        &self,
        user: Option<UserId>,
        key: CommandId,
        request: &(impl Hash + Sync),
    ) {
        let hash = self.hasher.hash_one(request);
        self.used.insert((user, key), hash).await;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_key_belongs_to_one_request_of_one_person() {
        let keys = Keys::new();
        let key = CommandId::from_uuid(Uuid::from_u128(1));
        let user = Some(UserId::from_uuid(Uuid::from_u128(2)));
        assert_eq!(keys.check(user, key, &"a").await, Ok(false));
        keys.keep(user, key, &"a").await;
        assert_eq!(keys.check(user, key, &"a").await, Ok(true));
        assert!(keys.check(user, key, &"b").await.is_err());
        assert_eq!(keys.check(None, key, &"b").await, Ok(false));
    }
}
