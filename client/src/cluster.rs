//! What a client knows of its cluster: discovered and verified when it connects, and looked up again
//! when nodes refuse what rests on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_consul::{BACKOFF, Consul, ConsulError, Indexed, KvEntry, Read, ServiceInstance};
use kv_core::layout::{Assignments, Layout};
use kv_core::name::Name;
#[cfg(feature = "strategies")]
use kv_placement::Strategy;
use kv_registry::keys::{self, SERVICE};
use tokio::sync::Mutex;

#[cfg(feature = "strategies")]
use crate::bootstrap::{self, Bootstrap};
use crate::catalog::{self, Claims};
use crate::config::ClientConfig;
#[cfg(feature = "strategies")]
use crate::config::NewCluster;
use crate::creation::Creation;
use crate::error::ClientError;
use crate::limits::{AWAIT_MIN, NEWER_SPACING, REFRESH_TIMEOUT};
use crate::outbox::Connections;
#[cfg(feature = "strategies")]
use crate::placement::StrategyRunner;
#[cfg(not(feature = "strategies"))]
use crate::published::Tables;
use crate::routing::View;
#[cfg(feature = "strategies")]
use crate::tables::Tables;

/// A cluster's current layout and addresses.
pub(crate) struct Cluster {
    view: ArcSwap<View>,
    /// Where to look again; none for a client that was given everything.
    registry: Option<Registry>,
    /// When was last looked. Held while somebody looks, so that many operations look once.
    looked: Mutex<Option<Instant>>,
    /// Held while somebody waits for the layout to change, for the same reason.
    awaited: Mutex<()>,
    /// Consul's index of the layout that was looked at last.
    layout_index: AtomicU64,
    /// How many looks in a row have brought no newer layout.
    fruitless: AtomicU32,
}

/// The cluster's place in Consul.
pub struct Registry {
    /// The Consul that it is in.
    pub consul: Consul,
    /// The cluster's name.
    pub cluster: Name,
    /// Loads strategies.
    #[cfg(feature = "strategies")]
    pub placement: StrategyRunner,
    pub(crate) tables: Tables,
    /// The strategy that the user insists on.
    #[cfg(feature = "strategies")]
    pub(crate) given: Option<Strategy>,
    /// By which nodes are asked that are registered more than once.
    connections: Option<Connections>,
}

/// The layout document as it stands in Consul.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The layout.
    pub layout: Layout,
    /// What a compare-and-set that is to follow this very document names.
    pub modify_index: u64,
}

impl Cluster {
    /// A cluster of which everything is known and nothing changes.
    pub(crate) fn fixed(view: View) -> Self {
        Self::of(view, None)
    }

    fn of(view: View, registry: Option<Registry>) -> Self {
        let view = ArcSwap::from_pointee(view);
        let (looked, awaited, layout_index, fruitless) = Default::default();
        Self { view, registry, looked, awaited, layout_index, fruitless }
    }

