//! The handle that all doors are opened with.

use std::sync::{Arc, Mutex, PoisonError};

use kv_consul::{Consul, ConsulError, KvEntry, Read};
use kv_core::digest::Digest;
use kv_core::name::Name;

/// How many of the parts of layouts are remembered: the lists of members of a rebalance, and of the layouts around
/// it, and their standings.
const BLOBS_MAX: usize = 6;

/// What lies in Consul of one cluster. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Registry {
    consul: Consul,
    cluster: Name,
    /// What layouts named that were read last, the newest at the end: most of them name what the one before does.
    blobs: Arc<Mutex<Vec<Named>>>,
}

/// What a layout names, as it lies in Consul, after its digest.
type Named = (Digest, Vec<u8>);

/// A value as it stands in Consul, and the index that a compare-and-set has to name which is to replace
/// this very one: 0 where the key does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Consul's index of the key's last change.
    pub index: u64,
}

impl Registry {
    /// The door to what `consul` has of the cluster of this name. Nothing is asked yet.
    #[must_use]
    pub fn new(consul: Consul, cluster: Name) -> Self {
        Self { consul, cluster, blobs: Arc::default() }
    }

    /// The Consul that is asked.
    #[must_use]
    pub fn consul(&self) -> &Consul {
        &self.consul
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// What stands at a key now, as the leader says after it has made sure that it leads.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<KvEntry>, ConsulError> {
        Ok(self.consul.kv_get(key, Read::consistent()).await?.value)
    }

    /// What a layout names, where it was read before.
    pub(crate) fn remembered(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let found = blobs.iter().position(|(it, _)| it == digest)?;
        // What is used again goes last: standings come and go, while lists of members stay.
        let blob = blobs.remove(found);
        let bytes = blob.1.clone();
        blobs.push(blob);
        Some(bytes)
    }

    /// Remembers what a layout names.
    pub(crate) fn remember(&self, digest: Digest, bytes: &[u8]) {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.retain(|(it, _)| *it != digest);
        blobs.push((digest, bytes.to_vec()));
        let excess = blobs.len().saturating_sub(BLOBS_MAX);
        blobs.drain(..excess);
    }

    /// The last parts of all keys that start with `prefix`.
    pub(crate) async fn names(&self, prefix: &str) -> Result<Vec<String>, ConsulError> {
        let keys = self.consul.kv_keys(prefix, Read::consistent()).await?.value;
        Ok(keys.iter().filter_map(|key| key.rsplit('/').next().map(str::to_owned)).collect())
    }
}

/// What `parse` makes of an entry; `None` also where the key does not exist.
pub(crate) fn versioned<T>(
    entry: Option<KvEntry>,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Versioned<Option<T>> {
    match entry {
        Some(entry) => Versioned { value: parse(&entry.value), index: entry.modify_index },
        None => Versioned { value: None, index: 0 },
    }
}
