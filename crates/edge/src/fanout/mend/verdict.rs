//! What becomes of one member of a conversation that has lost events. Pure.

/// What the sockets of a person have to be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing: they had no part in it, before and after.
    Untouched,
    /// A reset, and what the log holds from there on.
    Reset,
    /// `removed`: what made them a member never happened.
    TakenOut,
    /// `added`: what made them leave never happened.
    ComesBack,
}

/// Judges a person by whether they were a member after the lost events, and whether they are one by what is left.
///
/// `None`: nobody can tell. Then they are asked as at a resume, which says not a word to whoever has no part in the conversation. Who is
/// known not to have had a part, or may never have had one, is not told that the conversation exists.
pub(crate) fn verdict(had: Option<bool>, has: Option<bool>) -> Verdict {
    match (had, has) {
        (Some(true), Some(false)) => Verdict::TakenOut,
        (Some(false), Some(true)) => Verdict::ComesBack,
        (Some(false), Some(false) | None) | (None, Some(false)) => Verdict::Untouched,
        (Some(true) | None, Some(true) | None) => Verdict::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lost_their_place_or_got_it_back_hears_of_it_and_strangers_hear_nothing() {
        assert_eq!(verdict(Some(true), Some(true)), Verdict::Reset);
        assert_eq!(verdict(Some(true), Some(false)), Verdict::TakenOut);
        assert_eq!(verdict(Some(false), Some(true)), Verdict::ComesBack);
        assert_eq!(verdict(Some(false), Some(false)), Verdict::Untouched);
    }

    #[test]
    fn where_nobody_can_tell_who_may_have_had_a_part_is_asked() {
        assert_eq!(verdict(None, Some(true)), Verdict::Reset);
        assert_eq!(verdict(None, Some(false)), Verdict::Untouched);
        assert_eq!(verdict(Some(true), None), Verdict::Reset);
        assert_eq!(verdict(Some(false), None), Verdict::Untouched);
        assert_eq!(verdict(None, None), Verdict::Reset);
    }
}
