//! What can go wrong with a rebalance.

use std::time::Duration;

use kv_consul::ConsulError;
use kv_core::layout::StepError;
use kv_registry::{ReadLayoutError, ReadLeaversError, StepLayoutError};

use kvclient::ClientError;

use crate::limits::MOVER_NODE_WAIT;

/// Why a rebalance was not planned, begun or finished. Whatever it is, the cluster serves on, and
/// nothing is lost.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RebalanceError {
    /// Consul, a node or the strategy did not do what was asked.
    #[error(transparent)]
    Client(#[from] ClientError),

    /// A node that does not exist was named.
    #[error("there is no node {id}; the cluster has {known}")]
    UnknownNode {
        /// The id that was named.
        id: String,
        /// The ids that there are.
        known: String,
    },

    /// What was asked for makes no sense for this cluster.
    #[error("{0}")]
    Refused(String),

    /// What was asked for is so already.
    #[error("{0}: there is nothing to do")]
    NothingToDo(String),

    /// A node that is needed does not answer.
    #[error("node {node} is needed and does not answer ({problem}): {advice}")]
    NodeDown {
        /// The node's id.
        node: String,
        /// What happened instead of an answer.
        problem: String,
        /// What to do.
        advice: String,
    },

    /// A node that is needed answers, and has not installed the layout.
    #[error("node {node} answers, and cannot follow the layout ({problem}): {advice}")]
    NodeBehind {
        /// The node's id.
        node: String,
        /// What it has instead.
        problem: String,
        /// What to do.
        advice: String,
    },

    /// Consul does not let this client write what the change needs.
    #[error(
        "nothing was changed, since {key} in Consul would have to be written in the end: {error}"
    )]
    NotAllowed {
        /// The key.
        key: String,
        /// What Consul said.
        error: ConsulError,
    },

    /// Consul lets this client not go on with what it has begun.
    #[error(
        "the rebalance was begun, and may not be over, since Consul does not let this client go on: {error}. \
         Everything is served. `kvclient status` says how far it is, and `kvclient rebalance resume` goes on, and \
         does what may be left to do, with a token that may do all of it"
    )]
    NotAllowedFurther {
        /// What Consul said.
        error: ConsulError,
    },

    /// The data has moved, and something that is left to do could not be done.
    #[error(
        "all data is where it was to be, and the layout is at rest, but {left} ({error}). `kvclient rebalance \
         resume` does what is left, with a token that may write to kv/{cluster}/ in Consul"
    )]
    LeftToDo {
        /// The cluster's name.
        cluster: String,
        /// What has not been done.
        left: String,
        /// Why.
        error: Box<RebalanceError>,
    },

    /// Another command is having a node of that id started.
    #[error(
        "another command has signalled that node {id} is to run: wait until it does, and try again. Where that command is gone, `kvclient remove-node {id}` takes its signal back"
    )]
    Signalled {
        /// The node's id.
        id: String,
    },

    /// There is no layout.
    #[error(
        "the cluster {cluster} has no layout yet: the first client that stores or reads creates it"
    )]
    NoLayout {
        /// The cluster's name.
        cluster: String,
    },

    /// Consul has an older layout than a node.
    #[error(
        "Consul has the layout of epoch {epoch}, and node {node} has epoch {installed} installed: Consul's \
         state has gone back, and the nodes had not put it right after {waited:?}. Nothing was changed, and \
         no node is to be given up for this: see that the nodes reach Consul, and try again"
    )]
    ConsulWentBack {
        /// The epoch of Consul's layout.
        epoch: u64,
        /// A node that has a newer one.
        node: String,
        /// The epoch that it has installed.
        installed: u64,
        /// How long was waited.
        waited: Duration,
    },

    /// Another rebalance is under way.
    #[error(
        "a rebalance is under way (epoch {epoch}): wait for it, or finish it with `kvclient rebalance \
         resume`, or undo it with `kvclient rebalance abort`"
    )]
    UnderWay {
        /// The epoch in which that was seen.
        epoch: u64,
    },

    /// There is no rebalance to do something with.
    #[error("no rebalance is under way: the layout of epoch {epoch} is at rest")]
    AtRest {
        /// The layout's epoch.
        epoch: u64,
    },

    /// The layout does not allow that step.
    #[error(transparent)]
    Step(#[from] StepError),

    /// Another mover is at work.
    #[error(
        "{mover} is moving the data already: watch it with `kvclient status`; once it has given no sign \
         of life for {silence:?}, `kvclient rebalance resume` takes over"
    )]
    MoverAtWork {
        /// The other mover, as it calls itself.
        mover: String,
        /// How long a mover may be silent before another one takes over.
        silence: Duration,
    },

    /// The plan was made for another layout.
    #[error(
        "the plan was made for epoch {planned} of cluster {cluster}, and {found}: make a new plan"
    )]
    PlanOutdated {
        /// The epoch that it was made for.
        planned: u64,
        /// The cluster that it was made for.
        cluster: uuid::Uuid,
        /// What was found instead.
        found: String,
    },

    /// Source and destination do not agree on what was copied.
    #[error(
        "what node {destination} has of partition {partition} is not what node {from} has ({problem}), \
         although it was copied twice: the partition stays where both are asked for its keys; \
         please report this"
    )]
    Unverified {
        /// The source.
        from: String,
        /// The destination.
        destination: String,
        /// The partition.
        partition: u32,
        /// How they differ.
        problem: String,
    },

    /// A destination has no room for what moves to it.
    #[error(
        "node {node} has room for {room_bytes} bytes on its disk, and about {wanted_bytes} are to move \
         there: free some space on it, then `kvclient rebalance resume`, or undo it with `kvclient \
         rebalance abort`"
    )]
    NoRoom {
        /// The destination.
        node: String,
        /// The bytes that it has room for.
        room_bytes: u64,
        /// The bytes that are to move to it.
        wanted_bytes: u64,
    },
}

