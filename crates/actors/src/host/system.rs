//! The threads that actors live on: one actix `System` on a thread of its own, so that several hosts fit into one process, and one
//! arbiter thread per core.
//!
//! Each of these threads has a current-thread runtime without I/O and timers: an actor that touched a socket would fail at
//! once and loudly, instead of tying the socket to a thread that computes. (One shared multi-thread runtime was measured about as fast;
//! it would have to be owned by the host, which a test's runtime is not.)

use actix::{Arbiter, ArbiterHandle, System};
use hubbub_domain::position::PartitionId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::host::StartError;

/// The threads of one host. Dropping it ends them without waiting.
pub(super) struct ArbiterThreads {
    system: System,
    arbiters: Vec<ArbiterHandle>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl ArbiterThreads {
    /// Starts `count` arbiters; zero = one per core.
    pub(super) async fn start(count: usize) -> Result<Self, StartError> {
        let count = match count {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let (started, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("hubbub-actors".to_owned())
            .spawn(move || live(count, started))
            .map_err(StartError::Threads)?;
        let (system, arbiters) = ready
            .await
            .map_err(|_ended| StartError::Ended)?
            .map_err(StartError::Threads)?;
        Ok(Self {
            system,
            arbiters,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The one arbiter that a partition lives on.
    pub(super) fn arbiter(&self, partition: PartitionId) -> Option<&ArbiterHandle> {
        let index = usize::from(partition.get()).checked_rem(self.arbiters.len())?;
        self.arbiters.get(index)
    }

    /// Ends the threads and waits for them.
    pub(super) async fn stop(&self) {
        self.system.stop();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the arbiter threads ended with a panic");
            }
        }
    }
}

impl Drop for ArbiterThreads {
    fn drop(&mut self) {
        self.system.stop();
    }
}

type Started = (System, Vec<ArbiterHandle>);

fn live(count: usize, started: oneshot::Sender<std::io::Result<Started>>) {
    let runner = match compute_only() {
        Ok(runtime) => System::with_tokio_rt(move || runtime),
        Err(error) => return tell(started, Err(error)),
    };
    let arbiters: std::io::Result<Vec<Arbiter>> = (0..count)
        .map(|_| Arbiter::try_with_tokio_rt(compute_only))
        .collect();
    let arbiters = match arbiters {
        Ok(arbiters) => arbiters,
        Err(error) => return tell(started, Err(error)),
    };
    let handles = arbiters.iter().map(Arbiter::handle).collect();
    tell(started, Ok((System::current(), handles)));
    if let Err(error) = runner.run() {
        tracing::error!(%error, "actor system ended with an error");
    }
    for arbiter in arbiters {
        if arbiter.join().is_err() {
            tracing::error!("an arbiter thread ended with a panic");
        }
    }
}

fn tell(started: oneshot::Sender<std::io::Result<Started>>, outcome: std::io::Result<Started>) {
    if started.send(outcome).is_err()
        && let Some(system) = System::try_current()
    {
        // Nobody waits for this host any more.
        system.stop();
    }
}

fn compute_only() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().build()
}
