//! Forty clients that do what the plan says and write down what became of it.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubbub_checker::{
    Digest, History, Operation, OperationKind, Outcome, Place, Subscription, Time,
};
use hubbub_client::{Client, ClientOptions, Rest, SendError};
use hubbub_testkit::fresh_uuid;
use hubbub_testkit::wait::{eventually, eventually_some};
use hubbub_wire::error::ErrorClass;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::company::Company;
use crate::figures::Figures;
use crate::harness::PATIENCE;
use crate::harness::person::message;
use crate::plan::{Plan, Step, Twice};
use crate::witness::{Tap, Told};

/// Messages of one person on their way at once.
const WINDOW: usize = 8;
/// Wait before a message that was refused for now is sent again, when the server gives no hint.
const AGAIN_AFTER_MS: u64 = 100;
/// All messages of a part must have ended by then: a failing run ends some day.
const PART_PATIENCE: Duration = Duration::from_mins(5);

/// Everybody's clients.
pub(crate) struct Traffic<'a> {
    company: &'a Company,
    figures: Figures,
    speakers: Vec<Arc<Speaker>>,
    listening: JoinSet<()>,
}

/// One person's client.
struct Speaker {
    name: String,
    user: Uuid,
    client: Client,
    /// REST at the home node and at the other.
    rests: Vec<Rest>,
    home: usize,
    tap: Arc<Tap>,
    told: Told,
    figures: Figures,
    commands: Mutex<Vec<Command>>,
}

impl<'a> Traffic<'a> {
    pub(crate) async fn connect(company: &'a Company, figures: &Figures, plan: &Plan) -> Self {
        let mut speakers = Vec::with_capacity(company.people.len());
        let mut listening = JoinSet::new();
        for (n, person) in company.people.iter().enumerate() {
            let tap = Tap::new(figures, n, person.id());
            let mut options =
                ClientOptions::new(person.urls.clone(), person.token.clone(), "two-nodes");
            options.cursors = company.cursors_of(n);
            options.tap = Some(tap.clone());
            options.seed = Some(plan.client_seeds[n]);
            let (client, events) = Client::connect(options).expect("a client can be made");
            let told = Told::new(figures);
            listening.spawn(told.clone().listen(client.clone(), events));
            speakers.push(Arc::new(Speaker {
                name: person.user.username.clone(),
                user: person.id(),
                client,
                rests: person.rests().collect(),
                home: Plan::home(n),
                tap,
                told,
                figures: figures.clone(),
                commands: Mutex::default(),
            }));
        }
        for speaker in &speakers {
            assert!(
                speaker.client.wait_caught_up(PATIENCE).await,
                "{} connects",
                speaker.name
            );
        }
        Self {
            company,
            figures: figures.clone(),
            speakers,
            listening,
        }
    }

    /// Everybody does these steps; returns when every message has been acked.
    pub(crate) async fn run(&self, plan: &Plan, part: &Range<usize>) {
        let mut speaking = JoinSet::new();
        for (n, speaker) in self.speakers.iter().enumerate() {
            let steps: Vec<(Uuid, Step)> = plan
                .steps_of(n, part)
                .iter()
                .map(|step| {
                    (
                        self.company.conversations[step.conversation].id,
                        step.clone(),
                    )
                })
                .collect();
            speaking.spawn(speak(Arc::clone(speaker), steps));
        }
        let spoken = tokio::time::timeout(PART_PATIENCE, async {
            while let Some(ended) = speaking.join_next().await {
                ended.expect("a speaker does not panic");
            }
        });
        assert!(
            spoken.await.is_ok(),
            "not every message was answered; {:?}",
            self.figures
        );
    }

