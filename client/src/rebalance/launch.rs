//! Nodes that are to join: found where they run, or started by a signal.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kv_protocol::consul::{CheckStatus, Read, ServiceInstance};
use kv_protocol::consul_keys::{self, Claim, id_of_service, meta};
use kv_protocol::layout::Layout;
use kv_protocol::limits::MEMBERS_MAX;
use kv_protocol::name::Name;
use kv_protocol::signal::Signal;
use uuid::Uuid;

use super::change::Addition;
use super::error::RebalanceError;
use crate::catalog::uuid_of;
use crate::cluster::Registry;
use crate::limits::{LAUNCH_LOOK_INTERVAL, LAUNCH_WAIT};

/// Which nodes are to join.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Wanted {
    /// How many.
    pub count: u32,
    /// The id of the only one, where somebody chose it.
    pub id: Option<Name>,
    /// The host that new ones are to run on, as nodes register it; any where there is none.
    pub host: Option<String>,
    /// Their weight; 1 for a node that does not run yet where there is none.
    pub weight: Option<u32>,
    /// Their zone; none for a node that does not run yet where there is none.
    pub zone: Option<String>,
}

/// A registered node that is no member of the layout.
struct Spare {
    id: Name,
    uuid: Uuid,
    weight: u32,
    zone: String,
}

/// Chooses the nodes: those that run already and are no members come first, by their ids.
pub(crate) async fn choose(
    registry: &Registry,
    layout: &Layout,
    wanted: &Wanted,
) -> Result<Vec<Addition>, RebalanceError> {
    let instances = registry.instances().await?;
    let spares = spares(&registry.cluster, layout, &instances);
    if let Some(id) = &wanted.id {
        let spare = spares.iter().find(|it| it.id == *id);
        return Ok(vec![match spare {
            Some(spare) => taken(spare, wanted)?,
            None => fresh(id.clone(), wanted),
        }]);
    }
    let mut chosen = Vec::new();
    let fits = |spare: &&Spare| taken(spare, wanted).is_ok();
    for spare in spares.iter().filter(fits).take(wanted.count as usize) {
        chosen.push(taken(spare, wanted)?);
    }
    let claims = consul_keys::claims(&registry.cluster);
    let claims = registry.consul.kv_list(&claims, Read::consistent()).await?.value;
    let mut used: BTreeSet<String> =
        claims.iter().filter_map(|it| it.key.rsplit('/').next().map(str::to_owned)).collect();
    used.extend(layout.members().iter().map(|member| member.id.to_string()));
    used.extend(spares.iter().map(|spare| spare.id.to_string()));
    let free = (0..2 * MEMBERS_MAX).map(|number| format!("node-{number}"));
    let free = free.filter(|id| !used.contains(id)).filter_map(|id| id.parse::<Name>().ok());
    let missing = (wanted.count as usize).saturating_sub(chosen.len());
    chosen.extend(free.take(missing).map(|id| fresh(id, wanted)));
    Ok(chosen)
}

fn fresh(id: Name, wanted: &Wanted) -> Addition {
    let zone = wanted.zone.clone().unwrap_or_default();
    Addition { id, weight: wanted.weight.unwrap_or(1), zone, uuid: None }
}

fn taken(spare: &Spare, wanted: &Wanted) -> Result<Addition, RebalanceError> {
    let Spare { id, uuid, weight, zone } = spare;
    let other_weight = wanted.weight.is_some_and(|it| it != *weight);
    if other_weight || wanted.zone.as_ref().is_some_and(|it| it != zone) {
        return Err(RebalanceError::Refused(format!(
            "node {id} runs already, with weight {weight} and zone {zone:?}: start it with what it is to \
             have, or leave --weight and --zone out"
        )));
    }
    Ok(Addition { id: id.clone(), weight: *weight, zone: zone.clone(), uuid: Some(*uuid) })
}

