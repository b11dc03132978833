//! The layout: reading it, waiting for the next one, and putting one in the place of another.
//!
//! Key `layout`; JSON of a [`Document`], at most [`VALUE_BYTES_MAX`](kv_consul::VALUE_BYTES_MAX) bytes. It
//! changes by compare-and-set alone, and in four ways: it is created, it takes a step, the nodes put back
//! what Consul has lost, or an operator publishes a past one again.

use std::sync::Arc;
use std::time::Duration;

use kv_consul::{ConsulError, Indexed, KvEntry, Read, Watch};
use kv_core::layout::{Document, Layout, LayoutError};
use tokio::sync::Notify;

use crate::error::{ReadLayoutError, StepLayoutError, check_length};
use crate::keys;
use crate::parts::Part;
use crate::registry::{Registry, Versioned};

/// How often the layout is read anew that turns out to be a past one while its parts are read.
const LOOKS_MAX: usize = 4;

/// What stands at the key of a layout: the layout, or why the value cannot be read as one.
pub type FoundLayout = Versioned<Result<Layout, LayoutError>>;

/// Tells of changes of the layout's key for as long as a process lives.
#[derive(Debug)]
pub struct LayoutChanges(Watch<Option<KvEntry>>);

impl LayoutChanges {
    /// Raises `put_back` where Consul may have been put back to an earlier state.
    #[must_use]
    pub fn telling(self, put_back: Arc<Notify>) -> Self {
        Self(self.0.telling(put_back))
    }

    /// Waits until the key has changed; the first call returns at once.
    ///
    /// # Errors
    /// As [`Watch::next`]: an outage is reported once, and the next call waits on.
    pub async fn next(&mut self) -> Result<(), ConsulError> {
        self.0.next().await.map(|_| ())
    }
}

impl Registry {
    /// The layout's key, for messages to people.
    #[must_use]
    pub fn layout_key(&self) -> String {
        keys::layout(self.cluster())
    }

