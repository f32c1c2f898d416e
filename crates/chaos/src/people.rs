//! The people and conversations of a row: some hundred accounts at once, and who talks where, drawn from the seed.

use anyhow::{Context as _, ensure};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use hubbub_client::Rest;
use hubbub_wire::client::words::ConversationKind;
use hubbub_wire::rest::CreateConversation;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

use crate::world::World;

/// Members of the one hot conversation; those who are not connected count as members all the same.
pub const HOT_MEMBERS: usize = 500;
/// Conversations made at once.
const MADE_AT_ONCE: usize = 8;
/// Sizes of small groups.
const GROUP: std::ops::Range<usize> = 3..13;
/// One in so many conversations, if it is a group, has someone who comes and goes.
const GUEST_IN_EVERY: usize = 4;
/// Of a hundred conversations so many are direct.
const DIRECT_PERCENT: usize = 40;

/// How many people, and where they talk.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// People who are connected.
    pub clients: usize,
    /// Members of the hot conversation, connected or not.
    pub hot_members: usize,
    /// Other conversations.
    pub conversations: usize,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            clients: 300,
            hot_members: HOT_MEMBERS,
            conversations: 60,
        }
    }
}

/// Someone with a session.
#[derive(Clone, Debug)]
pub struct Person {
    /// Account.
    pub id: Uuid,
    /// Session token.
    pub token: String,
}

/// A conversation and who is in it.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its id.
    pub id: Uuid,
    /// Indices of people who are connected; the first one made it.
    pub members: Vec<usize>,
    /// Someone connected who comes and goes, and is none of the members.
    pub guest: Option<usize>,
}

/// Everybody, and where they talk. The first conversation is the hot one.
#[derive(Clone, Debug)]
pub struct People {
    /// All accounts; the first `clients` of them are connected.
    pub persons: Vec<Person>,
    /// All conversations.
    pub conversations: Vec<Conversation>,
    /// People who are connected.
    pub clients: usize,
}

impl People {
    /// Makes everybody and everything.
    ///
    /// # Errors
    /// When the database or a node refuses.
    pub async fn gather(world: &World, crowd: Crowd, seed: u64) -> anyhow::Result<Self> {
        let count = crowd.clients.max(crowd.hot_members);
        let persons = make_accounts(world, count).await?;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut circles: Vec<Vec<usize>> =
            vec![(0..crowd.clients.min(crowd.hot_members)).collect()];
        for _conversation in 0..crowd.conversations {
            let is_direct = rng.random_range(0..100) < DIRECT_PERCENT;
            let size = if is_direct {
                2
            } else {
                rng.random_range(GROUP)
            };
            let mut members: Vec<usize> = Vec::with_capacity(size);
            while members.len() < size.min(crowd.clients) {
                let member = rng.random_range(0..crowd.clients);
                if !members.contains(&member) {
                    members.push(member);
                }
            }
            circles.push(members);
        }
        let urls = world.urls_from(0);
        let first_url = urls.first().context("there is a node")?;
        let anonymous = Rest::new(first_url)?;
        let mut making = Vec::with_capacity(circles.len());
        for (n, members) in circles.into_iter().enumerate() {
            let hot = if n == 0 { crowd.hot_members } else { 0 };
            let url = urls.get(n % urls.len()).context("there is a node")?;
            let is_group = n > 0 && members.len() > 2;
            let guest = (is_group && n % GUEST_IN_EVERY == 0)
                .then(|| rng.random_range(0..crowd.clients))
                .filter(|guest| !members.contains(guest));
            making.push(plan_conversation(
                &anonymous.at(url),
                &persons,
                n,
                members,
                hot,
                guest,
            )?);
        }
        let conversations = stream::iter(making)
            .map(|(rest, new, members, guest)| async move {
                let made = rest
                    .create_conversation(&new, None)
                    .await
                    .context("make a conversation")?;
                anyhow::Ok(Conversation {
                    id: made.id,
                    members,
                    guest,
                })
            })
            .buffered(MADE_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self {
            persons,
            conversations,
            clients: crowd.clients,
        })
    }

    /// Indices of the conversations of a connected person.
    pub fn conversations_of(&self, person: usize) -> impl Iterator<Item = usize> {
        self.conversations
            .iter()
            .enumerate()
            .filter(move |(_n, conversation)| conversation.members.contains(&person))
            .map(|(n, _conversation)| n)
    }
}

/// Accounts with a session each, straight into the tables: hashing thousands of passwords would take longer than the run.
async fn make_accounts(world: &World, count: usize) -> anyhow::Result<Vec<Person>> {
    let made = world
        .database()
        .sql(&format!(
            "with p as (select n, md5('id' || n || random())::uuid as id, md5('a' || n || random()) || md5('b' || n || random()) as token, \
             (extract(epoch from now()) * 1000)::bigint as at from generate_series(1, {count}) n), \
             a as (insert into account (id, username, display_name, search, password_hash, created_at) \
             select id, 'chaos-' || n, 'Chaos ' || n, 'chaos-' || n, 'none', at from p), \
             s as (insert into session (id, user_id, token_hash, device, address, created_at, last_used_at) \
             select md5('s' || token)::uuid, id, sha256(decode(token, 'hex')), 'chaos', '127.0.0.1', at, at from p) \
             select id, token from p order by n"
        ))
        .await
        .context("make accounts")?;
    let persons: Vec<Person> = made
        .lines()
        .map(|line| {
            let (id, token) = line.split_once('|').context("two columns")?;
            anyhow::Ok(Person {
                id: id.parse().context("an id")?,
                token: token.to_owned(),
            })
        })
        .collect::<Result<_, _>>()?;
    ensure!(persons.len() == count, "not all accounts were made");
    Ok(persons)
}

/// Who asks for it, what is asked for, and who of its members is connected.
type Wanted = (Rest, CreateConversation, Vec<usize>, Option<usize>);

fn plan_conversation(
    anonymous: &Rest,
    persons: &[Person],
    n: usize,
    members: Vec<usize>,
    hot_members: usize,
    guest: Option<usize>,
) -> anyhow::Result<Wanted> {
    let maker = members
        .first()
        .and_then(|first| persons.get(*first))
        .context("a conversation has a maker")?;
    let others: Vec<Uuid> = if hot_members > 0 {
        let all = persons.iter().take(hot_members);
        all.skip(1).map(|person| person.id).collect()
    } else {
        let rest = members.iter().skip(1);
        rest.filter_map(|member| persons.get(*member))
            .map(|person| person.id)
            .collect()
    };
    let is_direct = others.len() == 1;
    let mut others = others;
    others.extend(
        guest
            .and_then(|guest| persons.get(guest))
            .map(|person| person.id),
    );
    let kind = if is_direct {
        ConversationKind::Direct
    } else {
        ConversationKind::Group
    };
    let new = CreateConversation {
        kind,
        members: Some(others),
        title: (!is_direct).then(|| format!("circle {n}")),
        topic: None,
        visibility: None,
        settings: None,
    };
    Ok((anonymous.with_token(&maker.token), new, members, guest))
}
