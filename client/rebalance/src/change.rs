//! What a command wants changed, and the placement that follows from it. Pure.

use std::collections::BTreeSet;
use std::fmt;

use kv_core::layout::{Layout, Member};
use kv_core::name::Name;
use kv_placement::admission::Property;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::RebalanceError;

/// A change of who owns what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Change {
    /// Nodes become members.
    Add {
        /// The nodes.
        nodes: Vec<Addition>,
    },
    /// Members stop being members.
    Remove {
        /// Their ids.
        ids: Vec<Name>,
        /// Whether they are gone for good, with what only they stored.
        dead: bool,
    },
    /// A member has another weight, or is in another zone.
    Set {
        /// The member's id.
        id: Name,
        /// Its weight; the present one where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u32>,
        /// Its zone; the present one where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        zone: Option<String>,
    },
    /// Another strategy places the data.
    Migrate {
        /// The strategy: a file or a built-in name.
        strategy: String,
        /// The text that it is called with; the present one where there is none.
        config: Option<String>,
        /// The properties that it may lack.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        accepted: BTreeSet<Property>,
    },
}

/// A node that is to become a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addition {
    /// The node's id.
    pub id: Name,
    /// The node's weight.
    pub weight: u32,
    /// The node's zone.
    pub zone: String,
    /// The node's data directory, `None` while the node does not run yet.
    pub uuid: Option<Uuid>,
}

impl Addition {
    fn member(&self) -> Member {
        Member {
            id: self.id.clone(),
            // A table depends on ids, weights and zones only, so for a plan any uuid will do.
            uuid: self.uuid.unwrap_or_else(Uuid::new_v4),
            weight: self.weight,
            zone: self.zone.clone(),
        }
    }
}

/// The members after `change`, and the data directories that are given up for it.
///
/// # Errors
/// The change makes no sense for this layout.
pub(crate) fn members_after(
    layout: &Layout,
    change: &Change,
) -> Result<(Vec<Member>, Vec<Uuid>), RebalanceError> {
    let mut members = layout.placement.members.clone();
    let mut lost = Vec::new();
    match change {
        Change::Add { nodes } => {
            check_distinct(nodes.iter().map(|node| &node.id))?;
            for node in nodes {
                if members.iter().any(|it| it.id == node.id || Some(it.uuid) == node.uuid) {
                    let problem = format!("node {} is a member of the layout already", node.id);
                    return Err(RebalanceError::NothingToDo(problem));
                }
                members.push(node.member());
            }
            members.sort_by(|a, b| a.id.cmp(&b.id));
        }
        Change::Remove { ids, dead } => {
            check_distinct(ids.iter())?;
            for id in ids {
                let index = members.iter().position(|it| it.id == *id).ok_or_else(|| {
                    RebalanceError::UnknownNode { id: id.to_string(), known: known(layout) }
                })?;
                let member = members.remove(index);
                if *dead {
                    lost.push(member.uuid);
                }
            }
            if members.len() < layout.replicas as usize {
                return Err(RebalanceError::Refused(format!(
                    "the layout needs at least {} members, and {} would be left: add a node first",
                    layout.replicas,
                    members.len()
                )));
            }
        }
        Change::Set { id, weight, zone } => {
            let member = members.iter_mut().find(|it| it.id == *id).ok_or_else(|| {
                RebalanceError::UnknownNode { id: id.to_string(), known: known(layout) }
            })?;
            let before = member.clone();
            member.weight = weight.unwrap_or(member.weight);
            member.zone = zone.clone().unwrap_or_else(|| member.zone.clone());
            if *member == before {
                let Member { weight, zone, .. } = before;
                let problem = format!("node {id} has weight {weight} and zone {zone:?} already");
                return Err(RebalanceError::NothingToDo(problem));
            }
        }
        Change::Migrate { .. } => {}
    }
    Ok((members, lost))
}

fn check_distinct<'a>(ids: impl Iterator<Item = &'a Name>) -> Result<(), RebalanceError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(RebalanceError::Refused(format!("node {id} is named twice")));
        }
    }
    Ok(())
}

fn known(layout: &Layout) -> String {
    let ids: Vec<&str> = layout.placement.members.iter().map(|it| it.id.as_str()).collect();
    ids.join(", ")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &mut dyn Iterator<Item = &Name>| -> String {
            ids.map(Name::as_str).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Add { nodes } => write!(f, "add {}", list(&mut nodes.iter().map(|it| &it.id))),
            Self::Remove { ids, dead: false } => write!(f, "remove {}", list(&mut ids.iter())),
            Self::Remove { ids, dead: true } => write!(f, "give up {}", list(&mut ids.iter())),
            Self::Set { id, weight, zone } => {
                let weight = weight.map(|weight| format!(" weight {weight}"));
                let zone = zone.as_ref().map(|zone| format!(" zone {zone:?}"));
                let both = if weight.is_some() && zone.is_some() { " and" } else { "" };
                let (weight, zone) = (weight.unwrap_or_default(), zone.unwrap_or_default());
                write!(f, "give {id}{weight}{both}{zone}")
            }
            Self::Migrate { strategy, .. } => write!(f, "migrate to {strategy}"),
        }
    }
}

#[cfg(test)]
mod tests {

    use kv_core::sample;

    use super::*;

    #[test]
    fn a_member_is_set_where_that_changes_something() {
        let (layout, _) = sample::layout(&[0, 1], 2);
        let set = |id: &str, weight, zone: Option<&str>| {
            let change =
                Change::Set { id: id.parse().unwrap(), weight, zone: zone.map(Into::into) };
            (members_after(&layout, &change), change.to_string())
        };
        let (after, text) = set("node-1", Some(3), None);
        let (members, lost) = after.unwrap();
        assert_eq!((members[1].weight, members[1].zone.as_str(), lost.len()), (3, "", 0));
        assert_eq!(members[0], layout.placement.members[0]);
        assert_eq!(text, "give node-1 weight 3");
        let (after, text) = set("node-1", Some(3), Some("west"));
        assert_eq!(after.unwrap().0[1].zone, "west");
        assert_eq!(text, "give node-1 weight 3 and zone \"west\"");
        let nothing = set("node-1", Some(1), Some("")).0.unwrap_err();
        assert!(matches!(nothing, RebalanceError::NothingToDo(_)), "{nothing}");
        assert!(matches!(set("node-7", None, None).0, Err(RebalanceError::UnknownNode { .. })));
    }
}
