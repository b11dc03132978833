//! What Consul and the nodes say of a cluster. Looking changes nothing, and works with nodes down
//! and before there is a layout.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kv_consul::{CheckStatus, Consul, Read, ServiceInstance};
use kv_core::incarnation::Incarnation;
use kv_core::layout::{Layout, Member};
use kv_core::limits::ZONE_BYTES_MAX;
use kv_core::name::Name;
use kv_protocol::reply::NodeStatus;
use kv_registry::Registry;
use kv_registry::members::{Registered as _, id_of_service};
use uuid::Uuid;

use crate::ask::ask_instance;
use crate::catalog::{Claims, hidden, is_of, may_be_hidden, outranked};
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::limits::STATUS_TIMEOUT;
use crate::outbox::Connections;

/// A cluster as it is now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's name.
    pub name: Name,
    /// Consul's address.
    pub consul: String,
    /// The layout, with the rebalance that is under way; `None` before its creation.
    pub layout: Option<Layout>,
    /// Members of the layout (of both placements during a rebalance) and registered nodes, by id.
    pub nodes: Vec<NodeReport>,
    /// Registrations that clients do not go by.
    pub left_behind: Vec<LeftBehind>,
}

/// A registration that a run of a node has left at a Consul agent that later ones did not use. Only that
/// agent can remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftBehind {
    /// The node's id.
    pub id: String,
    /// Under which id it is registered.
    pub service: String,
    /// The machine whose agent has it.
    pub agent: String,
    /// Where the run listened.
    pub address: String,
    /// Whether no run of the node is known that could have made it, so that another process has.
    pub is_foreign: bool,
}

/// One node, as the layout, Consul and the node itself tell of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeReport {
    /// The node's id: the layout's for a member, otherwise as registered.
    pub id: String,
    /// The identity of its data directory, where it registered one.
    pub uuid: Option<Uuid>,
    /// Where it is registered; `None` for a node that is not.
    pub address: Option<String>,
    /// What Consul says of its health; `None` for a node that is not registered.
    pub health: Option<CheckStatus>,
    /// Whether the layout knows it.
    pub member: bool,
    /// Which run of the node has registered, where it says so.
    pub incarnation: Option<Incarnation>,
    /// Whether it is a process on another copy of the node's data directory than the one that clients
    /// go to. It should not run.
    pub is_twin: bool,
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
    let connections = Connections::open()?;
    let registry = Registry::new(Consul::new(&config.consul)?, config.cluster.clone());
    config.within(look(&registry, &connections, config.timeout)).await
}

pub(crate) async fn look(
    registry: &Registry,
    connections: &Connections,
    timeout: Duration,
) -> Result<ClusterStatus, ClientError> {
    let (consul, cluster) = (registry.consul(), registry.cluster());
    let layout = registry.layout_now().await?.map(|layout| layout.value);
    let mut instances = registry.instances(Read::consistent()).await?;
    instances.retain(|it| registry.is_ours(it));
    let members = layout.as_ref().map(Layout::members).unwrap_or_default();
    let is_registered =
        |member: &&Member| instances.iter().any(|instance| instance.uuid() == Some(member.uuid));
    let is_missed = !members.iter().all(is_registered);
    let absent = match is_missed && may_be_hidden(registry).await {
        true => hidden(registry).to_string(),
        false => "it is not registered with Consul".to_owned(),
    };
    // A token that may not read them is no reason to show nothing.
    let claims = Claims::read(registry).await.ok();
    let reply_by = Instant::now() + timeout.min(STATUS_TIMEOUT);
    let ask = |instance| ask_instance(connections, instance, reply_by);
    let answers = join_all(instances.iter().map(ask)).await;
    let asked: Vec<_> = instances.iter().zip(answers).collect();
    let (nodes, left_behind) = reports(cluster, layout.as_ref(), claims.as_ref(), asked, &absent);
    let (name, consul) = (cluster.clone(), consul.address().to_owned());
    Ok(ClusterStatus { name, consul, layout, nodes, left_behind })
}

type Asked<'a> = (&'a ServiceInstance, Result<NodeStatus, String>);

