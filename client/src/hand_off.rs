//! Opening the window of a rebalance. The mover that prepared it is to do it; where that is gone, any
//! client that waits for a key in it does.

use std::time::Instant;

use futures::future::join_all;
use kv_core::installed::InstalledLayout;
use kv_core::layout::{Layout, Phase};
use kv_protocol::reply::NodeStatus;
use kv_registry::Versioned;
use tokio::sync::Mutex;

use crate::ask::ask_status;
use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::limits::{HELP_AFTER, STATUS_TIMEOUT};
use crate::outbox::Connections;
use crate::routing::{Target, View};

/// What came of trying to open a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HandOff {
    /// It is open, by this layout.
    Opened(Box<Layout>),
    /// Some nodes that take part in it have not confirmed that they have frozen; why, for a person.
    Unconfirmed(Vec<String>),
    /// There is nothing to open any more: a mover or another client changed the layout, or it has no
    /// window that waits for that.
    Overtaken,
}

/// Opens the window that the layout in Consul prepares, if all nodes that take part in it confirm
/// that they have installed that very layout, or a later one. Any number of clients may try at once.
///
/// # Errors
/// Consul cannot be asked, or the layout cannot be used. Whether the window is open is not known
/// then: look again.
pub(crate) async fn open_window(
    discovery: &Discovery,
    connections: &Connections,
    deadline: Instant,
) -> Result<HandOff, ClientError> {
    let found = discovery.versioned_layout(deadline).await?.value;
    let Some(Versioned { value: layout, index }) = found else { return Ok(HandOff::Overtaken) };
    let window = layout.rebalance.as_ref().and_then(|rebalance| rebalance.window);
    if window.is_none_or(|window| window.phase != Phase::Preparing) {
        return Ok(HandOff::Overtaken);
    }
    let (tables, instances) =
        futures::future::try_join(discovery.tables(&layout), discovery.instances()).await?;
    let view = discovery.view_by(layout, &tables, &instances)?;
    let reply_by = deadline.min(Instant::now() + STATUS_TIMEOUT);
    let confirmations =
        view.must_confirm().into_iter().map(|node| confirm(&view, node, connections, reply_by));
    let missing: Vec<String> =
        join_all(confirmations).await.into_iter().filter_map(Result::err).collect();
    if !missing.is_empty() {
        return Ok(HandOff::Unconfirmed(missing));
    }
    let Ok(opened) = view.layout.open() else { return Ok(HandOff::Overtaken) };
    match discovery.registry.step_layout(&view.layout, index, &opened).await? {
        true => Ok(HandOff::Opened(Box::new(opened))),
        false => Ok(HandOff::Overtaken),
    }
}

impl View {
    /// The nodes that must have installed the layout before its window is opened: all that take part
    /// in it, but for those that were given up.
    #[must_use]
    pub fn must_confirm(&self) -> Vec<u16> {
        let lost = self.layout.rebalance.as_ref().map_or(&[][..], |rebalance| &rebalance.lost);
        let nodes = self.assignments.nodes();
        let mut participants = self.assignments.participants();
        participants.retain(|node| !lost.contains(&nodes[usize::from(*node)].uuid));
        participants
    }
}

/// Asks a node whether it has installed the view's layout.
async fn confirm(
    view: &View,
    node: u16,
    connections: &Connections,
    reply_by: Instant,
) -> Result<(), String> {
    let target = view.node(node)?;
    // The epoch makes the node fetch the layout at once, where it has an older one.
    let context = view.context(target);
    let status = ask_status(connections, &target.endpoint, context, reply_by).await;
    has_confirmed(&view.layout, target, &status)
        .map_err(|problem| format!("node {} ({}) {problem}", target.node, target.endpoint))
}

/// Whether a node's status says that it has installed `layout`.
///
/// # Errors
/// Why it does not, for a person.
fn has_confirmed(
    layout: &Layout,
    target: &Target,
    status: &Result<NodeStatus, String>,
) -> Result<(), String> {
    let status = status.as_ref().map_err(|problem| format!("does not answer: {problem}"))?;
    if status.uuid != target.uuid {
        return Err(format!("runs on the data directory {}, not {}", status.uuid, target.uuid));
    }
    if let (Some(found), Some(meant)) = (status.incarnation, target.incarnation)
        && found.number < meant.number
    {
        return Err(format!("runs as incarnation {found}, which {meant} has replaced"));
    }
    has_installed(layout, status.layout.as_ref())
}

/// Whether a node says that it has installed this very `layout`. A later one does not do, nor another
/// one of the same epoch: a Consul that lost everything can have been given back an older layout than
/// some nodes have, and then nothing must be built on it until they have put it right.
///
/// # Errors
/// Why it does not, for a person.
pub fn has_installed(layout: &Layout, installed: Option<&InstalledLayout>) -> Result<(), String> {
    match installed {
        None => Err("has installed no layout".into()),
        Some(installed) if installed.cluster != layout.cluster => {
            Err(format!("belongs to cluster {}, not {}", installed.cluster, layout.cluster))
        }
        Some(installed) if installed.epoch != layout.epoch => Err(format!(
            "has installed epoch {}, and epoch {} is waited for",
            installed.epoch, layout.epoch
        )),
        Some(installed) if installed.document != layout.digest() => {
            Err(format!("has installed another layout of epoch {}", layout.epoch))
        }
        Some(_) => Ok(()),
    }
}

