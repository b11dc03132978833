//! The nodes that have left the layout, and are yet to be told, or forgotten. The mover that brings a
//! rebalance to its end writes the list first, so that any other can do the rest.
//!
//! Key `leaving`; JSON of a format number and a list of [`Leaver`]. It changes by compare-and-set alone,
//! and where the list is empty the key does not exist. Its writers bound the list.

use kv_consul::ConsulError;
use kv_core::name::Name;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::ReadLeaversError;
use crate::keys;
use crate::registry::{Registry, Versioned};

/// The version of the list's own shape.
const FORMAT: u32 = 1;

/// A node that has no place in the layout from some epoch on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaver {
    /// Its id.
    pub id: Name,
    /// Its data directory.
    pub uuid: Uuid,
    /// The identity of the cluster whose layout is meant.
    pub cluster: Uuid,
    /// The epoch of the layout without it.
    pub epoch: u64,
    /// Whether it was given up, so that there is no node to tell.
    pub dead: bool,
}

#[derive(Serialize, Deserialize)]
struct List {
    format: u32,
    nodes: Vec<Leaver>,
}

impl Registry {
    /// The list; empty where no key is there.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ReadLeaversError::NotUnderstood`].
    pub async fn leavers(&self) -> Result<Versioned<Vec<Leaver>>, ReadLeaversError> {
        let key = keys::leaving(self.cluster());
        let Some(entry) = self.get(&key).await? else { return Ok(Versioned::default()) };
        let problem = match serde_json::from_slice::<List>(&entry.value) {
            Ok(List { format: FORMAT, nodes }) => {
                return Ok(Versioned { value: nodes, index: entry.modify_index });
            }
            Ok(list) => format!("it has format {}", list.format),
            Err(error) => error.to_string(),
        };
        Err(ReadLeaversError::NotUnderstood { key, problem })
    }

    /// Writes the list in place of the one that has this `index`. Returns whether it was written.
    ///
    /// # Errors
    /// Consul did not do it. After an outage it is unknown whether it did: read the list to find out.
    pub async fn set_leavers(&self, nodes: Vec<Leaver>, index: u64) -> Result<bool, ConsulError> {
        let key = keys::leaving(self.cluster());
        if nodes.is_empty() {
            return self.consul().kv_delete_cas(&key, index).await;
        }
        let json = serde_json::to_vec(&List { format: FORMAT, nodes });
        let json = json.expect("the list holds only what JSON can say");
        self.consul().kv_put_cas(&key, &json, index).await
    }
}
