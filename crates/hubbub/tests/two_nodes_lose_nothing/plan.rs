//! What everybody will do, decided by the seed before anything runs.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// People at home on each of the two nodes.
const PEOPLE_PER_NODE: usize = 20;
/// All people.
pub(crate) const PEOPLE: usize = 2 * PEOPLE_PER_NODE;
/// Conversations: one with everybody, so many with two, the rest with a few.
pub(crate) const CONVERSATIONS: usize = 50;
const DIRECT: usize = PEOPLE_PER_NODE;
const SMALL_GROUP: Range<usize> = 3..13;
/// Messages that each person sends: 20,000 in all.
const MESSAGES_EACH: usize = 500;
/// Of these, so many after both nodes have been seen to own their share.
const MESSAGES_EACH_AROUND_THE_KILL: usize = 100;
/// Of a hundred messages so many go to everybody, and so many to one person; the rest to small groups.
const TO_EVERYBODY_PERCENT: u32 = 4;
const TO_ONE_PERCENT: u32 = 36;
/// Of a hundred messages so many are sent twice on purpose.
const TWICE_PERCENT: u32 = 5;
/// Of a thousand messages so many are followed by a move to the other node.
const MOVES_PER_MILLE: u32 = 10;

/// Who is in a conversation; indices of people, the first one makes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Circle {
    Everybody,
    Two(usize, usize),
    Group(Vec<usize>),
}

/// One thing that somebody does.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Index of the conversation.
    pub(crate) conversation: usize,
    pub(crate) body: String,
    pub(crate) twice: Option<Twice>,
    /// Afterwards, move to the other node.
    pub(crate) moves: bool,
}

/// How a message is sent a second time with the same id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Twice {
    /// At once, before any answer.
    AtOnce,
    /// After the ack, on the same connection.
    AfterTheAck,
    /// After the ack, over REST.
    OverRest,
}

/// The whole plan.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) circles: Vec<Circle>,
    /// What each person does, in order.
    steps: Vec<Vec<Step>>,
    /// For the waiting times of each person's client.
    pub(crate) client_seeds: Vec<u64>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let circles = circles(&mut rng);
        let steps = (0..PEOPLE)
            .map(|person| steps(person, &circles, &mut rng))
            .collect();
        let client_seeds = (0..PEOPLE).map(|_| rng.random()).collect();
        Self {
            circles,
            steps,
            client_seeds,
        }
    }

    /// The node at which this person is at home.
    pub(crate) const fn home(person: usize) -> usize {
        person / PEOPLE_PER_NODE
    }

    pub(crate) const fn messages() -> usize {
        PEOPLE * MESSAGES_EACH
    }

    /// The steps of the first part.
    pub(crate) const fn before_the_kill() -> Range<usize> {
        0..MESSAGES_EACH - MESSAGES_EACH_AROUND_THE_KILL
    }

    /// The steps of the second part.
    pub(crate) const fn around_the_kill() -> Range<usize> {
        MESSAGES_EACH - MESSAGES_EACH_AROUND_THE_KILL..MESSAGES_EACH
    }

    pub(crate) fn steps_of(&self, person: usize, part: &Range<usize>) -> &[Step] {
        &self.steps[person][part.clone()]
    }
}

impl Circle {
    pub(crate) fn people(&self) -> Vec<usize> {
        match self {
            Self::Everybody => (0..PEOPLE).collect(),
            Self::Two(one, other) => vec![*one, *other],
            Self::Group(people) => people.clone(),
        }
    }
}

fn circles(rng: &mut StdRng) -> Vec<Circle> {
    let mut circles = vec![Circle::Everybody];
    // Each direct conversation has its two people on two nodes.
    circles.extend((0..DIRECT).map(|one| Circle::Two(one, PEOPLE_PER_NODE + one)));
    while circles.len() < CONVERSATIONS {
        let mut people: Vec<usize> = (0..PEOPLE).collect();
        people.shuffle(rng);
        people.truncate(rng.random_range(SMALL_GROUP));
        circles.push(Circle::Group(people));
    }
    circles
}

fn steps(person: usize, circles: &[Circle], rng: &mut StdRng) -> Vec<Step> {
    let of = |wanted: fn(&Circle) -> bool| -> Vec<usize> {
        let all = circles.iter().enumerate();
        all.filter(|(_n, circle)| wanted(circle) && circle.people().contains(&person))
            .map(|(n, _circle)| n)
            .collect()
    };
    let everybody = of(|circle| matches!(circle, Circle::Everybody));
    let two = of(|circle| matches!(circle, Circle::Two(..)));
    let groups = of(|circle| matches!(circle, Circle::Group(_)));
    let mut steps = Vec::with_capacity(MESSAGES_EACH);
    for n in 0..MESSAGES_EACH {
        let choice = rng.random_range(0..100);
        let among = match choice {
            _ if choice < TO_EVERYBODY_PERCENT => &everybody,
            _ if choice < TO_EVERYBODY_PERCENT + TO_ONE_PERCENT || groups.is_empty() => &two,
            _ => &groups,
        };
        let twice =
            (rng.random_range(0..100) < TWICE_PERCENT).then(|| match rng.random_range(0..3) {
                0 => Twice::AtOnce,
                1 => Twice::AfterTheAck,
                _ => Twice::OverRest,
            });
        steps.push(Step {
            conversation: among[rng.random_range(0..among.len())],
            body: format!("person {person} says {n}, {}", rng.random::<u64>()),
            twice,
            moves: rng.random_range(0..1_000) < MOVES_PER_MILLE,
        });
    }
    steps
}
