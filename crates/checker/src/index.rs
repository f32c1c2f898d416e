//! A history in the order in which the invariants ask for it, built once.

use crate::history::History;

/// A history and ways into it.
pub(crate) struct Index<'a> {
    pub(crate) history: &'a History,
}

impl<'a> Index<'a> {
    pub(crate) const fn of(history: &'a History) -> Self {
        Self { history }
    }
}
