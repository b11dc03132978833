//! Publishing a past layout again, where another one was put in its place.
//!
//! It is a step that no rebalance takes: nothing is moved, and the nodes judge whether they can follow.
//! Those that kept what they had under that layout serve it again; one whose partitions were moved on
//! since refuses it, says so, and goes on as it is.

use std::time::Instant;

use futures::future::join_all;
use kv_core::installed::InstalledLayout;
use kv_core::layout::Layout;
use kv_core::limits::EPOCH_LEAP_MAX;
use kv_registry::Versioned;
use kvclient::ClientError;
use kvclient::admin::{Connections, Discovery, ask_instance};
use kvclient::limits::STATUS_TIMEOUT;
use uuid::Uuid;

use crate::ask::Asker;
use crate::error::RebalanceError;
use crate::limits::RESTORE_WAIT;
use crate::rebalancer::Rebalancer;
use crate::seen::{Seen, look};

/// Who serves by a layout.
enum Serving {
    /// All its members.
    All,
    /// All that answer; these do not.
    AllThatAnswer(Vec<String>),
    /// Not all.
    Not,
}

impl Rebalancer {
    /// Publishes the past layout of `epoch` again, as the next one. Nothing is moved.
    ///
    /// # Errors
    /// It is not kept, or cannot be used, or says what the present one says; or the nodes serve by the
    /// present one, so that it is no forged one.
    pub async fn restore_layout(&self, epoch: u64) -> Result<Layout, RebalanceError> {
        // One that cannot be read, or whose tables are not there, serves nobody.
        if let Ok(seen) = look(&self.discovery).await {
            let Layout { epoch: current, rebalance, .. } = &seen.view.layout;
            match self.serving(&seen).await {
                Serving::All => {
                    return Err(RebalanceError::NothingToDo(format!(
                        "all nodes serve by the layout of epoch {current}, and an older one would take from them what \
                         has moved since: nothing was changed. Undo a rebalance with `kvclient rebalance abort`, and a \
                         finished one by its reverse"
                    )));
                }
                // What is moving is at two nodes, and each of them knows it by this layout alone.
                Serving::AllThatAnswer(silent) if rebalance.is_some() => {
                    return Err(RebalanceError::Refused(format!(
                        "a rebalance is under way in epoch {current}, by which all nodes serve that answer; an older \
                         layout would take from them what was written to the keys that move. {} does not answer: start \
                         it, then `kvclient rebalance abort`; where it is gone for good, `kvclient remove-node --dead`",
                        silent.join(", ")
                    )));
                }
                Serving::AllThatAnswer(_) | Serving::Not => {}
            }
        }
        restore(&self.discovery, &self.connections, epoch).await
    }

    /// Whether the members have the layout installed, and none of them keeps what another layout gave it.
    async fn serving(&self, seen: &Seen) -> Serving {
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let mut silent = Vec::new();
        for (index, member) in (0..).zip(seen.view.assignments.nodes()) {
            let Ok(status) = asker.status(index).await else {
                silent.push(member.id.to_string());
                continue;
            };
            let has_installed = status.layout.is_some_and(|it| it.epoch == seen.view.layout.epoch);
            let keeps = status.kept.is_some_and(|kept| kept.not_handed_over > 0);
            if !has_installed || keeps || status.not_followed.is_some() {
                return Serving::Not;
            }
        }
        match silent.len() {
            0 => Serving::All,
            all if all == seen.view.assignments.nodes().len() => Serving::Not,
            _ => Serving::AllThatAnswer(silent),
        }
    }
}

/// Publishes the layout of the epoch `wanted` as the next one. Returns it.
///
/// What is at the layout's key may be no layout, or one of an epoch that no cluster comes to: then the next
/// one is that after the newest which a node has installed.
async fn restore(
    discovery: &Discovery,
    connections: &Connections,
    wanted: u64,
) -> Result<Layout, RebalanceError> {
    let no_layout = || ClientError::NoLayout { cluster: discovery.registry.cluster().to_string() };
    loop {
        let deadline = Instant::now() + RESTORE_WAIT;
        let found = discovery.layout_as_found(deadline).await?.value;
        let Some(Versioned { value: current, index }) = found else {
            return Err(no_layout().into());
        };
        let last = last_step(current.as_ref().ok(), &installed(discovery, connections).await?);
        let Some(Step { cluster, epoch }) = last else {
            let unreadable = |source| {
                let key = discovery.registry.layout_key();
                ClientError::LayoutUnreadable { key, source }
            };
            return Err(current.err().map_or_else(no_layout, unreadable).into());
        };
        let next = epoch
            .checked_add(1)
            .ok_or_else(|| RebalanceError::Refused(format!("no epoch comes after {epoch}")))?;
        let past = discovery.registry.past_layouts_of(cluster, next).await?;
        let Some(past_layout) = past.iter().find(|it| it.epoch == wanted) else {
            let epochs: Vec<String> = past.iter().map(|it| it.epoch.to_string()).collect();
            return Err(RebalanceError::Refused(match epochs.is_empty() {
                true => format!("no layout of epoch {wanted} is kept in Consul, nor any other"),
                false => format!(
                    "no layout of epoch {wanted} is kept in Consul; those that are have the epochs {}",
                    epochs.join(", ")
                ),
            }));
        };
        let mut past_layout = past_layout.clone();
        if let Ok(current) = &current {
            // One that was kept in the format before stays taken over.
            past_layout.format = past_layout.format.max(current.format);
            check_other(current, &past_layout)?;
        }
        // Who reads it has to be able to use it.
        discovery.tables(&past_layout).await?;
        let published = discovery.registry.republish_layout(&past_layout, next, index).await?;
        if let Some(published) = published {
            return Ok(published);
        }
    }
}

