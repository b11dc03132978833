//! Where Consul's catalog says that the nodes of a layout are.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use kv_consul::{Consul, Read, ServiceInstance};
use kv_core::incarnation::Incarnation;
use kv_core::layout::Member;
use kv_core::name::Name;
use kv_protocol::consul_keys::{SERVICE, meta, service_id};
use uuid::Uuid;

use crate::routing::{Reach, Target};
use kv_transport::Endpoint;

/// The instances that belong to `cluster`.
pub(crate) fn of_cluster(cluster: &Name, instances: Vec<ServiceInstance>) -> Vec<ServiceInstance> {
    let ours = |instance: &ServiceInstance| {
        instance.meta.get(meta::CLUSTER).is_some_and(|name| name == cluster.as_str())
    };
    instances.into_iter().filter(ours).collect()
}

/// Whether Consul has instances of the service and shows this client none of them, which it does without
/// a word where a token may not see the machines that they are on. Worth a question only where none
/// were seen.
pub(crate) async fn are_hidden(consul: &Consul) -> bool {
    let is_known = match consul.service_names(Read::consistent()).await {
        Ok(names) => names.iter().any(|name| name == SERVICE),
        Err(error) => {
            tracing::debug!(%error, "whether nodes are hidden is not known");
            false
        }
    };
    if !is_known {
        return false;
    }
    // The first one may have registered meanwhile.
    let again = consul.service_instances(SERVICE, Read::consistent()).await;
    again.is_ok_and(|instances| instances.value.is_empty())
}

/// The identity of the data directory that an instance registered.
pub(crate) fn uuid_of(instance: &ServiceInstance) -> Option<Uuid> {
    instance.meta.get(meta::UUID)?.parse().ok()
}

/// Which run of its node an instance is; none where an older program registered it.
pub(crate) fn incarnation_of(instance: &ServiceInstance) -> Option<Incarnation> {
    instance.meta.get(meta::INCARNATION)?.parse().ok()
}

/// How little a registration of a node counts, beside others of the same one.
///
/// A node that was killed, and is started again at another Consul agent, leaves a registration behind
/// that nobody can remove but the first agent: the newest run counts. Of those, the one in better health
/// does; and where that is no difference either, all clients choose the same one.
fn rank(instance: &ServiceInstance) -> impl Ord + '_ {
    let ServiceInstance { id, node, address, port, status, .. } = instance;
    (Reverse(incarnation_of(instance)), *status, node, id, address, *port)
}

/// Which of the instances are outranked: another one of the same data directory counts more.
pub(crate) fn outranked(instances: &[ServiceInstance]) -> Vec<bool> {
    let mut first: HashMap<Uuid, &ServiceInstance> = HashMap::new();
    for (instance, uuid) in instances.iter().filter_map(|it| Some((it, uuid_of(it)?))) {
        let first = first.entry(uuid).or_insert(instance);
        if rank(instance) < rank(first) {
            *first = instance;
        }
    }
    let is_first = |it| uuid_of(it).is_none_or(|uuid| std::ptr::eq(first[&uuid], it));
    instances.iter().map(|it| !is_first(it)).collect()
}

/// The instances without those that are outranked.
pub(crate) fn that_count(instances: Vec<ServiceInstance>) -> Vec<ServiceInstance> {
    let outranked = outranked(&instances);
    let all = instances.into_iter().zip(outranked);
    all.filter(|(_, outranked)| !outranked).map(|(it, _)| it).collect()
}

/// How each of these nodes is reached.
pub(crate) fn reach(nodes: &[Member], cluster: &Name, instances: &[ServiceInstance]) -> Vec<Reach> {
    nodes.iter().map(|member| reach_member(member, cluster, instances)).collect()
}

