//! Following the layout: what Consul pushes is judged, installed, or given back.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use kv_consul::{BACKOFF, ConsulError};
use kv_core::guard::{Guard, Installed, LayoutVerdict};
use kv_core::incarnation::Incarnation;
use kv_core::partition::Partition;
use kv_registry::layout::LayoutChanges;
use kv_registry::{ReadLayoutError, Registry, Versioned};
use kv_system::lock::lock;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, error, warn};
use uuid::Uuid;

use crate::data_directory::DataDirectory;
use crate::hints::{Hint, Hints, Pace};
use crate::identity::{DataDirectoryError, InstalledEpoch};
use crate::layouts::{LayoutsError, complete};
use crate::writer::{NotInstalled, Work, WorkSender};

/// However often clients name a newer layout, Consul is asked for it at most this often; and where it
/// has none, again and again, at most as often as the second one says.
const NEWER_SPACING: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The same for looking whether Consul has gone back, where clients name older layouts. Many do so
/// while partitions move.
const OLDER_SPACING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How often the nodes look whether Consul has the tables and strategies of their layout: with few of
/// them, each does so this often; with many, one a second.
const LOOK_AT_PARTS_EVERY: Duration = Duration::from_secs(10);
/// How much is shown of why a layout is not installed, in characters. Quotations in it may be of any
/// length.
const REFUSAL_CHARS_MAX: usize = 2000;

/// Why a layout was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutSyncError {
    /// It could not be fetched or given back.
    #[error(transparent)]
    Layouts(#[from] LayoutsError),
    /// The writer did not install it.
    #[error(transparent)]
    NotInstalled(#[from] NotInstalled),
    /// The node's identity could not be kept.
    #[error(transparent)]
    Identity(#[from] DataDirectoryError),
    /// It must not be installed here.
    #[error("{0}: the layout is not installed")]
    Refused(String),
    /// It is another cluster's.
    #[error(
        "{reason}: the layout is not installed. Connect this node to its own Consul; where this is it, and somebody has put that layout there, delete {key} in it, and the nodes put theirs back"
    )]
    Foreign {
        /// How that shows.
        reason: String,
        /// The layout's key.
        key: String,
    },
    /// No step leads to it from what the node has installed.
    #[error(
        "{reason}: the layout is not installed, and a node that has one goes on under its own. Delete {key} in Consul, and the nodes put theirs back"
    )]
    MadeUp {
        /// How that shows.
        reason: String,
        /// The layout's key.
        key: String,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

/// Why Consul is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Something may have changed there.
    News,
    /// A client knows another layout, or says so.
    Told(Hint),
}

/// Keeps the node's layout at what Consul says.
pub struct LayoutSync {
    /// The identity of the node's data directory.
    pub uuid: Uuid,
    /// Which run of the node this is.
    pub begun: Incarnation,
    /// Where the layout is.
    pub registry: Registry,
    /// What the node has installed.
    pub guard: Arc<ArcSwap<Guard>>,
    /// The writer's queue.
    pub work: WorkSender,
    /// Why the layout that Consul has is not installed; `None` where it is.
    pub not_followed: Arc<ArcSwapOption<String>>,
    /// What requests tell about the layout in Consul.
    pub hints: Arc<Hints>,
    /// Where the node's identity is kept, with the layout that it has installed.
    pub directory: Arc<Mutex<DataDirectory>>,
}

impl LayoutSyncError {
    /// Whether what Consul has is of this node's cluster, or damaged, and not to be installed.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::MadeUp { .. } => true,
            Self::Layouts(error) => !matches!(error, LayoutsError::Consul(_)),
            _ => false,
        }
    }

    /// Whether the node's own store or directory lacks something that passes, so that this can be tried
    /// again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::NotInstalled(NotInstalled::Store(error)) => error.passes(),
            Self::Identity(error) => error.passes(),
            _ => false,
        }
    }
}

impl LayoutSync {
    /// Brings the node to the layout that Consul has now.
    ///
    /// # Errors
    /// [`LayoutSyncError`]; what was installed stays installed.
    pub async fn catch_up(&self) -> Result<(), LayoutSyncError> {
        self.obey(Cause::News).await.map(|_| ())
    }

    /// Looks at Consul's layout, and does what follows. Returns whether there was something to do. Where the
    /// layout is not one for this node, its own is put among the past ones, to be published again.
    async fn obey(&self, cause: Cause) -> Result<bool, LayoutSyncError> {
        let done = self.look(cause).await;
        if done.as_ref().is_err_and(LayoutSyncError::is_refusal)
            && let Some(own) = self.guard.load().installed()
        {
            self.keep(own).await?;
        }
        done
    }

