//! The claims on the ids of nodes: which data directory an id belongs to, and which run of it is the newest.
//!
//! Keys `nodes/<id>`; JSON of a [`Claim`]. They change by compare-and-set alone. A value that is no
//! claim counts as no claim, and the next one that is made replaces it.

use kv_consul::{ConsulError, Read};
use kv_core::name::Name;

use crate::claim::Claim;
use crate::keys;
use crate::registry::{Registry, Versioned, versioned};

impl Registry {
    /// The claim on a node's id, as `read` asks for it; `None` where no value is there, or one that is no
    /// claim.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn claim(
        &self,
        id: &Name,
        read: Read,
    ) -> Result<Versioned<Option<Claim>>, ConsulError> {
        let key = keys::claim(self.cluster(), id);
        let entry = self.consul().kv_get(&key, read).await?.value;
        Ok(versioned(entry, Claim::parse))
    }

    /// The claim as it is now, as the leader says after it has made sure that it leads.
    ///
    /// # Errors
    /// As [`Registry::claim`].
    pub async fn claim_now(&self, id: &Name) -> Result<Versioned<Option<Claim>>, ConsulError> {
        self.claim(id, Read::consistent()).await
    }

    /// All claims of the cluster, by the ids of their nodes. Values that are no claims are left out.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn claims(&self) -> Result<Vec<Claim>, ConsulError> {
        let prefix = keys::claims(self.cluster());
        let entries = self.consul().kv_list(&prefix, Read::consistent()).await?.value;
        Ok(entries.iter().filter_map(|entry| Claim::parse(&entry.value)).collect())
    }

    /// The ids that have been claimed, as their keys say.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn claimed_ids(&self) -> Result<Vec<String>, ConsulError> {
        self.names(&keys::claims(self.cluster())).await
    }

    /// Claims a node's id, in place of what has this `index` there. Returns whether it was written.
    ///
    /// # Errors
    /// Consul did not do it. After an outage it is unknown whether it did: read the claim to find out.
    pub async fn set_claim(
        &self,
        id: &Name,
        claim: &Claim,
        index: u64,
    ) -> Result<bool, ConsulError> {
        let key = keys::claim(self.cluster(), id);
        self.consul().kv_put_cas(&key, &claim.to_json(), index).await
    }

    /// Removes the claim on a node's id, if it still has this `index`. Returns whether it is gone.
    ///
    /// # Errors
    /// As [`Registry::set_claim`].
    pub async fn remove_claim(&self, id: &Name, index: u64) -> Result<bool, ConsulError> {
        self.consul().kv_delete_cas(&keys::claim(self.cluster(), id), index).await
    }
}