    /// Waits until every client was told the head of each of its conversations.
    pub(crate) async fn everything_is_delivered(&self) {
        for conversation in &self.company.conversations {
            let speaker = &self.speakers[conversation.people[0]];
            // One of the two nodes may be dead.
            let head = eventually_some(PATIENCE, "a node that can be read", async || {
                for rest in &speaker.rests {
                    if let Ok(summary) = rest.conversation(conversation.id).await {
                        return Some(summary.head_seq);
                    }
                }
                None
            })
            .await;
            for person in &conversation.people {
                let speaker = &self.speakers[*person];
                let what = format!("{} to be told {head} of {}", speaker.name, conversation.id);
                eventually(PATIENCE, &what, async || {
                    speaker.told.last_seq(conversation.id) >= head
                })
                .await;
            }
        }
    }

    /// Ends all clients and hands over what they have written down.
    pub(crate) async fn end(mut self) -> History {
        for speaker in &self.speakers {
            speaker.client.close().await;
        }
        while let Some(ended) = self.listening.join_next().await {
            ended.expect("a listener does not panic");
        }
        let mut history = History::default();
        for (n, speaker) in self.speakers.iter().enumerate() {
            let seen = speaker.tap.seen();
            let mut acks = seen.acks();
            for command in speaker.commands.lock().expect("nobody panicked").iter() {
                // What the library told came over the socket too; answers over REST did not.
                let acks = acks.remove(&command.id).unwrap_or_default();
                command.write(speaker, acks, &mut history);
            }
            assert!(
                acks.is_empty(),
                "{} got acks for what it did not send: {acks:?}",
                speaker.name
            );
            history.sockets.extend(seen.sockets.into_values());
            history.frames.extend(seen.frames);
            for conversation in self.company.conversations_of(n) {
                let subscription =
                    u64::try_from(history.subscriptions.len()).expect("a small number");
                history.push(Subscription {
                    subscription,
                    user: speaker.user,
                    conversation,
                    after: Some(0),
                    is_complete: true,
                });
                let told = speaker.told.deliveries(subscription, conversation);
                history.deliveries.extend(told);
            }
        }
        history
    }
}

/// A message that somebody asked to be stored.
struct Command {
    id: Uuid,
    conversation: Uuid,
    body: String,
    asked_at: Time,
}

impl Command {
    /// An attempt for every ack, or an open one. Which attempt of the library an ack answered is not known here.
    fn write(&self, speaker: &Speaker, acks: Vec<(Place, Time)>, history: &mut History) {
        let attempt = |ended_at, outcome| Operation {
            command: self.id,
            conversation: self.conversation,
            user: speaker.user,
            kind: OperationKind::Send,
            body: Some(Digest::of(&self.body)),
            node: u32::try_from(speaker.home).expect("a small number"),
            socket: None,
            invoked_at: self.asked_at,
            ended_at,
            outcome,
            depends_on: None,
        };
        if acks.is_empty() {
            history.push(attempt(speaker.figures.now(), Outcome::Open));
        }
        for (place, at) in acks {
            history.push(attempt(at, Outcome::Acked(place)));
        }
    }
}

/// Does all steps, some messages on their way at once.
async fn speak(speaker: Arc<Speaker>, steps: Vec<(Uuid, Step)>) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut under_way = JoinSet::new();
    let mut node = speaker.home;
    for (conversation, step) in steps {
        let place = Arc::clone(&window)
            .acquire_owned()
            .await
            .expect("the window stays open");
        let moves = step.moves;
        let saying = Saying::begin(&speaker, conversation, step).await;
        under_way.spawn(async move {
            saying.end().await;
            drop(place);
        });
        if moves {
            // Base addresses begin with the home node.
            node = 1 - node;
            speaker
                .client
                .force_reconnect(usize::from(node != speaker.home))
                .await;
            speaker.figures.moved();
        }
    }
    while let Some(ended) = under_way.join_next().await {
        ended.expect("a message ends without a panic");
    }
}

/// One message on its way.
struct Saying {
    speaker: Arc<Speaker>,
    id: Uuid,
    conversation: Uuid,
    asked_at: u64,
    step: Step,
    receipt: hubbub_client::SendReceipt,
}

