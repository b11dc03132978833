//! Where Consul's catalog says that the members of a layout are. Pure.

use std::sync::Arc;

use kv_protocol::consul::ServiceInstance;
use kv_protocol::consul_keys::{meta, service_id};
use kv_protocol::layout::{Layout, Member};
use kv_protocol::name::Name;
use uuid::Uuid;

use crate::endpoint::Endpoint;
use crate::routing::{Reach, Target};

/// The instances that belong to `cluster`.
pub(crate) fn of_cluster(cluster: &Name, instances: Vec<ServiceInstance>) -> Vec<ServiceInstance> {
    let ours = |instance: &ServiceInstance| {
        instance.meta.get(meta::CLUSTER).is_some_and(|name| name == cluster.as_str())
    };
    instances.into_iter().filter(ours).collect()
}

/// The identity of the data directory that an instance registered.
pub(crate) fn uuid_of(instance: &ServiceInstance) -> Option<Uuid> {
    instance.meta.get(meta::UUID)?.parse().ok()
}

/// How each member of `layout` is reached.
pub(crate) fn reach(layout: &Layout, cluster: &Name, instances: &[ServiceInstance]) -> Vec<Reach> {
    layout.members.iter().map(|member| reach_member(member, cluster, instances)).collect()
}

fn reach_member(member: &Member, cluster: &Name, instances: &[ServiceInstance]) -> Reach {
    // A node that registered with two agents is asked where it is in better health.
    let registered = instances
        .iter()
        .filter(|instance| uuid_of(instance) == Some(member.uuid))
        .min_by_key(|instance| instance.status);
    let Member { id, uuid, .. } = member;
    if let Some(instance) = registered {
        let endpoint = Endpoint::tcp(&instance.address, instance.port)
            .map_err(|error| format!("node {id} is registered with Consul, but {error}"))?;
        return Ok(Arc::new(Target { node: id.to_string(), uuid: *uuid, endpoint }));
    }
    let namesake = service_id(cluster, id);
    match instances.iter().find(|instance| instance.id == namesake) {
        Some(instance) => Err(format!(
            "node {id} is registered with Consul as uuid {}, but the layout's {id} is {uuid}: it runs \
             on another data directory; start it on the one that holds its data",
            instance.meta.get(meta::UUID).map_or("(none)", String::as_str)
        )),
        None => Err(format!("node {id} is not registered with Consul: start it again")),
    }
}
