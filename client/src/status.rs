//! What Consul and the nodes say of a cluster. Looking changes nothing, and works with nodes down
//! and before there is a layout.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kv_protocol::consul::{CheckStatus, Consul, Read, ServiceInstance};
use kv_protocol::consul_keys::{self, SERVICE, id_of_service, meta};
use kv_protocol::layout::{Layout, Member};
use kv_protocol::limits::ZONE_BYTES_MAX;
use kv_protocol::name::Name;
use kv_protocol::reply::{Content, NodeStatus};
use kv_protocol::request::{Command, Context, Request};
use uuid::Uuid;

use crate::batch::STYLE;
use crate::catalog::{are_hidden, of_cluster, uuid_of};
use crate::config::ClientConfig;
use crate::connection::Connections;
use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::limits::STATUS_TIMEOUT;

/// A cluster as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's name.
    pub name: Name,
    /// Consul's address.
    pub consul: String,
    /// The layout, with the rebalance that is under way; none where none has been created.
    pub layout: Option<Layout>,
    /// Members of the layout (of both placements during a rebalance) and registered nodes, by id.
    pub nodes: Vec<NodeReport>,
}

/// What is known of one node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node's id: the layout's for a member, otherwise as registered.
    pub id: String,
    /// The identity of its data directory, where it registered one.
    pub uuid: Option<Uuid>,
    /// Where it is registered, none where it is not.
    pub address: Option<String>,
    /// What Consul says of its health, none where it is not registered.
    pub health: Option<CheckStatus>,
    /// Whether the layout knows it.
    pub member: bool,
    /// The weight and zone that count: the layout's, or for a node that is no member those that it
    /// registered.
    pub described: Option<(u32, String)>,
    /// The weight and zone that it was started with, where it registered them.
    pub registered: Option<(u32, String)>,
    /// What it says of itself, or why it says nothing.
    pub answer: Result<NodeStatus, String>,
}

/// Looks at the cluster that `config` names.
///
/// # Errors
/// Consul cannot be asked, or its layout document is not one. A node that cannot be asked is no
/// error, but part of the picture.
pub async fn inspect(config: &ClientConfig) -> Result<ClusterStatus, ClientError> {
    let connections = Connections::open().map_err(|error| ClientError::Local(error.to_string()))?;
    let consul = Consul::new(&config.consul)?;
    config.within(look(&consul, &config.cluster, &connections, config.timeout)).await
}

pub(crate) async fn look(
    consul: &Consul,
    cluster: &Name,
    connections: &Connections,
    timeout: Duration,
) -> Result<ClusterStatus, ClientError> {
    let entry = consul.kv_get(&consul_keys::layout(cluster), Read::consistent()).await?.value;
    let layout = entry.map(|entry| Layout::parse(&entry.value)).transpose()?;
    let instances = consul.service_instances(SERVICE, Read::consistent()).await?.value;
    let absent = match instances.is_empty() && layout.is_some() && are_hidden(consul).await {
        true => ClientError::NodesHidden { consul: consul.address().to_owned() }.to_string(),
        false => "it is not registered with Consul".to_owned(),
    };
    let instances = of_cluster(cluster, instances);
    let reply_by = Instant::now() + timeout.min(STATUS_TIMEOUT);
    let ask = |instance| ask_instance(connections, instance, reply_by);
    let answers = join_all(instances.iter().map(ask)).await;
    let nodes = reports(cluster, layout.as_ref(), instances.iter().zip(answers), &absent);
    Ok(ClusterStatus { name: cluster.clone(), consul: consul.address().to_owned(), layout, nodes })
}

fn reports<'a>(
    cluster: &Name,
    layout: Option<&Layout>,
    asked: impl Iterator<Item = (&'a ServiceInstance, Result<NodeStatus, String>)>,
    absent: &str,
) -> Vec<NodeReport> {
    let described = |member: &Member| (member.weight, member.zone.clone());
    let members = layout.map(Layout::members).unwrap_or_default();
    let mut nodes: Vec<NodeReport> = asked
        .map(|(instance, answer)| {
            let uuid = uuid_of(instance);
            let member = members.iter().find(|member| Some(member.uuid) == uuid);
            let registered_id = id_of_service(cluster, &instance.id);
            let registered = registered(instance);
            NodeReport {
                id: member.map_or(registered_id.to_owned(), |member| member.id.to_string()),
                uuid,
                address: Some(format!("{}:{}", instance.address, instance.port)),
                health: Some(instance.status),
                member: member.is_some(),
                described: member.map(|it| described(it)).or_else(|| registered.clone()),
                registered,
                answer,
            }
        })
        .collect();
    for member in members {
        if !nodes.iter().any(|node| node.uuid == Some(member.uuid)) {
            nodes.push(NodeReport {
                id: member.id.to_string(),
                uuid: Some(member.uuid),
                address: None,
                health: None,
                member: true,
                described: Some(described(member)),
                registered: None,
                answer: Err(absent.to_owned()),
            });
        }
    }
    nodes.sort_by(|a, b| (&a.id, a.uuid).cmp(&(&b.id, b.uuid)));
    nodes
}