fn spares(cluster: &Name, layout: &Layout, instances: &[ServiceInstance]) -> Vec<Spare> {
    let spare = |instance: &ServiceInstance| {
        let id = id_of_service(cluster, &instance.id);
        let uuid = uuid_of(instance)?;
        let is_member = layout.member_by_uuid(uuid).is_some();
        let text = |name: &str| instance.meta.get(name).map_or("", String::as_str);
        let usable = instance.status != CheckStatus::Critical && !is_member;
        usable.then_some(Spare {
            id: id.parse().ok()?,
            uuid,
            weight: text(meta::WEIGHT).parse().ok()?,
            zone: text(meta::ZONE).to_owned(),
        })
    };
    let mut spares: Vec<Spare> = instances.iter().filter_map(spare).collect();
    spares.sort_by(|a, b| a.id.cmp(&b.id));
    spares
}

/// The registered nodes with these ids, where all of them are and none is a member of the layout.
pub(crate) async fn spares_with(
    registry: &Registry,
    layout: &Layout,
    ids: &[Name],
) -> Result<Option<Vec<(Name, Uuid)>>, RebalanceError> {
    let spares = spares(&registry.cluster, layout, &registry.instances().await?);
    let of = |id: &Name| spares.iter().find(|it| it.id == *id).map(|it| (it.id.clone(), it.uuid));
    Ok(ids.iter().map(of).collect())
}

/// Frees the id of a node that will not come back: its registration, claim and signal.
pub(crate) async fn forget(
    registry: &Registry,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let claim = consul.kv_get(&consul_keys::claim(cluster, id), Read::consistent()).await?.value;
    if let Some(entry) = claim
        && serde_json::from_slice(&entry.value).is_ok_and(|claim: Claim| claim.uuid == uuid)
    {
        consul.kv_delete_cas(&entry.key, entry.modify_index).await?;
    }
    consul.kv_delete(&consul_keys::signal(cluster, id)).await?;
    for instance in registry.all_instances().await? {
        if uuid_of(&instance) == Some(uuid) {
            // Only the agent that it registered with can do it; another one has nothing to remove.
            if let Err(error) = consul.deregister(&instance.id).await {
                tracing::debug!(%error, "the registration of {id} stays");
            }
        }
    }
    Ok(())
}

/// Has those of the `nodes` started that do not run, and waits until all are registered. `told` is
/// given a word on every node that is waited for.
pub(crate) async fn launch(
    registry: &Registry,
    layout: &Layout,
    nodes: &mut [Addition],
    host: Option<&str>,
    told: &(dyn Fn(&str) + Sync),
) -> Result<(), RebalanceError> {
    check_host(registry, host).await?;
    for node in nodes.iter().filter(|node| node.uuid.is_none()) {
        let key = consul_keys::signal(&registry.cluster, &node.id);
        let signal = Signal::Running {
            host: host.map(str::to_owned),
            weight: node.weight,
            zone: node.zone.clone(),
            launcher: None,
        };
        let before = registry.consul.kv_get(&key, Read::consistent()).await?.value;
        let index = before.map_or(0, |entry| entry.modify_index);
        if !registry.consul.kv_put_cas(&key, &signal.to_json(), index).await? {
            return Err(RebalanceError::Refused(format!(
                "somebody else is signalling node {} at the same time: try again",
                node.id
            )));
        }
        told(&format!("signalled: node {} is to run{}", node.id, on(host)));
    }
    let began = Instant::now();
    for node in nodes.iter_mut().filter(|node| node.uuid.is_none()) {
        let uuid = await_node(registry, layout, node, host, began).await?;
        node.uuid = Some(uuid);
        told(&format!("node {} is running", node.id));
    }
    Ok(())
}

