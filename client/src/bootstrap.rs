//! The creation of a cluster's layout, by the first client that comes.
//!
//! It happens once. Where there is any sign that the cluster exists already, nothing is created: a
//! Consul that came back empty gets its layout back from the nodes, and a node whose state is in
//! doubt is waited for, since it may know better.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kv_consul::{CheckStatus, ServiceInstance};
use kv_core::installed::InstalledLayout;
use kv_core::layout::{
    Document, LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::name::Name;
use kv_placement::Strategy;
use kv_protocol::reply::NodeStatus;
use kv_registry::members::{PROTOCOL_VERSION, Registered as _};
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::ask::ask_instance;
use crate::config::NewCluster;
use crate::creation::Creation;
use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::limits::{LAYOUT_LOOK_INTERVAL, STATUS_TIMEOUT};
use crate::outbox::Connections;
use crate::placement::{TableRequest, admitted, table_verified};

/// How many owners a partition gets.
const REPLICAS: u32 = 1;

/// What of the time is left for publishing a layout when its strategy has been examined.
const PUBLISHING_TIME: Duration = Duration::from_millis(100);

/// How a cluster came to have a layout.
pub(crate) enum Bootstrap {
    /// This client created it, by the strategy that it has examined.
    Created(Layout, Creation),
    /// Another client was faster, or the nodes restored it.
    Found(Layout),
}

/// Creates the layout of a cluster that was found to have none.
pub(crate) async fn create(
    discovery: &Discovery,
    connections: &Connections,
    new: &NewCluster,
    deadline: Instant,
) -> Result<Bootstrap, ClientError> {
    let strategy = &discovery.strategy_to_adopt().await?;
    let began = Instant::now();
    let instances = discovery.instances().await?;
    if instances.is_empty() {
        return Err(ClientError::NoNodes {
            cluster: discovery.registry.cluster().to_string(),
            consul: discovery.registry.consul().address().to_owned(),
        });
    }
    let reply_by = deadline.min(Instant::now() + STATUS_TIMEOUT);
    let ask = |instance| ask_instance(connections, instance, reply_by);
    let answers: Vec<_> = join_all(instances.iter().map(ask)).await;
    // Any node that belongs to a layout settles the question, even if no other one does.
    let installed = answers.iter().flatten().find_map(|status| {
        status.layout.as_ref().map(|layout| (status.node.to_string(), layout.clone()))
    });
    if let Some((node, installed)) = installed {
        return await_restoration(discovery, node, &installed, deadline)
            .await
            .map(Bootstrap::Found);
    }
    let mut members = Vec::new();
    for (instance, answer) in instances.iter().zip(answers) {
        members.push(member(discovery.registry.cluster(), instance, answer)?);
    }
    members.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
        let problem = "is registered twice, from two data directories".to_owned();
        return Err(ClientError::NodeNotReady { node: pair[0].id.to_string(), problem });
    }
    let question = TableRequest {
        members,
        partitions: new.partitions,
        replicas: REPLICAS,
        config: new.strategy_config.clone(),
    };
    // First, since a fault in the strategy is told best by what it is.
    let examination = async {
        let table = table_verified(strategy, question.clone()).await?;
        admitted(strategy, &new.strategy_config, &new.accepted).await?;
        Ok::<_, ClientError>(table)
    };
    let until = deadline.checked_sub(PUBLISHING_TIME).unwrap_or(deadline);
    let table = timeout_at(until.into(), examination).await.unwrap_or_else(|_| {
        let name = strategy.label();
        let problem = format!("the strategy {name} was still being examined; allow more time");
        Err(ClientError::Unavailable { timeout: began.elapsed(), problem })
    })?;
    publish(discovery, strategy, question, &table, deadline).await
}

/// Waits until the nodes have put the layout back into a Consul that lost it.
async fn await_restoration(
    discovery: &Discovery,
    node: String,
    installed: &InstalledLayout,
    deadline: Instant,
) -> Result<Layout, ClientError> {
    let began = Instant::now();
    let InstalledLayout { cluster, epoch, .. } = *installed;
    let mut said = false;
    loop {
        if let Some(layout) = discovery.layout(deadline).await?.value {
            return Ok(layout);
        }
        if Instant::now() + LAYOUT_LOOK_INTERVAL >= deadline {
            return Err(ClientError::LayoutLost { cluster, node, epoch, waited: began.elapsed() });
        }
        // Only now, since another client may have created the layout just after it was looked for.
        if !std::mem::replace(&mut said, true) {
            tracing::warn!(
                "Consul has no layout, but node {node} belongs to cluster {cluster} (epoch {epoch}); waiting \
                 for the nodes to restore it"
            );
        }
        tokio::time::sleep(LAYOUT_LOOK_INTERVAL).await;
    }
}

