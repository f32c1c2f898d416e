//! What a run counts while it goes on: to be printed, and to know that it was worth its time.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hubbub_checker::{History, Outcome};
use tokio::sync::watch;
use uuid::Uuid;

/// Counters of one run; clones are handles to the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Figures(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    started: Instant,
    acked: watch::Sender<usize>,
    /// Attempts that ended without a definite answer.
    unknown: AtomicUsize,
    /// Attempts that were refused for now and made again.
    later: AtomicUsize,
    /// Messages sent twice on purpose.
    twice: AtomicUsize,
    /// Acks that said `duplicate`.
    duplicates: AtomicUsize,
    moves: AtomicUsize,
    resyncs: AtomicUsize,
    takeover: Mutex<Option<Takeover>>,
}

#[derive(Debug)]
struct Takeover {
    /// On the clock of [`Figures::now`].
    killed_at: u64,
    orphaned: BTreeSet<Uuid>,
    /// Time from the kill to the first ack, per orphaned conversation.
    first_ack: HashMap<Uuid, Duration>,
}

impl Default for Figures {
    fn default() -> Self {
        Self(Arc::new(Counters {
            started: Instant::now(),
            acked: watch::Sender::new(0),
            unknown: AtomicUsize::new(0),
            later: AtomicUsize::new(0),
            twice: AtomicUsize::new(0),
            duplicates: AtomicUsize::new(0),
            moves: AtomicUsize::new(0),
            resyncs: AtomicUsize::new(0),
            takeover: Mutex::new(None),
        }))
    }
}

impl Figures {
    /// Microseconds since the start: the clock of the run.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).expect("runs are short")
    }

    /// Says how far the run is.
    pub(crate) fn told(&self, what: &str) {
        let seconds = self.0.started.elapsed().as_secs_f64();
        println!("{seconds:6.1} s: {what}, {} acked", *self.0.acked.borrow());
    }

    /// A message was acked that was asked for at `asked_at`, on the clock of [`Self::now`].
    pub(crate) fn acked(&self, conversation: Uuid, asked_at: u64) {
        self.0.acked.send_modify(|acked| *acked += 1);
        let mut takeover = self.0.takeover.lock().expect("nobody panicked");
        // What was under way when the node died may have been stored before.
        if let Some(takeover) = takeover.as_mut()
            && takeover.killed_at < asked_at
            && takeover.orphaned.contains(&conversation)
        {
            let gap = self.now() - takeover.killed_at;
            takeover
                .first_ack
                .entry(conversation)
                .or_insert(Duration::from_micros(gap));
        }
    }

    pub(crate) async fn wait_for_acks(&self, count: usize) {
        let mut acked = self.0.acked.subscribe();
        let _reached = acked
            .wait_for(|acked| *acked >= count)
            .await
            .expect("the sender is ours");
    }

    /// The owner of these conversations was killed just now.
    pub(crate) fn killed(&self, orphaned: &BTreeSet<Uuid>) {
        *self.0.takeover.lock().expect("nobody panicked") = Some(Takeover {
            killed_at: self.now(),
            orphaned: orphaned.clone(),
            first_ack: HashMap::new(),
        });
    }

    pub(crate) fn unknown(&self) {
        self.0.unknown.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn later(&self) {
        self.0.later.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn twice(&self) {
        self.0.twice.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn duplicate(&self) {
        self.0.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn moved(&self) {
        self.0.moves.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn resync(&self) {
        self.0.resyncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether everything that the run is about happened at least once.
    pub(crate) fn happened(&self) -> bool {
        let counters = &self.0;
        let took_over = counters.takeover.lock().expect("nobody panicked");
        [&counters.twice, &counters.duplicates, &counters.moves]
            .iter()
            .all(|count| count.load(Ordering::Relaxed) > 0)
            && took_over
                .as_ref()
                .is_some_and(|takeover| !takeover.first_ack.is_empty())
    }

    pub(crate) fn print(&self, history: &History) {
        let counters = &self.0;
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let mut sent = BTreeSet::new();
        let mut acked = BTreeSet::new();
        for operation in &history.operations {
            sent.insert(operation.command);
            if matches!(operation.outcome, Outcome::Acked(_)) {
                acked.insert(operation.command);
            }
        }
        println!(
            "sent {}, acked {}, unknown attempts {}, refused for now {}, sent twice {}, duplicate acks {}, \
             moves {}, resyncs {}, after {:.1} s",
            sent.len(),
            acked.len(),
            count(&counters.unknown),
            count(&counters.later),
            count(&counters.twice),
            count(&counters.duplicates),
            count(&counters.moves),
            count(&counters.resyncs),
            counters.started.elapsed().as_secs_f64(),
        );
        let takeover = counters.takeover.lock().expect("nobody panicked");
        if let Some(takeover) = takeover.as_ref() {
            let mut gaps: Vec<f64> = takeover
                .first_ack
                .values()
                .map(Duration::as_secs_f64)
                .collect();
            gaps.sort_by(f64::total_cmp);
            println!(
                "takeover: {} conversations orphaned; from the kill to the first ack {:.2} s, median {:.2} s, last {:.2} s",
                takeover.orphaned.len(),
                gaps.first().copied().unwrap_or(f64::NAN),
                gaps.get(gaps.len() / 2).copied().unwrap_or(f64::NAN),
                gaps.last().copied().unwrap_or(f64::NAN),
            );
        }
    }
}
