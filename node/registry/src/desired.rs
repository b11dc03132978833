//! The state that is desired of nodes: whether they are to run, or to stop.
//!
//! Keys `desired/<id>`; JSON of a [`DesiredState`], at most
//! [`DESIRED_STATE_BYTES_MAX`](kv_core::limits::DESIRED_STATE_BYTES_MAX) bytes. It changes by compare-and-set alone.

use std::collections::BTreeMap;

use kv_consul::{ConsulError, KvEntry, Read, Watch};
use kv_core::name::Name;

use crate::desired_state::DesiredState;
use crate::keys;
use crate::registry::{Registry, Versioned, versioned};

/// The desired states of a cluster's nodes, and what else lies with them.
#[derive(Debug, Default)]
pub struct Desired {
    /// The desired states, by the ids of their nodes.
    pub states: BTreeMap<Name, Versioned<DesiredState>>,
    /// The values among them that no node can obey.
    pub strange: Vec<Strange>,
}

/// A value that lies where desired states lie, and that no node can obey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strange {
    /// The key.
    pub key: String,
    /// Consul's index of its last change.
    pub index: u64,
    /// Why no node can obey it.
    pub problem: String,
}

/// Tells of changes of the desired states for as long as a process lives.
#[derive(Debug)]
pub struct DesiredChanges {
    prefix: String,
    watch: Watch<Vec<KvEntry>>,
}

impl DesiredChanges {
    /// The prefix that is followed, for messages to people.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until a desired state has changed; the first call returns at once.
    ///
    /// # Errors
    /// As [`Watch::next`]: an outage is reported once, and the next call waits on.
    pub async fn next(&mut self) -> Result<Desired, ConsulError> {
        Ok(Desired::of(&self.prefix, &self.watch.next().await?.value))
    }
}

impl Desired {
    fn of(prefix: &str, entries: &[KvEntry]) -> Self {
        let mut desired = Self::default();
        for entry in entries {
            let Some(id) = entry.key.strip_prefix(prefix) else { continue };
            let desired_state =
                DesiredState::parse(&entry.value).map_err(|error| error.to_string());
            let named = id.parse::<Name>().map_err(|error| error.to_string());
            let index = entry.modify_index;
            match named.and_then(|id| Ok((id, desired_state?))) {
                Ok((id, value)) => {
                    desired.states.insert(id, Versioned { value, index });
                }
                Err(problem) => {
                    desired.strange.push(Strange { key: entry.key.clone(), index, problem });
                }
            }
        }
        desired
    }
}

impl Registry {
    /// The desired state of one node; `None` where no value is there, or one that is not understood.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn desired(&self, id: &Name) -> Result<Versioned<Option<DesiredState>>, ConsulError> {
        let entry = self.get(&keys::desired_state(self.cluster(), id)).await?;
        Ok(versioned(entry, |bytes| DesiredState::parse(bytes).ok()))
    }

    /// The desired states of all nodes.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn all_desired(&self) -> Result<Desired, ConsulError> {
        let prefix = keys::desired_states(self.cluster());
        let entries = self.consul().kv_list(&prefix, Read::consistent()).await?.value;
        Ok(Desired::of(&prefix, &entries))
    }

    /// The ids of the nodes that have a desired state, as its key says.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn desired_ids(&self) -> Result<Vec<String>, ConsulError> {
        self.names(&keys::desired_states(self.cluster())).await
    }

    /// Follows the desired states of all nodes.
    ///
    /// # Errors
    /// The cluster's name makes a prefix that Consul does not take.
    pub fn desired_changes(&self) -> Result<DesiredChanges, ConsulError> {
        let prefix = keys::desired_states(self.cluster());
        Ok(DesiredChanges { watch: self.consul().watch_prefix(&prefix)?, prefix })
    }

    /// Writes a node's desired state, in place of the value of this `index`. Returns whether it was
    /// written.
    ///
    /// # Errors
    /// Consul did not do it. After an outage it is unknown whether it did: read it to find out.
    pub async fn set_desired(
        &self,
        id: &Name,
        desired_state: &DesiredState,
        index: u64,
    ) -> Result<bool, ConsulError> {
        let key = keys::desired_state(self.cluster(), id);
        self.consul().kv_put_cas(&key, &desired_state.to_json(), index).await
    }

    /// Takes back a node's desired state, if it still has this `index`. Returns whether it is gone.
    ///
    /// # Errors
    /// As [`Registry::set_desired`].
    pub async fn remove_desired(&self, id: &Name, index: u64) -> Result<bool, ConsulError> {
        self.consul().kv_delete_cas(&keys::desired_state(self.cluster(), id), index).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_desired_state_is_told_apart() {
        const GOOD: &[u8] = br#"{"wanted":"running","weight":1}"#;
        let entry = |key: &str, value: &[u8]| KvEntry {
            key: format!("kv/default/desired/{key}"),
            value: value.to_owned(),
            modify_index: 7,
            create_index: 7,
            lock_index: 0,
            session: None,
        };
        let entries = [
            entry("node-1", GOOD),
            entry("node-2", b"{}"),
            entry("", GOOD),
            entry("a/b", GOOD),
            entry("node-3", br#"{"wanted":"running","weight":0}"#),
        ];
        let Desired { states, strange } = Desired::of("kv/default/desired/", &entries);
        assert_eq!(states.keys().map(Name::as_str).collect::<Vec<_>>(), ["node-1"]);
        assert_eq!(states.values().next().unwrap().index, 7);
        let keys: Vec<&str> = strange.iter().map(|it| it.key.rsplit('/').next().unwrap()).collect();
        assert_eq!(keys, ["node-2", "", "b", "node-3"]);
    }
}
