//! The client: what programs use.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use kv_core::digest::Digest;
use kv_core::layout::{Layout, Table};
use kv_core::operation::{Condition, Done, Operation, Record};
use kv_core::partition::Partition;
use kv_core::version::Version;
use kv_transport::Endpoint;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::config::ClientConfig;
#[cfg(feature = "strategies")]
use crate::config::NewCluster;
use crate::creation::Creation;
use crate::dispatch::Dispatcher;
use crate::error::ClientError;
use crate::executor::{Executor, check_key};
use crate::hand_off::HandOffHelp;
use crate::limits::QUEUE_OPERATIONS_MAX;
use crate::outbox::Connections;
use crate::routing::View;
use crate::scan;
use crate::status::{self, ClusterStatus};

/// A connection to one cluster. Clones share it, and may be used from any number of tasks: what they
/// do at the same time travels together.
///
/// Operations on one key are linearizable. Operations that are under way at the same time are carried
/// out in any order.
#[derive(Clone)]
pub struct Client {
    executor: Arc<Executor>,
    creation: Option<Arc<Creation>>,
}

/// Where a key belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Location {
    /// The key's partition.
    pub partition: Partition,
    /// The id of the node that owns it; where the partition is moving, of the one that it moves to.
    pub node: String,
    /// Where that node is, or why it is not reached.
    pub address: Result<Endpoint, String>,
    /// The epoch of the layout that says so.
    pub epoch: u64,
    /// What the strategy that placed it calls itself.
    pub strategy: String,
    /// The digest of the strategy.
    pub strategy_digest: Digest,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the cluster that `config` names. Where it has no layout yet, one is created of
    /// the nodes that are registered; [`Client::creation`] says so. Without the feature `strategies` that is
    /// [`ClientError::NotCreated`].
    ///
    /// # Errors
    /// Consul or the nodes cannot be reached, or the cluster's strategy is not the given one or does
    /// not give the cluster's table. Nothing was read or written then.
    pub async fn connect(config: ClientConfig) -> Result<Self, ClientError> {
        let connections = Connections::open()?;
        let cluster = Cluster::connect(&config, &connections);
        let (cluster, creation) = config.within(cluster).await?;
        Ok(Self::new(cluster, connections, config.timeout, creation))
    }

    /// Creates the layout of a cluster that has none, and connects to it.
    ///
    /// It needs the feature `strategies`.
    ///
    /// # Errors
    /// As [`Client::connect`], and [`ClientError::AlreadyCreated`].
    #[cfg(feature = "strategies")]
    pub async fn create(config: ClientConfig, new: NewCluster) -> Result<Self, ClientError> {
        let connections = Connections::open()?;
        let cluster = Cluster::create(&config, &connections, &new);
        let (cluster, creation) = config.within(cluster).await?;
        Ok(Self::new(cluster, connections, config.timeout, Some(creation)))
    }

    /// A client of a cluster of which everything is known: it asks no Consul, and its layout, the
    /// `tables` of the layout's placements and the `endpoints` (by the members' uuids) never change.
    ///
    /// # Errors
    /// The tables are not the layout's, or this machine gives no thread or no sockets.
    pub fn fixed(
        layout: Layout,
        tables: &[Table],
        endpoints: &HashMap<Uuid, Endpoint>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let cluster = Cluster::fixed(View::fixed(layout, tables, endpoints)?);
        Ok(Self::new(cluster, Connections::open()?, timeout, None))
    }

    fn new(
        cluster: Cluster,
        connections: Connections,
        timeout: Duration,
        creation: Option<Creation>,
    ) -> Self {
        let dispatcher = Dispatcher::new(connections.clone(), timeout);
        let hand_off_help = HandOffHelp::default();
        let executor =
            Arc::new(Executor { cluster, connections, dispatcher, hand_off_help, timeout });
        Self { executor, creation: creation.map(Arc::new) }
    }

    /// The facts of the layout's creation, where this client created it.
    #[must_use]
    pub fn creation(&self) -> Option<&Creation> {
        self.creation.as_deref()
    }

    /// The layout that this client goes by.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.executor.cluster.view().layout.clone()
    }

    /// Stores a value.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`] where it may have been stored; after any other error it was not.
    pub async fn put(
        &self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
    ) -> Result<Version, ClientError> {
        self.put_if(key, value, Condition::None).await
    }

    /// Stores a value if `condition` holds.
    ///
    /// # Errors
    /// As [`Client::put`]; [`ClientError::Refused`] with `conflict` where the condition does not hold.
    pub async fn put_if(
        &self,
        key: impl Into<String>,
        value: impl Into<Vec<u8>>,
        condition: Condition,
    ) -> Result<Version, ClientError> {
        let (key, value) = (key.into().into(), value.into().into());
        match self.executor.perform(Operation::Put { key, value, condition }).await? {
            Done::Stored { version } => Ok(version),
            _ => Err(another_kind()),
        }
    }

    /// Reads a value with its version; `None` where the key has no value.
    ///
    /// # Errors
    /// The owner cannot be reached, or refuses.
    pub async fn get(&self, key: impl Into<String>) -> Result<Option<Record>, ClientError> {
        match self.executor.perform(Operation::Get { key: key.into().into() }).await? {
            Done::Read(record) => Ok(record),
            _ => Err(another_kind()),
        }
    }

    /// Removes a record. Returns whether there was one.
    ///
    /// # Errors
    /// [`ClientError::OutcomeUnknown`] where it may have been removed; after any other error it was
    /// not.
    pub async fn delete(&self, key: impl Into<String>) -> Result<bool, ClientError> {
        self.delete_if(key, Condition::None).await
    }

    /// Removes a record if `condition` holds.
    ///
    /// # Errors
    /// As [`Client::delete`]; [`ClientError::Refused`] with `conflict` where the condition does not
    /// hold.
    pub async fn delete_if(
        &self,
        key: impl Into<String>,
        condition: Condition,
    ) -> Result<bool, ClientError> {
        match self.executor.perform(Operation::Delete { key: key.into().into(), condition }).await?
        {
            Done::Deleted { existed } => Ok(existed),
            _ => Err(another_kind()),
        }
    }

    /// Carries out many operations, and gives the outcome of each in their order. Operations on the
    /// same key are carried out in their order, one after the other; others are not ordered, and
    /// each succeeds or fails by itself.
    pub async fn batch(
        &self,
        operations: Vec<Operation<'static>>,
    ) -> Vec<Result<Done, ClientError>> {
        let mut chains_by_key = HashMap::with_capacity(operations.len());
        let chain_of = |operation: &Operation<'static>| {
            let fresh = chains_by_key.len();
            *chains_by_key.entry(operation.key().to_owned()).or_insert(fresh)
        };
        let chain_of: Vec<usize> = operations.iter().map(chain_of).collect();
        let mut chains: Vec<Vec<_>> = vec![Vec::new(); chains_by_key.len()];
        for ((index, operation), chain) in operations.into_iter().enumerate().zip(chain_of) {
            chains[chain].push((index, operation));
        }
        let outcomes = stream::iter(chains).map(|chain| async {
            let mut outcomes = Vec::with_capacity(chain.len());
            for (index, operation) in chain {
                outcomes.push((index, self.executor.perform(operation).await));
            }
            outcomes
        });
        // An operation's time begins when it begins, so not all of a long list begin at once.
        let mut outcomes: Vec<_> =
            outcomes.buffer_unordered(QUEUE_OPERATIONS_MAX).flat_map(stream::iter).collect().await;
        outcomes.sort_unstable_by_key(|(index, _)| *index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// All records whose keys start with `prefix`, in no particular order. Every record that is there
    /// all the time comes exactly once; it is no snapshot, so that a record that is written meanwhile may be
    /// there or not. After an error nothing more comes.
    pub fn get_all(
        &self,
        prefix: &str,
    ) -> impl Stream<Item = Result<(String, Record), ClientError>> + Send + use<> {
        scan::scan(Arc::clone(&self.executor), prefix.into())
    }

    /// Where `key` belongs.
    ///
    /// # Errors
    /// The key is not one that can be stored.
    pub fn locate(&self, key: &str) -> Result<Location, ClientError> {
        check_key(key)?;
        let view = self.executor.cluster.view();
        let (partition, assignment) = view.assignment(key).map_err(ClientError::Local)?;
        let owner = assignment.destination();
        let address = view.node(owner).map(|target| target.endpoint.clone());
        let pin = &view.placement_of(partition).strategy;
        Ok(Location {
            partition,
            node: view.node_id(owner),
            address,
            epoch: view.layout.epoch,
            strategy: pin.name.clone(),
            strategy_digest: pin.sha256,
        })
    }

    /// What Consul and the nodes say of the cluster now.
    ///
    /// # Errors
    /// Consul cannot be asked, or this client was given its layout and has no Consul.
    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        let Executor { cluster, connections, timeout, .. } = &*self.executor;
        let Some(discovery) = cluster.discovery() else {
            return Err(ClientError::Local("this client was made without a Consul".into()));
        };
        status::look(&discovery.registry, connections, *timeout).await
    }
}

/// The dispatcher has checked that an outcome is of its operation's kind.
fn another_kind() -> ClientError {
    ClientError::Local("the outcome is another operation's".into())
}
