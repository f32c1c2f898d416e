//! The subject map as types: built and parsed here and nowhere else. The reasons are in `nats/subjects.md`.

use std::fmt;
use std::str::FromStr;

use hubbub_domain::ids::Incarnation;
use hubbub_domain::position::PartitionId;

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Subject {
    /// `hub.ev.<partition>`: committed events.
    Events(PartitionId),
    /// `hub.eph.<partition>`: typing, markers.
    Ephemeral(PartitionId),
    /// `hub.head`: where partitions stand, once a second.
    Heads,
    /// `hub.user`: an account changed.
    User,
    /// `hub.own`: partitions handed over or taken; hints.
    Ownership,
    /// `hub.cmd.<incarnation>`: a command for its owner; answered.
    Command(Incarnation),
    /// `hub.range.<incarnation>`: a range of events from the owner's ring; answered.
    Range(Incarnation),
}

/// What to listen to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SubjectPattern {
    /// One subject.
    One(Subject),
    /// `hub.ev.*`.
    AllEvents,
    /// `hub.eph.*`.
    AllEphemeral,
}

/// A text that is no subject of ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a subject of the bus: {0:?}")]
pub struct UnknownSubject(String);

// === impl Subject ===

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Events(partition) => write!(f, "hub.ev.{partition}"),
            Self::Ephemeral(partition) => write!(f, "hub.eph.{partition}"),
            Self::Heads => f.write_str("hub.head"),
            Self::User => f.write_str("hub.user"),
            Self::Ownership => f.write_str("hub.own"),
            Self::Command(incarnation) => write!(f, "hub.cmd.{incarnation}"),
            Self::Range(incarnation) => write!(f, "hub.range.{incarnation}"),
        }
    }
}

impl FromStr for Subject {
    type Err = UnknownSubject;

    /// Strict: only the text that [`Display`](fmt::Display) writes, so that one subject has one spelling.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownSubject(text.to_owned());
        let rest = text.strip_prefix("hub.").ok_or_else(unknown)?;
        let subject = match rest.split_once('.') {
            None if rest == "head" => Self::Heads,
            None if rest == "user" => Self::User,
            None if rest == "own" => Self::Ownership,
            Some(("ev", number)) => Self::Events(partition(number).ok_or_else(unknown)?),
            Some(("eph", number)) => Self::Ephemeral(partition(number).ok_or_else(unknown)?),
            Some(("cmd", id)) => Self::Command(incarnation(id).ok_or_else(unknown)?),
            Some(("range", id)) => Self::Range(incarnation(id).ok_or_else(unknown)?),
            _ => return Err(unknown()),
        };
        // The parsers of numbers and ids take more than one spelling ("+7", "007", upper case, braces).
        if subject.to_string() == text {
            Ok(subject)
        } else {
            Err(unknown())
        }
    }
}

fn partition(number: &str) -> Option<PartitionId> {
    number.parse().ok().map(PartitionId::new)
}

fn incarnation(id: &str) -> Option<Incarnation> {
    id.parse().ok()
}

// === impl SubjectPattern ===

impl SubjectPattern {
    /// Whether a message sent to `subject` is heard.
    pub fn matches(self, subject: Subject) -> bool {
        match self {
            Self::One(one) => one == subject,
            Self::AllEvents => matches!(subject, Subject::Events(_)),
            Self::AllEphemeral => matches!(subject, Subject::Ephemeral(_)),
        }
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(subject) => fmt::Display::fmt(subject, f),
            Self::AllEvents => f.write_str("hub.ev.*"),
            Self::AllEphemeral => f.write_str("hub.eph.*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn everything() -> Vec<(Subject, &'static str)> {
        let life =
            Incarnation::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00ab));
        vec![
            (Subject::Events(PartitionId::new(0)), "hub.ev.0"),
            (Subject::Ephemeral(PartitionId::new(1023)), "hub.eph.1023"),
            (Subject::Heads, "hub.head"),
            (Subject::User, "hub.user"),
            (Subject::Ownership, "hub.own"),
            (
                Subject::Command(life),
                "hub.cmd.01900000-0000-7000-8000-0000000000ab",
            ),
            (
                Subject::Range(life),
                "hub.range.01900000-0000-7000-8000-0000000000ab",
            ),
        ]
    }

    #[test]
    fn every_subject_is_written_as_mapped_and_read_back() {
        for (subject, text) in everything() {
            assert_eq!(subject.to_string(), text);
            assert_eq!(text.parse(), Ok(subject));
        }
    }

    #[test]
    fn another_spelling_of_a_subject_is_not_a_subject() {
        for text in [
            "",
            "hub",
            "hub.",
            "hub.ev",
            "hub.ev.",
            "hub.ev.+7",
            "hub.ev.07",
            "hub.ev.65536",
            "hub.ev.-1",
            "hub.ev.1.2",
            "hub.ev.*",
            "hub.head.1",
            "hub.user ",
            "hub.own.1",
            "HUB.head",
            "hub.cmd.01900000000070008000000000000000",
            "hub.cmd.01900000-0000-7000-8000-0000000000AB",
            "hub.cmd.{01900000-0000-7000-8000-0000000000ab}",
            "hub.range.x",
            "other.ev.1",
        ] {
            assert_eq!(
                text.parse::<Subject>(),
                Err(UnknownSubject(text.to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn a_pattern_hears_its_own_kind_and_nothing_else() {
        for (subject, _) in everything() {
            assert!(SubjectPattern::One(subject).matches(subject));
            assert_eq!(
                SubjectPattern::AllEvents.matches(subject),
                matches!(subject, Subject::Events(_))
            );
            assert_eq!(
                SubjectPattern::AllEphemeral.matches(subject),
                matches!(subject, Subject::Ephemeral(_))
            );
        }
        assert_eq!(SubjectPattern::AllEvents.to_string(), "hub.ev.*");
        assert_eq!(SubjectPattern::AllEphemeral.to_string(), "hub.eph.*");
        assert!(
            !SubjectPattern::One(Subject::Heads).matches(Subject::User),
            "one subject is one subject"
        );
    }
}
