//! What a client knows of its cluster: discovered and verified when it connects, and looked up again
//! when nodes refuse what rests on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_consul::Indexed;
use kv_core::layout::Layout;
use tokio::sync::Mutex;

#[cfg(feature = "strategies")]
use crate::bootstrap::{self, Bootstrap};
use crate::config::ClientConfig;
#[cfg(feature = "strategies")]
use crate::config::NewCluster;
use crate::creation::Creation;
use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::limits::{AWAIT_MIN, NEWER_SPACING, REFRESH_TIMEOUT};
use crate::outbox::Connections;
use crate::routing::View;

/// A cluster's current layout and addresses.
pub(crate) struct Cluster {
    view: ArcSwap<View>,
    /// Where to look again; `None` for a client that was given everything.
    discovery: Option<Discovery>,
    /// When an operation looked last. Held while one looks, so that many operations look once.
    looked: Mutex<Option<Instant>>,
    /// Held while an operation waits for the layout to change, for the same reason.
    awaited: Mutex<()>,
    /// Consul's index of the layout that was looked at last.
    layout_index: AtomicU64,
    /// How many looks in a row have brought no newer layout.
    fruitless: AtomicU32,
}

impl Cluster {
    /// A cluster of which everything is known and nothing changes.
    pub(crate) fn fixed(view: View) -> Self {
        Self::of(view, None)
    }

    /// The cluster whose Consul has this layout now.
    async fn found(discovery: Discovery, layout: Layout) -> Result<Self, ClientError> {
        let view = discovery.view(layout, &discovery.instances().await?).await?;
        Ok(Self::of(view, Some(discovery)))
    }

    fn of(view: View, discovery: Option<Discovery>) -> Self {
        let view = ArcSwap::from_pointee(view);
        let (looked, awaited, layout_index, fruitless) = Default::default();
        Self { view, discovery, looked, awaited, layout_index, fruitless }
    }

    /// Finds the cluster in Consul. Where it has no layout yet, one is created, and the facts of
    /// the creation come with it; without strategies that is an error.
    pub(crate) async fn connect(
        config: &ClientConfig,
        connections: &Connections,
    ) -> Result<(Self, Option<Creation>), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let discovery = Discovery::new(config).await?.asking(connections);
        let (layout, created) = match discovery.layout(deadline).await?.value {
            Some(layout) => (layout, None),
            None => create(&discovery, connections, deadline).await?,
        };
        Ok((Self::found(discovery, layout).await?, created))
    }

    /// Creates the cluster's layout, which must not exist.
    #[cfg(feature = "strategies")]
    pub(crate) async fn create(
        config: &ClientConfig,
        connections: &Connections,
        new: &NewCluster,
    ) -> Result<(Self, Creation), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let discovery = Discovery::new(config).await?.asking(connections);
        let found = match discovery.layout(deadline).await?.value {
            Some(layout) => layout,
            None => match bootstrap::create(&discovery, connections, new, deadline).await? {
                Bootstrap::Created(layout, creation) => {
                    return Ok((Self::found(discovery, layout).await?, creation));
                }
                Bootstrap::Found(layout) => layout,
            },
        };
        Err(ClientError::AlreadyCreated { cluster: found.cluster, epoch: found.epoch })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Where the cluster is in Consul, unless everything was given.
    pub(crate) fn discovery(&self) -> Option<&Discovery> {
        self.discovery.as_ref()
    }

    /// The shortest time between two looks for a newer layout of which a node has told. A node that
    /// tells of one that is not there does not make this client ask Consul without end.
    pub(crate) fn newer_spacing(&self) -> Duration {
        NEWER_SPACING.after(self.fruitless.load(Ordering::Relaxed))
    }

    /// Looks whether Consul knows something newer than `seen`, unless another operation did within the
    /// last `spacing`. Where Consul cannot be asked, the view stays.
    ///
    /// # Errors
    /// The newer layout cannot be used, so that to go on would be wrong.
    pub(crate) async fn refresh(
        &self,
        seen: &Arc<View>,
        spacing: Duration,
    ) -> Result<(), ClientError> {
        let Some(discovery) = &self.discovery else { return Ok(()) };
        let mut looked = self.looked.lock().await;
        let current = self.view();
        let recently = looked.is_some_and(|at| at.elapsed() < spacing);
        if !Arc::ptr_eq(&current, seen) || recently {
            return Ok(());
        }
        let looking = tokio::time::timeout(REFRESH_TIMEOUT, discovery.look(&current)).await;
        *looked = Some(Instant::now());
        match looking {
            Ok(Ok(Indexed { index, value: view })) => {
                match view.layout.epoch > current.layout.epoch {
                    true => self.fruitless.store(0, Ordering::Relaxed),
                    // One look at a time comes here, so no count is lost.
                    false => {
                        let fruitless = self.fruitless.load(Ordering::Relaxed);
                        self.fruitless.store(fruitless.saturating_add(1), Ordering::Relaxed);
                    }
                }
                if view != *current {
                    tracing::debug!(
                        epoch = view.layout.epoch,
                        "the cluster's layout or addresses changed"
                    );
                    self.view.store(Arc::new(view));
                }
                // Only now, so that it never says that something is known which is not.
                self.layout_index.store(index, Ordering::Release);
                Ok(())
            }
            Ok(Err(ClientError::Consul(error))) => {
                tracing::debug!(%error, "no news from Consul");
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::debug!(timeout = ?REFRESH_TIMEOUT, "Consul is too slow to be asked");
                Ok(())
            }
        }
    }

    /// Waits until the layout is another one than that of `seen`, or until `until`, or until it
    /// turns out that this cannot be waited for. Many operations share one blocking query.
    ///
    /// # Errors
    /// The newer layout cannot be used.
    pub(crate) async fn await_change(
        &self,
        seen: &Arc<View>,
        until: Instant,
    ) -> Result<(), ClientError> {
        let Some(discovery) = &self.discovery else { return Ok(()) };
        let awaiting = async {
            let _turn = self.awaited.lock().await;
            let wait = until.saturating_duration_since(Instant::now());
            // To Consul no time to wait means the longest.
            if !Arc::ptr_eq(&self.view(), seen) || wait < AWAIT_MIN {
                return Ok(());
            }
            let index = self.layout_index.load(Ordering::Acquire);
            if let Err(error) = discovery.registry.await_layout(index, wait).await {
                tracing::debug!(%error, "Consul does not say when the layout changes");
                return Ok(());
            }
            self.refresh(seen, Duration::ZERO).await
        };
        tokio::time::timeout_at(until.into(), awaiting).await.unwrap_or(Ok(()))
    }
}

/// Creates a cluster's layout as it is when a client just connects: with all defaults.
#[cfg(feature = "strategies")]
async fn create(
    discovery: &Discovery,
    connections: &Connections,
    deadline: Instant,
) -> Result<(Layout, Option<Creation>), ClientError> {
    match bootstrap::create(discovery, connections, &NewCluster::default(), deadline).await? {
        Bootstrap::Created(layout, creation) => Ok((layout, Some(creation))),
        Bootstrap::Found(layout) => Ok((layout, None)),
    }
}

#[cfg(not(feature = "strategies"))]
async fn create(
    discovery: &Discovery,
    _: &Connections,
    _: Instant,
) -> Result<(Layout, Option<Creation>), ClientError> {
    Err(ClientError::NotCreated { cluster: discovery.registry.cluster().to_string() })
}
