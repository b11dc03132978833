//! Signals to nodes, beside those that have them started: that they are to stop, are not wanted any
//! more, or are gone.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kv_consul::{CheckStatus, KvEntry, Read};
use kv_core::layout::{Layout, Member};
use kv_core::name::Name;
use kv_registry::claim::Claim;
use kv_registry::keys;
use kv_registry::signal::Signal;
use kvclient::ClientError;
use kvclient::admin::{Registry, uuid_of};
use uuid::Uuid;

use crate::error::RebalanceError;
use crate::limits::{LAUNCH_LOOK_INTERVAL, LIST_TRIES_MAX, TAKE_BACK_WAIT};

/// The nodes that a command has had started, or is about to.
#[derive(Debug, Default)]
pub struct Launched {
    ids: Mutex<Vec<Name>>,
}

impl Launched {
    /// Those that signals want to run, whoever gave these.
    #[must_use]
    pub fn of(ids: &[Name]) -> Self {
        Self { ids: Mutex::new(ids.to_vec()) }
    }

    pub(super) fn add(&self, id: &Name) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
    }

    pub(super) fn remove(&self, id: &Name) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).retain(|it| it != id);
    }

    fn all(&self) -> Vec<Name> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes back what `launched` has started: nodes that run are told to stop, and the signals to start
/// the others are removed, so that nobody starts them when nobody waits for them any more. Those that
/// are members of the layout meanwhile stay. `told` is given a word on each.
pub(crate) async fn take_back(
    registry: &Registry,
    launched: &Launched,
    told: &(dyn Fn(&str) + Sync),
) -> Result<(), RebalanceError> {
    let began = Instant::now();
    let mut left = launched.all();
    while !left.is_empty() {
        let mut waiting = Vec::new();
        for id in left {
            match take_one_back(registry, &id, began.elapsed() < TAKE_BACK_WAIT).await? {
                Some(word) => told(&word),
                None => waiting.push(id),
            }
        }
        left = waiting;
        if !left.is_empty() {
            tokio::time::sleep(LAUNCH_LOOK_INTERVAL).await;
        }
    }
    Ok(())
}

/// Returns what was done, or none where it is to be seen first what becomes of the node, for which
/// there is time as long as `may_wait`.
async fn take_one_back(
    registry: &Registry,
    id: &Name,
    may_wait: bool,
) -> Result<Option<String>, RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let key = keys::signal(cluster, id);
    let entry = consul.kv_get(&key, Read::consistent()).await?.value;
    let signal = entry.as_ref().and_then(|entry| Signal::parse(&entry.value).ok());
    let (Some(entry), Some(Signal::Running { launcher, .. })) = (entry, signal) else {
        return Ok(Some(format!("node {id} is not signalled to run any more")));
    };
    let claim = consul.kv_get(&keys::claim(cluster, id), Read::consistent()).await?.value;
    let claim = claim.and_then(|entry| Claim::parse(&entry.value));
    let service = keys::service_id(cluster, id);
    let instances = registry.instances().await?;
    let registered = instances.iter().find(|it| it.id == service).and_then(uuid_of);
    let layout = consul.kv_get(&keys::layout(cluster), Read::consistent()).await?.value;
    let layout = layout.map(|entry| Layout::parse(&entry.value)).transpose();
    let layout = layout.map_err(ClientError::from)?;
    if layout.is_some_and(|it| it.members().iter().any(|member| member.id == *id)) {
        return Ok(Some(format!("node {id} is a member of the layout, and stays")));
    }
    let done = match registered.or(claim.map(|claim| claim.uuid)) {
        Some(uuid) => {
            let stop = Signal::Stopped { uuid }.to_json();
            let told = consul.kv_put_cas(&key, &stop, entry.modify_index).await?;
            told.then(|| format!("node {id} was told to stop again"))
        }
        // It is being started, and is known once it has claimed its id.
        None if may_wait && launcher.is_some_and(|it| it.failure.is_none()) => None,
        None => {
            let removed = consul.kv_delete_cas(&key, entry.modify_index).await?;
            removed.then(|| format!("the signal to start node {id} was taken back"))
        }
    };
    Ok(done)
}

