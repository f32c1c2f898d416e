//! From an HTTP answer to a value or an error that says what to do.

use hubbub_wire::error::Problem;
use serde::de::DeserializeOwned;

/// Bytes of an answer at most: a page of 200 of the largest messages, four times over.
const ANSWER_BYTES_MAX: usize = 16 * 1_048_576;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The server says no, and why: branch on `code` and its class.
    #[error("refused: {}: {}", .0.code, .0.detail)]
    Refused(Box<Problem>),
    /// No answer came: what was asked may or may not have been done.
    #[error("reach the server")]
    Unreachable(#[source] reqwest::Error),
    /// An answer came that is not of this protocol.
    #[error("read the answer (status {status})")]
    Unreadable {
        /// HTTP status.
        status: u16,
        /// What is wrong with the body, when that was it.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The answer was larger than any page can be.
    #[error("answer larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// No HTTP client could be made.
    #[error("make an HTTP client")]
    Setup(#[source] reqwest::Error),
}

impl RestError {
    /// The server's word, when it said one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::Unreachable(_) | Self::Unreadable { .. } | Self::TooLarge | Self::Setup(_) => {
                None
            }
        }
    }

    /// HTTP status, when an answer came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            Self::Unreadable { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::TooLarge | Self::Setup(_) => None,
        }
    }
}

/// An answer with a body.
pub(super) async fn read<T: DeserializeOwned>(
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<T, RestError> {
    let (status, body) = body_of_success(sent).await?;
    serde_json::from_slice(&body).map_err(|error| RestError::Unreadable {
        status,
        source: Some(error),
    })
}

/// An answer whose body, if there is one, does not matter.
pub(super) async fn done(sent: Result<reqwest::Response, reqwest::Error>) -> Result<(), RestError> {
    body_of_success(sent).await.map(|_status_and_body| ())
}

async fn body_of_success(
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<(u16, Vec<u8>), RestError> {
    let mut response = sent.map_err(RestError::Unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(RestError::Unreachable)? {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            return Err(RestError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return Ok((status.as_u16(), body));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => Err(RestError::Refused(Box::new(problem))),
        Err(error) => Err(RestError::Unreadable {
            status: status.as_u16(),
            source: Some(error),
        }),
    }
}
