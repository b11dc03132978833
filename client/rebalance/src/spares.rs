//! Nodes that are to join: those that run already and are no members, and free ids for new ones.

use std::collections::BTreeSet;
use std::time::Instant;

use kv_consul::{CheckStatus, ServiceInstance};
use kv_core::layout::Layout;
use kv_core::limits::MEMBERS_MAX;
use kv_core::name::Name;
use kv_registry::desired_state::DesiredState;
use kv_registry::members::{Registered as _, id_of_service};
use kvclient::admin::{Connections, Discovery, ask_instance};
use kvclient::limits::STATUS_TIMEOUT;
use uuid::Uuid;

use crate::ask::check_keeps_nothing;
use crate::change::Addition;
use crate::error::RebalanceError;
use crate::leaving;

/// Which nodes are to join.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Wanted {
    /// How many.
    pub count: u32,
    /// The id of the only one, where the user chose it.
    pub id: Option<Name>,
    /// The host that new ones are to run on, as nodes register it; `None` for any.
    pub host: Option<String>,
    /// Their weight; 1 for a node that does not run yet where there is none.
    pub weight: Option<u32>,
    /// Their zone; none for a node that does not run yet where there is none.
    pub zone: Option<String>,
}

/// A registered node that is no member of the layout.
pub(crate) struct Spare {
    pub(crate) id: Name,
    pub(crate) uuid: Uuid,
    pub(crate) weight: u32,
    pub(crate) zone: String,
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

/// Ids that nobody has: no member, no node that has claimed one or runs, and none that a desired state wants.
pub(crate) async fn free_ids(
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

pub(crate) fn spares(cluster: &Name, layout: &Layout, instances: &[ServiceInstance]) -> Vec<Spare> {
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
    let desired = discovery.registry.all_desired().await?.states;
    let told = desired.into_values().filter_map(|desired| match desired.value {
        DesiredState::Stopped { uuid } => Some(uuid),
        DesiredState::Running { .. } => None,
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
        check_keeps_nothing(node.id.as_str(), &status)?;
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