/// Whether a signal wants the node to run.
pub(crate) async fn is_wanted(registry: &Registry, id: &Name) -> Result<bool, RebalanceError> {
    let key = keys::signal(&registry.cluster, id);
    let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
    let signal = entry.and_then(|entry| Signal::parse(&entry.value).ok());
    Ok(matches!(signal, Some(Signal::Running { .. })))
}

/// Brings the signals to nodes that are members by now into line with that: one that tells a member to
/// stop, which another command gave before, is removed, and one that has it run says with which weight
/// and zone.
pub(crate) async fn confirm_members(
    registry: &Registry,
    members: &[Member],
) -> Result<(), RebalanceError> {
    for member in members {
        let key = keys::signal(&registry.cluster, &member.id);
        for _ in 0..LIST_TRIES_MAX {
            let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
            let Some(entry) = entry else { break };
            let done = match Signal::parse(&entry.value) {
                Ok(Signal::Stopped { uuid }) if uuid == member.uuid => {
                    registry.consul.kv_delete_cas(&key, entry.modify_index).await?
                }
                Ok(Signal::Running { host, weight, zone, launcher })
                    if weight != member.weight || zone != member.zone =>
                {
                    let (weight, zone) = (member.weight, member.zone.clone());
                    let signal = Signal::Running { host, weight, zone, launcher };
                    registry.consul.kv_put_cas(&key, &signal.to_json(), entry.modify_index).await?
                }
                _ => true,
            };
            if done {
                break;
            }
        }
    }
    Ok(())
}

/// Tells a node to stop once it owns and stores nothing. One that has left already, so that its id is
/// free or another's, is told nothing.
pub(crate) async fn signal_stop(
    registry: &Registry,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let key = keys::signal(cluster, id);
    let stop = Signal::Stopped { uuid };
    for _ in 0..LIST_TRIES_MAX {
        let claim = keys::claim(cluster, id);
        let claim = consul.kv_get(&claim, Read::consistent()).await?.value;
        let owner = claim.and_then(|it| Claim::parse(&it.value));
        let has_left = match owner {
            Some(claim) => claim.uuid != uuid,
            None => !registry.instances().await?.iter().any(|it| uuid_of(it) == Some(uuid)),
        };
        if has_left {
            return Ok(());
        }
        let entry = consul.kv_get(&key, Read::consistent()).await?.value;
        let (signal, index) = match entry {
            Some(entry) => (Signal::parse(&entry.value).ok(), entry.modify_index),
            None => (None, 0),
        };
        if signal == Some(stop.clone()) || consul.kv_put_cas(&key, &stop.to_json(), index).await? {
            return Ok(());
        }
    }
    Err(RebalanceError::Refused(format!("others signal node {id} all the time: try again")))
}

/// Frees the id of a node that will not come back: its signal, its registration, and last its claim,
/// by which the others are known to be its own.
pub(crate) async fn forget(
    registry: &Registry,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let Registry { consul, cluster, .. } = registry;
    let claim = consul.kv_get(&keys::claim(cluster, id), Read::consistent()).await?.value;
    let is_ours =
        |entry: &KvEntry| Claim::parse(&entry.value).is_some_and(|claim| claim.uuid == uuid);
    let signal = consul.kv_get(&keys::signal(cluster, id), Read::consistent()).await?.value;
    let is_stopped = |entry: &KvEntry| {
        Signal::parse(&entry.value).is_ok_and(|signal| signal == Signal::Stopped { uuid })
    };
    if let Some(signal) = signal
        && (claim.as_ref().is_some_and(is_ours) || is_stopped(&signal))
    {
        // One that has changed meanwhile means another node of this id.
        consul.kv_delete_cas(&signal.key, signal.modify_index).await?;
    }
    for instance in registry.all_instances().await? {
        if uuid_of(&instance) == Some(uuid) {
            // Only the agent that it registered with can do it; another one has nothing to remove.
            if let Err(error) = consul.deregister(&instance.id).await {
                tracing::debug!(%error, "the registration of {id} stays");
            }
        }
    }
    if let Some(entry) = claim.filter(is_ours) {
        consul.kv_delete_cas(&entry.key, entry.modify_index).await?;
    }
    Ok(())
}

async fn has_claim(registry: &Registry, id: &Name, uuid: Uuid) -> Result<bool, RebalanceError> {
    let key = keys::claim(&registry.cluster, id);
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
