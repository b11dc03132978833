//! Starting nodes that are to join, by a desired state that other nodes follow.

use std::collections::BTreeSet;
use std::time::Instant;

use kv_consul::ConsulError;
use kv_core::layout::Layout;
use kv_core::name::Name;
use kv_registry::desired_state::DesiredState;
use kv_registry::members::Registered as _;
use kv_system::failpoints;
use kvclient::admin::Discovery;
use uuid::Uuid;

use crate::change::Addition;
use crate::desired_states::Launched;
use crate::error::RebalanceError;
use crate::limits::{LAUNCH_LOOK_INTERVAL, LAUNCH_WAIT, LIST_TRIES_MAX};
use crate::spares::{Spare, free_ids, spares};

/// How nodes that are to join are started.
pub(crate) struct Launch<'a> {
    /// The host that they are to run on; `None` for any.
    pub(crate) host: Option<&'a str>,
    /// Whether another id does as well, where another command takes one at the same time.
    pub(crate) renames: bool,
    /// The nodes whose desired state was written are added to it, so that the desired states can be
    /// [taken back](crate::desired_states::take_back).
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
        failpoints::pass("launch::before-desired-state");
        let mut tried = 0;
        while !desire_running(discovery, &nodes[index], launch).await? {
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

/// Writes that a node is to run. Returns whether that was written: not where another command's desired state
/// stands, and may have the node started at any time. One by which no node came to run is replaced.
async fn desire_running(
    discovery: &Discovery,
    node: &Addition,
    launch: &Launch<'_>,
) -> Result<bool, RebalanceError> {
    let desired_state = DesiredState::Running {
        host: launch.host.map(str::to_owned),
        weight: node.weight,
        zone: node.zone.clone(),
        launcher: None,
    };
    let before = discovery.registry.desired(&node.id).await?;
    let has_failed = |desired_state: &DesiredState| match desired_state {
        DesiredState::Running { launcher, .. } => {
            launcher.as_ref().is_some_and(|launcher| launcher.failure.is_some())
        }
        DesiredState::Stopped { .. } => true,
    };
    let is_there = before.index > 0;
    if is_there && (launch.renames || before.value.as_ref().is_some_and(|it| !has_failed(it))) {
        return Ok(false);
    }
    // Before, since this may end at any time.
    launch.launched.add(&node.id);
    let written = discovery.registry.set_desired(&node.id, &desired_state, before.index).await;
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
        let desired = discovery.registry.desired(&node.id).await?.value;
        let Some(DesiredState::Running { launcher, .. }) = desired else {
            let problem = format!("the signal to start node {} was taken back", node.id);
            return Err(RebalanceError::Refused(problem));
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

/// Checks that a node on the wanted host can start a node there.
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
