//! Who may do what: a request's circumstances against what the node knows.
//!
//! A node never runs a strategy. It knows, durably, the layout that it has installed, and every
//! request passes here first. The rules themselves are in [`crate::ownership`]; like them, this sees no
//! socket, no clock and no file.

use uuid::Uuid;

use crate::incarnation::Incarnation;
use crate::layout::Layout;
use crate::limits::EPOCH_LEAP_MAX;
use crate::partition::Partition;
use crate::refusal::{ErrorCode, Refusal, bad_request};

pub use crate::installed::{InstallError, Installed};
use crate::ownership::{Denied, Right, Role};

/// What a client believes when it asks. A node refuses what contradicts its own knowledge; a plain
/// client that states nothing is served as current.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The cluster's identity.
    pub cluster: Option<Uuid>,
    /// The identity of the data directory behind the address.
    pub node: Option<Uuid>,
    /// The run of the node that registered the address.
    pub incarnation: Option<Incarnation>,
    /// The epoch of the layout by which the request was routed.
    pub epoch: Option<u64>,
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
    /// The epoch under which the request was made; `None` where it does not say.
    epoch: Option<u64>,
    /// Whether the request says which cluster and which node it is for.
    is_addressed: bool,
}

/// What a node does with a layout that Consul offers.
#[derive(Debug, PartialEq, Eq)]
pub enum LayoutVerdict {
    /// It is newer: install it.
    Install,
    /// It is the one that is installed.
    Current,
    /// It is older than the installed one, which Consul has lost: give it back.
    Restore,
    /// It is another cluster's. It must not be installed, and Consul is not this node's.
    Refuse(String),
    /// No step leads to it: it is made up. It must not be installed, and the node goes on as it is.
    MadeUp(String),
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

    /// Whether there can be a layout of this epoch: it is not so far ahead of what the node has that
    /// it must be made up.
    #[must_use]
    pub fn is_within_reach(&self, epoch: u64) -> bool {
        let installed = self.installed.as_ref().map_or(0, |it| it.layout.epoch);
        epoch.saturating_sub(installed) <= EPOCH_LEAP_MAX
    }

    /// Whether a client knows a newer layout of this node's cluster than the node has.
    #[must_use]
    pub fn is_behind(&self, context: &Context) -> bool {
        let layout = self.installed.as_ref().map(|it| &it.layout);
        let is_foreign = match (context.cluster, layout) {
            (Some(wanted), Some(layout)) => wanted != layout.cluster,
            _ => false,
        };
        let epoch = layout.map_or(0, |layout| layout.epoch);
        !is_foreign && context.epoch.is_some_and(|wanted| wanted > epoch)
    }

    /// Whether a client knows an older layout of this node's cluster than the node has.
    #[must_use]
    pub fn is_ahead(&self, context: &Context) -> bool {
        let Some(Installed { layout, .. }) = &self.installed else { return false };
        let is_foreign = context.cluster.is_some_and(|wanted| wanted != layout.cluster);
        !is_foreign && context.epoch.is_some_and(|wanted| wanted < layout.epoch)
    }

