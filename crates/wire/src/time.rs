//! Time as clients see it: RFC 3339 in UTC with milliseconds, `2026-11-20T20:15:30.123Z`.
//!
//! Never: a clock.

use std::fmt;

use hubbub_domain::time::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use ts_rs::TS;

/// Always three digits of a second, so that times sort as text.
static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A time, RFC 3339 in UTC with milliseconds: `2026-11-20T20:15:30.123Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TS)]
#[ts(type = "string")]
pub struct Rfc3339(pub Timestamp);

impl Rfc3339 {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(Timestamp::from_millis(millis))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0.millis()
    }
}

impl From<Timestamp> for Rfc3339 {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl fmt::Display for Rfc3339 {
    /// Times outside the years ±9999 are written as the nearest one inside: a wrong row must not break a whole answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.millis();
        let nearest = if millis < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(nearest);
        f.write_str(&PRINTER.timestamp_to_string(&at))
    }
}

impl std::str::FromStr for Rfc3339 {
    type Err = jiff::Error;

    /// Any offset is understood; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at: jiff::Timestamp = text.parse()?;
        Ok(Self::from_millis(at.as_millisecond()))
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rfc3339 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = Rfc3339;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Rfc3339, E> {
        text.parse()
            .map_err(|_not_a_time: jiff::Error| E::custom("expected an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_exactly_three_digits() {
        assert_eq!(
            Rfc3339::from_millis(0).to_string(),
            "1970-01-01T00:00:00.000Z"
        );
        assert_eq!(
            Rfc3339::from_millis(1_795_205_730_120).to_string(),
            "2026-11-20T20:15:30.120Z"
        );
    }

    #[test]
    fn times_with_an_offset_or_finer_digits_are_read() {
        let read: Rfc3339 = serde_json::from_str("\"2026-11-20T21:15:30.1209+01:00\"").unwrap();
        assert_eq!(read.millis(), 1_795_205_730_120);
        assert!(serde_json::from_str::<Rfc3339>("\"yesterday\"").is_err());
        assert!(serde_json::from_str::<Rfc3339>("1795205730120").is_err());
    }

    #[test]
    fn an_absurd_time_is_written_as_the_nearest_possible_one() {
        assert!(
            Rfc3339::from_millis(i64::MAX)
                .to_string()
                .starts_with("9999-12-")
        );
        assert!(
            Rfc3339::from_millis(i64::MIN)
                .to_string()
                .starts_with("-009999-")
        );
    }
}
