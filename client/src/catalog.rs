//! Where Consul's catalog says that the nodes of a layout are.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use kv_consul::{ConsulError, ServiceInstance};
use kv_core::incarnation::Incarnation;
use kv_core::layout::Member;
use kv_core::name::Name;
use kv_protocol::reply::NodeStatus;
use kv_registry::Registry;
use kv_registry::members::{Registered, service_id};
use kv_transport::Endpoint;
use kv_transport::limits::CONNECT_WAIT;
use uuid::Uuid;

use crate::ask::ask_instance;
use crate::error::ClientError;
use crate::limits::REGISTRATIONS_ASKED_MAX;
use crate::outbox::Connections;
use crate::routing::{Reach, Target};

/// Whether Consul may have instances of the service that it does not show this client, which it leaves out
/// without a word where a token may not see them, or the machines that they are on. Worth a question only
/// where one is missed.
pub(crate) async fn may_be_hidden(registry: &Registry) -> bool {
    match registry.sees_all_instances().await {
        Ok(sees_all) => !sees_all,
        Err(error) => {
            tracing::debug!(%error, "whether nodes are hidden is not known");
            false
        }
    }
}

/// The error where nodes are hidden from this client.
pub(crate) fn hidden(registry: &Registry) -> ClientError {
    ClientError::NodesHidden { consul: registry.consul().address().to_owned() }
}

/// The runs of nodes that have claimed their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(HashSet<(Uuid, Option<Incarnation>)>);

impl Claims {
    /// Reads the claims of the cluster.
    ///
    /// # Errors
    /// Consul cannot be asked, or does not let this client read them.
    pub(crate) async fn read(registry: &Registry) -> Result<Self, ConsulError> {
        let claims = registry.claims().await?;
        Ok(claims.iter().map(|claim| (claim.uuid, claim.incarnation)).collect())
    }

    /// Whether the run that `instance` registered is the one that has claimed its id.
    pub(crate) fn have(&self, instance: &ServiceInstance) -> bool {
        let run = (instance.uuid(), instance.incarnation());
        run.0.is_some_and(|uuid| self.0.contains(&(uuid, run.1)))
    }
}

impl FromIterator<(Uuid, Option<Incarnation>)> for Claims {
    fn from_iter<T: IntoIterator<Item = (Uuid, Option<Incarnation>)>>(claims: T) -> Self {
        Self(claims.into_iter().collect())
    }
}

/// How little a registration of a node counts, beside others of the same one.
///
/// A node that was killed, and is started again at another Consul agent, leaves a registration behind
/// that only the first agent can remove; and any process that can write to Consul can make one up. The
/// run that has claimed the node's id counts, and the newest one where that is not known. Of those, the
/// one in better health does; and where that is no difference either, all clients choose the same one.
fn rank<'a>(instance: &'a ServiceInstance, claims: &Claims) -> impl Ord + use<'a> {
    let ServiceInstance { id, node, address, port, status, .. } = instance;
    let is_claimed = claims.have(instance);
    (!is_claimed, Reverse(instance.incarnation()), *status, node, id, address, *port)
}

/// Whether the answer is that of the run which `instance` registered.
pub(crate) fn is_of(instance: &ServiceInstance, answer: &NodeStatus) -> bool {
    Some(answer.uuid) == instance.uuid() && answer.incarnation == instance.incarnation()
}

/// Which of the instances are outranked: another one of the same data directory counts more. One that
/// `lives`, which is that it answers as what it registered, counts more than all that do not.
pub(crate) fn outranked(
    instances: &[ServiceInstance],
    claims: &Claims,
    lives: &[bool],
) -> Vec<bool> {
    let rank = |index: usize| (!lives[index], rank(&instances[index], claims));
    let mut first: HashMap<Uuid, usize> = HashMap::new();
    for (index, instance) in instances.iter().enumerate() {
        let Some(uuid) = instance.uuid() else { continue };
        let first = first.entry(uuid).or_insert(index);
        if rank(index) < rank(*first) {
            *first = index;
        }
    }
    let is_first =
        |(index, it): (usize, &ServiceInstance)| it.uuid().is_none_or(|uuid| first[&uuid] == index);
    instances.iter().enumerate().map(|it| !is_first(it)).collect()
}

/// Whether some data directory is registered more than once.
pub(crate) fn have_rivals(instances: &[ServiceInstance]) -> bool {
    let mut seen = HashSet::new();
    instances.iter().filter_map(Registered::uuid).any(|uuid| !seen.insert(uuid))
}

/// One instance of each data directory: of several, the first by their ranks that answers as what it
/// registered, and where no instance does, the first. Instances that name no data directory stay.
pub(crate) async fn that_count(
    connections: Option<&Connections>,
    instances: Vec<ServiceInstance>,
    claims: &Claims,
) -> Vec<ServiceInstance> {
    let mut by_uuid: HashMap<Uuid, Vec<ServiceInstance>> = HashMap::new();
    let mut chosen = Vec::new();
    for instance in instances {
        match instance.uuid() {
            Some(uuid) => by_uuid.entry(uuid).or_default().push(instance),
            None => chosen.push(instance),
        }
    }
    for mut rivals in by_uuid.into_values() {
        rivals.sort_by(|a, b| rank(a, claims).cmp(&rank(b, claims)));
        let living = match connections {
            Some(connections) if rivals.len() > 1 => first_living(connections, &rivals).await,
            _ => None,
        };
        chosen.push(rivals.swap_remove(living.unwrap_or(0)));
    }
    chosen.sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
    chosen
}

