//! Who the ids are: users by id, with a small cache.
//!
//! Names may be as old as [`AGE_MAX`]; rights never depend on them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hubbub_accounts::{AccountsError, Identity};
use hubbub_domain::ids::UserId;
use hubbub_projections::Summary;
use hubbub_wire::client::object::{Conversation, User};
use moka::future::Cache;

use crate::objects;

/// People remembered: some 5 MB.
const PEOPLE_MAX: u64 = 20_000;
/// How old a remembered name may be.
const AGE_MAX: Duration = Duration::from_secs(30);
/// Ids that `Identity::users` takes at once.
const IDS_MAX: usize = 1_000;

/// Looks people up.
#[derive(Clone)]
pub(crate) struct People {
    identity: Arc<dyn Identity>,
    known: Cache<UserId, User>,
}

impl People {
    pub(crate) fn new(identity: Arc<dyn Identity>) -> Self {
        Self {
            identity,
            known: Cache::builder()
                .max_capacity(PEOPLE_MAX)
                .time_to_live(AGE_MAX)
                .build(),
        }
    }

    /// The known ones among `ids`.
    pub(crate) async fn named(
        &self,
        ids: Vec<UserId>,
    ) -> Result<HashMap<UserId, User>, AccountsError> {
        let mut named = HashMap::new();
        let mut missing = Vec::new();
        for id in ids {
            match self.known.get(&id).await {
                Some(user) => {
                    named.insert(id, user);
                }
                None => missing.push(id),
            }
        }
        for chunk in missing.chunks(IDS_MAX) {
            for user in self.identity.users(chunk).await? {
                let shown = objects::user(&user);
                self.known.insert(user.id, shown.clone()).await;
                named.insert(user.id, shown);
            }
        }
        Ok(named)
    }

    /// Someone has changed.
    pub(crate) async fn forget(&self, id: UserId) {
        self.known.invalidate(&id).await;
    }

    /// Summaries with the names of their peers.
    pub(crate) async fn conversations(
        &self,
        summaries: &[Summary],
        reader: UserId,
    ) -> Result<Vec<Conversation>, AccountsError> {
        let people = self
            .named(
                summaries
                    .iter()
                    .filter_map(|summary| summary.peer)
                    .collect(),
            )
            .await?;
        Ok(summaries
            .iter()
            .map(|summary| objects::conversation(summary, reader, &people))
            .collect())
    }

    /// One summary with the name of its peer.
    pub(crate) async fn conversation(
        &self,
        summary: &Summary,
        reader: UserId,
    ) -> Result<Conversation, AccountsError> {
        let people = self.named(summary.peer.into_iter().collect()).await?;
        Ok(objects::conversation(summary, reader, &people))
    }
}
