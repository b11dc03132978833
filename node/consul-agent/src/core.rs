//! The one place where the state is changed and read: changes in turn, durable before a reader
//! learns of them; readers at any time, on a state that does not change under them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kv_system::lock::lock;
use tokio::sync::watch;

use super::disk::Disk;
use super::state::{Refusal, State};

/// How long to leave the disk alone after it refused a time-driven change.
const EXPIRE_RETRY: Duration = Duration::from_secs(1);

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the agent cannot write its state: {0}")]
    Disk(std::io::Error),
    #[error("the agent is shutting down")]
    ShuttingDown,
}

/// What a reader waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// The index that must be passed.
    pub(super) index: u64,
    /// How long to wait for that at most.
    pub(super) patience: Duration,
}

/// The agent's state, shared by everything that serves it.
#[derive(Debug)]
pub(super) struct Core {
    node_id: String,
    /// A task that makes a change holds this, and with it the disk that makes the change durable. Empty
    /// after the end.
    writer: Mutex<Option<Disk>>,
    /// The state that readers see. Each change wakes all who wait.
    current: watch::Sender<Arc<State>>,
    /// Becomes true at the end, which no reader waits beyond.
    closed: watch::Sender<bool>,
}

impl Core {
    pub(super) fn new(disk: Disk, state: State) -> Self {
        Self {
            node_id: disk.node_id().to_owned(),
            writer: Mutex::new(Some(disk)),
            current: watch::Sender::new(Arc::new(state)),
            closed: watch::Sender::new(false),
        }
    }

    /// The agent's identity.
    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }

    /// Makes a change and returns once it is durable.
    ///
    /// It runs to its end even if the caller goes away meanwhile, since a half-made change must not
    /// meet the next one.
    pub(super) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State, Instant) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, ChangeError> {
        let core = self.clone();
        let work = tokio::task::spawn_blocking(move || core.change_now(change));
        // The work does not panic, so the only other way for it to fail is the runtime's end.
        work.await.unwrap_or(Err(ChangeError::ShuttingDown))
    }

    fn change_now<T>(
        &self,
        change: impl FnOnce(&mut State, Instant) -> Result<T, Refusal>,
    ) -> Result<T, ChangeError> {
        let writer = lock(&self.writer);
        let disk = writer.as_ref().ok_or(ChangeError::ShuttingDown)?;
        let before = self.state();
        let mut after = State::clone(&before);
        let outcome = change(&mut after, Instant::now())?;
        if after.must_persist(&before) {
            disk.write(&after).map_err(ChangeError::Disk)?;
        }
        self.current.send_replace(Arc::new(after));
        Ok(outcome)
    }

    pub(super) fn state(&self) -> Arc<State> {
        self.current.borrow().clone()
    }

    /// What `view` makes of the state, with the index of what it looked at: at once, or, with a
    /// `wait`, as soon as that index has passed the given one, and at the latest when the patience
    /// or the agent ends.
    pub(super) async fn read<T>(
        &self,
        wait: Option<Wait>,
        view: impl Fn(&State) -> (u64, T),
    ) -> (u64, T) {
        let Some(Wait { index: passed, patience }) = wait else { return view(&self.state()) };
        let mut states = self.current.subscribe();
        let news = async {
            loop {
                let state = states.borrow_and_update().clone();
                let (index, seen) = view(&state);
                if index > passed {
                    return (index, seen);
                }
                // The sender lives in `self`, so it cannot have gone.
                let _ = states.changed().await;
            }
        };
        tokio::select! {
            news = news => news,
            () = tokio::time::sleep(patience) => view(&self.state()),
            () = self.closed() => view(&self.state()),
        }
    }

    /// Makes time-driven changes when they are due, until the agent ends.
    pub(super) async fn keep_time(self: Arc<Self>) {
        let mut states = self.current.subscribe();
        loop {
            let deadline = states.borrow_and_update().next_deadline();
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.expire().await,
                _ = states.changed() => {}
                () = self.closed() => return,
            }
        }
    }

    async fn expire(self: &Arc<Self>) {
        let expired = self.change(|state, now| {
            state.expire(now);
            Ok(())
        });
        if let Err(ChangeError::Disk(error)) = expired.await {
            tracing::error!(%error, "the embedded Consul agent cannot write its state");
            // Nothing has changed, so it is still due; do not try again in a busy loop.
            tokio::time::sleep(EXPIRE_RETRY).await;
        }
    }

    /// Returns when the agent ends.
    pub(super) async fn closed(&self) {
        // The sender lives in `self`, so it cannot have gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Ends all waiting, refuses further changes, and lets go of the directory.
    pub(super) fn close(&self) {
        self.closed.send_replace(true);
        lock(&self.writer).take();
    }
}
