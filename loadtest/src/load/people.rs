//! People and conversations at a node, made through the client library.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hubbub_client::{Rest, RestError};
use hubbub_wire::client::words::{ConversationKind, Visibility};
use hubbub_wire::error::ErrorClass;
use hubbub_wire::rest::{CreateConversation, Register};
use uuid::Uuid;

use super::Ids;

/// Registrations at once: hashing takes the cores, more would only wait.
const REGISTRATIONS_AT_ONCE: usize = 4;
/// Other requests at once.
const REQUESTS_AT_ONCE: usize = 16;
/// So often is a request repeated that the server had no time for.
const TRIES: u32 = 20;

/// Someone with a session.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) token: String,
}

/// Everyone who was registered at a cluster in this run.
#[derive(Debug)]
pub(crate) struct People {
    rest: Rest,
    persons: Vec<Person>,
    /// How many of them have a direct conversation.
    coupled: usize,
    ids: Ids,
}

impl People {
    pub(crate) fn at(url: &str, seed: u64) -> anyhow::Result<Self> {
        Ok(Self {
            rest: Rest::new(url)?,
            persons: Vec::new(),
            coupled: 0,
            ids: Ids::new(seed, u64::MAX),
        })
    }

    /// The same people at another address of the cluster.
    pub(crate) fn move_to(&mut self, url: &str) {
        self.rest = self.rest.at(url);
    }

    /// The first `wanted` people; registers who is missing. Slow by design: passwords are hashed with care.
    pub(crate) async fn first(&mut self, wanted: usize) -> anyhow::Result<&[Person]> {
        let have = self.persons.len();
        if wanted > have {
            eprintln!("==> register {} people", wanted - have);
        }
        let new: Vec<Person> = stream::iter(have..wanted)
            .map(|number| {
                let rest = self.rest.clone();
                async move { register(&rest, number).await }
            })
            .buffered(REGISTRATIONS_AT_ONCE)
            .try_collect()
            .await?;
        self.persons.extend(new);
        Ok(&self.persons[..wanted])
    }

    /// New direct conversations, of people who had none.
    pub(crate) async fn couples(
        &mut self,
        pairs: usize,
    ) -> anyhow::Result<Vec<(Person, Person, Uuid)>> {
        let known = self.coupled;
        let persons = self.first(known + pairs * 2).await?.to_vec();
        self.coupled = persons.len();
        let rest = self.rest.clone();
        stream::iter(persons[known..].chunks_exact(2))
            .map(|couple| {
                let (one, other) = (couple[0].clone(), couple[1].clone());
                let rest = rest.with_token(&one.token);
                async move {
                    let new = new_conversation(ConversationKind::Direct, vec![other.id]);
                    let made = patiently(|| rest.create_conversation(&new, None))
                        .await
                        .context("create a conversation")?;
                    anyhow::Ok((one, other, made.id))
                }
            })
            .buffered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }

    /// A public room of the first `members` people.
    pub(crate) async fn room(&mut self, members: usize) -> anyhow::Result<(Vec<Person>, Uuid)> {
        let persons = self.first(members).await?.to_vec();
        let (owner, others) = persons.split_first().context("a room has a member")?;
        let mut new = new_conversation(ConversationKind::Room, Vec::new());
        new.title = Some("Benchmark".to_owned());
        new.visibility = Some(Visibility::Public);
        let rest = self.rest.with_token(&owner.token);
        let key = self.ids.next();
        let room = patiently(|| rest.create_conversation(&new, Some(key)))
            .await
            .context("create a room")?
            .id;
        eprintln!("==> {} people join a room", others.len());
        stream::iter(others)
            .map(|person| {
                let rest = self.rest.with_token(&person.token);
                async move { patiently(|| rest.join(room, None)).await.context("join") }
            })
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_for_each(async |joined| {
                anyhow::ensure!(joined.id == room, "joined another room");
                Ok(())
            })
            .await?;
        Ok((persons, room))
    }

    /// Number of messages of a conversation, as one of its members reads it.
    pub(crate) async fn messages_in(
        &self,
        conversation: Uuid,
        member: &Person,
    ) -> anyhow::Result<u64> {
        let rest = self.rest.with_token(&member.token);
        Ok(patiently(|| rest.conversation(conversation))
            .await
            .context("read a conversation")?
            .head_no)
    }

    /// Every conversation holds as many messages as its sender was told.
    pub(crate) async fn check_stored(
        &self,
        expected: Vec<(Person, Uuid, u64)>,
    ) -> anyhow::Result<()> {
        stream::iter(expected)
            .map(|(person, conversation, acknowledged)| async move {
                let stored = self.messages_in(conversation, &person).await?;
                ensure!(
                    stored == acknowledged,
                    "{acknowledged} messages acknowledged, {stored} stored"
                );
                Ok(())
            })
            .buffer_unordered(REQUESTS_AT_ONCE)
            .try_collect()
            .await
    }
}

async fn register(rest: &Rest, number: usize) -> anyhow::Result<Person> {
    let new = Register {
        username: format!("bench-{number}"),
        display_name: format!("Bench {number}"),
        password: "a moth in relay seventy".to_owned(),
        email: None,
        invite: None,
    };
    let started = patiently(|| rest.register(&new))
        .await
        .with_context(|| format!("register person {number}"))?;
    Ok(Person {
        id: started.user.id,
        token: started.token,
    })
}

fn new_conversation(kind: ConversationKind, members: Vec<Uuid>) -> CreateConversation {
    CreateConversation {
        kind,
        members: Some(members),
        title: None,
        topic: None,
        visibility: None,
        settings: None,
    }
}

/// Asks again when the server says "later": a setup is not what is measured.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, RestError>) -> Result<T, RestError> {
    const PAUSE_DEFAULT_MS: u64 = 500;
    for _ in 1..TRIES {
        match ask().await {
            Err(error)
                if error
                    .problem()
                    .is_some_and(|problem| problem.code.class() == ErrorClass::Later) =>
            {
                let pause = error
                    .problem()
                    .and_then(|problem| problem.retry_after_ms)
                    .unwrap_or(PAUSE_DEFAULT_MS);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            answer => return answer,
        }
    }
    ask().await
}
