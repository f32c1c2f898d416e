//! The people and conversations of a run, made on the cluster.

use hubbub_wire::client::Cursor;
use uuid::Uuid;

use crate::harness::deployment::Deployment;
use crate::harness::person::Person;
use crate::plan::{Circle, PEOPLE, Plan};

/// Everybody, and where they talk.
pub(crate) struct Company {
    pub(crate) people: Vec<Person>,
    pub(crate) conversations: Vec<Conversation>,
}

/// One conversation and who is in it.
pub(crate) struct Conversation {
    pub(crate) id: Uuid,
    /// Indices of people.
    pub(crate) people: Vec<usize>,
}

impl Company {
    pub(crate) async fn gather(cluster: &Deployment, plan: &Plan) -> Self {
        let mut people = Vec::with_capacity(PEOPLE);
        for n in 0..PEOPLE {
            people.push(Person::register(cluster, &format!("p{n}"), Plan::home(n)).await);
        }
        let mut conversations = Vec::with_capacity(plan.circles.len());
        for (n, circle) in plan.circles.iter().enumerate() {
            let members = circle.people();
            let maker = &people[members[0]];
            let id = match circle {
                Circle::Two(_one, other) => maker.direct(&people[*other]).await,
                Circle::Everybody | Circle::Group(_) => {
                    let others: Vec<&Person> = members
                        .iter()
                        .skip(1)
                        .map(|other| &people[*other])
                        .collect();
                    maker.group(&format!("circle {n}"), &others).await
                }
            };
            conversations.push(Conversation {
                id,
                people: members,
            });
        }
        Self {
            people,
            conversations,
        }
    }

    /// The conversations of one person.
    pub(crate) fn conversations_of(&self, person: usize) -> impl Iterator<Item = Uuid> {
        self.conversations
            .iter()
            .filter(move |conversation| conversation.people.contains(&person))
            .map(|conversation| conversation.id)
    }

    /// Cursors before the first event of each of a person's conversations: nothing may be missed.
    pub(crate) fn cursors_of(&self, person: usize) -> Vec<Cursor> {
        self.conversations_of(person)
            .map(|id| Cursor::from((id, 0, 0)))
            .collect()
    }
}
