//! The layout in Consul: fetching what is offered, giving back what was lost.

use kv_protocol::consul::{Consul, ConsulError, KvEntry, Read};
use kv_protocol::consul_keys;
use kv_protocol::digest::Digest;
use kv_protocol::layout::{Layout, LayoutError};
use kv_protocol::name::Name;
use tracing::warn;
use uuid::Uuid;

use crate::installed::{InstallError, Installed, strategy_digests};

/// A layout document as it is in Consul, with the index that a compare-and-set needs.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The document; none where there is none.
    pub layout: Option<Layout>,
    /// The document's index, 0 where there is none.
    pub index: u64,
}

/// Why a layout could not be fetched or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutsError {
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// What Consul holds is not a valid layout.
    #[error(
        "{key} in Consul: {source}: it is not installed. Where somebody has damaged it or made it up, delete it, and the nodes put theirs back"
    )]
    Layout {
        /// The key.
        key: String,
        /// What is wrong.
        source: LayoutError,
    },
    /// The layout must not be installed here.
    #[error("{0}")]
    NotHere(InstallError),
    /// The layout names a table or strategy that Consul does not hold.
    #[error(
        "the layout names {key}, which Consul does not hold: a node that has it installed will restore it"
    )]
    Missing {
        /// The key.
        key: String,
    },
}

/// The layouts of one cluster.
#[derive(Clone, Debug)]
pub struct Layouts {
    consul: Consul,
    cluster: Name,
}

impl Layouts {
    /// The layouts of `cluster`.
    #[must_use]
    pub fn new(consul: Consul, cluster: Name) -> Self {
        Self { consul, cluster }
    }

    /// The Consul that has them.
    #[must_use]
    pub fn consul(&self) -> &Consul {
        &self.consul
    }

    /// The key of the layout document.
    #[must_use]
    pub fn key(&self) -> String {
        consul_keys::layout(&self.cluster)
    }

    /// Reads the layout document as it is now.
    ///
    /// # Errors
    /// [`LayoutsError`] where Consul cannot be asked or the document is not valid.
    pub async fn read(&self) -> Result<Offered, LayoutsError> {
        let key = self.key();
        let Some(entry) = self.consul.kv_get(&key, Read::consistent()).await?.value else {
            return Ok(Offered { layout: None, index: 0 });
        };
        let layout =
            Layout::parse(&entry.value).map_err(|source| LayoutsError::Layout { key, source })?;
        Ok(Offered { layout: Some(layout), index: entry.modify_index })
    }

    /// Fetches what belongs to `layout`, except what `previous` has of it, and puts it together for the
    /// node with this `uuid` that has `previous` installed.
    ///
    /// # Errors
    /// [`LayoutsError`] where tables or strategies are missing or not those that the layout names, or
    /// the layout must not be installed here.
    pub async fn complete(
        &self,
        layout: Layout,
        uuid: Uuid,
        previous: Option<&Installed>,
    ) -> Result<Installed, LayoutsError> {
        let mut tables = Vec::new();
        for placement in layout.placements() {
            let known = previous.into_iter().flat_map(|it| it.layout.placements().zip(&it.tables));
            let known = known.into_iter().find(|(it, _)| it.table == placement.table);
            tables.push(match known {
                Some((_, table)) => table.to_bytes(),
                None => self.fetch(consul_keys::table(&self.cluster, &placement.table)).await?,
            });
        }
        let mut strategies = Vec::new();
        for digest in strategy_digests(&layout) {
            let known = previous.into_iter();
            let mut known =
                known.flat_map(|it| strategy_digests(&it.layout).into_iter().zip(&it.strategies));
            strategies.push(match known.find(|(it, _)| *it == digest) {
                Some((_, bytes)) => bytes.clone(),
                None => self.fetch(consul_keys::strategy(&self.cluster, &digest)).await?,
            });
        }
        Installed::new(layout, &tables, strategies, uuid, previous).map_err(|error| match error {
            InstallError::Layout(source) => LayoutsError::Layout { key: self.key(), source },
            error => LayoutsError::NotHere(error),
        })
    }

    /// Gives Consul back a layout that it has lost, in place of what it has at `index`. Returns
    /// whether this node was the one that did it.
    ///
    /// # Errors
    /// [`LayoutsError::Consul`] where Consul cannot be asked.
    pub async fn restore(&self, installed: &Installed, index: u64) -> Result<bool, LayoutsError> {
        self.restore_parts(installed).await?;
        Ok(self.consul.kv_put_cas(&self.key(), &installed.layout.to_json(), index).await?)
    }

    /// Puts a layout among the past ones, with what belongs to it.
    ///
    /// # Errors
    /// [`LayoutsError::Consul`] where Consul cannot be asked.
    pub async fn keep_past(&self, installed: &Installed) -> Result<(), LayoutsError> {
        let key = consul_keys::past_layout(&self.cluster, installed.layout.epoch);
        let there = self.consul.kv_get(&key, Read::default()).await?.value;
        // The mover, or another node, has mostly put it there; and anybody may have put something else.
        let is_it = |it: &KvEntry| Layout::parse(&it.value).is_ok_and(|it| it == installed.layout);
        if there.as_ref().is_some_and(is_it) {
            return Ok(());
        }
        self.restore_parts(installed).await?;
        let index = there.map_or(0, |it| it.modify_index);
        self.consul.kv_put_cas(&key, &installed.layout.to_json(), index).await?;
        Ok(())
    }

    /// Gives Consul back the tables and strategies of a layout, where it has lost them, or has something
    /// else in their place.
    ///
    /// # Errors
    /// [`LayoutsError::Consul`] where Consul cannot be asked.
    pub async fn restore_parts(&self, installed: &Installed) -> Result<(), LayoutsError> {
        for table in &installed.tables {
            let bytes = table.to_bytes();
            let key = consul_keys::table(&self.cluster, &Digest::of(&bytes));
            self.restore_part(&key, &bytes).await?;
        }
        for bytes in &installed.strategies {
            let key = consul_keys::strategy(&self.cluster, &Digest::of(bytes));
            self.restore_part(&key, bytes).await?;
        }
        Ok(())
    }

    /// Puts at `key`, which names their digest, these `bytes`, unless they are there. They never change,
    /// so it does not matter who put them there.
    async fn restore_part(&self, key: &str, bytes: &[u8]) -> Result<(), ConsulError> {
        // What any server says will do: a compare-and-set finds out where it was wrong.
        let (index, problem) = match self.consul.kv_get(key, Read::stale()).await?.value {
            Some(entry) if entry.value == bytes => return Ok(()),
            Some(entry) => (entry.modify_index, "had something else in its place"),
            None => (0, "had lost it"),
        };
        if self.consul.kv_put_cas(key, bytes, index).await? {
            warn!("gave {key} back to Consul, which {problem}");
        }
        Ok(())
    }

    async fn fetch(&self, key: String) -> Result<Vec<u8>, LayoutsError> {
        match self.consul.kv_get(&key, Read::consistent()).await?.value {
            Some(entry) => Ok(entry.value),
            None => Err(LayoutsError::Missing { key }),
        }
    }
}
