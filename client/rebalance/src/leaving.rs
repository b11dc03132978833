//! What a change of the layout leaves to be done: nodes that are members no more are told to stop, or
//! are forgotten where they were given up.
//!
//! Who brings a rebalance to its end may die right after, and may not be the one who began it. So
//! before the step that leaves nodes without a place in the layout, the mover that takes it writes them into
//! a list in Consul, with the epoch of that step; afterwards anybody carries the list out:
//!
//! | the layout in Consul | an entry is |
//! |---|---|
//! | has not come to the entry's epoch | not due: the step was not taken yet, or another mover's was |
//! | has come there, and the node is a member | void: the step was another one |
//! | has come there, and the node is no member | due: carried out, and taken off the list |
//!
//! All of it may be done by several at once and be cut short anywhere: the list is changed by
//! compare-and-set only, and to carry an entry out twice is to do it once. A node that is told to stop
//! obeys only once it owns and stores nothing, by its own knowledge of the newest layout.
//!
//! A rebalance that is turned back has the nodes stopped that were started for it: those that a
//! desired state wants to run. A node that was started by hand stays, as the spare node that it was.

use kv_core::layout::{Layout, Member};
use kv_registry::Versioned;
use kv_registry::leavers::Leaver;
use kv_system::failpoints;
use kvclient::admin::Discovery;

use crate::desired_states;
use crate::error::RebalanceError;
use crate::limits::{LEAVERS_MAX, LIST_TRIES_MAX};

/// What an entry is, seen from a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    NotDue,
    Void,
    Due,
}

/// Whether an entry is to be carried out where Consul has `layout`.
fn standing(node: &Leaver, layout: &Layout) -> Standing {
    if layout.cluster != node.cluster {
        return Standing::Void;
    }
    if layout.epoch < node.epoch {
        return Standing::NotDue;
    }
    match layout.member_by_uuid(node.uuid) {
        Some(_) => Standing::Void,
        None => Standing::Due,
    }
}

/// The members of `before` that `after` leaves without a place, and whether each was given up.
fn leavers<'a>(before: &'a Layout, after: &Layout) -> Vec<(&'a Member, bool)> {
    let lost = before.rebalance.as_ref().map_or(&[][..], |rebalance| &rebalance.lost);
    let gone = before.members().into_iter().filter(|it| after.member_by_uuid(it.uuid).is_none());
    gone.map(|member| (member, lost.contains(&member.uuid))).collect()
}

/// Writes down which nodes have no place in `after`, the layout that is about to follow `before`.
///
/// # Errors
/// Consul cannot be asked, or others change the list all the time.
pub(crate) async fn note(
    discovery: &Discovery,
    before: &Layout,
    after: &Layout,
) -> Result<(), RebalanceError> {
    let mut noted = Vec::new();
    for (member, dead) in leavers(before, after) {
        let was_member = before.placement.members.iter().any(|it| it.uuid == member.uuid);
        if dead || was_member || desired_states::is_wanted(discovery, &member.id).await? {
            noted.push(Leaver {
                id: member.id.clone(),
                uuid: member.uuid,
                cluster: after.cluster,
                epoch: after.epoch,
                dead,
            });
        }
    }
    if noted.is_empty() {
        return Ok(());
    }
    for _ in 0..LIST_TRIES_MAX {
        let Versioned { value: mut nodes, index } = discovery.registry.leavers().await?;
        nodes.retain(|it| standing(it, before) != Standing::Void);
        nodes.retain(|it| noted.iter().all(|new| new.uuid != it.uuid));
        nodes.extend(noted.iter().cloned());
        let excess = nodes.len().saturating_sub(LEAVERS_MAX);
        nodes.drain(..excess);
        if discovery.registry.set_leavers(nodes, index).await? {
            failpoints::pass("mover::after-note");
            return Ok(());
        }
    }
    Err(contended())
}

/// Carries out what is due. Gives the nodes that were told to stop and those that were forgotten.
///
/// # Errors
/// Consul cannot be asked; what was not done stays on the list.
pub(crate) async fn carry_out(discovery: &Discovery) -> Result<Vec<Leaver>, RebalanceError> {
    let mut done: Vec<Leaver> = Vec::new();
    for _ in 0..LIST_TRIES_MAX {
        let Versioned { value: nodes, index } = discovery.registry.leavers().await?;
        if nodes.is_empty() {
            return Ok(done);
        }
        // After the list, so that it is no older than what the list speaks of.
        let Some(layout) = layout(discovery).await? else { return Ok(done) };
        let mut kept = Vec::new();
        for node in nodes.iter().cloned() {
            match standing(&node, &layout) {
                Standing::NotDue => kept.push(node),
                Standing::Void => {}
                Standing::Due => {
                    match node.dead {
                        true => desired_states::forget(discovery, &node.id, node.uuid).await?,
                        false => {
                            desired_states::desire_stop(discovery, &node.id, node.uuid).await?;
                        }
                    }
                    failpoints::pass("mover::after-telling");
                    if !done.contains(&node) {
                        done.push(node);
                    }
                }
            }
        }
        if kept == nodes || discovery.registry.set_leavers(kept, index).await? {
            return Ok(done);
        }
    }
    Err(contended())
}

