//! Finding a cluster in Consul: its layout, and where its nodes are.

use std::time::Instant;

use kv_consul::{BACKOFF, Consul, ConsulError, Indexed, Read, ServiceInstance};
use kv_core::layout::{Assignments, Layout, Table};
#[cfg(feature = "strategies")]
use kv_placement::Strategy;
use kv_registry::layout::FoundLayout;
use kv_registry::{Registry, Versioned};

use crate::catalog::{self, Claims};
use crate::config::ClientConfig;
use crate::error::ClientError;
#[cfg(not(feature = "strategies"))]
use crate::fetched::Tables;
use crate::outbox::Connections;
#[cfg(feature = "strategies")]
use crate::placement::StrategyRunner;
use crate::routing::View;
#[cfg(feature = "strategies")]
use crate::tables::Tables;

/// What it takes to find out about a cluster: the door to its keys in Consul, strategies that compute its
/// tables, and connections to its nodes.
pub struct Discovery {
    /// The cluster's keys and instances in Consul.
    pub registry: Registry,
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

impl Discovery {
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
        let registry = Registry::new(consul, config.cluster.clone());
        Ok(Self {
            registry,
            #[cfg(feature = "strategies")]
            placement,
            tables: Tables::default(),
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

    /// What `layout` says of each partition, and where the `instances` have its nodes.
    ///
    /// # Errors
    /// As [`Discovery::tables`].
    pub async fn view(
        &self,
        layout: Layout,
        instances: &[ServiceInstance],
    ) -> Result<View, ClientError> {
        let tables = self.tables(&layout).await?;
        self.view_by(layout, &tables, instances)
    }

    /// The same, where its `tables` are known.
    pub(crate) fn view_by(
        &self,
        layout: Layout,
        tables: &[Table],
        instances: &[ServiceInstance],
    ) -> Result<View, ClientError> {
        let assignments = Assignments::new(&layout, tables)?;
        let reach = catalog::reach(assignments.nodes(), self.registry.cluster(), instances);
        Ok(View { layout, assignments, reach })
    }

    /// The layout, where there is one. A Consul that has no leader just now is given time.
    ///
    /// # Errors
    /// Consul cannot be asked, or the value there is no layout.
    pub async fn layout(&self, deadline: Instant) -> Result<Indexed<Option<Layout>>, ClientError> {
        let Indexed { index, value } = self.versioned_layout(deadline).await?;
        Ok(Indexed { index, value: value.map(|layout| layout.value) })
    }

    /// The layout with what it takes to change it, where there is one. A Consul that has no leader
    /// just now is given time.
    ///
    /// # Errors
    /// As [`Discovery::layout`].
    pub async fn versioned_layout(
        &self,
        deadline: Instant,
    ) -> Result<Indexed<Option<Versioned<Layout>>>, ClientError> {
        let Indexed { index, value } = self.layout_as_found(deadline).await?;
        Ok(Indexed { index, value: value.map(|it| self.registry.readable(it)).transpose()? })
    }

    /// The value at the layout's key, layout or not. A Consul that has no leader just now is given time.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn layout_as_found(
        &self,
        deadline: Instant,
    ) -> Result<Indexed<Option<FoundLayout>>, ClientError> {
        let mut backoff = BACKOFF;
        loop {
            match self.registry.layout_as_found(Read::consistent()).await {
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
    /// As [`Discovery::all_instances`].
    pub async fn instances(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        let all = self.all_instances().await?;
        if !catalog::have_rivals(&all) {
            return Ok(all);
        }
        // Where this client may not read them, it goes by what it can see.
        let claims = Claims::read(&self.registry).await.unwrap_or_default();
        Ok(catalog::that_count(self.connections.as_ref(), all, &claims).await)
    }

    /// All instances that registered for this cluster.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ClientError::NodesHidden`].
    pub async fn all_instances(&self) -> Result<Vec<ServiceInstance>, ClientError> {
        let mut instances = self.registry.instances(Read::consistent()).await?;
        if instances.is_empty() {
            self.check_sees_all().await?;
        }
        instances.retain(|it| self.registry.is_ours(it));
        Ok(instances)
    }

    /// Makes sure that a node which is not seen is not registered either, rather than hidden from this
    /// client: a node that is not seen must not be taken for dead then.
    ///
    /// # Errors
    /// [`ClientError::NodesHidden`].
    pub async fn check_sees_all(&self) -> Result<(), ClientError> {
        match catalog::may_be_hidden(&self.registry).await {
            true => Err(catalog::hidden(&self.registry)),
            false => Ok(()),
        }
    }

    /// What Consul says now, with the layout's index. An older layout than `current`, or none, is not
    /// taken.
    pub(crate) async fn look(&self, current: &View) -> Result<Indexed<View>, ClientError> {
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
                let reach = catalog::reach(nodes, self.registry.cluster(), &instances);
                View { reach, ..current.clone() }
            }
        };
        Ok(Indexed { index: found.index, value: view })
    }
}