impl Saying {
    /// Hands the message to the client, in its order, and once more if it is to be sent twice at once.
    async fn begin(speaker: &Arc<Speaker>, conversation: Uuid, step: Step) -> Self {
        let (id, asked_at) = (fresh_uuid(), speaker.figures.now());
        let command = Command {
            id,
            conversation,
            body: step.body.clone(),
            asked_at,
        };
        speaker
            .commands
            .lock()
            .expect("nobody panicked")
            .push(command);
        let send = async |retry| {
            speaker
                .client
                .send_with_id(id, conversation, step.body.clone(), retry)
                .await
        };
        let receipt = send(false).await.expect("the client runs");
        if step.twice == Some(Twice::AtOnce) {
            speaker.figures.twice();
            let _settles_with_the_first = send(true).await.expect("the client runs");
        }
        Self {
            speaker: Arc::clone(speaker),
            id,
            conversation,
            asked_at,
            step,
            receipt,
        }
    }

    /// Waits for the ack, sends again what was refused for now, and once more on purpose if it is to be sent twice.
    async fn end(self) {
        let Self {
            speaker,
            id,
            conversation,
            asked_at,
            step,
            mut receipt,
        } = self;
        let ack = loop {
            match receipt.await {
                Ok(ack) => break ack,
                Err(SendError::Refused(refusal)) if refusal.code.class() == ErrorClass::Later => {
                    if refusal.maybe_stored {
                        speaker.figures.unknown();
                    } else {
                        speaker.figures.later();
                    }
                    let wait = refusal.retry_after_ms.unwrap_or(AGAIN_AFTER_MS);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                Err(error) => panic!("{} could not say {:?}: {error}", speaker.name, step.body),
            }
            let again = speaker
                .client
                .send_with_id(id, conversation, step.body.clone(), true)
                .await;
            receipt = again.expect("the client runs");
        };
        speaker.figures.acked(conversation, asked_at);
        match step.twice {
            None | Some(Twice::AtOnce) => {}
            Some(Twice::AfterTheAck) => {
                speaker.figures.twice();
                let again = speaker
                    .client
                    .send_with_id(id, conversation, step.body.clone(), true)
                    .await;
                speaker.again_settled(again.expect("the client runs").await, &ack);
            }
            Some(Twice::OverRest) => {
                speaker.figures.twice();
                speaker
                    .again_over_rest(id, conversation, &step.body, ack.seq)
                    .await;
            }
        }
    }
}

impl Speaker {
    /// A repetition on the connection ends like the first, or is refused for now while ownership moves.
    fn again_settled(
        &self,
        again: Result<hubbub_wire::client::outbound::Ack, SendError>,
        first: &hubbub_wire::client::outbound::Ack,
    ) {
        match again {
            Ok(ack) => {
                assert!(ack.duplicate, "{ack:?} was stored before");
                assert_eq!(
                    (ack.seq, ack.epoch, ack.at),
                    (first.seq, first.epoch, first.at)
                );
            }
            Err(SendError::Refused(refusal)) if refusal.code.class() == ErrorClass::Later => {
                self.figures.later();
            }
            Err(error) => panic!("{} was stored before: {error}", first.id),
        }
    }

    /// A repetition over REST gets the same place from any node that answers.
    async fn again_over_rest(&self, id: Uuid, conversation: Uuid, body: &str, seq: u64) {
        for rest in &self.rests {
            match rest
                .send_message(conversation, &message(body), Some(id))
                .await
            {
                Ok(stored) => assert_eq!(stored.seq, seq, "{id} was stored before"),
                // The node that is dead, or ownership that moves.
                Err(error) => match error.problem() {
                    Some(problem) => assert!(
                        matches!(problem.code.class(), ErrorClass::Later | ErrorClass::Open),
                        "{id} was stored before: {problem:?}"
                    ),
                    None => self.figures.unknown(),
                },
            }
        }
    }
}
