//! Missing events by REST, in the machine's words.

use hubbub_wire::client::RawEvent;
use hubbub_wire::error::ErrorClass;
use hubbub_wire::rest::List;
use uuid::Uuid;

use crate::machine::input::{FetchFailure, FetchedPage};
use crate::rest::{Rest, RestError};

/// `GET …/events` at that node.
pub(super) async fn page(
    rest: Option<Rest>,
    conversation: Uuid,
    from_seq: u64,
    limit: u32,
) -> Result<FetchedPage, FetchFailure> {
    let Some(rest) = rest else {
        return Err(FetchFailure::Later {
            retry_after_ms: None,
        });
    };
    read(rest.events(conversation, from_seq, Some(limit)).await)
}

fn read(answer: Result<List<RawEvent>, RestError>) -> Result<FetchedPage, FetchFailure> {
    match answer {
        Ok(list) => Ok(FetchedPage {
            is_last: list.next_cursor.is_none(),
            events: list.items,
        }),
        Err(error) => {
            tracing::debug!(%error, "client.events.fetch failed");
            let problem = error.problem();
            let is_gone = problem.is_some_and(|problem| {
                problem.code.class() == ErrorClass::NotYours && problem.status != 401
            });
            if is_gone {
                return Err(FetchFailure::Gone);
            }
            Err(FetchFailure::Later {
                retry_after_ms: problem.and_then(|problem| problem.retry_after_ms),
            })
        }
    }
}
