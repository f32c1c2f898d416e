//! Query strings from the query types of the wire.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// `?a=1&b=two`, or nothing when every field is absent.
pub(super) fn of<T: Serialize>(query: &T) -> String {
    let mut text = String::new();
    // Query types are flat structs of texts and numbers; anything else would not be a query.
    let Ok(Value::Object(fields)) = serde_json::to_value(query) else {
        return text;
    };
    for (name, value) in &fields {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        match value {
            Value::String(value) => encode(value, &mut text),
            other => encode(&other.to_string(), &mut text),
        }
    }
    text
}

/// Percent-encoding of everything but the unreserved characters (RFC 3986 §2.3).
fn encode(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use hubbub_wire::rest::{MessagesQuery, SearchQuery};
    use hubbub_wire::time::Rfc3339;

    use super::*;

    #[test]
    fn absent_fields_leave_no_trace() {
        assert_eq!(of(&MessagesQuery::default()), "");
        let page = MessagesQuery {
            before_no: Some(7),
            limit: Some(20),
            ..MessagesQuery::default()
        };
        assert_eq!(of(&page), "?before_no=7&limit=20");
    }

    #[test]
    fn what_means_something_in_a_url_is_encoded() {
        let search = SearchQuery {
            query: Some("a&b=ü c+%".into()),
            ..SearchQuery::default()
        };
        assert_eq!(of(&search), "?query=a%26b%3D%C3%BC%20c%2B%25");
        let at = MessagesQuery {
            at: Some(Rfc3339::from_millis(0)),
            ..MessagesQuery::default()
        };
        assert_eq!(of(&at), "?at=1970-01-01T00%3A00%3A00.000Z");
    }
}
