//! Who may do what: the pure rules by which a node refuses what it does not own.
//!
//! A node never runs a strategy. It knows, durably, the layout that it has installed, and every
//! request for a key passes here first. The rules see no socket, no clock and no file.

use kv_protocol::digest::Digest;
use kv_protocol::layout::{Layout, LayoutError, Table};
use kv_protocol::partition::{Partition, key_hash};
use kv_protocol::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::InstalledLayout;
use kv_protocol::request::Context;
use uuid::Uuid;

/// A layout with what belongs to it, seen from one node.
#[derive(Debug)]
pub struct Installed {
    /// The layout.
    pub layout: Layout,
    /// The owners of every partition.
    pub table: Table,
    /// The strategy's bytes. The node does not run them; it keeps them so that a Consul that lost
    /// everything can be given them back.
    pub strategy: Vec<u8>,
    /// The node's index among the members, none where it is not a member.
    index: Option<u16>,
    owned: u32,
}

/// What a node knows about its rights.
#[derive(Debug)]
pub struct Guard {
    uuid: Uuid,
    installed: Option<Installed>,
}

/// Proof that a request's circumstances were checked against the installed layout.
#[derive(Clone, Copy, Debug)]
pub struct Admitted<'a> {
    installed: &'a Installed,
}

/// What is to be done with a layout that Consul offers.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is newer: install it.
    Install,
    /// It is the one that is installed.
    Current,
    /// It is older than the installed one, which Consul has lost: give it back.
    Restore,
    /// It is another cluster's, or another layout of the same epoch. It must not be installed.
    Refuse(String),
}

impl Installed {
    /// Puts a layout together with its table and strategy, for the node with this `uuid`.
    ///
    /// # Errors
    /// [`LayoutError::Table`] where table or strategy are not those that the layout names.
    pub fn new(
        layout: Layout,
        table: &[u8],
        strategy: Vec<u8>,
        uuid: Uuid,
    ) -> Result<Self, LayoutError> {
        let table = Table::parse(table, &layout, &layout.placement)?;
        let digest = Digest::of(&strategy);
        if digest != layout.placement.strategy.sha256 {
            return Err(LayoutError::Table(format!(
                "the strategy's digest is {digest}, the layout names {}",
                layout.placement.strategy.sha256
            )));
        }
        let members = (0_u16..).zip(&layout.placement.members);
        let index = members.into_iter().find(|(_, it)| it.uuid == uuid).map(|(index, _)| index);
        let owned = index.map_or(0, |index| table.owned_by(index).map(|_| 1).sum());
        Ok(Self { layout, table, strategy, index, owned })
    }

    /// What the node says of it in its status.
    #[must_use]
    pub fn summary(&self) -> InstalledLayout {
        InstalledLayout {
            cluster: self.layout.cluster,
            epoch: self.layout.epoch,
            partitions_owned: self.owned,
        }
    }

    fn owns(&self, partition: Partition) -> bool {
        self.index.is_some() && self.table.owner(partition) == self.index
    }
}

impl Guard {
    /// The guard of the node with this `uuid` and, where it has one, its installed layout.
    #[must_use]
    pub fn new(uuid: Uuid, installed: Option<Installed>) -> Self {
        Self { uuid, installed }
    }

    /// The layout that the node has installed.
    #[must_use]
    pub fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    /// Checks what a client believes against what the node knows.
    ///
    /// # Errors
    /// `wrong_node`, `no_layout`, `wrong_cluster`, `stale_epoch`, or `retry` where the client's
    /// layout is newer than the node's.
    pub fn admit(&self, context: &Context) -> Result<Admitted<'_>, Refusal> {
        if context.node.is_some_and(|node| node != self.uuid) {
            return Err(Refusal::new(
                ErrorCode::WrongNode,
                format!("this is node {}: look the node's address up in Consul again", self.uuid),
            ));
        }
        let Some(installed) = &self.installed else {
            return Err(Refusal::new(
                ErrorCode::NoLayout,
                "this node belongs to no layout yet: the cluster's first kvclient creates one",
            ));
        };
        let (cluster, epoch) = (installed.layout.cluster, installed.layout.epoch);
        if context.cluster.is_some_and(|wanted| wanted != cluster) {
            return Err(Refusal::new(
                ErrorCode::WrongCluster,
                format!(
                    "this node belongs to cluster {cluster}: connect to the Consul of the cluster that you mean"
                ),
            ));
        }
        match context.epoch {
            Some(wanted) if wanted < epoch => Err(Refusal::new(
                ErrorCode::StaleEpoch,
                format!("the layout of epoch {wanted} is outdated: fetch epoch {epoch} from Consul"),
            )
            .at_epoch(epoch)),
            Some(wanted) if wanted > epoch => Err(Refusal::new(
                ErrorCode::Retry,
                format!("this node has epoch {epoch} installed and is fetching epoch {wanted}: try again"),
            )
            .at_epoch(epoch)),
            _ => Ok(Admitted { installed }),
        }
    }

    /// Judges a layout that Consul offers.
    #[must_use]
    pub fn judge(&self, offered: &Layout) -> Verdict {
        let Some(Installed { layout, .. }) = &self.installed else {
            return Verdict::Install;
        };
        if offered.cluster != layout.cluster {
            return Verdict::Refuse(format!(
                "Consul holds the layout of cluster {}, but this node's data belongs to cluster {}",
                offered.cluster, layout.cluster
            ));
        }
        match offered.epoch.cmp(&layout.epoch) {
            std::cmp::Ordering::Greater => Verdict::Install,
            std::cmp::Ordering::Less => Verdict::Restore,
            std::cmp::Ordering::Equal if offered == layout => Verdict::Current,
            std::cmp::Ordering::Equal => Verdict::Refuse(format!(
                "Consul holds another layout of epoch {} than the one that this node has installed",
                layout.epoch
            )),
        }
    }
}

impl Admitted<'_> {
    /// The epoch under which the request is carried out.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.installed.layout.epoch
    }

    /// Checks that the node owns `key`.
    ///
    /// # Errors
    /// `not_owner`.
    pub fn check_key(&self, key: &str) -> Result<(), Refusal> {
        self.check_partition(self.installed.layout.partitions.partition(key_hash(key)))
    }

    /// Checks that the node owns `partition`.
    ///
    /// # Errors
    /// `not_owner`, or `bad_request` where there is no such partition.
    pub fn check_partition(&self, partition: Partition) -> Result<(), Refusal> {
        let layout = &self.installed.layout;
        if self.installed.owns(partition) {
            return Ok(());
        }
        let Some(owner) = self.installed.table.owner(partition) else {
            return Err(kv_protocol::refusal::bad_request(format!(
                "there is no partition {partition}: the cluster has {}",
                layout.partitions.get()
            )));
        };
        let owner =
            layout.placement.members.get(usize::from(owner)).map_or("?", |it| it.id.as_str());
        Err(Refusal::new(
            ErrorCode::NotOwner,
            format!("partition {partition} belongs to {owner} in epoch {}", layout.epoch),
        )
        .at_epoch(layout.epoch))
    }

    /// Whether the node owns the key with this hash.
    #[must_use]
    pub fn owns_hash(&self, hash: u64) -> bool {
        self.installed.owns(self.installed.layout.partitions.partition(hash))
    }

    /// The smallest and the largest hash in `partition`.
    #[must_use]
    pub fn hash_range(&self, partition: Partition) -> (u64, u64) {
        self.installed.layout.partitions.hash_range(partition)
    }
}
