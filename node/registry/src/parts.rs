//! What layouts name: the tables, the strategies that computed them, the lists of members, and the standings.
//!
//! Keys `tables/<digest>`, `strategies/<digest>`, `members/<digest>` and `standing/<digest>`; the value is the bytes
//! that have this SHA-256, so it never changes, and it does not matter who put it there. A strategy has at most
//! [`COMPONENT_BYTES_MAX`](kv_core::limits::COMPONENT_BYTES_MAX) bytes, a table two for each owner of each
//! partition, a standing [`STANDING_BYTES_MAX`](kv_core::limits::STANDING_BYTES_MAX).

use kv_consul::{ConsulError, Read};
use kv_core::digest::Digest;
use kv_core::installed::Installed;
use kv_core::layout::{Blob, Document, Layout, Table};

use crate::keys;
use crate::registry::Registry;

/// What stands at the key of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The bytes of this digest.
    Whole(Vec<u8>),
    /// Other bytes. Any program that may write to Consul can put them there.
    Damaged(Vec<u8>),
    /// Nothing is stored under the digest.
    Missing {
        /// The key, for messages to people.
        key: String,
    },
}

impl Registry {
    /// The table of this digest.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn table(&self, digest: &Digest) -> Result<Part, ConsulError> {
        self.part(keys::table(self.cluster(), digest), digest).await
    }

    /// The strategy of this digest.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn strategy(&self, digest: &Digest) -> Result<Part, ConsulError> {
        self.part(keys::strategy(self.cluster(), digest), digest).await
    }

    /// What a document names.
    pub(crate) async fn blob(&self, blob: &Blob) -> Result<Part, ConsulError> {
        let digest = blob.digest();
        if let Some(bytes) = self.remembered(&digest) {
            return Ok(Part::Whole(bytes));
        }
        let part = self.part(keys::blob(self.cluster(), blob), &digest).await?;
        if let Part::Whole(bytes) = &part {
            self.remember(digest, bytes);
        }
        Ok(part)
    }

    /// Puts what a layout's document names there, as [`Registry::put_table`] does a table, but for what lies
    /// there already, as the layout says that was `seen`.
    pub(crate) async fn put_blobs(
        &self,
        layout: &Layout,
        seen: Option<&Layout>,
        epoch: u64,
    ) -> Result<(), ConsulError> {
        let there = seen.map_or_else(Vec::new, |it| Document::of(it).blobs());
        for (blob, bytes) in named_by(layout).filter(|(blob, _)| !there.contains(blob)) {
            let key = keys::blob(self.cluster(), &blob);
            self.consul().kv_put_flagged(&key, &bytes, epoch).await?;
        }
        Ok(())
    }

    /// Puts a table there for a layout that is to follow the one of the epoch `seen`: 0 for a cluster's
    /// first. Returns its digest. The epoch makes the key's index a new one also where the table is there
    /// already, by which [`gc`](crate::gc) knows that it is needed.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn put_table(&self, table: &Table, seen: u64) -> Result<Digest, ConsulError> {
        let digest = table.digest();
        let key = keys::table(self.cluster(), &digest);
        self.consul().kv_put_flagged(&key, &table.to_bytes(), seen).await?;
        Ok(digest)
    }

    /// Puts a strategy there, as [`Registry::put_table`] does a table.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn put_strategy(&self, bytes: &[u8], seen: u64) -> Result<Digest, ConsulError> {
        let digest = Digest::of(bytes);
        let key = keys::strategy(self.cluster(), &digest);
        self.consul().kv_put_flagged(&key, bytes, seen).await?;
        Ok(digest)
    }

    /// Gives Consul back a layout that it has lost, in place of what it has at `index`, and what belongs to
    /// it before. Returns whether this node was the one that did it.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn restore_layout(
        &self,
        installed: &Installed,
        index: u64,
    ) -> Result<bool, ConsulError> {
        self.restore_parts(installed).await?;
        self.replace_layout(&installed.layout, index).await
    }

    /// Gives Consul back what a layout names, where it has lost it, or has something else in its place.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn restore_parts(&self, installed: &Installed) -> Result<(), ConsulError> {
        for table in &installed.tables {
            let bytes = table.to_bytes();
            self.restore_part(&keys::table(self.cluster(), &Digest::of(&bytes)), &bytes).await?;
        }
        for (blob, bytes) in named_by(&installed.layout) {
            self.restore_part(&keys::blob(self.cluster(), &blob), &bytes).await?;
        }
        for bytes in &installed.strategies {
            self.restore_part(&keys::strategy(self.cluster(), &Digest::of(bytes)), bytes).await?;
        }
        Ok(())
    }

    async fn restore_part(&self, key: &str, bytes: &[u8]) -> Result<(), ConsulError> {
        // Any server's answer will do: a compare-and-set finds out where it was wrong.
        let (index, problem) = match self.consul().kv_get(key, Read::stale()).await?.value {
            Some(entry) if entry.value == bytes => return Ok(()),
            Some(entry) => (entry.modify_index, "had something else in its place"),
            None => (0, "had lost it"),
        };
        if self.consul().kv_put_cas(key, bytes, index).await? {
            tracing::warn!("gave {key} back to Consul, which {problem}");
        }
        Ok(())
    }

    async fn part(&self, key: String, digest: &Digest) -> Result<Part, ConsulError> {
        let is_whole = |bytes: &[u8]| Digest::of(bytes) == *digest;
        // The key never changes its value, so any server may answer.
        let entry = self.consul().kv_get(&key, Read::stale()).await?.value;
        if let Some(entry) = entry.filter(|it| is_whole(&it.value)) {
            return Ok(Part::Whole(entry.value));
        }
        // A key that was just written, or put right, may not have come to that server yet.
        Ok(match self.get(&key).await? {
            Some(entry) if is_whole(&entry.value) => Part::Whole(entry.value),
            Some(entry) => Part::Damaged(entry.value),
            None => Part::Missing { key },
        })
    }
}

/// What a layout's document names, with its bytes.
fn named_by(layout: &Layout) -> impl Iterator<Item = (Blob, Vec<u8>)> {
    Document::of(layout).blobs().into_iter().zip(layout.blobs())
}
