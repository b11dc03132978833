//! What somebody wants changed, and the placement that follows from it. Pure.

use std::collections::BTreeSet;
use std::fmt;

use kv_protocol::layout::{Layout, Member};
use kv_protocol::name::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::RebalanceError;
use crate::admission::Property;

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
    /// The node's data directory; none where the node does not run yet.
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
            Self::Migrate { strategy, .. } => write!(f, "migrate to {strategy}"),
        }
    }
}