/// The member that an instance becomes.
fn member(
    cluster: &Name,
    instance: &ServiceInstance,
    answer: Result<NodeStatus, String>,
) -> Result<Member, ClientError> {
    let not_ready =
        |problem: String| ClientError::NodeNotReady { node: instance.id.clone(), problem };
    let status = answer.map_err(|problem| not_ready(format!("does not answer ({problem})")))?;
    if instance.status == CheckStatus::Critical {
        return Err(not_ready("is critical according to Consul".into()));
    }
    let theirs = instance.protocol();
    if theirs != PROTOCOL_VERSION {
        return Err(not_ready(format!(
            "speaks protocol {theirs:?}, and this client speaks {PROTOCOL_VERSION:?}"
        )));
    }
    if instance.uuid() != Some(status.uuid) || status.cluster_name != *cluster {
        return Err(not_ready(format!(
            "says that it is {} of cluster {} with uuid {}, which is not what it registered",
            status.node, status.cluster_name, status.uuid
        )));
    }
    let weight = instance.weight_text();
    let weight = weight
        .parse()
        .map_err(|_| not_ready(format!("registered the weight {weight:?}, which is no number")))?;
    Ok(Member { id: status.node, uuid: status.uuid, weight, zone: instance.zone().to_owned() })
}

/// Puts strategy and table beside the place of the layout, and then the layout, if it is still the
/// first one.
async fn publish(
    discovery: &Discovery,
    strategy: &Strategy,
    question: TableRequest,
    table: &Table,
    deadline: Instant,
) -> Result<Bootstrap, ClientError> {
    let registry = &discovery.registry;
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::new_v4(),
        epoch: 1,
        partitions: question.partitions,
        replicas: question.replicas,
        min_in_sync: 1,
        placement: Placement {
            strategy: StrategyPin {
                name: strategy.info().name.clone(),
                sha256: strategy.digest(),
                config: question.config,
            },
            members: question.members,
            table: table.digest(),
            origin: Origin::Strategy,
            replicas: 1,
        },
        rebalance: None,
        standing: Standing::default(),
    };
    // Read back as nodes and clients will read it, so that nothing is published which they cannot use.
    let layout = Document::parse(&layout.to_json())?.layout(&layout.blobs())?;
    // There is no layout yet whose epoch they could name.
    registry.put_strategy(strategy.bytes(), 0).await?;
    registry.put_table(table, 0).await?;
    let written = registry.create_layout(&layout).await;
    // The layout that is there now decides: also a write whose answer got lost may have succeeded.
    match discovery.layout(deadline).await?.value {
        Some(found) if found == layout => {
            let creation = Creation::of(registry.cluster().clone(), &layout);
            Ok(Bootstrap::Created(layout, creation))
        }
        Some(found) => Ok(Bootstrap::Found(found)),
        None => Err(match written {
            Err(error) => error.into(),
            Ok(_) => ClientError::LayoutVanished,
        }),
    }
}

#[cfg(test)]
mod tests {
    use kv_registry::members::Description;

    use super::*;

    const UUID: Uuid = Uuid::from_u128(1);

    fn cluster() -> Name {
        "default".parse().unwrap()
    }

    fn instance() -> ServiceInstance {
        let (zone, host) = ("rack-1".to_owned(), "127.0.0.1".to_owned());
        let described = Description { uuid: UUID, incarnation: None, weight: 3, zone, host };
        ServiceInstance {
            id: "node-0".into(),
            node: "machine".into(),
            address: "127.0.0.1".into(),
            port: 2000,
            meta: described.meta(&cluster()),
            status: CheckStatus::Passing,
        }
    }

    fn status() -> NodeStatus {
        let status = crate::sample::status("node-0", UUID);
        NodeStatus { cluster_name: cluster(), ..status }
    }

    fn problem(instance: &ServiceInstance, answer: Result<NodeStatus, String>) -> String {
        match member(&cluster(), instance, answer) {
            Err(ClientError::NodeNotReady { node, problem }) if node == "node-0" => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_becomes_the_member_that_it_says_it_is() {
        let member = member(&cluster(), &instance(), Ok(status())).unwrap();
        assert_eq!((member.id.as_str(), member.uuid), ("node-0", UUID));
        assert_eq!((member.weight, member.zone.as_str()), (3, "rack-1"));
    }

    #[test]
    fn a_node_in_doubt_is_no_member() {
        let with = |name: &str, value: &str| {
            let mut instance = instance();
            instance.meta.insert(name.to_owned(), value.to_owned());
            instance
        };
        let critical = ServiceInstance { status: CheckStatus::Critical, ..instance() };
        assert!(problem(&critical, Ok(status())).contains("critical"));
        assert!(problem(&instance(), Err("silence".into())).contains("silence"));
        assert!(problem(&with("protocol", "2"), Ok(status())).contains("protocol"));
        assert!(problem(&with("weight", "much"), Ok(status())).contains("weight"));
        assert!(problem(&with("uuid", "none"), Ok(status())).contains("not what it registered"));
        let other = NodeStatus { uuid: Uuid::from_u128(2), ..status() };
        assert!(problem(&instance(), Ok(other)).contains("not what it registered"));
        let elsewhere = NodeStatus { cluster_name: "other".parse().unwrap(), ..status() };
        assert!(problem(&instance(), Ok(elsewhere)).contains("cluster other"));
    }
}