    /// Finds the cluster in Consul. Where it has no layout yet, one is created, and the facts of
    /// the creation come with it; without strategies that is an error.
    pub(crate) async fn connect(
        config: &ClientConfig,
        connections: &Connections,
    ) -> Result<(Self, Option<Creation>), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let registry = Registry::new(config).await?.asking(connections);
        let (layout, created) = match registry.layout(deadline).await?.value {
            Some(layout) => (layout, None),
            None => registry.create(connections, deadline).await?,
        };
        Ok((registry.into_cluster(layout).await?, created))
    }

    /// Creates the cluster's layout, which must not exist.
    #[cfg(feature = "strategies")]
    pub(crate) async fn create(
        config: &ClientConfig,
        connections: &Connections,
        new: &NewCluster,
    ) -> Result<(Self, Creation), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let registry = Registry::new(config).await?.asking(connections);
        let found = match registry.layout(deadline).await?.value {
            Some(layout) => layout,
            None => match bootstrap::create(&registry, connections, new, deadline).await? {
                Bootstrap::Created(layout, creation) => {
                    return Ok((registry.into_cluster(layout).await?, creation));
                }
                Bootstrap::Found(layout) => layout,
            },
        };
        Err(ClientError::AlreadyCreated { cluster: found.cluster, epoch: found.epoch })
    }

    /// What is known now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Where the cluster is in Consul, unless everything was given.
    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// The shortest time between two looks for a newer layout of which a node has told. A node that
    /// tells of one that is not there does not make this client ask Consul without end.
    pub(crate) fn newer_spacing(&self) -> Duration {
        NEWER_SPACING.after(self.fruitless.load(Ordering::Relaxed))
    }

    /// Looks whether Consul knows something newer than `seen`, unless somebody else did within the
    /// last `spacing`. Where Consul cannot be asked, what is known stays.
    ///
    /// # Errors
    /// The newer layout cannot be used, so that to go on would be wrong.
    pub(crate) async fn refresh(
        &self,
        seen: &Arc<View>,
        spacing: Duration,
    ) -> Result<(), ClientError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let mut looked = self.looked.lock().await;
        let current = self.view();
        let recently = looked.is_some_and(|at| at.elapsed() < spacing);
        if !Arc::ptr_eq(&current, seen) || recently {
            return Ok(());
        }
        let looking = tokio::time::timeout(REFRESH_TIMEOUT, registry.look(&current)).await;
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
        let Some(registry) = &self.registry else { return Ok(()) };
        let awaiting = async {
            let _turn = self.awaited.lock().await;
            let wait = until.saturating_duration_since(Instant::now());
            // To Consul no time to wait means the longest.
            if !Arc::ptr_eq(&self.view(), seen) || wait < AWAIT_MIN {
                return Ok(());
            }
            let index = self.layout_index.load(Ordering::Acquire);
            let read = Read::consistent().after(index, wait);
            let key = keys::layout(&registry.cluster);
            if let Err(error) = registry.consul.kv_get(&key, read).await {
                tracing::debug!(%error, "Consul does not say when the layout changes");
                return Ok(());
            }
            self.refresh(seen, Duration::ZERO).await
        };
        tokio::time::timeout_at(until.into(), awaiting).await.unwrap_or(Ok(()))
    }
}