impl RebalanceError {
    /// What went wrong, as a stable word in snake_case for programs.
    #[must_use]
    pub fn code(&self) -> String {
        let code = match self {
            Self::Client(error) => return error.code(),
            Self::UnknownNode { .. } => "unknown_node",
            Self::Refused(_) | Self::NoLayout { .. } => "refused",
            Self::NothingToDo(_) => "nothing_to_do",
            Self::NodeDown { .. } => "node_down",
            Self::NodeBehind { .. } => "node_behind",
            Self::ConsulWentBack { .. } => "consul_went_back",
            Self::NotAllowed { error, .. } | Self::NotAllowedFurther { error } => error.code(),
            Self::LeftToDo { .. } => "left_to_do",
            Self::Signalled { .. } => "signalled",
            Self::UnderWay { .. } => "under_way",
            Self::AtRest { .. } => "at_rest",
            Self::Step(_) => "not_now",
            Self::MoverAtWork { .. } => "mover_at_work",
            Self::PlanOutdated { .. } => "plan_outdated",
            Self::Unverified { .. } => "unverified",
            Self::NoRoom { .. } => "no_room",
        };
        code.to_owned()
    }

    /// The error where nodes go on to tell of another layout than Consul has.
    pub(crate) fn out_of_step(epoch: u64) -> Self {
        Self::Client(ClientError::Unavailable {
            timeout: MOVER_NODE_WAIT,
            problem: format!(
                "nodes go by another layout than that of epoch {epoch}, which Consul has. See with `kvclient status` \
                 which ones, and that they reach Consul; then `kvclient rebalance resume`. The cluster serves on"
            ),
        })
    }
}

impl From<ReadLayoutError> for RebalanceError {
    fn from(error: ReadLayoutError) -> Self {
        Self::Client(error.into())
    }
}

impl From<StepLayoutError> for RebalanceError {
    fn from(error: StepLayoutError) -> Self {
        Self::Client(error.into())
    }
}

impl From<ReadLeaversError> for RebalanceError {
    fn from(error: ReadLeaversError) -> Self {
        match error {
            ReadLeaversError::Consul(error) => error.into(),
            error @ ReadLeaversError::NotUnderstood { .. } => Self::Refused(error.to_string()),
        }
    }
}

impl From<kv_consul::ConsulError> for RebalanceError {
    fn from(error: kv_consul::ConsulError) -> Self {
        Self::Client(error.into())
    }
}
