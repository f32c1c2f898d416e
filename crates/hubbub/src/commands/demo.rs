//! `hubbub demo`: a new embedded instance with a few people and conversations, so that the first look is not an empty screen.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use hubbub_accounts::{Identity, NewUser, Origin, User};
use hubbub_cluster::{CommandRouter, SubmitError};
use hubbub_domain::conversation::{
    Command, Intent, Kind, NewConversation, RequestKey, Settings as Rules, Visibility,
};
use hubbub_domain::ids::{CommandId, ConversationId, UserId};

use crate::commands::{environment, say};
use crate::compose::Node;
use crate::settings::{Overrides, Settings};
use crate::shutdown::{Ending, Signals, ending};

/// Who is in the demo: username and the name people see.
const PEOPLE: [(&str, &str); 4] = [
    ("ada", "Ada"),
    ("ben", "Ben"),
    ("chioma", "Chioma"),
    ("dara", "Dara"),
];
/// How long one command of the script may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    crate::sabotage::refuse()?;
    let settings = Settings::load(overrides)?;
    if settings.is_cluster() {
        bail!("the demo fills a new folder; leave database_url and nats_url out");
    }
    let (_telemetry, runtime) = environment(&settings)?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let mut node = Node::start(&settings).await?;
        let password = fill(&*node.stores.identity, &*node.router).await?;
        say(&format!("hubbub serves on {}", node.address()));
        let names: Vec<&str> = PEOPLE.iter().map(|(username, _)| *username).collect();
        say(&format!(
            "log in as {} with the password {password}",
            names.join(", ")
        ));
        let ending = ending(&mut signals, node.fate()).await;
        let clean = node.stop(&mut signals).await;
        Ok(if clean && ending == Ending::Asked {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// Makes people and conversations; returns everybody's password, random for every demo.
async fn fill(identity: &dyn Identity, router: &dyn CommandRouter) -> anyhow::Result<String> {
    let password = format!("demo-{}", fresh().simple());
    let mut people = Vec::new();
    for (username, display_name) in PEOPLE {
        let new = NewUser {
            username: username.to_owned(),
            display_name: display_name.to_owned(),
            password: password.clone(),
            email: None,
        };
        let origin = Origin {
            device: "demo".to_owned(),
            address: "127.0.0.1".to_owned(),
        };
        let (user, _, _) = identity.register(new, origin).await.context(
            "make the people of the demo; it needs a new, empty data folder (--data-dir)",
        )?;
        people.push(user);
    }
    let [ada, ben, chioma, dara] =
        <[User; 4]>::try_from(people).map_err(|_people| anyhow::anyhow!("not four people"))?;
    let script = Script { router };

    let lunch = script.create(&ada, Kind::Direct, None, &[&ben]).await?;
    script.say(lunch, &ada, "Lunch at noon?").await?;
    script.say(lunch, &ben, "Gladly. The usual place?").await?;
    script
        .say(
            lunch,
            &ada,
            "Let us try the new one by the river: https://example.org/river",
        )
        .await?;

    let launch = script
        .create(
            &chioma,
            Kind::Group,
            Some("Launch week"),
            &[&ada, &ben, &dara],
        )
        .await?;
    script
        .say(
            launch,
            &chioma,
            "Welcome, everyone. This is where we get the launch done.",
        )
        .await?;
    script.say(launch, &dara, "The checklist has three open points:\n\n1. texts\n2. screenshots\n3. the last test run").await?;
    script
        .say(launch, &ada, "Texts are done, I am on the screenshots.")
        .await?;
    script.say(launch, &ben, "The test run is green.").await?;

    let square = script
        .create(&dara, Kind::Room, Some("Town square"), &[])
        .await?;
    script
        .say(square, &dara, "A public room: anyone can find and join it.")
        .await?;
    script.join(square, &ada).await?;
    script.say(square, &ada, "Found it!").await?;
    Ok(password)
}

struct Script<'a> {
    router: &'a dyn CommandRouter,
}

impl Script<'_> {
    async fn create(
        &self,
        by: &User,
        kind: Kind,
        title: Option<&str>,
        others: &[&User],
    ) -> anyhow::Result<ConversationId> {
        let id = CommandId::from_uuid(fresh());
        let members: Vec<UserId> = others.iter().map(|user| user.id).collect();
        let conversation = match (kind, members.first()) {
            (Kind::Direct, Some(other)) => ConversationId::direct(by.id, *other),
            _ => ConversationId::created(by.id, id),
        };
        let mut key = [0; 32];
        let (one, two) = (fresh(), fresh());
        key[..16].copy_from_slice(one.as_bytes());
        key[16..].copy_from_slice(two.as_bytes());
        let new = NewConversation {
            kind,
            members,
            title: title.map(ToOwned::to_owned),
            topic: None,
            visibility: if kind == Kind::Room {
                Visibility::Public
            } else {
                Visibility::Private
            },
            settings: Rules::default(),
            request_key: RequestKey::from_bytes(key),
        };
        self.submit(Command {
            id,
            conversation,
            by: by.id,
            intent: Intent::Create(new),
        })
        .await?;
        Ok(conversation)
    }

    async fn say(&self, conversation: ConversationId, by: &User, body: &str) -> anyhow::Result<()> {
        let intent = Intent::SendMessage {
            body: body.to_owned(),
            reply_to_no: None,
            thread_root_no: None,
        };
        self.submit(Command {
            id: CommandId::from_uuid(fresh()),
            conversation,
            by: by.id,
            intent,
        })
        .await
    }

    async fn join(&self, conversation: ConversationId, by: &User) -> anyhow::Result<()> {
        self.submit(Command {
            id: CommandId::from_uuid(fresh()),
            conversation,
            by: by.id,
            intent: Intent::Join,
        })
        .await
    }

    async fn submit(&self, command: Command) -> anyhow::Result<()> {
        let stored: Result<_, SubmitError> =
            self.router.submit(command, false, PATIENCE, None).await;
        stored.map(drop).context("fill the demo")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the demo is a client of its own node; clients make their ids"
)]
fn fresh() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}
