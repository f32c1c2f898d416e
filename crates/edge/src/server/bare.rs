//! Answers that the HTTP library gives by itself, in our words.
//!
//! A request that cannot be parsed never reaches a handler: the library answers it with a bare status line and closes. Here such an
//! answer is recognised on its way out and replaced by a problem document with the headers that every answer has.

use axum::http::StatusCode;
use hubbub_wire::error::{PROBLEM_MEDIA_TYPE, Problem};

use crate::error::Refusal;
use crate::gates;
use crate::http::HEADERS;
use crate::ids;

/// How the library's own refusals begin.
const REFUSAL: &[u8] = b"HTTP/1.1 4";
/// All our answers have this header; the library's have not.
const OURS: &[u8] = b"content-security-policy";
/// Where a body begins.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// The answer to send instead of these bytes, when they are a refusal by the library itself.
pub(crate) fn replacement(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.starts_with(REFUSAL) {
        return None;
    }
    let end = find(bytes, END_OF_HEAD).unwrap_or(bytes.len());
    let head = bytes.get(..end)?;
    if find(head, OURS).is_some() {
        return None;
    }
    let status = std::str::from_utf8(head.get(9..12)?).ok()?.parse().ok()?;
    Some(answer(status))
}

fn answer(status: u16) -> Vec<u8> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let detail = match status {
        StatusCode::URI_TOO_LONG => "the path is too long",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the head of the request is too large",
        _ => "this is not a request of HTTP/1.1",
    };
    write_out(status, Refusal::unreadable(detail))
}

/// For someone who finds no place, before anything was read.
pub(crate) fn busy() -> Vec<u8> {
    write_out(StatusCode::SERVICE_UNAVAILABLE, gates::busy())
}

fn write_out(status: StatusCode, refusal: Refusal) -> Vec<u8> {
    let request_id = ids::random().simple().to_string();
    let mut problem = Problem::new(refusal.code, refusal.detail, request_id);
    problem.status = status.as_u16();
    problem.retry_after_ms = refusal.retry_after_ms;
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {}\r\n\
         connection: close\r\ncache-control: no-store\r\n",
        body.len()
    );
    if let Some(millis) = refusal.retry_after_ms {
        let seconds = millis.div_ceil(1_000).max(1);
        answer.push_str("retry-after: ");
        answer.push_str(&seconds.to_string());
        answer.push_str("\r\n");
    }
    for (name, value) in &HEADERS {
        answer.push_str(name.as_str());
        answer.push_str(": ");
        answer.push_str(value.to_str().unwrap_or_default());
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let mut bytes = answer.into_bytes();
    bytes.extend(body);
    bytes
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes
        .windows(what.len())
        .position(|window| window.eq_ignore_ascii_case(what))
}

#[cfg(test)]
mod tests {
    use hubbub_wire::error::ErrorCode;

    use super::*;

    #[test]
    fn a_bare_refusal_is_replaced_and_nothing_else_is() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        let text = String::from_utf8(replacement(bare).unwrap()).unwrap();
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
        assert!(text.contains("content-security-policy: default-src 'self'"));
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let problem: Problem = serde_json::from_str(body).unwrap();
        assert_eq!((problem.status, problem.code), (431, ErrorCode::Invalid));
        assert_eq!(replacement(&replacement(bare).unwrap()), None);
        assert_eq!(replacement(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400"), None);
        assert_eq!(replacement(b"\x81\x05hello"), None);
    }
}
