//! What a client knows of its cluster: discovered and verified when it connects, and looked up again
//! when nodes refuse what rests on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_consul::{BACKOFF, Consul, ConsulError, Indexed, KvEntry, Read, ServiceInstance};
use kv_core::digest::Digest;
use kv_core::layout::{Assignments, Layout, Origin, StrategyPin, Table};
use kv_core::name::Name;
use kv_placement::{Strategy, StrategySource};
use kv_registry::keys::{self, SERVICE};
use tokio::sync::Mutex;

use crate::bootstrap::{self, Bootstrap, Creation};
use crate::catalog::{self, Claims};
use crate::config::{ClientConfig, NewCluster};
use crate::error::ClientError;
use crate::limits::{AWAIT_MIN, NEWER_SPACING, REFRESH_TIMEOUT};
use crate::outbox::Connections;
use crate::placement::{self, StrategyRunner, TableRequest};
use crate::routing::View;
use crate::tables::{Computed, Tables};

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
    pub placement: StrategyRunner,
    tables: Tables,
    /// The strategy that the user insists on.
    given: Option<Strategy>,
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
    /// the creation come with it.
    pub(crate) async fn connect(
        config: &ClientConfig,
        connections: &Connections,
    ) -> Result<(Self, Option<Creation>), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let registry = Registry::new(config).await?.asking(connections);
        let (layout, created) = match registry.layout(deadline).await?.value {
            Some(layout) => (layout, None),
            None => match registry.create(connections, &NewCluster::default(), deadline).await? {
                Bootstrap::Created(layout, creation) => (layout, Some(creation)),
                Bootstrap::Found(layout) => (layout, None),
            },
        };
        Ok((registry.into_cluster(layout).await?, created))
    }

    /// Creates the cluster's layout, which must not exist.
    pub(crate) async fn create(
        config: &ClientConfig,
        connections: &Connections,
        new: &NewCluster,
    ) -> Result<(Self, Creation), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let registry = Registry::new(config).await?.asking(connections);
        let found = match registry.layout(deadline).await?.value {
            Some(layout) => layout,
            None => match registry.create(connections, new, deadline).await? {
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
        let placement = StrategyRunner::default();
        // Before anything else, so that a bad file is found while nothing has happened.
        let given = match &config.strategy {
            Some(source) => Some(placement.load(source).await?),
            None => None,
        };
        let (cluster, tables) = (config.cluster.clone(), Tables::default());
        Ok(Self { consul, cluster, placement, tables, given, connections: None })
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

    async fn create(
        &self,
        connections: &Connections,
        new: &NewCluster,
        deadline: Instant,
    ) -> Result<Bootstrap, ClientError> {
        let strategy = match &self.given {
            Some(strategy) => strategy.clone(),
            None => self.placement.load(&StrategySource::default()).await?,
        };
        bootstrap::create(self, connections, &strategy, new, deadline).await
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

    /// The tables of `layout`'s placements, computed by the strategies that it pins. Those that are
    /// known already are not computed again.
    ///
    /// # Errors
    /// Consul cannot be asked, a strategy is missing or fails, or it does not give the table that the layout
    /// names.
    pub async fn tables(&self, layout: &Layout) -> Result<Vec<Table>, ClientError> {
        self.check_given(layout)?;
        let mut tables = Vec::new();
        for placement in layout.placements() {
            let pin = &placement.strategy;
            let question = TableRequest::of(layout, placement);
            let Computed { table, digest } = match self.tables.find(pin.sha256, &question) {
                _ if placement.origin == Origin::Interrupted => {
                    Computed::from(self.fetch_table(layout, placement).await?)
                }
                Some(known) => known,
                None => {
                    let strategy = self.pinned_strategy(pin).await?;
                    let table = placement::table(&strategy, question.clone()).await?;
                    let computed = Computed::from(table);
                    self.tables.keep(pin.sha256, question, computed.clone());
                    computed
                }
            };
            if digest != placement.table {
                return Err(ClientError::TableMismatch {
                    strategy: pin.name.clone(),
                    epoch: layout.epoch,
                    computed: digest,
                    named: placement.table,
                });
            }
            tables.push(table);
        }
        Ok(tables)
    }

    /// A table that no strategy computes.
    async fn fetch_table(
        &self,
        layout: &Layout,
        placement: &kv_core::layout::Placement,
    ) -> Result<Table, ClientError> {
        let key = keys::table(&self.cluster, &placement.table);
        let entry = self.consul.kv_get(&key, Read::consistent()).await?.value;
        let bytes = entry.map(|entry| entry.value).unwrap_or_default();
        Ok(Table::parse(&bytes, layout, placement)?)
    }

    /// Checks that the strategy that the user insists on, if there is one, is one of the layout's.
    fn check_given(&self, layout: &Layout) -> Result<(), ClientError> {
        let Some(given) = &self.given else { return Ok(()) };
        if layout.placements().any(|placement| placement.strategy.sha256 == given.digest()) {
            return Ok(());
        }
        let pin = &layout.placement.strategy;
        Err(ClientError::StrategyMismatch {
            pinned: pin.name.clone(),
            pinned_digest: pin.sha256.short(),
            given: given.info().name.clone(),
            given_digest: given.digest().short(),
        })
    }

    /// The strategy that `pin` names: the given one where it is that, otherwise the one in Consul.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ClientError::StrategyUnavailable`].
    pub async fn pinned_strategy(&self, pin: &StrategyPin) -> Result<Strategy, ClientError> {
        if let Some(given) = self.given.as_ref().filter(|it| it.digest() == pin.sha256) {
            return Ok(given.clone());
        }
        let unavailable = |problem| {
            let (name, digest) = (pin.name.clone(), pin.sha256);
            ClientError::StrategyUnavailable { name, digest, problem }
        };
        let key = keys::strategy(&self.cluster, &pin.sha256);
        // The key never changes its value, so any server may answer.
        let entry = self.consul.kv_get(&key, Read::stale()).await?.value;
        let entry = match entry {
            Some(entry) => Some(entry),
            // It is the youngest of keys where a cluster is being created.
            None => self.consul.kv_get(&key, Read::consistent()).await?.value,
        };
        let bytes = entry.ok_or_else(|| unavailable("is missing"))?.value;
        if Digest::of(&bytes) != pin.sha256 {
            return Err(unavailable("is damaged"));
        }
        self.placement.load_bytes(format!("{} (from Consul)", pin.name), bytes).await
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
