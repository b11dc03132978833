//! Nodes that are to join: found where they run, or started by a signal.

use std::collections::BTreeSet;
use std::time::Instant;

use kv_consul::{CheckStatus, ConsulError, ServiceInstance};
use kv_core::layout::Layout;
use kv_core::limits::MEMBERS_MAX;
use kv_core::name::Name;
use kv_registry::members::{Registered as _, id_of_service};
use kv_registry::signal::Signal;
use kv_system::failpoints;
use kvclient::admin::{Connections, Discovery, ask_instance};
use kvclient::limits::STATUS_TIMEOUT;
use uuid::Uuid;

use crate::change::Addition;
use crate::error::RebalanceError;
use crate::leaving;
use crate::limits::{LAUNCH_LOOK_INTERVAL, LAUNCH_WAIT, LIST_TRIES_MAX};
use crate::signalling::Launched;

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

/// Chooses the nodes: those that run already and are no members come first, by their ids. One that
/// does not answer, or that was told to stop, is passed over.
pub(crate) async fn choose(
    discovery: &Discovery,
    connections: &Connections,
    layout: &Layout,
    wanted: &Wanted,
) -> Result<Vec<Addition>, RebalanceError> {
    let instances = discovery.instances().await?;
    let spares = spares(discovery.registry.cluster(), layout, &instances);
    let stopping = stopping(discovery, layout).await?;
    if let Some(id) = &wanted.id {
        let spare = spares.iter().find(|it| it.id == *id);
        return Ok(vec![match spare {
            Some(spare) if stopping.contains(&spare.uuid) => {
                return Err(RebalanceError::Refused(format!(
                    "node {id} was told to stop, and does so once it stores nothing: wait until it has, \
                     and try again"
                )));
            }
            Some(spare) => taken(spare, wanted)?,
            None => fresh(id.clone(), wanted),
        }]);
    }
    let mut chosen = Vec::new();
    let fits = |spare: &&Spare| taken(spare, wanted).is_ok() && !stopping.contains(&spare.uuid);
    for spare in spares.iter().filter(fits) {
        if chosen.len() == wanted.count as usize {
            break;
        }
        let addition = taken(spare, wanted)?;
        match check_joining(connections, layout, &instances, &addition).await {
            Ok(()) => chosen.push(addition),
            Err(error) => tracing::warn!("passing over a node that runs already: {error}"),
        }
    }
    let missing = (wanted.count as usize).saturating_sub(chosen.len());
    let free = free_ids(discovery, layout, &instances).await?;
    chosen.extend(free.take(missing).map(|id| fresh(id, wanted)));
    Ok(chosen)
}

/// Ids that nobody has: no member, no node that has claimed one or runs, and none that is signalled to.
async fn free_ids(
    discovery: &Discovery,
    layout: &Layout,
    instances: &[ServiceInstance],
) -> Result<impl Iterator<Item = Name> + use<>, RebalanceError> {
    let registry = &discovery.registry;
    let mut used: BTreeSet<String> =
        layout.members().iter().map(|member| member.id.to_string()).collect();
    used.extend(instances.iter().map(|it| id_of_service(registry.cluster(), &it.id).to_owned()));
    used.extend(registry.claimed_ids().await?);
    used.extend(registry.desired_ids().await?);
    let ids = (0..3 * MEMBERS_MAX).map(|number| format!("node-{number}"));
    Ok(ids.filter(move |id| !used.contains(id)).filter_map(|id| id.parse::<Name>().ok()))
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
        let uuid = instance.uuid()?;
        let is_member = layout.member_by_uuid(uuid).is_some();
        let usable = instance.status != CheckStatus::Critical && !is_member;
        usable.then_some(Spare {
            id: id.parse().ok()?,
            uuid,
            weight: instance.weight()?,
            zone: instance.zone().to_owned(),
        })
    };
    let mut spares: Vec<Spare> = instances.iter().filter_map(spare).collect();
    spares.sort_by(|a, b| a.id.cmp(&b.id));
    spares
}