/// The error where what is left to do, once the layout is at rest, could not be done.
pub(crate) async fn left_to_do(discovery: &Discovery, error: RebalanceError) -> RebalanceError {
    let due = match layout(discovery).await {
        Ok(Some(layout)) => due(discovery, &layout).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let ids: Vec<&str> = due.iter().map(|it| it.id.as_str()).collect();
    let who = match ids.is_empty() {
        true => "nodes".to_owned(),
        false => ids.join(", "),
    };
    RebalanceError::LeftToDo {
        cluster: discovery.registry.cluster().to_string(),
        left: format!(
            "{who}, which own nothing any more, could not be told to stop, or be forgotten"
        ),
        error: Box::new(error),
    }
}

/// The nodes that are to be told to stop by now, and that nobody has told.
///
/// # Errors
/// Consul cannot be asked.
pub(crate) async fn due(
    discovery: &Discovery,
    layout: &Layout,
) -> Result<Vec<Leaver>, RebalanceError> {
    let mut nodes = discovery.registry.leavers().await?.value;
    nodes.retain(|it| standing(it, layout) == Standing::Due);
    Ok(nodes)
}

async fn layout(discovery: &Discovery) -> Result<Option<Layout>, RebalanceError> {
    Ok(discovery.registry.layout_now().await?.map(|layout| layout.value))
}

fn contended() -> RebalanceError {
    RebalanceError::Refused(
        "others change the list of leaving nodes all the time: try again, with `kvclient rebalance resume`"
            .into(),
    )
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use kv_core::sample;

    use super::*;

    fn leaver(member: &Member, layout: &Layout, epoch: u64) -> Leaver {
        let (id, uuid) = (member.id.clone(), member.uuid);
        Leaver { id, uuid, cluster: layout.cluster, epoch, dead: false }
    }

    #[test]
    fn who_leaves_is_who_has_no_place_any_more() {
        let (three, _) = sample::layout(&[0, 1, 2, 2], 3);
        let (two, _) = sample::placement(&[0, 1, 1, 1], 2);
        let third = three.placement.members[2].clone();
        let begun = three.begin(two.clone(), Vec::new()).unwrap();
        let open = begun.prepare(4).unwrap().open().unwrap();
        let done = open.settle(None).unwrap();
        assert_eq!(leavers(&open, &done), [(&third, false)]);
        assert_eq!(leavers(&begun, &begun.turn_back().unwrap()), []);
        let dead = three.begin(two, vec![third.uuid]).unwrap();
        let open = dead.prepare(4).unwrap().open().unwrap();
        assert_eq!(leavers(&open, &open.settle(None).unwrap()), [(&third, true)]);
        // One that was to join, and does not.
        let (small, _) = sample::layout(&[0, 1, 1, 1], 2);
        let joining = small.begin(three.placement.clone(), Vec::new()).unwrap();
        assert_eq!(leavers(&joining, &joining.turn_back().unwrap()), [(&third, false)]);
    }

    #[test]
    fn an_entry_is_due_once_its_step_was_taken() {
        let (three, _) = sample::layout(&[0, 1, 2, 2], 3);
        let (two, _) = sample::placement(&[0, 1, 1, 1], 2);
        let open = three.begin(two, Vec::new()).unwrap().prepare(4).unwrap().open().unwrap();
        let done = open.settle(None).unwrap();
        let entry = leaver(&three.placement.members[2], &three, done.epoch);
        assert_eq!(standing(&entry, &open), Standing::NotDue);
        assert_eq!(standing(&entry, &done), Standing::Due);
        // Another mover was faster, and turned the rebalance back.
        assert_eq!(standing(&entry, &open.turn_back().unwrap()), Standing::Void);
        let elsewhere = Layout { cluster: Uuid::from_u128(1234), ..done };
        assert_eq!(standing(&entry, &elsewhere), Standing::Void);
    }
}
