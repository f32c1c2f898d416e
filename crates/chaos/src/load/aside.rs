//! What a fault does beside the load: conversations of its own, single messages, and reading them back.

use std::time::Duration;

use anyhow::Context as _;
use hubbub_checker::{Operation, OperationKind, Outcome};
use hubbub_testkit::fresh_uuid;
use hubbub_wire::client::words::ConversationKind;
use hubbub_wire::rest::{CreateConversation, MessagesQuery};
use tokio::time::Instant;
use uuid::Uuid;

use crate::load::{LOOK_EVERY, Load, send};

/// How long a node may take until its reads show what was acked: readers wait for their own writes, so this is patience with the machine.
const READ_BACK_DEADLINE: Duration = Duration::from_secs(10);

impl Load {
    /// Makes a conversation beside the load, of connected person `n` and its neighbour: for faults that are about one.
    ///
    /// # Errors
    /// When the node refuses.
    pub async fn aside(&self, n: usize) -> anyhow::Result<Uuid> {
        let voice = self.voices.get(n).context("there are so many people")?;
        let other = self
            .voices
            .get((n + 1) % self.voices.len())
            .context("there are people")?;
        let rest = voice.rests.first().context("there is a node")?;
        let new = CreateConversation {
            kind: ConversationKind::Group,
            members: Some(vec![other.user]),
            title: Some(format!("aside {n}")),
            topic: None,
            visibility: None,
            settings: None,
        };
        let command = fresh_uuid();
        let invoked_at = self.stage.clock.now();
        let made = rest.create_conversation(&new, Some(command)).await;
        let id = made.context("make a conversation aside")?.id;
        voice.notes().history.operations.push(Operation {
            command,
            conversation: id,
            user: voice.user,
            kind: OperationKind::Create,
            body: None,
            node: 0,
            socket: None,
            invoked_at,
            ended_at: self.stage.clock.now(),
            outcome: Outcome::Done,
            depends_on: None,
        });
        Ok(id)
    }

    /// Person `n` says something once over REST; whether it was acked.
    pub async fn say_once(&self, n: usize, conversation: Uuid, body: &str) -> bool {
        self.say_at(n, n, conversation, body).await
    }

    /// Person `n` says something once over REST at that node (counted around); whether it was acked.
    pub async fn say_at(&self, n: usize, node: usize, conversation: Uuid, body: &str) -> bool {
        let Some(voice) = self.voices.get(n) else {
            return false;
        };
        let node = node % voice.nodes;
        send::once_over_rest(&self.stage, voice, node, conversation, body.to_owned()).await
    }

    /// Whether person `n` can read exactly these messages of a conversation at that node, the oldest first; waits for them a little.
    pub async fn reads_back(
        &self,
        n: usize,
        node: usize,
        conversation: Uuid,
        words: &[&str],
    ) -> bool {
        let Some(rest) = self.voices.get(n).and_then(|voice| voice.rests.get(node)) else {
            return false;
        };
        let deadline = Instant::now() + READ_BACK_DEADLINE;
        loop {
            let read = rest.messages(conversation, &MessagesQuery::default()).await;
            let is_whole = read.is_ok_and(|page| {
                let mut messages = page.items;
                messages.sort_unstable_by_key(|message| message.message_no);
                let bodies = messages.iter().map(|message| message.body.as_deref());
                bodies.eq(words.iter().copied().map(Some))
            });
            if is_whole || Instant::now() > deadline {
                return is_whole;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