impl Registry {
    /// Prepares to ask the Consul that `config` names, and loads the strategy that it names.
    ///
    /// # Errors
    /// Consul's address makes no sense, or the strategy cannot be loaded.
    pub async fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        let consul = Consul::new(&config.consul)?;
        #[cfg(feature = "strategies")]
        let placement = StrategyRunner::default();
        // Before anything else, so that a bad file is found while nothing has happened.
        #[cfg(feature = "strategies")]
        let given = match &config.strategy {
            Some(source) => Some(placement.load(source).await?),
            None => None,
        };
        let (cluster, tables) = (config.cluster.clone(), Tables::default());
        Ok(Self {
            consul,
            cluster,
            #[cfg(feature = "strategies")]
            placement,
            tables,
            #[cfg(feature = "strategies")]
            given,
            connections: None,
        })
    }

    /// The same, which asks nodes that are registered more than once which of that they are.
    #[must_use]
    pub fn asking(self, connections: &Connections) -> Self {
        Self { connections: Some(connections.clone()), ..self }
    }

    async fn into_cluster(self, layout: Layout) -> Result<Cluster, ClientError> {
        let view = self.view(layout, &self.instances().await?).await?;
        Ok(Cluster::of(view, Some(self)))
    }

    /// Creates a layout as it is where nobody says otherwise.
    #[cfg(feature = "strategies")]
    async fn create(
        &self,
        connections: &Connections,
        deadline: Instant,
    ) -> Result<(Layout, Option<Creation>), ClientError> {
        match bootstrap::create(self, connections, &NewCluster::default(), deadline).await? {
            Bootstrap::Created(layout, creation) => Ok((layout, Some(creation))),
            Bootstrap::Found(layout) => Ok((layout, None)),
        }
    }

    #[cfg(not(feature = "strategies"))]
    async fn create(
        &self,
        _: &Connections,
        _: Instant,
    ) -> Result<(Layout, Option<Creation>), ClientError> {
        Err(ClientError::NotCreated { cluster: self.cluster.to_string() })
    }

    /// What `layout` says of each partition, and where the `instances` have its nodes.
    ///
    /// # Errors
    /// As [`Registry::tables`].
    pub async fn view(
        &self,
        layout: Layout,
        instances: &[ServiceInstance],
    ) -> Result<View, ClientError> {
        let assignments = Assignments::new(&layout, &self.tables(&layout).await?)?;
        let reach = catalog::reach(assignments.nodes(), &self.cluster, instances);
        Ok(View { layout, assignments, reach })
    }

    /// The layout, where there is one. A Consul that has no leader just now is given time.
    ///
    /// # Errors
    /// Consul cannot be asked, or what is there is no layout.
    pub async fn layout(&self, deadline: Instant) -> Result<Indexed<Option<Layout>>, ClientError> {
        let Indexed { index, value } = self.document(Read::consistent(), deadline).await?;
        Ok(Indexed { index, value: value.map(|document| document.layout) })
    }

    /// The layout with what it takes to change it, where there is one. A Consul that has no leader
    /// just now is given time.
    ///
    /// # Errors
    /// As [`Registry::layout`].
    pub async fn document(
        &self,
        read: Read,
        deadline: Instant,
    ) -> Result<Indexed<Option<Document>>, ClientError> {
        let Indexed { index, value } = self.entry(read, deadline).await?;
        Ok(Indexed { index, value: value.map(Document::read).transpose()? })
    }

    /// What is at the layout's key, whatever it is. A Consul that has no leader just now is given time.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn entry(
        &self,
        read: Read,
        deadline: Instant,
    ) -> Result<Indexed<Option<KvEntry>>, ClientError> {
        let key = keys::layout(&self.cluster);
        let mut backoff = BACKOFF;
        loop {
            match self.consul.kv_get(&key, read).await {
                Ok(found) => return Ok(found),
                Err(error @ ConsulError::Status { .. }) if error.is_transient() => {
                    let pause = backoff.failed(rand::random());
                    if Instant::now() + pause >= deadline {
                        return Err(error.into());
                    }
                    tracing::debug!(%error, ?pause, "asking Consul again");
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The instances that registered for this cluster, without what earlier runs of a node have left, and
    /// what others have registered in its name.
    ///
    /// # Errors
    /// As [`Registry::all_instances`].
    pub async fn instances(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        let all = self.all_instances().await?;
        if !catalog::have_rivals(&all) {
            return Ok(all);
        }
        // Where this client may not read them, it goes by what it can see.
        let claims = Claims::read(&self.consul, &self.cluster).await.unwrap_or_default();
        Ok(catalog::that_count(self.connections.as_ref(), all, &claims).await)
    }

    /// All instances that registered for this cluster.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ClientError::NodesHidden`].
    pub async fn all_instances(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        let instances = self.consul.service_instances(SERVICE, Read::consistent()).await?;
        if instances.value.is_empty() && catalog::may_be_hidden(&self.consul).await {
            return Err(ClientError::NodesHidden { consul: self.consul.address().to_owned() });
        }
        Ok(catalog::of_cluster(&self.cluster, instances.value))
    }

    /// Makes sure that a node which is not seen is not registered either, rather than hidden from this
    /// client: who is not seen must not be taken for dead then.
    ///
    /// # Errors
    /// [`ClientError::NodesHidden`].
    pub async fn check_sees_all(&self) -> Result<(), ClientError> {
        match catalog::may_be_hidden(&self.consul).await {
            true => Err(ClientError::NodesHidden { consul: self.consul.address().to_owned() }),
            false => Ok(()),
        }
    }

    /// What Consul says now, with the layout's index. An older layout than `current`, or none, is not
    /// taken.
    async fn look(&self, current: &View) -> Result<Indexed<View>, ClientError> {
        let layout = self.layout(Instant::now());
        let (found, instances) = futures::future::try_join(layout, self.instances()).await?;
        let view = match found.value {
            Some(layout) if layout.cluster != current.layout.cluster => {
                let (ours, theirs) = (current.layout.cluster, layout.cluster);
                return Err(ClientError::OtherCluster { ours, theirs });
            }
            Some(layout) if layout.epoch > current.layout.epoch => {
                self.view(layout, &instances).await?
            }
            _ => {
                let nodes = current.assignments.nodes();
                let reach = catalog::reach(nodes, &self.cluster, &instances);
                View { reach, ..current.clone() }
            }
        };
        Ok(Indexed { index: found.index, value: view })
    }
}

impl Document {
    fn read(entry: KvEntry) -> Result<Self, ClientError> {
        let layout = read_layout(&entry)?;
        Ok(Self { layout, modify_index: entry.modify_index })
    }
}

/// Reads what is at the layout's key.
///
/// # Errors
/// [`ClientError::LayoutUnreadable`] where it is no layout.
pub fn read_layout(entry: &KvEntry) -> Result<Layout, ClientError> {
    Layout::parse(&entry.value)
        .map_err(|source| ClientError::LayoutUnreadable { key: entry.key.clone(), source })
}