async fn await_node(
    registry: &Registry,
    layout: &Layout,
    node: &Addition,
    host: Option<&str>,
    began: Instant,
) -> Result<Uuid, RebalanceError> {
    let key = consul_keys::signal(&registry.cluster, &node.id);
    loop {
        let instances = registry.instances().await?;
        let spares = spares(&registry.cluster, layout, &instances);
        if let Some(spare) = spares.iter().find(|it| it.id == node.id) {
            return Ok(spare.uuid);
        }
        let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
        let signal = entry.and_then(|entry| Signal::parse(&entry.value).ok());
        let launcher = match signal {
            Some(Signal::Running { launcher, .. }) => launcher,
            _ => {
                let problem = format!("the signal to start node {} was taken back", node.id);
                return Err(RebalanceError::Refused(problem));
            }
        };
        let failure = launcher.as_ref().and_then(|it| it.failure.clone());
        if failure.is_some() || began.elapsed() > LAUNCH_WAIT {
            let problem = match (failure, launcher) {
                (Some(failure), Some(launcher)) => {
                    format!("{} started it: {failure}", launcher.name)
                }
                (_, Some(launcher)) => format!("{} has started it", launcher.name),
                (_, None) => format!("no node has taken it on to start it{}", on(host)),
            };
            // Nobody should start it later, when nobody waits for it any more.
            registry.consul.kv_delete(&key).await?;
            let advice = format!(
                "nothing has moved; see the log beside its data directory, or start it by hand with \
                 `kvnode --id {}`, and try again",
                node.id
            );
            return Err(RebalanceError::NodeDown { node: node.id.to_string(), problem, advice });
        }
        tokio::time::sleep(LAUNCH_LOOK_INTERVAL).await;
    }
}

/// Checks that somebody on the wanted host can start a node there.
async fn check_host(registry: &Registry, host: Option<&str>) -> Result<(), RebalanceError> {
    let Some(host) = host else { return Ok(()) };
    let instances = registry.instances().await?;
    let hosts: BTreeSet<&str> =
        instances.iter().filter_map(|it| it.meta.get(meta::HOST)).map(String::as_str).collect();
    if hosts.contains(host) {
        return Ok(());
    }
    let known: Vec<&str> = hosts.into_iter().collect();
    Err(RebalanceError::Refused(format!(
        "no node runs on host {host:?} that could start another one there (nodes run on {}): start it by \
         hand on that host with `kvnode`, then run `kvclient add-node`",
        known.join(", ")
    )))
}

fn on(host: Option<&str>) -> String {
    host.map_or_else(String::new, |host| format!(" on {host}"))
}

/// Tells a node to stop once it owns and stores nothing.
pub(crate) async fn signal_stop(
    registry: &Registry,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let key = consul_keys::signal(&registry.cluster, id);
    Ok(registry.consul.kv_put(&key, &Signal::Stopped { uuid }.to_json()).await?)
}

async fn has_claim(registry: &Registry, id: &Name, uuid: Uuid) -> Result<bool, RebalanceError> {
    let key = consul_keys::claim(&registry.cluster, id);
    let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
    Ok(entry.and_then(|it| Claim::parse(&it.value)).is_some_and(|claim| claim.uuid == uuid))
}

/// Waits until a node that was told to stop is not registered any more. Returns whether it was so
/// within `within`.
pub(crate) async fn await_stop(
    registry: &Registry,
    id: &Name,
    uuid: Uuid,
    within: Duration,
) -> Result<bool, RebalanceError> {
    let began = Instant::now();
    loop {
        let instances = registry.instances().await?;
        let left = instances.iter().find(|instance| uuid_of(instance) == Some(uuid));
        let Some(left) = left else { return Ok(true) };
        // A registration that an earlier run has left at another agent stays, and nobody goes by it. The
        // node itself gives its claim back when it has left.
        if left.status == CheckStatus::Critical && !has_claim(registry, id, uuid).await? {
            return Ok(true);
        }
        if began.elapsed() > within {
            return Ok(false);
        }
        tokio::time::sleep(LAUNCH_LOOK_INTERVAL).await;
    }
}
