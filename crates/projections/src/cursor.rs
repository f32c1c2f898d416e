//! Cursors of lists as text. Opaque to clients; one letter says which list, so that a cursor of another list is refused.

use hubbub_domain::ids::{ConversationId, UserId};
use hubbub_domain::time::Timestamp;
use uuid::Uuid;

use crate::port::QueryError;
use crate::store::{InboxPlace, RoomPlace};

pub(crate) fn of_inbox(place: InboxPlace) -> String {
    format!(
        "i.{}.{}",
        place.active_at.millis(),
        place.conversation.uuid().simple()
    )
}

pub(crate) fn inbox(text: &str) -> Result<InboxPlace, QueryError> {
    let (millis, id) = parts(text, "i.")?;
    let active_at = Timestamp::from_millis(
        millis
            .parse()
            .map_err(|_bad: std::num::ParseIntError| QueryError::BadCursor)?,
    );
    Ok(InboxPlace {
        active_at,
        conversation: ConversationId::from_uuid(uuid(id)?),
    })
}

pub(crate) fn of_room(place: RoomPlace) -> String {
    format!(
        "r.{}.{}",
        place.member_count,
        place.conversation.uuid().simple()
    )
}

pub(crate) fn room(text: &str) -> Result<RoomPlace, QueryError> {
    let (count, id) = parts(text, "r.")?;
    let member_count = count
        .parse()
        .map_err(|_bad: std::num::ParseIntError| QueryError::BadCursor)?;
    Ok(RoomPlace {
        member_count,
        conversation: ConversationId::from_uuid(uuid(id)?),
    })
}

pub(crate) fn of_member(user: UserId) -> String {
    format!("m.0.{}", user.uuid().simple())
}

pub(crate) fn member(text: &str) -> Result<UserId, QueryError> {
    let (_, id) = parts(text, "m.")?;
    Ok(UserId::from_uuid(uuid(id)?))
}

fn parts<'text>(text: &'text str, prefix: &str) -> Result<(&'text str, &'text str), QueryError> {
    text.strip_prefix(prefix)
        .and_then(|rest| rest.split_once('.'))
        .ok_or(QueryError::BadCursor)
}

fn uuid(text: &str) -> Result<Uuid, QueryError> {
    Uuid::try_parse(text).map_err(|_bad| QueryError::BadCursor)
}

#[cfg(test)]
mod tests {
    use super::{inbox, member, of_inbox, of_member, of_room, room};
    use crate::port::QueryError;
    use crate::store::{InboxPlace, RoomPlace};
    use hubbub_domain::ids::{ConversationId, UserId};
    use hubbub_domain::time::Timestamp;
    use uuid::Uuid;

    #[test]
    fn cursors_come_back_as_they_were() {
        let conversation = ConversationId::from_uuid(Uuid::from_u128(7));
        let place = InboxPlace {
            active_at: Timestamp::from_millis(-3),
            conversation,
        };
        assert_eq!(inbox(&of_inbox(place)).unwrap(), place);
        let place = RoomPlace {
            member_count: 12,
            conversation,
        };
        assert_eq!(room(&of_room(place)).unwrap(), place);
        let user = UserId::from_uuid(Uuid::from_u128(9));
        assert_eq!(member(&of_member(user)).unwrap(), user);
    }

    #[test]
    fn a_cursor_of_another_list_or_of_nobody_is_refused() {
        for text in [
            "",
            "i.",
            "i.x.y",
            "r.5",
            "m.0.zz",
            "i.1.00000000000000000000000000000007x",
        ] {
            assert!(matches!(inbox(text), Err(QueryError::BadCursor)), "{text}");
        }
        assert!(matches!(
            room(&of_member(UserId::from_uuid(Uuid::nil()))),
            Err(QueryError::BadCursor)
        ));
    }
}
