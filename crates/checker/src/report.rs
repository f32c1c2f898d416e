//! What a judgement says, and how it is shown.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

/// Violations that are kept with their words, for each invariant; the rest is counted.
pub const VIOLATIONS_KEPT_MAX: usize = 100;
/// Violations of each invariant that [`Report::worst`] shows.
const SHOWN: usize = 5;

macro_rules! invariants {
    ($($(#[$doc:meta])* $Variant:ident = $words:literal),+ $(,)?) => {
        /// What must always be true (RELIABILITY.md).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
        pub enum Invariant {
            $(#[doc = $words] $Variant,)+
        }

        impl Invariant {
            /// All of them, in order.
            pub const ALL: [Self; 18] = [$(Self::$Variant,)+];

            /// What it says.
            pub const fn words(self) -> &'static str {
                match self {
                    $(Self::$Variant => $words,)+
                }
            }
        }
    };
}

invariants! {
    I1 = "acked ⇒ in the log exactly once",
    I2 = "in the log ⇒ was sent; a definite failure ⇒ not in the log",
    I3 = "one command id ⇒ at most one event; all acks name the same seq",
    I4 = "offsets of a partition and seqs of a conversation are 1..n without hole; offset order = seq order",
    I5 = "every (conversation, seq) seen by anyone is the same event",
    I6 = "per subscription seqs rise by exactly one: no duplicate, skip or reorder",
    I7 = "ok(a) before invoke(b) ⇒ seq(a) < seq(b); same for two sends pipelined on one socket",
    I8 = "reads see the reader's own acked writes; never go back in time, also across nodes",
    I9 = "resume delivers exactly the missing events, before live ones",
    I10 = "unread and mention counts equal a recount from the log; never negative",
    I11 = "nothing is delivered outside a member's visibility interval; ≤ 1 s after removal, then nothing",
    I12 = "epochs never fall along offsets, never repeat, no row of an older epoch after a newer one began",
    I13 = "the owner's state equals the fold of the log; snapshot + tail equals the fold from the start",
    I14 = "every read model equals the fold of the log; rebuild equals live",
    I15 = "a reply never depends on an event that is not in the log",
    I16 = "after healing: owned ≤ 10 s, commands succeed ≤ 15 s, every client at head ≤ 10 s",
    I17 = "every queue within its bound; memory per socket within its budget",
    I18 = "every golden byte vector of every released event version decodes and upcasts",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One thing that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Violation {
    /// What is broken.
    pub invariant: Invariant,
    /// How, with ids and places.
    pub words: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.words)
    }
}

/// What proves that a run has tested something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Partitions taken over while an append of the old owner was on its way.
    TakeoversInFlight,
    /// Appends refused because of their epoch.
    FencedAppends,
    /// Commits of which the lane did not know the outcome, and attempts of which the client did not.
    UnknownOutcomes,
    /// Gaps in the middle that an edge filled.
    HealedGaps,
    /// Lost last messages that an edge noticed.
    HealedLastMessages,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::TakeoversInFlight,
        Self::FencedAppends,
        Self::UnknownOutcomes,
        Self::HealedGaps,
        Self::HealedLastMessages,
    ];
}

/// The judgement of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// The first violations of each invariant, in the order of the invariants.
    pub violations: Vec<Violation>,
    /// How often each invariant was violated, those included that were not kept.
    pub violated: BTreeMap<Invariant, u64>,
    /// How many things each invariant has looked at. Nothing looked at is nothing proved.
    pub examined: BTreeMap<Invariant, u64>,
    /// What really happened.
    pub counters: BTreeMap<Counter, u64>,
    /// Required counters that are zero: the run is void.
    pub missing: Vec<Counter>,
}

impl Report {
    /// No invariant is violated.
    pub fn is_clean(&self) -> bool {
        self.violated.is_empty()
    }

    /// A required counter is zero: the run has not tested what it was made for.
    pub const fn is_void(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Nothing is violated and the run is not void.
    pub fn passes(&self) -> bool {
        self.is_clean() && !self.is_void()
    }

    /// How often an invariant was violated.
    pub fn count(&self, invariant: Invariant) -> u64 {
        self.violated.get(&invariant).copied().unwrap_or(0)
    }

    /// The invariants that are violated, in order.
    pub fn broken(&self) -> Vec<Invariant> {
        self.violated.keys().copied().collect()
    }

    /// The first few violations of each broken invariant, and what the run is void for: text for people.
    pub fn worst(&self) -> String {
        let mut text = String::new();
        for (invariant, count) in &self.violated {
            let _infallible = writeln!(text, "{invariant} ({}): {count}", invariant.words());
            let of_it = self
                .violations
                .iter()
                .filter(|violation| violation.invariant == *invariant);
            for violation in of_it.take(SHOWN) {
                let _infallible = writeln!(text, "    {}", violation.words);
            }
        }
        for counter in &self.missing {
            let _infallible = writeln!(text, "void: it never happened: {counter:?}");
        }
        text
    }
}

/// Where an invariant writes what it finds.
#[derive(Debug)]
pub(crate) struct Findings {
    invariant: Invariant,
    examined: u64,
    count: u64,
    kept: Vec<Violation>,
}

impl Findings {
    pub(crate) const fn of(invariant: Invariant) -> Self {
        Self {
            invariant,
            examined: 0,
            count: 0,
            kept: Vec::new(),
        }
    }

    /// One more thing was looked at.
    pub(crate) const fn looked(&mut self) {
        self.examined += 1;
    }

    /// Something is broken. The words are made only if they are kept.
    pub(crate) fn found(&mut self, words: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < VIOLATIONS_KEPT_MAX {
            self.kept.push(Violation {
                invariant: self.invariant,
                words: words(),
            });
        }
    }

    /// Looks at one thing that must be so.
    pub(crate) fn must(&mut self, holds: bool, words: impl FnOnce() -> String) {
        self.looked();
        if !holds {
            self.found(words);
        }
    }
}

impl Report {
    pub(crate) fn take(&mut self, findings: Findings) {
        self.examined.insert(findings.invariant, findings.examined);
        if findings.count > 0 {
            self.violated.insert(findings.invariant, findings.count);
        }
        self.violations.extend(findings.kept);
    }
}