    async fn look(&self, cause: Cause) -> Result<bool, LayoutSyncError> {
        let guard = self.guard.load_full();
        let mut offered = self.registry.layout_now().await;
        if let Err(ReadLayoutError::Unreadable { source, .. }) = &offered
            && source.is_of_a_blob()
            && let Some(installed) = guard.installed()
        {
            // The members and the standing that it names may be those that this node has.
            self.registry.restore_parts(installed).await.map_err(LayoutsError::from)?;
            offered = self.registry.layout_now().await;
        }
        let offered = offered.map_err(LayoutsError::from)?;
        let Some(Versioned { value: layout, index }) = offered else {
            let Some(installed) = guard.installed() else { return Ok(false) };
            if self.restore(installed, 0).await? {
                warn!("Consul had no layout: restored epoch {}", installed.layout.epoch);
            }
            return Ok(true);
        };
        match (guard.judge(&layout), guard.installed()) {
            (LayoutVerdict::Install, _) => {
                let completed = complete(&self.registry, layout, self.uuid, guard.installed());
                let installed = completed.await.map_err(|error| match error {
                    LayoutsError::NotHere(error) => LayoutSyncError::Refused(error.to_string()),
                    error => error.into(),
                })?;
                let installed = installed.begun_by(Some(self.begun));
                self.keep_previous(guard.installed(), &installed).await?;
                let (reply, result) = oneshot::channel();
                let install = Work::Install(Box::new(installed), reply);
                self.work.send(install).map_err(|_| LayoutSyncError::Stopping)?;
                result.await.map_err(|_| LayoutSyncError::Stopping)??;
                self.remember_layout().map(|()| true)
            }
            (LayoutVerdict::Restore, Some(installed)) => {
                let (own, found) = (installed.layout.epoch, layout.epoch);
                if self.restore(installed, index).await? {
                    warn!("Consul had gone back to epoch {found}: restored epoch {own}");
                }
                Ok(true)
            }
            (LayoutVerdict::Current, Some(installed)) if cause == Cause::News => {
                self.registry.restore_parts(installed).await.map_err(LayoutsError::from)?;
                Ok(false)
            }
            (LayoutVerdict::Current | LayoutVerdict::Restore, _) => Ok(false),
            (LayoutVerdict::Refuse(reason), _) => {
                Err(LayoutSyncError::Foreign { reason, key: self.registry.layout_key() })
            }
            (LayoutVerdict::MadeUp(reason), _) => {
                Err(LayoutSyncError::MadeUp { reason, key: self.registry.layout_key() })
            }
        }
    }

    /// Puts the layout `previous` among the past ones in Consul where it may be the one that is to be
    /// published again: the `next` one has the node keep what it held, or begins to move partitions.
    /// Before a move the mover has done that, unless another process has made the move up.
    async fn keep_previous(
        &self,
        previous: Option<&Installed>,
        next: &Installed,
    ) -> Result<(), LayoutSyncError> {
        let Some(previous) = previous else { return Ok(()) };
        let is_new = |it: &Partition| !previous.kept().contains_key(it);
        let takes = next.kept().keys().any(is_new);
        let begins = previous.layout.rebalance.is_none() && next.layout.rebalance.is_some();
        if takes || begins {
            self.keep(previous).await?;
        }
        if takes {
            error!(
                "the layout of epoch {} takes partitions from this node that it has not handed over; their records are kept. The layout of epoch {} is kept in Consul too: where it was right, `kvclient restore-layout {}` publishes it again",
                next.layout.epoch, previous.layout.epoch, previous.layout.epoch
            );
        }
        Ok(())
    }

    /// Gives Consul back the node's own layout in place of the document with this `index`. Returns whether it was
    /// this node that did it.
    async fn restore(&self, own: &Installed, index: u64) -> Result<bool, LayoutSyncError> {
        Ok(self.registry.restore_layout(own, index).await.map_err(LayoutsError::from)?)
    }

    /// Puts the layout that is installed among the past ones in Consul.
    async fn keep(&self, installed: &Installed) -> Result<(), LayoutSyncError> {
        match self.registry.keep_installed(installed).await {
            // A node that may not write there must follow all the same.
            Err(error @ ConsulError::PermissionDenied { .. }) => {
                warn!("the layout of epoch {} is not kept: {error}", installed.layout.epoch);
                Ok(())
            }
            kept => Ok(kept.map_err(LayoutsError::from)?),
        }
    }

    /// Keeps in the node's identity which layout its store has, so that a store that was lost or
    /// put back is found out.
    ///
    /// # Errors
    /// [`LayoutSyncError::Identity`] where it cannot be written.
    pub fn remember_layout(&self) -> Result<(), LayoutSyncError> {
        let guard = self.guard.load();
        let Some(installed) = guard.installed() else { return Ok(()) };
        let layout =
            InstalledEpoch { cluster: installed.layout.cluster, epoch: installed.layout.epoch };
        let mut directory = lock(&self.directory);
        Ok(directory.remember_layout(layout)?)
    }