fn reach_member(member: &Member, cluster: &Name, instances: &[ServiceInstance]) -> Reach {
    let ours = |instance: &&ServiceInstance| uuid_of(instance) == Some(member.uuid);
    let registered = instances.iter().filter(ours).min_by(|a, b| rank(a).cmp(&rank(b)));
    let Member { id, uuid, .. } = member;
    if let Some(instance) = registered {
        let endpoint = Endpoint::tcp(&instance.address, instance.port)
            .map_err(|error| format!("node {id} is registered with Consul, but {error}"))?;
        let target = Target::new(id.to_string(), *uuid, endpoint);
        return Ok(Arc::new(target.in_run(incarnation_of(instance))));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kv_consul::CheckStatus;

    use super::*;

    fn member() -> Member {
        let (id, uuid) = ("node-1".parse().unwrap(), Uuid::from_u128(1));
        Member { id, uuid, weight: 1, zone: String::new() }
    }

    fn instance(id: &str, uuid: Uuid, port: u16, status: CheckStatus) -> ServiceInstance {
        let meta = [(meta::CLUSTER, "default".to_owned()), (meta::UUID, uuid.to_string())];
        let meta: BTreeMap<_, _> = meta.map(|(name, value)| (name.to_owned(), value)).into();
        let (id, node, address) = (id.to_owned(), "machine".to_owned(), "127.0.0.1".to_owned());
        ServiceInstance { id, node, address, port, meta, status }
    }

    fn reach(instances: &[ServiceInstance]) -> Reach {
        reach_member(&member(), &"default".parse().unwrap(), instances)
    }

    #[test]
    fn a_member_is_found_by_its_data_directory_and_not_by_its_name() {
        let ours = instance("renamed", member().uuid, 2001, CheckStatus::Passing);
        let other = instance("node-1", Uuid::from_u128(2), 2002, CheckStatus::Passing);
        let target = reach(&[other, ours]).unwrap();
        assert_eq!((&*target.node, &*target.endpoint.to_string()), ("node-1", "127.0.0.1:2001"));
    }

    #[test]
    fn the_healthier_registration_counts_and_a_critical_one_is_better_than_none() {
        let critical = instance("node-1", member().uuid, 2001, CheckStatus::Critical);
        let passing = instance("node-1", member().uuid, 2002, CheckStatus::Passing);
        let both = reach(&[critical.clone(), passing]).unwrap();
        assert_eq!(both.endpoint.to_string(), "127.0.0.1:2002");
        assert_eq!(reach(&[critical]).unwrap().endpoint.to_string(), "127.0.0.1:2001");
    }

    fn run(number: u64, port: u16, status: CheckStatus) -> ServiceInstance {
        let mut instance = instance("node-1", member().uuid, port, status);
        let incarnation = Incarnation { number, nonce: 1 }.to_string();
        instance.meta.insert(meta::INCARNATION.to_owned(), incarnation);
        instance
    }

    #[test]
    fn the_newest_run_counts_and_then_the_healthier_one() {
        let bare = instance("node-1", member().uuid, 2001, CheckStatus::Passing);
        let old = run(9, 2002, CheckStatus::Passing);
        let new = run(10, 2003, CheckStatus::Critical);
        let twice = run(10, 2004, CheckStatus::Passing);
        let port = |instances: &[&ServiceInstance]| {
            let instances: Vec<_> = instances.iter().map(|it| (*it).clone()).collect();
            let target = reach(&instances).unwrap();
            (target.endpoint.to_string(), target.incarnation.map(|it| it.number))
        };
        let at = |port: u16, number| (format!("127.0.0.1:{port}"), number);
        assert_eq!(port(&[&bare]), at(2001, None), "an older program");
        assert_eq!(port(&[&bare, &old]), at(2002, Some(9)));
        assert_eq!(port(&[&old, &new, &bare]), at(2003, Some(10)));
        assert_eq!(port(&[&new, &twice, &old]), at(2004, Some(10)));
        let again = run(10, 2005, CheckStatus::Passing);
        for order in [[&again, &twice], [&twice, &again]] {
            assert_eq!(port(&order), at(2004, Some(10)), "the same for everybody");
        }

        let stranger = instance("node-2", Uuid::from_u128(2), 2006, CheckStatus::Critical);
        let all = vec![old.clone(), stranger.clone(), new.clone(), bare];
        assert_eq!(outranked(&all), [true, false, false, true]);
        assert_eq!(that_count(all), [stranger, new]);
    }

    #[test]
    fn a_missing_member_is_named_and_so_is_a_stranger_with_its_name() {
        assert!(reach(&[]).unwrap_err().contains("not registered"));
        let stranger = instance("node-1", Uuid::from_u128(2), 2001, CheckStatus::Passing);
        let problem = reach(&[stranger]).unwrap_err();
        assert!(problem.contains(&Uuid::from_u128(2).to_string()), "{problem}");
        assert!(problem.contains(&member().uuid.to_string()), "{problem}");
    }

    #[test]
    fn an_impossible_address_is_named() {
        let mut nowhere = instance("node-1", member().uuid, 2001, CheckStatus::Passing);
        nowhere.address = "tcp://\0".into();
        assert!(reach(&[nowhere]).unwrap_err().contains("not an address"));
    }

    #[test]
    fn other_clusters_are_left_out() {
        let ours = instance("node-1", member().uuid, 2001, CheckStatus::Passing);
        let mut theirs = ours.clone();
        theirs.meta.insert(meta::CLUSTER.to_owned(), "other".to_owned());
        let mut bare = ours.clone();
        bare.meta.clear();
        let found = of_cluster(&"default".parse().unwrap(), vec![theirs, ours.clone(), bare]);
        assert_eq!(found, [ours]);
    }
}
