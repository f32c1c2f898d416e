//! Rebuilt tables answer like those that were projected live, in many small batches, by projectors that came and went (I14).

use std::sync::Arc;

use hubbub_domain::conversation::{Intent, Kind, Role};
use hubbub_domain::ids::ConversationId;
use hubbub_domain::position::MessageNo;
use hubbub_projections::{Anchor, Projection, Projections, ReadModels, Reader};

use crate::world::{PARTITIONS, World, new_conversation, user};

/// People of the script.
const PEOPLE: u8 = 4;

/// Everybody's answers in these conversations, in words.
async fn answers(reader: &Reader, conversations: &[ConversationId]) -> Vec<String> {
    let mut said = Vec::new();
    for person in (0..PEOPLE).map(user) {
        said.push(format!("{:?}", reader.inbox(person, None, 200).await));
        said.push(format!("{:?}", reader.rooms(person, "", None, 200).await));
        for conversation in conversations {
            let members = reader.members(*conversation, person, None, 200).await;
            let history = reader
                .history(*conversation, person, Anchor::Newest, 200)
                .await;
            said.push(format!("{members:?} {history:?}"));
        }
    }
    said
}

/// Plays a script of people who talk, read, leave and come back, with the projectors behind, between and restarted; then `rebuilt`, which
/// reads the same log into empty tables, must say the same.
pub(crate) async fn equals_live(mut world: World, rebuilt: Projections) {
    let group = world
        .create(user(0), new_conversation(Kind::Group, &[user(1), user(2)]))
        .await;
    let room = world
        .create(user(1), new_conversation(Kind::Room, &[user(0)]))
        .await;
    let conversations = [group, room];
    for round in 0..12_u8 {
        let (one, other) = (user(round % PEOPLE), user((round + 1) % PEOPLE));
        for conversation in conversations {
            world
                .say(conversation, one, &format!("round {round}"))
                .await;
            let added = Intent::AddMember {
                user: other,
                role: Role::Member,
            };
            let removed = Intent::RemoveMember { user: other };
            let intent = if round % 3 == 0 { removed } else { added };
            world.submit(conversation, user(0), intent).await;
            world
                .submit(
                    room,
                    user(3),
                    if round % 2 == 0 {
                        Intent::Join
                    } else {
                        Intent::Leave
                    },
                )
                .await;
            let head = world.states[&conversation].last_message_no();
            if world.states[&conversation].is_member(other) {
                let read = MessageNo::new(head.get() / 2);
                world.mark(conversation, other, read).await;
            }
        }
        // A new projector each time, as after a restart; the two projections are seldom equally far.
        match round % 4 {
            0 => world.projector(Projection::Inbox).catch_up().await.unwrap(),
            2 => world
                .projector(Projection::History)
                .catch_up()
                .await
                .unwrap(),
            _ => {}
        }
    }
    let behind = answers(&world.reader(), &conversations).await;
    world.catch_up().await;
    let live = answers(&world.reader(), &conversations).await;
    assert_eq!(behind, live, "where the projectors stand changes no answer");

    let all = || Arc::new(|| PARTITIONS.all().collect());
    let unbuilt = answers(&rebuilt.reader(), &conversations).await;
    assert_eq!(unbuilt, live, "from the log alone");
    for projection in [Projection::Inbox, Projection::History] {
        rebuilt
            .projector(projection, all())
            .catch_up()
            .await
            .unwrap();
        let halfway = answers(&rebuilt.reader(), &conversations).await;
        assert_eq!(halfway, live, "with {}", projection.name());
    }
}