/// The help of one client, whose operations do not all help at once.
#[derive(Debug, Default)]
pub(crate) struct HandOffHelp {
    /// When an operation helped last. Held while one does.
    last: Mutex<Option<Instant>>,
}

impl HandOffHelp {
    /// Tries to open the window, unless another operation does that or just did. That it does not
    /// succeed is only logged: the operations that wait go on waiting.
    pub(crate) async fn help(
        &self,
        discovery: &Discovery,
        connections: &Connections,
        deadline: Instant,
    ) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_some_and(|at| at.elapsed() < HELP_AFTER) {
            return;
        }
        *last = Some(Instant::now());
        let opening = open_window(discovery, connections, deadline);
        match tokio::time::timeout_at(deadline.into(), opening).await {
            Ok(Ok(HandOff::Opened(layout))) => tracing::info!(
                epoch = layout.epoch,
                "opened the window of a rebalance that was not continued"
            ),
            Ok(Ok(HandOff::Unconfirmed(missing))) => {
                tracing::warn!(?missing, "a rebalance waits for nodes");
            }
            Ok(Ok(HandOff::Overtaken)) => tracing::debug!("somebody else changed the layout"),
            Ok(Err(error)) => tracing::warn!(%error, "could not help to continue a rebalance"),
            Err(_) => tracing::debug!("no time left to help to continue a rebalance"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use kv_core::digest::Digest;
    use uuid::Uuid;

    use super::*;
    use kv_core::incarnation::Incarnation;

    use kv_core::sample;
    use kv_transport::Endpoint;

    /// Three nodes: 0 hands all partitions over to 1, and 2 has nothing to do with it.
    fn prepared(lost: Vec<Uuid>) -> View {
        let (layout, table) = sample::layout(&[0, 0], 3);
        let (to, other) = sample::placement(&[1, 1], 3);
        let layout = layout.begin(to, lost).unwrap().prepare(2).unwrap();
        View::fixed(layout, &[table, other], &HashMap::new()).unwrap()
    }

    fn status(uuid: u128, layout: Option<(Uuid, u64, Digest)>) -> NodeStatus {
        let installed = |(cluster, epoch, document)| InstalledLayout {
            cluster,
            epoch,
            document,
            partitions_owned: 0,
        };
        let status = crate::sample::status("node-1", Uuid::from_u128(uuid));
        NodeStatus { layout: layout.map(installed), ..status }
    }

    #[test]
    fn those_who_take_part_must_confirm_but_not_those_that_were_given_up() {
        assert_eq!(prepared(Vec::new()).must_confirm(), [0, 1]);
        assert_eq!(prepared(vec![Uuid::from_u128(0)]).must_confirm(), [1]);
    }

    #[test]
    fn only_the_node_itself_confirms_and_only_this_very_layout() {
        let layout = prepared(Vec::new()).layout;
        let endpoint = Endpoint::tcp("127.0.0.1", 2000).unwrap();
        let target = Target::new("node-1".into(), Uuid::from_u128(1), endpoint);
        let confirms = |status| has_confirmed(&layout, &target, &status);
        let epoch = layout.epoch;
        let ours = layout.digest();
        let confirmed = status(1, Some((sample::CLUSTER, epoch, ours)));
        assert_eq!(confirms(Ok(confirmed.clone())), Ok(()));
        let run = |number| Some(Incarnation { number, nonce: 1 });
        let endpoint = Endpoint::tcp("127.0.0.1", 2000).unwrap();
        let new = Target::new("node-1".into(), Uuid::from_u128(1), endpoint).in_run(run(2));
        let says = |incarnation| Ok(NodeStatus { incarnation, ..confirmed.clone() });
        assert!(has_confirmed(&layout, &new, &says(run(1))).is_err(), "it has been replaced");
        assert_eq!(has_confirmed(&layout, &new, &says(run(2))), Ok(()));
        assert_eq!(has_confirmed(&layout, &new, &says(run(3))), Ok(()), "it was started again");
        for (status, problem) in [
            (Err("silence".to_owned()), "silence"),
            (Ok(status(1, None)), "no layout"),
            (Ok(status(1, Some((sample::CLUSTER, epoch - 1, ours)))), "epoch 2"),
            (Ok(status(1, Some((sample::CLUSTER, epoch + 1, ours)))), "epoch 4"),
            (Ok(status(1, Some((sample::CLUSTER, epoch, Digest::of(b"other"))))), "another layout"),
            (Ok(status(1, Some((Uuid::from_u128(99), epoch, ours)))), "cluster"),
            (Ok(status(2, Some((sample::CLUSTER, epoch, ours)))), "data directory"),
        ] {
            let refused = confirms(status).unwrap_err();
            assert!(refused.contains(problem), "{refused}");
        }
    }
}