    /// What stands at the layout's key: the layout, or why the value cannot be read as one.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn layout_as_found(
        &self,
        read: Read,
    ) -> Result<Indexed<Option<FoundLayout>>, ConsulError> {
        let Indexed { index, value } = self.consul().kv_get(&self.layout_key(), read).await?;
        let Some(entry) = value else { return Ok(Indexed { index, value: None }) };
        let mut found = self.found(&entry).await?;
        for _ in 1..LOOKS_MAX {
            if !found.value.as_ref().is_err_and(LayoutError::is_of_a_blob) {
                break;
            }
            // It may be a past one by now, and what it named may have been removed.
            let now = self.get(&self.layout_key()).await?;
            let Some(now) = now.filter(|it| it.modify_index != found.index) else { break };
            found = self.found(&now).await?;
        }
        Ok(Indexed { index, value: Some(found) })
    }

    /// The layout; `None` before the first one is created.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ReadLayoutError::Unreadable`].
    pub async fn layout(
        &self,
        read: Read,
    ) -> Result<Indexed<Option<Versioned<Layout>>>, ReadLayoutError> {
        let Indexed { index, value } = self.layout_as_found(read).await?;
        Ok(Indexed { index, value: value.map(|it| self.readable(it)).transpose()? })
    }

    /// What was found at the layout's key, where it is a layout.
    ///
    /// # Errors
    /// [`ReadLayoutError::Unreadable`].
    pub fn readable(&self, found: FoundLayout) -> Result<Versioned<Layout>, ReadLayoutError> {
        let Versioned { value, index } = found;
        match value {
            Ok(value) => Ok(Versioned { value, index }),
            Err(source) => Err(ReadLayoutError::Unreadable { key: self.layout_key(), source }),
        }
    }

    /// The layout as it is now, as the leader says after it has made sure that it leads.
    ///
    /// # Errors
    /// As [`Registry::layout`].
    pub async fn layout_now(&self) -> Result<Option<Versioned<Layout>>, ReadLayoutError> {
        Ok(self.layout(Read::consistent()).await?.value)
    }

    /// Waits until the key's index in Consul has passed `index`, or for about as long as `wait`.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn await_layout(&self, index: u64, wait: Duration) -> Result<(), ConsulError> {
        let read = Read::consistent().after(index, wait);
        self.consul().kv_get(&self.layout_key(), read).await.map(|_| ())
    }

    /// Follows the layout's key.
    ///
    /// # Errors
    /// The cluster's name makes a key that Consul does not take.
    pub fn layout_changes(&self) -> Result<LayoutChanges, ConsulError> {
        Ok(LayoutChanges(self.consul().watch_kv(&self.layout_key())?))
    }

    /// Publishes the first layout of a cluster, unless there is one. Returns whether it was published.
    /// Its strategy and its table must lie there already ([`Registry::put_strategy`], [`Registry::put_table`]).
    ///
    /// # Errors
    /// Consul did not do it. After an outage it is unknown whether it did: read the layout to find out.
    pub async fn create_layout(&self, first: &Layout) -> Result<bool, ConsulError> {
        self.put_blobs(first, None, 0).await?;
        self.replace_layout(first, 0).await
    }

    /// Takes a step: publishes `next` in place of `seen`, which had this `index` when it was read. Returns
    /// whether it was published; where not, another one has taken a step since.
    ///
    /// # Errors
    /// [`StepLayoutError::NoStep`] where none of the steps that a layout may take leads to `next`; otherwise
    /// as [`Registry::create_layout`].
    pub async fn step_layout(
        &self,
        seen: &Layout,
        index: u64,
        next: &Layout,
    ) -> Result<bool, StepLayoutError> {
        if !seen.leads_to(next) {
            return Err(StepLayoutError::NoStep { from: seen.epoch, to: next.epoch });
        }
        self.put_blobs(next, Some(seen), seen.epoch).await?;
        let is_set = self.replace_layout(next, index).await?;
        if is_set {
            self.after_step(seen, next).await;
        }
        Ok(is_set)
    }

    /// Publishes a `past` layout again as that of `epoch`, in place of the value of this `index`, layout or
    /// not. Returns the layout if it was published. No step leads to it: the nodes judge whether they can
    /// follow.
    ///
    /// # Errors
    /// As [`Registry::create_layout`].
    pub async fn republish_layout(
        &self,
        past: &Layout,
        epoch: u64,
        index: u64,
    ) -> Result<Option<Layout>, ConsulError> {
        let next = past.republished(epoch);
        self.put_blobs(&next, None, epoch).await?;
        Ok(self.replace_layout(&next, index).await?.then_some(next))
    }

    pub(crate) async fn replace_layout(
        &self,
        next: &Layout,
        index: u64,
    ) -> Result<bool, ConsulError> {
        self.consul().kv_put_cas(&self.layout_key(), &next.to_json(), index).await
    }

    /// The layout that an entry holds, or why its value cannot be read as one.
    pub(crate) async fn found(&self, entry: &KvEntry) -> Result<FoundLayout, ConsulError> {
        let value = self.put_together(&entry.value).await?;
        Ok(Versioned { value, index: entry.modify_index })
    }

    async fn put_together(&self, json: &[u8]) -> Result<Result<Layout, LayoutError>, ConsulError> {
        let document = match check_length(json).and_then(|()| Document::parse(json)) {
            Ok(document) => document,
            Err(error) => return Ok(Err(error)),
        };
        let mut blobs = Vec::new();
        for blob in document.blobs() {
            let (noun, digest) = (blob.noun(), blob.digest());
            let problem = match self.blob(&blob).await? {
                Part::Whole(bytes) => {
                    blobs.push(bytes);
                    continue;
                }
                Part::Missing { key } => {
                    format!("{key} is missing in Consul, and the nodes give it back once they run")
                }
                Part::Damaged(_) => {
                    format!("what Consul has in place of the {noun} {digest} is another one")
                }
            };
            return Ok(Err(blob.error(problem)));
        }
        Ok(document.layout(&blobs))
    }
}
