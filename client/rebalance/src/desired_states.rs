//! Desired states to nodes, beside those that have them started: that they are to stop, are not wanted any
//! more, or are gone.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use kv_consul::CheckStatus;
use kv_core::layout::Member;
use kv_core::name::Name;
use kv_registry::Versioned;
use kv_registry::desired_state::DesiredState;
use kv_registry::members::Registered;
use kv_system::lock::lock;
use kvclient::admin::Discovery;
use uuid::Uuid;

use crate::error::RebalanceError;
use crate::limits::{LAUNCH_LOOK_INTERVAL, LIST_TRIES_MAX, TAKE_BACK_WAIT};

/// The nodes that a command has had started, or is about to.
#[derive(Debug, Default)]
pub struct Launched {
    ids: Mutex<Vec<Name>>,
}

impl Launched {
    /// Those that are desired to run, whoever gave these.
    #[must_use]
    pub fn of(ids: &[Name]) -> Self {
        Self { ids: Mutex::new(ids.to_vec()) }
    }

    pub(super) fn add(&self, id: &Name) {
        lock(&self.ids).push(id.clone());
    }

    pub(super) fn remove(&self, id: &Name) {
        lock(&self.ids).retain(|it| it != id);
    }

    fn all(&self) -> Vec<Name> {
        lock(&self.ids).clone()
    }
}