/// The first of the `rivals` that answers as what it registered. All are asked at the same time, and one
/// that comes later is waited for only until those before it have had their time.
async fn first_living(connections: &Connections, rivals: &[ServiceInstance]) -> Option<usize> {
    let reply_by = Instant::now() + CONNECT_WAIT;
    let ask = |(index, instance): (usize, &ServiceInstance)| {
        let (connections, instance) = (connections.clone(), instance.clone());
        async move {
            let answer = ask_instance(&connections, &instance, reply_by).await;
            answer.is_ok_and(|answer| is_of(&instance, &answer)).then_some(index)
        }
        .boxed()
    };
    let rivals = rivals.iter().take(REGISTRATIONS_ASKED_MAX).enumerate();
    let mut answers: FuturesOrdered<_> = rivals.map(ask).collect();
    while let Some(living) = answers.next().await {
        if living.is_some() {
            return living;
        }
    }
    None
}

/// How each of these nodes is reached.
pub(crate) fn reach(nodes: &[Member], cluster: &Name, instances: &[ServiceInstance]) -> Vec<Reach> {
    nodes.iter().map(|member| reach_member(member, cluster, instances)).collect()
}

fn reach_member(member: &Member, cluster: &Name, instances: &[ServiceInstance]) -> Reach {
    let ours = |instance: &&ServiceInstance| instance.uuid() == Some(member.uuid);
    // Of several, it has been found out which one counts.
    let registered = instances.iter().find(ours);
    let Member { id, uuid, .. } = member;
    if let Some(instance) = registered {
        let endpoint = Endpoint::tcp(&instance.address, instance.port)
            .map_err(|error| format!("node {id} is registered with Consul, but {error}"))?;
        let target = Target::new(id.to_string(), *uuid, endpoint);
        return Ok(Arc::new(target.in_run(instance.incarnation())));
    }
    let namesake = service_id(cluster, id);
    match instances.iter().find(|instance| instance.id == namesake) {
        Some(instance) => Err(format!(
            "node {id} is registered with Consul as uuid {}, but the layout's {id} is {uuid}: it runs \
             on another data directory; start it on the one that holds its data",
            instance.uuid_text().unwrap_or("(none)")
        )),
        None => Err(format!("node {id} is not registered with Consul: start it again")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kv_consul::CheckStatus;
    use kv_registry::members::Description;

    use super::*;

    fn member() -> Member {
        let (id, uuid) = ("node-1".parse().unwrap(), Uuid::from_u128(1));
        Member { id, uuid, weight: 1, zone: String::new() }
    }

    fn described(uuid: Uuid, incarnation: Option<Incarnation>) -> BTreeMap<String, String> {
        let (weight, zone, host) = (1, String::new(), "127.0.0.1".to_owned());
        let described = Description { uuid, incarnation, weight, zone, host };
        described.meta(&"default".parse().unwrap())
    }

    fn instance(id: &str, uuid: Uuid, port: u16, status: CheckStatus) -> ServiceInstance {
        let meta = described(uuid, None);
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

    /// The instances that count if no node is asked.
    fn count(instances: &[&ServiceInstance], claims: &Claims) -> Vec<ServiceInstance> {
        let instances = instances.iter().map(|it| (*it).clone()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(that_count(None, instances, claims))
    }

    #[test]
    fn the_healthier_registration_counts_and_a_critical_one_is_better_than_none() {
        let critical = instance("node-1", member().uuid, 2001, CheckStatus::Critical);
        let passing = instance("node-1", member().uuid, 2002, CheckStatus::Passing);
        let claims = Claims::default();
        assert_eq!(count(&[&critical, &passing], &claims), [passing]);
        assert_eq!(count(&[&critical], &claims), std::slice::from_ref(&critical));
        assert_eq!(reach(&[critical]).unwrap().endpoint.to_string(), "127.0.0.1:2001");
    }

    #[test]
    fn the_run_that_has_claimed_the_id_counts_more_than_a_newer_one() {
        let real = run(3, 2001, CheckStatus::Critical);
        let forged = run(999, 2002, CheckStatus::Passing);
        let claims: Claims = [(member().uuid, real.incarnation())].into_iter().collect();
        assert!(
            have_rivals(&[real.clone(), forged.clone()])
                && !have_rivals(std::slice::from_ref(&real))
        );
        assert_eq!(count(&[&forged, &real], &claims), std::slice::from_ref(&real));
        let all = [forged, real];
        assert_eq!(outranked(&all, &claims, &[false, false]), [true, false]);
        // The instance that answers as what it registered counts most.
        assert_eq!(outranked(&all, &claims, &[true, false]), [false, true]);
    }

    fn run(number: u64, port: u16, status: CheckStatus) -> ServiceInstance {
        let meta = described(member().uuid, Some(Incarnation { number, nonce: 1 }));
        ServiceInstance { meta, ..instance("node-1", member().uuid, port, status) }
    }

    #[test]
    fn the_newest_run_counts_and_then_the_healthier_one() {
        let bare = instance("node-1", member().uuid, 2001, CheckStatus::Passing);
        let old = run(9, 2002, CheckStatus::Passing);
        let new = run(10, 2003, CheckStatus::Critical);
        let twice = run(10, 2004, CheckStatus::Passing);
        let claims = Claims::default();
        let port = |instances: &[&ServiceInstance]| {
            let target = reach(&count(instances, &claims)).unwrap();
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
        assert_eq!(outranked(&all, &claims, &[false; 4]), [true, false, false, true]);
        assert_eq!(count(&all.iter().collect::<Vec<_>>(), &claims), [new, stranger]);
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
}