    /// Checks what a client believes against what the node knows.
    ///
    /// # Errors
    /// `wrong_node`, `no_layout`, `wrong_cluster`, or `retry` where the client's layout is newer than
    /// the node's.
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
        let cluster = installed.layout.cluster;
        if context.cluster.is_some_and(|wanted| wanted != cluster) {
            return Err(Refusal::new(
                ErrorCode::WrongCluster,
                format!(
                    "this node belongs to cluster {cluster}: connect to the Consul of the cluster that you mean"
                ),
            ));
        }
        let is_addressed = context.cluster.is_some() && context.node.is_some();
        let admitted = Admitted { installed, epoch: context.epoch, is_addressed };
        if self.is_behind(context) {
            return Err(match context.epoch.filter(|epoch| !self.is_within_reach(*epoch)) {
                Some(epoch) => admitted.no_such_epoch(epoch),
                None => admitted.refuse(Denied::Newer, None),
            });
        }
        Ok(admitted)
    }

    /// Judges a layout that Consul offers.
    #[must_use]
    pub fn judge(&self, offered: &Layout) -> LayoutVerdict {
        let Some(Installed { layout, .. }) = &self.installed else {
            return match self.is_within_reach(offered.epoch) {
                true => LayoutVerdict::Install,
                // Installed, it would be given back over the right one.
                false => LayoutVerdict::MadeUp(format!(
                    "Consul holds a layout of epoch {}: no cluster takes so many steps, so somebody has made that layout up",
                    offered.epoch
                )),
            };
        };
        if offered.cluster != layout.cluster {
            return LayoutVerdict::Refuse(format!(
                "Consul holds the layout of cluster {}, but this node's data belongs to cluster {}",
                offered.cluster, layout.cluster
            ));
        }
        if !self.is_within_reach(offered.epoch) {
            return LayoutVerdict::MadeUp(format!(
                "Consul holds a layout of epoch {}, and this node has epoch {} installed: no cluster takes so many steps meanwhile, so somebody has made that layout up",
                offered.epoch, layout.epoch
            ));
        }
        match offered.epoch.cmp(&layout.epoch) {
            std::cmp::Ordering::Greater => LayoutVerdict::Install,
            std::cmp::Ordering::Less => LayoutVerdict::Restore,
            std::cmp::Ordering::Equal if offered == layout => LayoutVerdict::Current,
            std::cmp::Ordering::Equal => LayoutVerdict::MadeUp(format!(
                "Consul holds another layout of epoch {} than the one that this node has installed",
                layout.epoch
            )),
        }
    }
}

