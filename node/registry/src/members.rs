//! Membership: every node is an instance of one service, `kv`, and tells of itself in its metadata.
//!
//! Any process that can write to Consul can register an instance. So what one says of itself is a hint: the node is
//! asked, and the claim on its id decides.

use std::collections::BTreeMap;
use std::time::Duration;

use kv_consul::{
    AgentService, CheckStatus, ConsulError, Read, ServiceInstance, ServiceRegistration, Watch,
};
use kv_core::incarnation::Incarnation;
use kv_core::name::Name;
use uuid::Uuid;

use crate::keys::{CLUSTER_DEFAULT, SERVICE, meta};
use crate::registry::Registry;

/// The version of the protocol between clients and nodes that nodes of this version speak.
pub const PROTOCOL_VERSION: &str = "1";

/// What a node tells of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The identity of its data directory.
    pub uuid: Uuid,
    /// Which run of the node it is; `None` for a program that is older than these.
    pub incarnation: Option<Incarnation>,
    /// Its weight.
    pub weight: u32,
    /// Its zone, empty for a node without one.
    pub zone: String,
    /// The host that it is on: the address by which others reach it.
    pub host: String,
}

/// What a registration says of its node. It is text that any process that can write to
/// Consul may have written.
pub trait Registered {
    /// The metadata.
    fn meta(&self) -> &BTreeMap<String, String>;

    /// The identity of the node's data directory, as it was written, for messages to people.
    fn uuid_text(&self) -> Option<&str> {
        self.meta().get(meta::UUID).map(String::as_str)
    }

    /// The identity of the node's data directory.
    fn uuid(&self) -> Option<Uuid> {
        self.uuid_text()?.parse().ok()
    }

    /// Which run of the node it is; `None` where an older program registered it.
    fn incarnation(&self) -> Option<Incarnation> {
        self.meta().get(meta::INCARNATION)?.parse().ok()
    }

    /// The node's weight, as it was written.
    fn weight_text(&self) -> &str {
        self.meta().get(meta::WEIGHT).map_or("", String::as_str)
    }

    /// The node's weight.
    fn weight(&self) -> Option<u32> {
        self.weight_text().parse().ok()
    }

    /// The node's zone, empty for a node without one.
    fn zone(&self) -> &str {
        self.meta().get(meta::ZONE).map_or("", String::as_str)
    }

    /// The host that the node is on.
    fn host(&self) -> Option<&str> {
        self.meta().get(meta::HOST).map(String::as_str)
    }

    /// The version of the protocol that the node speaks, empty where it does not say.
    fn protocol(&self) -> &str {
        self.meta().get(meta::PROTOCOL).map_or("", String::as_str)
    }

    /// The name of the cluster that the node joins.
    fn cluster(&self) -> Option<&str> {
        self.meta().get(meta::CLUSTER).map(String::as_str)
    }
}

impl Registered for ServiceInstance {
    fn meta(&self) -> &BTreeMap<String, String> {
        &self.meta
    }
}

impl Registered for AgentService {
    fn meta(&self) -> &BTreeMap<String, String> {
        &self.meta
    }
}

impl Registered for ServiceRegistration {
    fn meta(&self) -> &BTreeMap<String, String> {
        &self.meta
    }
}

impl Description {
    /// The metadata that a node of `cluster` registers.
    #[must_use]
    pub fn meta(&self, cluster: &Name) -> BTreeMap<String, String> {
        let incarnation = self.incarnation.map(|it| (meta::INCARNATION, it.to_string()));
        [
            (meta::CLUSTER, cluster.to_string()),
            (meta::UUID, self.uuid.to_string()),
            (meta::PROTOCOL, PROTOCOL_VERSION.to_owned()),
            (meta::WEIGHT, self.weight.to_string()),
            (meta::ZONE, self.zone.clone()),
            (meta::HOST, self.host.clone()),
        ]
        .into_iter()
        .chain(incarnation)
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}

impl Registry {
    /// The id under which a node of this cluster registers.
    #[must_use]
    pub fn service_id(&self, node: &Name) -> String {
        service_id(self.cluster(), node)
    }