fn reports(
    cluster: &Name,
    layout: Option<&Layout>,
    claims: Option<&Claims>,
    asked: Vec<Asked<'_>>,
    absent: &str,
) -> (Vec<NodeReport>, Vec<LeftBehind>) {
    let described = |member: &Member| (member.weight, member.zone.clone());
    let members = layout.map(Layout::members).unwrap_or_default();
    let instances: Vec<ServiceInstance> = asked.iter().map(|(it, _)| (*it).clone()).collect();
    let (mut nodes, mut left_behind) = (Vec::new(), Vec::new());
    let answers_as_itself = |(instance, answer): &Asked<'_>| {
        answer.as_ref().is_ok_and(|status| is_of(instance, status))
    };
    let lives: Vec<bool> = asked.iter().map(answers_as_itself).collect();
    let known = claims.cloned().unwrap_or_default();
    let outranked = outranked(&instances, &known, &lives);
    // The run of each data directory that counts.
    let first = |uuid| {
        let counts = instances.iter().zip(&outranked).find(|(it, out)| it.uuid() == uuid && !**out);
        counts.map(|(it, _)| it)
    };
    for (((instance, answer), is_outranked), lives) in
        asked.into_iter().zip(outranked.iter().copied()).zip(lives)
    {
        let (uuid, incarnation) = (instance.uuid(), instance.incarnation());
        let member = members.iter().find(|member| Some(member.uuid) == uuid);
        let registered_id = id_of_service(cluster, &instance.id);
        let id = member.map_or(registered_id.to_owned(), |member| member.id.to_string());
        let address = format!("{}:{}", instance.address, instance.port);
        // A node that has left gave its claim back, and that of a later run is another one.
        let has_claim = claims.is_none_or(|claims| claims.have(instance));
        let is_gone = instance.status == CheckStatus::Critical && member.is_none() && !has_claim;
        // The run that has the claim is the node itself, registered once more.
        let is_twin = is_outranked && lives && !known.have(instance);
        if (is_outranked && !is_twin) || (!lives && is_gone && incarnation.is_some()) {
            let (service, agent) = (instance.id.clone(), instance.node.clone());
            let is_earlier = first(uuid).is_none_or(|it| {
                let is_same = (&it.address, it.port) == (&instance.address, instance.port);
                incarnation < it.incarnation() || (incarnation == it.incarnation() && is_same)
            });
            let is_foreign = is_outranked && !is_earlier;
            left_behind.push(LeftBehind { id, service, agent, address, is_foreign });
            continue;
        }
        let registered = registered(instance);
        nodes.push(NodeReport {
            id,
            uuid,
            address: Some(address),
            health: Some(instance.status),
            member: member.is_some(),
            incarnation,
            is_twin,
            described: member.map(|it| described(it)).or_else(|| registered.clone()),
            registered,
            answer,
        });
    }
    for member in members {
        if !nodes.iter().any(|node| node.uuid == Some(member.uuid)) {
            nodes.push(NodeReport {
                id: member.id.to_string(),
                uuid: Some(member.uuid),
                address: None,
                health: None,
                member: true,
                incarnation: None,
                is_twin: false,
                described: Some(described(member)),
                registered: None,
                answer: Err(absent.to_owned()),
            });
        }
    }
    nodes.sort_by(|a, b| (&a.id, a.uuid, a.is_twin).cmp(&(&b.id, b.uuid, b.is_twin)));
    (nodes, left_behind)
}

