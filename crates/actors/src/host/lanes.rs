//! The thread that the write lanes live on, with a runtime of its own.
//!
//! Appends come first (class P0): a node whose sockets and requests keep its runtime busy must not let the answer of a statement lie unread
//! until its deadline, which would put partitions in doubt that nothing is wrong with. The operating system shares the cores fairly between
//! this thread and the others.

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::host::StartError;

/// The thread; it ends when this is dropped, without waiting.
pub(super) struct LaneThread {
    handle: Handle,
    ending: CancellationToken,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl LaneThread {
    pub(super) async fn start() -> Result<Self, StartError> {
        let ending = CancellationToken::new();
        let (started, ready) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("hubbub-lanes".to_owned())
            .spawn({
                let ending = ending.clone();
                move || live(started, &ending)
            })
            .map_err(StartError::Threads)?;
        let handle = ready
            .await
            .map_err(|_ended| StartError::Ended)?
            .map_err(StartError::Threads)?;
        Ok(Self {
            handle,
            ending,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where lanes are spawned.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread, with whatever still runs on it, and waits for it.
    pub(super) async fn stop(&self) {
        self.ending.cancel();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the thread of the write lanes ended with a panic");
            }
        }
    }
}

impl Drop for LaneThread {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

fn live(started: oneshot::Sender<std::io::Result<Handle>>, ending: &CancellationToken) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            if started.send(Ok(runtime.handle().clone())).is_ok() {
                runtime.block_on(ending.cancelled());
            }
        }
        Err(error) => {
            let _nobody_waits = started.send(Err(error)).is_err();
        }
    }
}
