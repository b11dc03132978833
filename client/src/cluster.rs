//! What a client knows of its cluster: discovered and verified when it connects, and looked up again
//! when nodes refuse what rests on it.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use kv_protocol::consul::{Backoff, Consul, ConsulError, Indexed, Read, ServiceInstance};
use kv_protocol::consul_keys::{self, SERVICE};
use kv_protocol::digest::Digest;
use kv_protocol::layout::{Layout, Table};
use kv_protocol::name::Name;
use tokio::sync::Mutex;

use crate::catalog;
use crate::config::{ClientConfig, NewCluster};
use crate::connection::Connections;
use crate::error::ClientError;
use crate::genesis::{self, Creation, Genesis};
use crate::limits::{REFRESH_SPACING_MIN, REFRESH_TIMEOUT};
use crate::placement::{self, Placement, Question};
use crate::retry::Attempts;
use crate::routing::{Retry, View};
use crate::strategy::{Strategy, StrategySource};

/// A cluster's current layout and addresses.
pub(crate) struct Cluster {
    view: ArcSwap<View>,
    /// Where to look again; none for a client that was given everything.
    registry: Option<Registry>,
    /// When was last looked. Held while somebody looks, so that many operations look once.
    looked: Mutex<Option<Instant>>,
}

/// The cluster's place in Consul.
pub(crate) struct Registry {
    pub(crate) consul: Consul,
    pub(crate) cluster: Name,
    placement: Placement,
    /// The strategy that the user insists on.
    given: Option<Strategy>,
}

impl Cluster {
    /// A cluster of which everything is known and nothing changes.
    pub(crate) fn fixed(view: View) -> Self {
        Self { view: ArcSwap::from_pointee(view), registry: None, looked: Mutex::default() }
    }