/// Takes back what `launched` has started: nodes that run are told to stop, and the desired states to start
/// the others are removed, so that nobody starts them when nobody waits for them any more. Those that
/// are members of the layout meanwhile stay. `told` is given a word on each.
pub(crate) async fn take_back(
    discovery: &Discovery,
    launched: &Launched,
    told: &(dyn Fn(&str) + Sync),
) -> Result<(), RebalanceError> {
    let began = Instant::now();
    let mut left = launched.all();
    while !left.is_empty() {
        let mut waiting = Vec::new();
        for id in left {
            match take_one_back(discovery, &id, began.elapsed() < TAKE_BACK_WAIT).await? {
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
    discovery: &Discovery,
    id: &Name,
    may_wait: bool,
) -> Result<Option<String>, RebalanceError> {
    let registry = &discovery.registry;
    let Versioned { value: desired_state, index } = registry.desired(id).await?;
    let Some(DesiredState::Running { launcher, .. }) = desired_state else {
        return Ok(Some(format!("node {id} is not signalled to run any more")));
    };
    let claim = registry.claim_now(id).await?.value;
    let service = registry.service_id(id);
    let instances = discovery.instances().await?;
    let registered = instances.iter().find(|it| it.id == service).and_then(Registered::uuid);
    let layout = registry.layout_now().await?;
    if layout.is_some_and(|it| it.value.members().iter().any(|member| member.id == *id)) {
        return Ok(Some(format!("node {id} is a member of the layout, and stays")));
    }
    let done = match registered.or(claim.map(|claim| claim.uuid)) {
        Some(uuid) => {
            let told = registry.set_desired(id, &DesiredState::Stopped { uuid }, index).await?;
            told.then(|| format!("node {id} was told to stop again"))
        }
        // It is being started, and is known once it has claimed its id.
        None if may_wait && launcher.is_some_and(|it| it.failure.is_none()) => None,
        None => {
            let removed = registry.remove_desired(id, index).await?;
            removed.then(|| format!("the signal to start node {id} was taken back"))
        }
    };
    Ok(done)
}

/// Whether a desired state wants the node to run.
pub(crate) async fn is_wanted(discovery: &Discovery, id: &Name) -> Result<bool, RebalanceError> {
    let desired_state = discovery.registry.desired(id).await?.value;
    Ok(matches!(desired_state, Some(DesiredState::Running { .. })))
}

/// Brings the desired states of nodes that are members by now into line with that: one that tells a member to
/// stop, which another command gave before, is removed, and one that has it run says with which weight
/// and zone.
pub(crate) async fn confirm_members(
    discovery: &Discovery,
    members: &[Member],
) -> Result<(), RebalanceError> {
    for member in members {
        let registry = &discovery.registry;
        for _ in 0..LIST_TRIES_MAX {
            let Versioned { value: desired_state, index } = registry.desired(&member.id).await?;
            let done = match desired_state {
                Some(DesiredState::Stopped { uuid }) if uuid == member.uuid => {
                    registry.remove_desired(&member.id, index).await?
                }
                Some(DesiredState::Running { host, weight, zone, launcher })
                    if weight != member.weight || zone != member.zone =>
                {
                    let (weight, zone) = (member.weight, member.zone.clone());
                    let desired_state = DesiredState::Running { host, weight, zone, launcher };
                    registry.set_desired(&member.id, &desired_state, index).await?
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
pub(crate) async fn desire_stop(
    discovery: &Discovery,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let registry = &discovery.registry;
    let stop = DesiredState::Stopped { uuid };
    for _ in 0..LIST_TRIES_MAX {
        let has_left = match registry.claim_now(id).await?.value {
            Some(claim) => claim.uuid != uuid,
            None => !discovery.instances().await?.iter().any(|it| it.uuid() == Some(uuid)),
        };
        if has_left {
            return Ok(());
        }
        let Versioned { value: desired_state, index } = registry.desired(id).await?;
        if desired_state.as_ref() == Some(&stop) || registry.set_desired(id, &stop, index).await? {
            return Ok(());
        }
    }
    Err(RebalanceError::Refused(format!("others signal node {id} all the time: try again")))
}

/// Frees the id of a node that will not come back: its desired state, its registration, and last its claim,
/// by which the others are known to be its own.
pub(crate) async fn forget(
    discovery: &Discovery,
    id: &Name,
    uuid: Uuid,
) -> Result<(), RebalanceError> {
    let registry = &discovery.registry;
    let claim = registry.claim_now(id).await?;
    let is_ours = claim.value.is_some_and(|claim| claim.uuid == uuid);
    let desired_state = registry.desired(id).await?;
    let is_stopped = desired_state.value == Some(DesiredState::Stopped { uuid });
    if desired_state.index > 0 && (is_ours || is_stopped) {
        // One that has changed meanwhile means another node of this id.
        registry.remove_desired(id, desired_state.index).await?;
    }
    for instance in discovery.all_instances().await? {
        if instance.uuid() == Some(uuid) {
            // Only the agent that it registered with can do it; another one has nothing to remove.
            if let Err(error) = registry.consul().deregister(&instance.id).await {
                tracing::debug!(%error, "the registration of {id} stays");
            }
        }
    }
    if is_ours {
        registry.remove_claim(id, claim.index).await?;
    }
    Ok(())
}

async fn has_claim(discovery: &Discovery, id: &Name, uuid: Uuid) -> Result<bool, RebalanceError> {
    let claim = discovery.registry.claim_now(id).await?.value;
    Ok(claim.is_some_and(|claim| claim.uuid == uuid))
}

/// Waits until a node that was told to stop is not registered any more. Returns whether it was so
/// within `within`.
pub(crate) async fn await_stop(
    discovery: &Discovery,
    id: &Name,
    uuid: Uuid,
    within: Duration,
) -> Result<bool, RebalanceError> {
    let began = Instant::now();
    loop {
        let instances = discovery.instances().await?;
        let left = instances.iter().find(|instance| instance.uuid() == Some(uuid));
        let Some(left) = left else { return Ok(true) };
        // A registration that an earlier run has left at another agent stays, and nobody goes by it. The
        // node itself gives its claim back when it has left.
        if left.status == CheckStatus::Critical && !has_claim(discovery, id, uuid).await? {
            return Ok(true);
        }
        if began.elapsed() > within {
            return Ok(false);
        }
        tokio::time::sleep(LAUNCH_LOOK_INTERVAL).await;
    }
}