/// The data directories of nodes that were told to stop, or are to be told.
async fn stopping(
    discovery: &Discovery,
    layout: &Layout,
) -> Result<BTreeSet<Uuid>, RebalanceError> {
    let desired = discovery.registry.all_desired().await?.signals;
    let told = desired.into_values().filter_map(|desired| match desired.value {
        Signal::Stopped { uuid } => Some(uuid),
        Signal::Running { .. } => None,
    });
    let mut stopping: BTreeSet<Uuid> = told.collect();
    stopping.extend(leaving::due(discovery, layout).await?.iter().map(|it| it.uuid));
    Ok(stopping)
}

/// Makes sure that a node which is to join, and runs, is what it is taken for: that it answers, on the
/// data directory that is meant, and belongs to no other cluster. A layout that names a node which
/// does not come would have everybody wait for it.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn check_joining(
    connections: &Connections,
    layout: &Layout,
    instances: &[ServiceInstance],
    node: &Addition,
) -> Result<(), RebalanceError> {
    let Some(uuid) = node.uuid else { return Ok(()) };
    let down = |problem: String| RebalanceError::NodeDown {
        node: node.id.to_string(),
        problem,
        advice:
            "nothing has changed; see that it runs, or deregister it from Consul, and try again"
                .into(),
    };
    let refused = |problem: String| {
        RebalanceError::Refused(format!(
            "node {} {problem}: nothing has changed; make a new plan, or run `kvclient add-node` anew",
            node.id
        ))
    };
    let mut ours = instances.iter().filter(|it| it.uuid() == Some(uuid)).collect::<Vec<_>>();
    // A node that registered with two agents is asked where it is in better health.
    ours.sort_by_key(|it| it.status);
    if ours.is_empty() {
        return Err(refused(format!(
            "is not registered with the data directory {uuid}, which is meant: it has stopped, or was made \
             anew"
        )));
    }
    let mut problem = String::new();
    for instance in ours {
        let reply_by = Instant::now() + STATUS_TIMEOUT;
        let status = match ask_instance(connections, instance, reply_by).await {
            Ok(status) => status,
            Err(silence) => {
                problem = silence;
                continue;
            }
        };
        if status.uuid != uuid {
            return Err(refused(format!("runs on the data directory {}, not {uuid}", status.uuid)));
        }
        super::check_keeps_nothing(node.id.as_str(), &status)?;
        return match status.layout.filter(|it| it.cluster != layout.cluster) {
            Some(other) => Err(refused(format!("belongs to another cluster, {}", other.cluster))),
            None => Ok(()),
        };
    }
    Err(down(problem))
}

/// The registered nodes with these ids, where all of them are and none is a member of the layout.
pub(crate) async fn spares_with(
    discovery: &Discovery,
    layout: &Layout,
    ids: &[Name],
) -> Result<Option<Vec<(Name, Uuid)>>, RebalanceError> {
    let spares = spares(discovery.registry.cluster(), layout, &discovery.instances().await?);
    let of = |id: &Name| spares.iter().find(|it| it.id == *id).map(|it| (it.id.clone(), it.uuid));
    Ok(ids.iter().map(of).collect())
}

/// How nodes that are to join are started.
pub(crate) struct Launch<'a> {
    /// The host that they are to run on; any where there is none.
    pub(crate) host: Option<&'a str>,
    /// Whether another id does as well, where somebody else takes one at the same time.
    pub(crate) renames: bool,
    /// Those that are signalled are added to it, so that the signals can be
    /// [taken back](super::signalling::take_back).
    pub(crate) launched: &'a Launched,
    /// Is given a word on every node that is waited for.
    pub(crate) told: &'a (dyn Fn(&str) + Sync),
}