    /// Follows the layout until this future is dropped. Raises `put_back` where Consul may have been put
    /// back to an earlier state.
    ///
    /// # Errors
    /// Where the layout's key is not one that Consul takes.
    pub async fn follow(&self, put_back: Arc<Notify>) -> Result<(), ConsulError> {
        let (news, changed) = tokio::sync::watch::channel(());
        let changes = self.registry.layout_changes()?.telling(put_back);
        let watching = self.watch(changes, news);
        let acting = self.act(changed);
        tokio::select! {
            () = watching => {}
            () = acting => {}
            () = self.tend_parts() => {}
        }
        Ok(())
    }

    /// Looks now and then whether Consul still has what belongs to the installed layout: where one of these
    /// is deleted or damaged alone, there is no news of the layout. The more nodes there are, the more seldom
    /// each of them looks.
    async fn tend_parts(&self) {
        let spacing = || {
            let guard = self.guard.load();
            let members = guard.installed().map_or(0, |it| it.layout.placement.members.len());
            LOOK_AT_PARTS_EVERY.max(Duration::from_secs(members as u64))
        };
        // Nodes that were started together take turns.
        let (_, low) = self.uuid.as_u64_pair();
        tokio::time::sleep(spacing().mul_f64(f64::from(low as u16) / f64::from(u16::MAX))).await;
        loop {
            let guard = self.guard.load_full();
            if let Some(installed) = guard.installed()
                && let Err(error) = self.registry.restore_parts(installed).await
            {
                debug!("what belongs to the layout could not be looked at: {error}");
            }
            tokio::time::sleep(spacing()).await;
        }
    }

    /// Reports every change of the document, and every end of an outage.
    async fn watch(&self, mut changes: LayoutChanges, news: tokio::sync::watch::Sender<()>) {
        let key = self.registry.layout_key();
        loop {
            match changes.next().await {
                Ok(()) => debug!("{key} has changed"),
                Err(error) => warn!("cannot follow {key}: {error}; trying on"),
            }
            news.send_replace(());
        }
    }

    async fn act(&self, mut changed: tokio::sync::watch::Receiver<()>) {
        let mut backoff = BACKOFF;
        let mut cause = Cause::News;
        let mut newer = Pace::new(NEWER_SPACING.0, NEWER_SPACING.1);
        let mut older = Pace::new(OLDER_SPACING.0, OLDER_SPACING.1);
        loop {
            let looked_at = Instant::now();
            match self.obey(cause).await {
                Ok(found) => {
                    backoff.succeeded();
                    self.not_followed.store(None);
                    match cause {
                        Cause::Told(Hint::Older) => older.note(looked_at, found),
                        Cause::Told(Hint::Newer) => newer.note(looked_at, found),
                        // Where there is something new, there may soon be more.
                        Cause::News if found => newer.note(looked_at, true),
                        Cause::News => {}
                    }
                    cause = tokio::select! {
                        _ = changed.changed() => Cause::News,
                        hint = self.told(&newer, &older) => Cause::Told(hint),
                    };
                }
                Err(LayoutSyncError::Stopping) => return,
                Err(LayoutSyncError::Layouts(LayoutsError::Consul(error))) => {
                    debug!("the layout could not be read: {error}");
                    tokio::time::sleep(backoff.failed(rand::random())).await;
                }
                Err(error) => {
                    self.show(&error.to_string());
                    // Only a change can make this one good, or another node's restoring.
                    let _ = tokio::time::timeout(backoff.failed(rand::random()), changed.changed())
                        .await;
                }
            }
        }
    }

    /// Shows why the layout that Consul has is not installed, and says it once.
    fn show(&self, refusal: &str) {
        let refusal: String = refusal.chars().take(REFUSAL_CHARS_MAX).collect();
        let shown = &self.not_followed;
        if shown.load().as_deref() == Some(&refusal) {
            return debug!("{refusal}");
        }
        error!("{refusal}");
        shown.store(Some(Arc::new(refusal)));
    }

    /// Waits until requests have told of another layout, and until it is time to look for it.
    async fn told(&self, newer: &Pace, older: &Pace) -> Hint {
        loop {
            let hint = self.hints.next(|| self.epoch()).await;
            let pace = if hint == Hint::Newer { newer } else { older };
            tokio::time::sleep_until(pace.next(Instant::now()).into()).await;
            // It may have come true meanwhile; and what can be found out sooner comes first.
            if self.hints.next(|| self.epoch()).await == hint {
                debug!("a client knows another layout ({hint:?}): looking at Consul");
                self.hints.take(hint);
                return hint;
            }
        }
    }

    /// The epoch that is installed; 0 without a layout.
    fn epoch(&self) -> u64 {
        self.guard.load().installed().map_or(0, |installed| installed.layout.epoch)
    }
}
