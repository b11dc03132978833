//! The keys that a change writes, for a command that asks Consul beforehand whether it may.

use kv_consul::ConsulError;
use kv_core::name::Name;

use crate::keys;
use crate::registry::Registry;

/// A key that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The layout's.
    Layout,
    /// That of the list of nodes that have left the layout.
    Leavers,
    /// That of the desired state of this node.
    Desired(Name),
    /// That of the claim on this node's id.
    Claim(Name),
}

impl Registry {
    /// The key, for messages to people.
    #[must_use]
    pub fn key_of(&self, place: &Place) -> String {
        match place {
            Place::Layout => keys::layout(self.cluster()),
            Place::Leavers => keys::leaving(self.cluster()),
            Place::Desired(id) => keys::desired_state(self.cluster(), id),
            Place::Claim(id) => keys::claim(self.cluster(), id),
        }
    }

    /// Makes sure that this client may write there. Nothing is written.
    ///
    /// # Errors
    /// [`ConsulError::PermissionDenied`], or Consul cannot be asked.
    pub async fn check_writable(&self, place: &Place) -> Result<(), ConsulError> {
        self.consul().kv_check_writable(&self.key_of(place)).await
    }
}