    /// The registration of the node `id`, which listens at this port of its host, and which is shown as
    /// critical where it gives no sign of life for `check_ttl`.
    #[must_use]
    pub fn registration(
        &self,
        id: &Name,
        described: &Description,
        port: u16,
        check_ttl: Duration,
    ) -> ServiceRegistration {
        ServiceRegistration {
            name: SERVICE.to_owned(),
            id: self.service_id(id),
            address: described.host.clone(),
            port,
            meta: described.meta(self.cluster()),
            check_ttl,
            initial_status: CheckStatus::Passing,
        }
    }

    /// The instances of all clusters that register with this Consul, in any state, as `read` asks
    /// for them. Those that this client may not see are left out ([`Registry::sees_all_instances`]).
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn instances(&self, read: Read) -> Result<Vec<ServiceInstance>, ConsulError> {
        Ok(self.consul().service_instances(SERVICE, read).await?.value)
    }

    /// Whether an instance says that it is of this cluster.
    #[must_use]
    pub fn is_ours(&self, instance: &ServiceInstance) -> bool {
        instance.cluster() == Some(self.cluster().as_str())
    }

    /// Follows the instances of all clusters.
    #[must_use]
    pub fn instance_changes(&self) -> Watch<Vec<ServiceInstance>> {
        self.consul().watch_service(SERVICE)
    }

    /// Whether this client may see all instances.
    ///
    /// # Errors
    /// As [`kv_consul::Consul::may_see_all`].
    pub async fn sees_all_instances(&self) -> Result<bool, ConsulError> {
        self.consul().may_see_all(SERVICE).await
    }
}

/// The node's id in the service id that a node of `cluster` has registered under.
#[must_use]
pub fn id_of_service<'a>(cluster: &Name, service_id: &'a str) -> &'a str {
    let prefix = service_id.strip_prefix(cluster.as_str());
    prefix.and_then(|rest| rest.strip_prefix('.')).unwrap_or(service_id)
}

/// The service id under which a node registers: its own id, with the cluster's name before it where
/// that is not the default, so that clusters which share a Consul agent stay apart.
#[must_use]
pub fn service_id(cluster: &Name, node: &Name) -> String {
    if cluster.as_str() == CLUSTER_DEFAULT { node.to_string() } else { format!("{cluster}.{node}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_registers_is_what_others_read() {
        let described = Description {
            uuid: Uuid::from_u128(7),
            incarnation: Some(Incarnation { number: 3, nonce: 9 }),
            weight: 5,
            zone: "rack-1".into(),
            host: "10.0.0.1".into(),
        };
        let instance = |described: &Description| ServiceInstance {
            id: "node-1".into(),
            node: "machine".into(),
            address: "10.0.0.1".into(),
            port: 1,
            meta: described.meta(&"blue".parse().unwrap()),
            status: CheckStatus::Passing,
        };
        let read = instance(&described);
        assert_eq!((read.cluster(), read.uuid()), (Some("blue"), Some(described.uuid)));
        assert_eq!((read.incarnation(), read.weight()), (described.incarnation, Some(5)));
        assert_eq!((read.zone(), read.host()), ("rack-1", Some("10.0.0.1")));
        assert_eq!(read.protocol(), PROTOCOL_VERSION);
        assert_eq!(instance(&Description { incarnation: None, ..described }).incarnation(), None);
        let strange = ServiceInstance { meta: BTreeMap::new(), ..read };
        assert_eq!((strange.cluster(), strange.uuid(), strange.weight()), (None, None, None));
    }

    #[test]
    fn clusters_that_share_an_agent_stay_apart() {
        let (blue, default): (Name, Name) = ("blue".parse().unwrap(), "default".parse().unwrap());
        let node = "node-1".parse().unwrap();
        assert_eq!(service_id(&default, &node), "node-1");
        assert_eq!(service_id(&blue, &node), "blue.node-1");
        assert_eq!(id_of_service(&blue, "blue.node-1"), "node-1");
        assert_eq!(id_of_service(&default, "node-1"), "node-1");
    }
}