impl<'a> Admitted<'a> {
    /// The layout under which the request is carried out.
    #[must_use]
    pub fn installed(&self) -> &'a Installed {
        self.installed
    }

    /// The epoch under which the request is carried out.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.installed.layout.epoch
    }

    /// The right to deal with `key`.
    ///
    /// # Errors
    /// `stale_epoch`, `retry` or `not_owner`.
    pub fn right_to_key(&self, key: &str) -> Result<Right, Refusal> {
        self.right_to(self.installed.partition_of(key))
    }

    /// The right to deal with the keys of `partition`.
    ///
    /// # Errors
    /// As [`Self::right_to_key`], or `bad_request` where there is no such partition.
    pub fn right_to(&self, partition: Partition) -> Result<Right, Refusal> {
        let role = self.role(partition)?;
        role.right(self.epoch(), self.installed.since(partition), self.epoch)
            .map_err(|denied| self.refuse(denied, Some(partition)))
    }

    /// Which of `partitions` the node holds as a whole, in the epoch of the request or a later one.
    ///
    /// # Errors
    /// `bad_request` where the request does not say for whom it is and under which epoch: by an answer
    /// that was another's to give, records would be removed.
    pub fn held(&self, partitions: &[Partition]) -> Result<Vec<Partition>, Refusal> {
        if !self.is_addressed || self.epoch.is_none() {
            return Err(bad_request(
                "HOLDS has to state \"cluster\", \"node\" and \"epoch\", and one of them is missing",
            ));
        }
        let holds = |it: &Partition| self.installed.role(*it).is_some_and(Role::holds);
        Ok(partitions.iter().copied().filter(holds).collect())
    }

    /// Checks that the node can tell how much is in `partition`: that it owns it or hands it over.
    ///
    /// # Errors
    /// As [`Self::right_to`].
    pub fn check_countable(&self, partition: Partition) -> Result<(), Refusal> {
        let role = self.role(partition)?;
        match role.right(self.epoch(), self.installed.since(partition), self.epoch) {
            Ok(Right::Owner | Right::Source) => Ok(()),
            Ok(Right::Destination { .. }) => Err(self.refuse(Denied::Frozen, Some(partition))),
            Err(Denied::Frozen) if role == Role::FrozenSource => Ok(()),
            Err(denied) => Err(self.refuse(denied, Some(partition))),
        }
    }

    /// Checks that a request for all that the node owns means what the node has installed.
    ///
    /// # Errors
    /// `stale_epoch`, or `retry` where it names no epoch while partitions are moving here: what is
    /// moving is left out of the answer, and its sender could not know.
    pub fn check_whole(&self) -> Result<(), Refusal> {
        match self.epoch {
            None if self.installed.is_moving() => Err(Refusal::new(
                ErrorCode::Retry,
                "partitions are moving between this node and others, so it cannot say what it has without leaving something out: try again later, or read through kvclient",
            )
            .at_epoch(self.epoch())),
            _ => self.check_current(),
        }
    }

    /// Checks that the request, if it names an epoch, names the one that is installed.
    ///
    /// # Errors
    /// `stale_epoch`.
    pub fn check_current(&self) -> Result<(), Refusal> {
        match self.epoch {
            Some(epoch) if epoch < self.epoch() => Err(self.refuse(Denied::Stale, None)),
            _ => Ok(()),
        }
    }

    /// Checks that the request names the epoch that is installed, as everything has to that is part
    /// of a move; `op` is what it asks for.
    ///
    /// # Errors
    /// `stale_epoch`, or `bad_request` where the request names no epoch.
    pub fn check_exact(&self, op: &str) -> Result<(), Refusal> {
        match self.epoch {
            None => Err(bad_request(format!("\"epoch\" is missing in {op}"))),
            Some(_) => self.check_current(),
        }
    }

    /// The refusal of a request under a layout that there cannot be.
    fn no_such_epoch(&self, epoch: u64) -> Refusal {
        let installed = self.epoch();
        Refusal::new(
            ErrorCode::Retry,
            format!(
                "this node has epoch {installed} installed, and no cluster comes to epoch {epoch} from there: somebody has made that layout up, and `kvclient status` says how the nodes see it"
            ),
        )
        .at_epoch(installed)
    }

    /// The refusal of a request for `partition`, or for the node as a whole.
    #[must_use]
    pub fn refuse(&self, denied: Denied, partition: Option<Partition>) -> Refusal {
        let installed = self.epoch();
        let of = |partition: Option<Partition>| partition.map_or(0, |it| it.0);
        let server = || partition.map_or("?", |it| self.installed.server_of(it));
        let (code, message) = match denied {
            Denied::Newer => (
                ErrorCode::Retry,
                format!(
                    "this node has epoch {installed} installed and is fetching epoch {}: try again",
                    self.epoch.unwrap_or_default()
                ),
            ),
            Denied::Stale => (
                ErrorCode::StaleEpoch,
                format!(
                    "the layout of epoch {} is outdated: fetch epoch {installed} from Consul",
                    self.epoch.unwrap_or_default()
                ),
            ),
            Denied::Frozen => (
                ErrorCode::Retry,
                format!(
                    "partition {} is being handed over to {} just now: try again",
                    of(partition),
                    server()
                ),
            ),
            Denied::Moving => (
                ErrorCode::Retry,
                format!(
                    "partition {} is moving to {}, which takes its writes already: read it there, or try again",
                    of(partition),
                    server()
                ),
            ),
            Denied::NotOwner => (
                ErrorCode::NotOwner,
                format!("partition {} belongs to {} in epoch {installed}", of(partition), server()),
            ),
        };
        Refusal::new(code, message).at_epoch(installed)
    }

    fn role(&self, partition: Partition) -> Result<Role, Refusal> {
        self.installed.role(partition).ok_or_else(|| {
            bad_request(format!(
                "there is no partition {partition}: the cluster has {}",
                self.installed.layout.partitions.get()
            ))
        })
    }
}
