//! Following the layout: what Consul pushes is judged, installed, or given back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_protocol::consul::{Backoff, Consul, ConsulError};
use tokio::sync::{Notify, oneshot};
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::guard::{Guard, Verdict};
use crate::identity::{DataDirectory, DataDirectoryError, InstalledEpoch};
use crate::layouts::{Layouts, LayoutsError};
use crate::store::StoreError;
use crate::writer::Work;

/// However often clients name a newer layout, Consul is asked for it at most this often.
const ASK_SPACING: Duration = Duration::from_millis(20);

/// Why a layout was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// It could not be fetched or given back.
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
    /// It could not be stored.
    #[error("the layout could not be stored: {0}")]
    Store(#[from] StoreError),
    /// The node's identity could not be kept.
    #[error(transparent)]
    Identity(#[from] DataDirectoryError),
    /// It must not be installed here.
    #[error("{0}: the layout is not installed")]
    Refused(String),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Why Consul is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Something may have changed there.
    News,
    /// A client knows a newer layout, or says so.
    Wanted,
}

/// Keeps the node's layout at what Consul says.
pub struct Follower {
    /// The identity of the node's data directory.
    pub uuid: Uuid,
    /// The cluster's layouts.
    pub layouts: Layouts,
    /// What the node has installed.
    pub guard: Arc<ArcSwap<Guard>>,
    /// The writer's queue.
    pub work: flume::Sender<Work>,
    /// Raised when a client knows a newer layout than this node.
    pub layout_wanted: Arc<Notify>,
    /// Where the node's identity is kept, with the layout that it has installed.
    pub directory: Arc<Mutex<DataDirectory>>,
}

impl FollowError {
    /// Whether the node's own store or directory lacks something that passes, so that this can be tried
    /// again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Store(error) => error.passes(),
            Self::Identity(error) => error.passes(),
            _ => false,
        }
    }
}

impl Follower {
    /// Brings the node to the layout that Consul has now.
    ///
    /// # Errors
    /// [`FollowError`]; what was installed stays installed.
    pub async fn catch_up(&self) -> Result<(), FollowError> {
        self.obey(Cause::News).await
    }

    async fn obey(&self, cause: Cause) -> Result<(), FollowError> {
        let offered = self.layouts.read().await?;
        let guard = self.guard.load_full();
        let Some(layout) = offered.layout else {
            if let Some(installed) = guard.installed()
                && self.layouts.restore(installed, offered.index).await?
            {
                warn!("Consul had no layout: restored epoch {}", installed.layout.epoch);
            }
            return Ok(());
        };
        match (guard.judge(&layout), guard.installed()) {
            (Verdict::Install, _) => {
                let completed = self.layouts.complete(layout, self.uuid, guard.installed()).await;
                let installed = completed.map_err(|error| match error {
                    LayoutsError::NotHere(error) => FollowError::Refused(error.to_string()),
                    error => error.into(),
                })?;
                let (reply, result) = oneshot::channel();
                let install = Work::Install(Box::new(installed), reply);
                self.work.send(install).map_err(|_| FollowError::Stopping)?;
                result.await.map_err(|_| FollowError::Stopping)??;
                self.remember_layout()
            }
            (Verdict::Restore, Some(installed)) => {
                let (own, found) = (installed.layout.epoch, layout.epoch);
                if self.layouts.restore(installed, offered.index).await? {
                    warn!("Consul had gone back to epoch {found}: restored epoch {own}");
                }
                Ok(())
            }
            (Verdict::Current, Some(installed)) if cause == Cause::News => {
                Ok(self.layouts.restore_parts(installed).await?)
            }
            (Verdict::Current | Verdict::Restore, _) => Ok(()),
            (Verdict::Refuse(reason), _) => Err(FollowError::Refused(reason)),
        }
    }

    /// Keeps in the node's identity which layout its store has, so that a store that was lost or
    /// put back is found out.
    ///
    /// # Errors
    /// [`FollowError::Identity`] where it cannot be written.
    pub fn remember_layout(&self) -> Result<(), FollowError> {
        let guard = self.guard.load();
        let Some(installed) = guard.installed() else { return Ok(()) };
        let layout =
            InstalledEpoch { cluster: installed.layout.cluster, epoch: installed.layout.epoch };
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(directory.remember_layout(layout)?)
    }

    /// Follows the layout until this future is dropped.
    ///
    /// # Errors
    /// Where the layout's key is not one that Consul takes.
    pub async fn follow(&self, consul: &Consul) -> Result<(), ConsulError> {
        let (news, changed) = tokio::sync::watch::channel(());
        let watching = Self::watch(consul, self.layouts.key(), news);
        let acting = self.act(changed);
        tokio::select! {
            result = watching => result,
            () = acting => Ok(()),
        }
    }

    /// Reports every change of the document, and every end of an outage.
    async fn watch(
        consul: &Consul,
        key: String,
        news: tokio::sync::watch::Sender<()>,
    ) -> Result<(), ConsulError> {
        let mut watch = consul.watch_kv(&key)?;
        loop {
            match watch.next().await {
                Ok(_) => debug!("{key} has changed"),
                Err(error) => warn!("cannot follow {key}: {error}; trying on"),
            }
            news.send_replace(());
        }
    }

    async fn act(&self, mut changed: tokio::sync::watch::Receiver<()>) {
        let mut backoff = Backoff::default();
        let mut cause = Cause::News;
        loop {
            let asked_at = Instant::now();
            match self.obey(cause).await {
                Ok(()) => {
                    backoff.succeeded();
                    cause = tokio::select! {
                        _ = changed.changed() => Cause::News,
                        () = self.layout_wanted.notified() => {
                            debug!("a client knows a newer layout: asking Consul for it");
                            tokio::time::sleep_until((asked_at + ASK_SPACING).into()).await;
                            Cause::Wanted
                        }
                    };
                }
                Err(FollowError::Stopping) => return,
                Err(FollowError::Layouts(LayoutsError::Consul(error))) => {
                    debug!("the layout could not be read: {error}");
                    tokio::time::sleep(backoff.failed()).await;
                }
                Err(error) => {
                    error!("{error}");
                    // Only a change can make this one good, or another node's restoring.
                    let _ = tokio::time::timeout(backoff.failed(), changed.changed()).await;
                }
            }
        }
    }
}
