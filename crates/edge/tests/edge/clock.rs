//! The clock of the machine, which may be slow to tell: the fan-out asks it once for every event that it gives to someone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hubbub_domain::time::Timestamp;
use hubbub_telemetry::{Clock, SystemClock};

#[derive(Default)]
pub(crate) struct SlowClock {
    /// How long an answer takes, in milliseconds.
    pub(crate) takes_ms: AtomicU64,
}

impl Clock for SlowClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "it stands for work that keeps the thread; nothing waits for it"
    )]
    fn now(&self) -> Timestamp {
        let takes = self.takes_ms.load(Ordering::SeqCst);
        if takes > 0 {
            std::thread::sleep(Duration::from_millis(takes));
        }
        SystemClock.now()
    }
}