    /// Finds the cluster in Consul. Where it has no layout yet, one is created, and the facts of
    /// the creation come with it.
    pub(crate) async fn connect(
        config: &ClientConfig,
        connections: &Connections,
    ) -> Result<(Self, Option<Creation>), ClientError> {
        let deadline = Instant::now() + config.timeout;
        let registry = Registry::new(config).await?;
        let (layout, created) = match registry.layout(deadline).await?.value {
            Some(layout) => (layout, None),
            None => match registry.create(connections, &NewCluster::default(), deadline).await? {
                Genesis::Created(layout, creation) => (layout, Some(creation)),
                Genesis::Found(layout) => (layout, None),
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
        let registry = Registry::new(config).await?;
        let found = match registry.layout(deadline).await?.value {
            Some(layout) => layout,
            None => match registry.create(connections, new, deadline).await? {
                Genesis::Created(layout, creation) => {
                    return Ok((registry.into_cluster(layout).await?, creation));
                }
                Genesis::Found(layout) => layout,
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

    /// Does what may help before an operation, routed by `seen`, is tried again: waits a moment, and
    /// looks for a newer layout.
    ///
    /// # Errors
    /// The operation's time is over, or the newer layout cannot be used.
    pub(crate) async fn before_retry(
        &self,
        attempts: &mut Attempts,
        retry: &Retry,
        seen: &Arc<View>,
    ) -> Result<(), ClientError> {
        attempts.pause(&retry.problem).await?;
        if !retry.refresh {
            return Ok(());
        }
        let looked = tokio::time::timeout_at(attempts.deadline().into(), self.refresh(seen)).await;
        looked.unwrap_or_else(|_| Err(attempts.over(&retry.problem)))
    }

    /// Looks whether Consul knows something newer than `seen`, unless somebody else just did.
    /// Where Consul cannot be asked, what is known stays.
    ///
    /// # Errors
    /// The newer layout cannot be used, so that to go on would be wrong.
    async fn refresh(&self, seen: &Arc<View>) -> Result<(), ClientError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        let mut looked = self.looked.lock().await;
        let current = self.view();
        let recently = looked.is_some_and(|at| at.elapsed() < REFRESH_SPACING_MIN);
        if !Arc::ptr_eq(&current, seen) || recently {
            return Ok(());
        }
        let looking = tokio::time::timeout(REFRESH_TIMEOUT, registry.look(&current)).await;
        *looked = Some(Instant::now());
        match looking {
            Ok(Ok(view)) if view == *current => Ok(()),
            Ok(Ok(view)) => {
                tracing::debug!(
                    epoch = view.layout.epoch,
                    "the cluster's layout or addresses changed"
                );
                self.view.store(Arc::new(view));
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
}

impl Registry {
    async fn new(config: &ClientConfig) -> Result<Self, ClientError> {
        let consul = Consul::new(&config.consul)?;
        let placement = Placement::default();
        // Before anything else, so that a bad file is found while nothing has happened.
        let given = match &config.strategy {
            Some(source) => Some(placement.load(source).await?),
            None => None,
        };
        Ok(Self { consul, cluster: config.cluster.clone(), placement, given })
    }

    async fn into_cluster(self, layout: Layout) -> Result<Cluster, ClientError> {
        let table = self.table(&layout).await?;
        let reach = catalog::reach(&layout, &self.cluster, &self.instances().await?);
        let view = ArcSwap::from_pointee(View { layout, table, reach });
        Ok(Cluster { view, registry: Some(self), looked: Mutex::default() })
    }

    async fn create(
        &self,
        connections: &Connections,
        new: &NewCluster,
        deadline: Instant,
    ) -> Result<Genesis, ClientError> {
        let strategy = match &self.given {
            Some(strategy) => strategy.clone(),
            None => self.placement.load(&StrategySource::default()).await?,
        };
        genesis::create(self, connections, &strategy, new, deadline).await
    }

    /// The layout, where there is one. A Consul that has no leader just now is given time.
    pub(crate) async fn layout(
        &self,
        deadline: Instant,
    ) -> Result<Indexed<Option<Layout>>, ClientError> {
        let key = consul_keys::layout(&self.cluster);
        let mut backoff = Backoff::default();
        loop {
            match self.consul.kv_get(&key, Read::consistent()).await {
                Ok(Indexed { index, value }) => {
                    let layout = value.map(|entry| Layout::parse(&entry.value)).transpose()?;
                    return Ok(Indexed { index, value: layout });
                }
                Err(error @ ConsulError::Status { .. }) if error.is_transient() => {
                    let pause = backoff.failed();
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

    /// The instances that registered for this cluster.
    pub(crate) async fn instances(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        let instances = self.consul.service_instances(SERVICE, Read::consistent()).await?;
        Ok(catalog::of_cluster(&self.cluster, instances.value))
    }

    /// What Consul says now. An older layout than `current`, or none, is not taken.
    async fn look(&self, current: &View) -> Result<View, ClientError> {
        let found = self.layout(Instant::now()).await?.value;
        let instances = self.instances().await?;
        let View { layout, table, .. } = match found {
            Some(layout) if layout.cluster != current.layout.cluster => {
                let (ours, theirs) = (current.layout.cluster, layout.cluster);
                return Err(ClientError::OtherCluster { ours, theirs });
            }
            Some(layout) if layout.epoch > current.layout.epoch => {
                let table = self.table(&layout).await?;
                View { layout, table, reach: Vec::new() }
            }
            _ => current.clone(),
        };
        let reach = catalog::reach(&layout, &self.cluster, &instances);
        Ok(View { layout, table, reach })
    }

    /// The table that `layout` names, computed by the strategy that it pins.
    async fn table(&self, layout: &Layout) -> Result<Table, ClientError> {
        let strategy = self.pinned_strategy(layout).await?;
        let table = placement::table(&strategy, Question::of(layout)).await?;
        let computed = table.digest();
        if computed != layout.placement.table {
            return Err(ClientError::TableMismatch {
                strategy: strategy.info().name.clone(),
                epoch: layout.epoch,
                computed,
                named: layout.placement.table,
            });
        }
        Ok(table)
    }

    async fn pinned_strategy(&self, layout: &Layout) -> Result<Strategy, ClientError> {
        let pin = &layout.placement.strategy;
        if let Some(given) = &self.given {
            if given.digest() == pin.sha256 {
                return Ok(given.clone());
            }
            return Err(ClientError::StrategyMismatch {
                pinned: pin.name.clone(),
                pinned_digest: pin.sha256.short(),
                given: given.info().name.clone(),
                given_digest: given.digest().short(),
            });
        }
        let unavailable = |problem| {
            let (name, digest) = (pin.name.clone(), pin.sha256);
            ClientError::StrategyUnavailable { name, digest, problem }
        };
        let key = consul_keys::strategy(&self.cluster, &pin.sha256);
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