/// Has those of the `nodes` started that do not run, and waits until all are registered.
pub(crate) async fn launch(
    discovery: &Discovery,
    layout: &Layout,
    nodes: &mut [Addition],
    launch: &Launch<'_>,
) -> Result<(), RebalanceError> {
    let Launch { host, renames, told, .. } = *launch;
    check_host(discovery, host).await?;
    let instances = discovery.instances().await?;
    let running = spares(discovery.registry.cluster(), layout, &instances);
    for index in 0..nodes.len() {
        if nodes[index].uuid.is_some() {
            continue;
        }
        if let Some(spare) = running.iter().find(|it| it.id == nodes[index].id) {
            // Such as one that was started by hand since the plan was made.
            nodes[index].uuid = Some(as_wanted(spare, &nodes[index])?);
            continue;
        }
        failpoints::pass("launch::before-signal");
        let mut tried = 0;
        while !signal(discovery, &nodes[index], launch).await? {
            let taken: Vec<Name> = nodes.iter().map(|it| it.id.clone()).collect();
            let mut free = free_ids(discovery, layout, &instances).await?;
            let other =
                free.find(|id| !taken.contains(id)).filter(|_| renames && tried < LIST_TRIES_MAX);
            let id = nodes[index].id.to_string();
            nodes[index].id = other.ok_or(RebalanceError::Signalled { id })?;
            tried += 1;
        }
        told(&format!("signalled: node {} is to run{}", nodes[index].id, on(host)));
    }
    let began = Instant::now();
    for node in nodes.iter_mut().filter(|node| node.uuid.is_none()) {
        let uuid = await_node(discovery, layout, node, host, began).await?;
        node.uuid = Some(uuid);
        told(&format!("node {} is running", node.id));
    }
    Ok(())
}

/// Signals that a node is to run. Returns whether it was: not where another command's signal stands, and
/// may have the node started at any time. One by which no node came to run is replaced.
async fn signal(
    discovery: &Discovery,
    node: &Addition,
    launch: &Launch<'_>,
) -> Result<bool, RebalanceError> {
    let signal = Signal::Running {
        host: launch.host.map(str::to_owned),
        weight: node.weight,
        zone: node.zone.clone(),
        launcher: None,
    };
    let before = discovery.registry.desired(&node.id).await?;
    let has_failed = |signal: &Signal| match signal {
        Signal::Running { launcher, .. } => {
            launcher.as_ref().is_some_and(|launcher| launcher.failure.is_some())
        }
        Signal::Stopped { .. } => true,
    };
    let is_there = before.index > 0;
    if is_there && (launch.renames || before.value.as_ref().is_some_and(|it| !has_failed(it))) {
        return Ok(false);
    }
    // Before, since this may end at any time.
    launch.launched.add(&node.id);
    let written = discovery.registry.set_desired(&node.id, &signal, before.index).await;
    if matches!(written, Ok(false) | Err(ConsulError::PermissionDenied { .. })) {
        launch.launched.remove(&node.id);
    }
    Ok(written?)
}

/// The data directory of a node that runs, where it has the weight and the zone that were planned for it.
///
/// # Errors
/// It has others.
fn as_wanted(spare: &Spare, node: &Addition) -> Result<Uuid, RebalanceError> {
    let Spare { id, uuid, weight, zone } = spare;
    if (*weight, zone) == (node.weight, &node.zone) {
        return Ok(*uuid);
    }
    Err(RebalanceError::Refused(format!(
        "node {id} runs with weight {weight} and zone {zone:?}, and was to join with weight {} and zone {:?}: \
         nothing has moved; make a new plan, or start it with what it is to have",
        node.weight, node.zone
    )))
}

async fn await_node(
    discovery: &Discovery,
    layout: &Layout,
    node: &Addition,
    host: Option<&str>,
    began: Instant,
) -> Result<Uuid, RebalanceError> {
    loop {
        let instances = discovery.instances().await?;
        let spares = spares(discovery.registry.cluster(), layout, &instances);
        if let Some(spare) = spares.iter().find(|it| it.id == node.id) {
            return as_wanted(spare, node);
        }
        let launcher = match discovery.registry.desired(&node.id).await?.value {
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
async fn check_host(discovery: &Discovery, host: Option<&str>) -> Result<(), RebalanceError> {
    let Some(host) = host else { return Ok(()) };
    let instances = discovery.instances().await?;
    let hosts: BTreeSet<&str> = instances.iter().filter_map(|it| it.host()).collect();
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