/// The weight and zone that a node registered.
fn registered(instance: &ServiceInstance) -> Option<(u32, String)> {
    let weight = instance.meta.get(meta::WEIGHT)?.parse().ok()?;
    // Anybody who may write to Consul may have written it.
    let zone = instance.meta.get(meta::ZONE).map_or("", String::as_str).chars();
    let zone = zone.filter(|c| !c.is_control()).take(ZONE_BYTES_MAX).collect();
    Some((weight, zone))
}

/// Asks a registered node how it is.
///
/// # Errors
/// Why it says nothing, for a person.
pub(crate) async fn ask_instance(
    connections: &Connections,
    instance: &ServiceInstance,
    reply_by: Instant,
) -> Result<NodeStatus, String> {
    let endpoint =
        Endpoint::tcp(&instance.address, instance.port).map_err(|error| error.to_string())?;
    ask_status(connections, &endpoint, Context::default(), reply_by).await
}

/// Asks a node how it is. Where the context names an epoch that the node has not installed yet, it
/// looks for that layout at once.
///
/// # Errors
/// Why it says nothing, for a person.
pub(crate) async fn ask_status(
    connections: &Connections,
    endpoint: &Endpoint,
    context: Context,
    reply_by: Instant,
) -> Result<NodeStatus, String> {
    let mut request = Request { id: None, context, style: STYLE, command: Command::Status };
    match connections.exchange(endpoint, &mut request, reply_by).await {
        Ok(Content::Status(status)) => Ok(*status),
        Ok(Content::Refused(refusal)) => Err(refusal.message),
        Ok(_) => Err("its answer is not the answer to STATUS".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use kv_protocol::digest::Digest;
    use kv_protocol::layout::{LAYOUT_FORMAT, Origin, Placement, StrategyPin};
    use kv_protocol::partition::PartitionCount;

    use super::*;

    fn layout(members: impl IntoIterator<Item = u128>) -> Layout {
        let member = |number: u128| Member {
            id: format!("node-{number}").parse().unwrap(),
            uuid: Uuid::from_u128(number),
            weight: 1,
            zone: String::new(),
        };
        let strategy =
            StrategyPin { name: "s".into(), sha256: Digest::of(b"s"), config: String::new() };
        Layout {
            format: LAYOUT_FORMAT,
            cluster: Uuid::from_u128(9),
            epoch: 1,
            partitions: PartitionCount::new(1).unwrap(),
            replicas: 1,
            placement: Placement {
                strategy,
                members: members.into_iter().map(member).collect(),
                table: Digest::of(b"t"),
                origin: Origin::Strategy,
            },
            rebalance: None,
        }
    }

    fn instance(id: &str, uuid: u128) -> ServiceInstance {
        ServiceInstance {
            id: id.into(),
            node: "machine".into(),
            address: "127.0.0.1".into(),
            port: 2000,
            meta: [(meta::UUID.to_owned(), Uuid::from_u128(uuid).to_string())].into(),
            status: CheckStatus::Passing,
        }
    }

    #[test]
    fn members_and_strangers_are_both_shown() {
        let silent = || Err("silent".to_owned());
        let instances = [instance("other.node-7", 7), instance("other.node-2", 2)];
        let asked = instances.iter().map(|instance| (instance, silent()));
        let cluster = "other".parse().unwrap();
        let nodes = reports(&cluster, Some(&layout([1, 2])), asked, "it is not registered");
        let shown: Vec<_> =
            nodes.iter().map(|it| (&*it.id, it.member, it.health.is_some())).collect();
        assert_eq!(
            shown,
            [("node-1", true, false), ("node-2", true, true), ("node-7", false, true)]
        );
        assert!(nodes[0].answer.as_ref().unwrap_err().contains("not registered"));
        let asked = instances.iter().map(|instance| (instance, silent()));
        assert_eq!(reports(&cluster, None, asked, "it is not registered").len(), 2);
        let mut moving = layout([1, 2]);
        moving = moving.begin(layout([2, 7]).placement, Vec::new()).unwrap();
        let asked = instances.iter().map(|instance| (instance, silent()));
        let nodes = reports(&cluster, Some(&moving), asked, "it is not registered");
        assert!(nodes.iter().all(|node| node.member), "members of both placements: {nodes:?}");
        assert_eq!(nodes.len(), 3);
    }
}