/// The weight and zone that a node registered.
fn registered(instance: &ServiceInstance) -> Option<(u32, String)> {
    let weight = instance.weight()?;
    // Any process that can write to Consul may have written it.
    let zone = instance.zone().chars().filter(|c| !c.is_control()).take(ZONE_BYTES_MAX).collect();
    Some((weight, zone))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kv_core::digest::Digest;
    use kv_core::layout::{LAYOUT_FORMAT, Origin, Placement, Standing, StrategyPin};
    use kv_core::partition::PartitionCount;
    use kv_registry::members::Description;

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
            min_in_sync: 1,
            placement: Placement {
                strategy,
                members: members.into_iter().map(member).collect(),
                table: Digest::of(b"t"),
                origin: Origin::Strategy,
                replicas: 1,
            },
            rebalance: None,
            standing: Standing::default(),
        }
    }

    fn described(uuid: u128, incarnation: Option<Incarnation>) -> BTreeMap<String, String> {
        let (weight, zone, host) = (1, String::new(), "127.0.0.1".to_owned());
        let uuid = Uuid::from_u128(uuid);
        let described = Description { uuid, incarnation, weight, zone, host };
        described.meta(&"default".parse().unwrap())
    }

    fn instance(id: &str, uuid: u128) -> ServiceInstance {
        ServiceInstance {
            id: id.into(),
            node: "machine".into(),
            address: "127.0.0.1".into(),
            port: 2000,
            meta: described(uuid, None),
            status: CheckStatus::Passing,
        }
    }

    #[test]
    fn members_and_strangers_are_both_shown() {
        let silent = || Err("silent".to_owned());
        let instances = [instance("other.node-7", 7), instance("other.node-2", 2)];
        let asked = || instances.iter().map(|instance| (instance, silent())).collect();
        let cluster = "other".parse().unwrap();
        let reports = |layout: Option<Layout>| {
            super::reports(&cluster, layout.as_ref(), None, asked(), "it is not registered").0
        };
        let nodes = reports(Some(layout([1, 2])));
        let shown: Vec<_> =
            nodes.iter().map(|it| (&*it.id, it.member, it.health.is_some())).collect();
        assert_eq!(
            shown,
            [("node-1", true, false), ("node-2", true, true), ("node-7", false, true)]
        );
        assert!(nodes[0].answer.as_ref().unwrap_err().contains("not registered"));
        assert_eq!(reports(None).len(), 2);
        let mut moving = layout([1, 2]);
        moving = moving.begin(layout([2, 7]).placement, Vec::new()).unwrap();
        let nodes = reports(Some(moving));
        assert!(nodes.iter().all(|node| node.member), "members of both placements: {nodes:?}");
        assert_eq!(nodes.len(), 3);
    }

    fn run(number: u64) -> Incarnation {
        Incarnation { number, nonce: 1 }
    }

    fn run_of(id: &str, uuid: u128, number: u64, status: CheckStatus) -> ServiceInstance {
        let (meta, node) = (described(uuid, Some(run(number))), format!("machine-{number}"));
        ServiceInstance { status, meta, node, ..instance(id, uuid) }
    }

    fn says(uuid: u128, number: u64) -> Result<NodeStatus, String> {
        let status = crate::sample::status("node-1", Uuid::from_u128(uuid));
        Ok(NodeStatus { incarnation: Some(run(number)), ..status })
    }

    #[test]
    fn what_earlier_runs_left_is_told_from_a_twin_and_from_a_node_that_is_down() {
        let cluster = "default".parse().unwrap();
        let silent = || Err("silent".to_owned());
        let claims: Claims = [(Uuid::from_u128(1), Some(run(7)))].into_iter().collect();
        let layout = layout([1]);
        let new = run_of("node-1", 1, 7, CheckStatus::Passing);
        let old = run_of("node-1", 1, 5, CheckStatus::Critical);
        let spare_that_left = run_of("node-2", 2, 3, CheckStatus::Critical);
        let look =
            |asked| reports(&cluster, Some(&layout), Some(&claims), asked, "it is not registered");

        let asked = vec![(&old, silent()), (&new, says(1, 7)), (&spare_that_left, silent())];
        let (nodes, left) = look(asked);
        assert_eq!(nodes.iter().map(|it| it.incarnation).collect::<Vec<_>>(), [Some(run(7))]);
        let left: Vec<_> = left.iter().map(|it| (&*it.id, &*it.agent)).collect();
        assert_eq!(left, [("node-1", "machine-5"), ("node-2", "machine-3")]);

        // The new one's process may have taken the old one's address.
        assert_eq!(look(vec![(&old, says(1, 7)), (&new, says(1, 7))]).0.len(), 1);
        let (nodes, left) = look(vec![(&old, says(1, 5)), (&new, says(1, 7))]);
        let twins: Vec<_> = nodes.iter().map(|it| (it.incarnation, it.is_twin)).collect();
        assert_eq!((twins, left), (vec![(Some(run(7)), false), (Some(run(5)), true)], Vec::new()));

        // An instance that another process registered in its name is no twin, nor is the real one then.
        let forged = run_of("node-1", 1, 99, CheckStatus::Passing);
        let copied = ServiceInstance { port: 1, id: "0".into(), ..new.clone() };
        for (forged, answer) in [(&forged, silent()), (&forged, says(1, 7)), (&copied, says(2, 1))]
        {
            let (nodes, left) = look(vec![(forged, answer), (&new, says(1, 7))]);
            assert_eq!(
                (nodes.len(), nodes[0].is_twin, nodes[0].incarnation),
                (1, false, Some(run(7)))
            );
            assert!(left.len() == 1 && left[0].is_foreign, "{left:?}");
        }
        // A copy that runs is one, however new it is.
        let (nodes, _) = look(vec![(&forged, says(1, 99)), (&new, says(1, 7))]);
        let twins: Vec<_> = nodes.iter().map(|it| (it.incarnation, it.is_twin)).collect();
        assert_eq!(twins, [(Some(run(7)), false), (Some(run(99)), true)]);

        // A member is shown, however it is.
        let down = ServiceInstance { status: CheckStatus::Critical, ..new.clone() };
        assert_eq!(look(vec![(&down, silent())]).0.len(), 1);
    }
}