/// Which layout of which cluster is followed by the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    cluster: Uuid,
    epoch: u64,
}

/// The last step of a cluster whose Consul has the `current` layout, or none that can be read, and whose
/// nodes say what they have `installed`; `None` where that cannot be told.
fn last_step(current: Option<&Layout>, installed: &[InstalledLayout]) -> Option<Step> {
    let of = |cluster: Uuid| installed.iter().filter(move |it| it.cluster == cluster);
    if let Some(Layout { cluster, epoch, .. }) = current {
        let can_be = |it: &InstalledLayout| epoch.saturating_sub(it.epoch) <= EPOCH_LEAP_MAX;
        if of(*cluster).any(can_be) || of(*cluster).next().is_none() {
            return Some(Step { cluster: *cluster, epoch: *epoch });
        }
    }
    let cluster = current.map_or(installed.first()?.cluster, |it| it.cluster);
    // Where nothing says which cluster it is, all nodes must agree.
    let is_certain = current.is_some() || installed.iter().all(|it| it.cluster == cluster);
    let epoch = of(cluster).map(|it| it.epoch).max().filter(|_| is_certain)?;
    Some(Step { cluster, epoch })
}

/// What the nodes that answer have installed.
async fn installed(
    discovery: &Discovery,
    connections: &Connections,
) -> Result<Vec<InstalledLayout>, ClientError> {
    let instances = discovery.instances().await?;
    let reply_by = Instant::now() + STATUS_TIMEOUT;
    let ask = |instance| ask_instance(connections, instance, reply_by);
    let answers = join_all(instances.iter().map(ask)).await;
    Ok(answers.into_iter().flatten().filter_map(|status| status.layout).collect())
}

/// Checks that the past layout says something else than the current one.
fn check_other(current: &Layout, past: &Layout) -> Result<(), RebalanceError> {
    if (Layout { epoch: current.epoch, ..past.clone() }) == *current {
        return Err(RebalanceError::NothingToDo(format!(
            "the layout of epoch {} says what that of epoch {} says",
            current.epoch, past.epoch
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kv_core::digest::Digest;

    use kv_core::sample;

    use super::*;

    #[test]
    fn what_is_restored_is_not_what_is_there() {
        let (past, _) = sample::layout(&[0, 1], 2);
        let (other, _) = sample::placement(&[1, 1], 2);
        let forged = Layout { epoch: 1001, placement: other, ..past.clone() };
        assert!(check_other(&forged, &past).is_ok());
        let same = check_other(&Layout { epoch: 7, ..past.clone() }, &past);
        assert!(matches!(same, Err(RebalanceError::NothingToDo(_))), "{same:?}");
    }

    #[test]
    fn what_is_restored_follows_what_the_nodes_can_follow() {
        let (layout, _) = sample::layout(&[0, 1], 2);
        let (own, other) = (layout.cluster, Uuid::from_u128(99));
        let at = |epoch| Layout { epoch, ..layout.clone() };
        let installed = |cluster, epoch| InstalledLayout {
            cluster,
            epoch,
            document: Digest::of(b""),
            partitions_owned: 1,
        };
        let nodes = [installed(own, 7), installed(own, 8)];
        let step = |cluster, epoch| Some(Step { cluster, epoch });
        assert_eq!(last_step(Some(&at(1001)), &nodes), step(own, 1001));
        assert_eq!(last_step(Some(&at(1001)), &[]), step(own, 1001), "no node answers");
        assert_eq!(last_step(Some(&at(u64::MAX)), &nodes), step(own, 8), "it is made up");
        assert_eq!(last_step(None, &nodes), step(own, 8), "there is no layout");
        assert_eq!(last_step(None, &[]), None);
        let both = [installed(own, 7), installed(other, 9)];
        assert_eq!(last_step(None, &both), None, "which cluster is it?");
        assert_eq!(last_step(Some(&at(3)), &both), step(own, 3));
        // A layout of a cluster that no node belongs to is that of the wrong Consul, or is made up.
        assert_eq!(last_step(Some(&at(3)), &[installed(other, 9)]), step(own, 3));
    }
}
