//! What can go wrong between a program and the store.

use std::time::Duration;

use kv_consul::ConsulError;
use kv_core::digest::Digest;
use kv_core::layout::LayoutError;
use kv_core::refusal::{ErrorCode, Refusal};
use kv_registry::{ReadLayoutError, StepLayoutError};
use uuid::Uuid;

#[cfg(feature = "strategies")]
use kv_placement::StrategyError;
#[cfg(feature = "strategies")]
use kv_placement::admission::NotAdmitted;

/// Why the store did not do what was asked. The messages are for people and say what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Consul could not be asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),

    /// A strategy could not be loaded, or its answer was refused.
    #[cfg(feature = "strategies")]
    #[error(transparent)]
    Strategy(#[from] StrategyError),

    /// A strategy was to be adopted that lacks something.
    #[cfg(feature = "strategies")]
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),

    /// The strategy that was given is not the one that the cluster has adopted.
    #[error(
        "the cluster has adopted the strategy {pinned} ({pinned_digest}), and {given} \
         ({given_digest}) is another one: it would look for keys at the wrong nodes. Nothing was \
         read or written. Leave --strategy out to use the cluster's own"
    )]
    StrategyMismatch {
        /// What the adopted strategy calls itself.
        pinned: String,
        /// The first digits of the adopted strategy's digest.
        pinned_digest: String,
        /// The strategy that was given.
        given: String,
        /// The first digits of the given strategy's digest.
        given_digest: String,
    },

    /// The adopted strategy is not in Consul, or not whole.
    #[error(
        "the strategy {name} ({}), which the cluster has adopted, {problem} in Consul. Give it with \
         --strategy FILE", digest.short()
    )]
    StrategyUnavailable {
        /// What the strategy calls itself.
        name: String,
        /// The strategy's digest.
        digest: Digest,
        /// That it is missing or damaged, for a person.
        problem: &'static str,
    },

    /// The layout document or its table breaks its own rules.
    #[error(transparent)]
    Layout(#[from] LayoutError),

    /// The value at the layout's key is no layout that this program reads.
    #[error(
        "{key} in Consul: {source}. Where somebody has damaged it or made it up, `kvclient restore-layout EPOCH` \
         publishes a past one in its place; or delete the key while the nodes run, and they put theirs back"
    )]
    LayoutUnreadable {
        /// The layout's key.
        key: String,
        /// Why it cannot be read as a layout.
        source: LayoutError,
    },

    /// The adopted strategy computes another table than the one that the layout names.
    #[error(
        "the strategy {strategy} computes the table {computed} for epoch {epoch}, and the layout \
         names {named}: to go on would mean to ask the wrong nodes, so nothing was read or written. \
         Use the version of this program that created the layout, and report this; unless somebody has \
         forged the layout: then `kvclient restore-layout EPOCH` publishes a past one again",
        computed = computed.short(), named = named.short()
    )]
    TableMismatch {
        /// What the strategy calls itself.
        strategy: String,
        /// The layout's epoch.
        epoch: u64,
        /// The digest of the computed table.
        computed: Digest,
        /// The digest that the layout names.
        named: Digest,
    },

    /// The layout's table is not in Consul, or not whole, and this program cannot compute it: it was built
    /// without the feature `strategies`.
    #[error(
        "the table {} of the layout of epoch {epoch} {problem} in Consul, and this program was built \
         without strategies, which compute it: nothing was read or written. Nodes that serve by that layout put \
         its table back within a minute or so: try again then, or use a program with strategies, such as `kvclient`",
        digest.short()
    )]
    TableUnavailable {
        /// The layout's epoch.
        epoch: u64,
        /// The digest that the layout names.
        digest: Digest,
        /// That it is missing or damaged, for a person.
        problem: &'static str,
    },

    /// There is no layout, and this program cannot create one: it was built without the feature `strategies`.
    #[error(
        "the cluster {cluster} has no layout yet, and this program was built without strategies, by which it \
         would create one: `kvclient init` does, or any program with strategies that stores or reads"
    )]
    NotCreated {
        /// The cluster's name.
        cluster: String,
    },

    /// There is no layout, and nothing is to be created.
    #[error(
        "the cluster {cluster} has no layout yet: the first client that stores or reads creates it"
    )]
    NoLayout {
        /// The cluster's name.
        cluster: String,
    },

    /// An epoch that nothing is known of.
    #[error(
        "nothing is known of epoch {wanted}: this cluster's layouts are kept from epoch {first} on, and it is \
         at epoch {last}"
    )]
    UnknownEpoch {
        /// The epoch that was asked for.
        wanted: u64,
        /// The first one that anything is known of.
        first: u64,
        /// The present one.
        last: u64,
    },

    /// There is no layout, and no node to make one of.
    #[error(
        "no node of cluster {cluster:?} is registered with Consul at {consul}. Start one: `kvnode dev` \
         for a cluster on this machine, or `kvnode --consul {consul}`"
    )]
    NoNodes {
        /// The cluster's name.
        cluster: String,
        /// Consul's address.
        consul: String,
    },

    /// Consul does not show this client all nodes.
    #[error(
        "Consul at {consul} does not show this client all instances of the service \"kv\": its token may not \
         see them, or the machines that they are on, so which nodes live is not known. Give it a policy with \
         `node_prefix \"\" {{ policy = \"read\" }}` and `service_prefix \"kv\" {{ policy = \"read\" }}`, or set \
         CONSUL_HTTP_TOKEN to another token"
    )]
    NodesHidden {
        /// Consul's address.
        consul: String,
    },

    /// There is no layout, and one is not made while a node's state is in doubt.
    #[error(
        "the cluster has no layout yet, and none is created while node {node} {problem}. Bring it \
         back, or, if it is not to be part of the cluster, deregister it from Consul; then try again"
    )]
    NodeNotReady {
        /// The node's id as registered.
        node: String,
        /// Why it is not ready, for a person.
        problem: String,
    },

    /// Consul has lost the layout of a cluster that exists.
    #[error(
        "Consul has no layout, but its nodes belong to cluster {cluster} already (such as {node}, at \
         epoch {epoch}), so none is created anew. They restore it by themselves, and had not done so \
         after {waited:?}: see that they can reach Consul, then try again"
    )]
    LayoutLost {
        /// The identity of the cluster that the nodes belong to.
        cluster: Uuid,
        /// One of the nodes.
        node: String,
        /// The epoch that it has installed.
        epoch: u64,
        /// How long was waited.
        waited: Duration,
    },

    /// A layout was to be created where there is one.
    #[error(
        "the cluster has a layout already (identity {cluster}, epoch {epoch}); its partitions and \
         its identity never change"
    )]
    AlreadyCreated {
        /// The cluster's identity.
        cluster: Uuid,
        /// The layout's epoch.
        epoch: u64,
    },

    /// The layout that was just written is not there.
    #[error("the layout was created, and is gone from Consul again: is somebody deleting it?")]
    LayoutVanished,

    /// Consul has the layout of another cluster than the one that this client began with.
    #[error(
        "this client began with cluster {ours}, and Consul has the layout of cluster {theirs} now: \
         is it another Consul, or was it wiped? Nothing was read or written there"
    )]
    OtherCluster {
        /// The identity of the cluster that the client knows.
        ours: Uuid,
        /// The identity of the cluster that Consul knows.
        theirs: Uuid,
    },

    /// A key that no node stores.
    #[error("{0}")]
    InvalidKey(Refusal),

    /// A value that no node stores.
    #[error("{0}")]
    ValueTooLarge(Refusal),

    /// A node refused the request, and would again. It was not carried out.
    #[error("node {node} refused: {refusal}")]
    Refused {
        /// The node's id.
        node: String,
        /// What the node said.
        refusal: Refusal,
    },

    /// The time was over before the request was carried out. It was not carried out, unless it was
    /// a read.
    #[error("not done within {timeout:?}: {problem}")]
    Unavailable {
        /// How long was tried.
        timeout: Duration,
        /// What stood in the way last.
        problem: String,
    },

    /// A write was sent, and whether it took effect is not known. It was not sent again.
    #[error(
        "whether the write of {key:?} took effect is unknown: {problem}. Read the key to find out, \
         or write it again"
    )]
    OutcomeUnknown {
        /// The key.
        key: String,
        /// What happened instead of an answer.
        problem: String,
    },

    /// A node answered something that is not of the protocol.
    #[error(
        "node {node} gave an answer that is not understood: {problem}. Is it a kvnode of this version?"
    )]
    InvalidReply {
        /// The node's id or address.
        node: String,
        /// In what it differs from an answer, for a person.
        problem: String,
    },

    /// This machine did not give the means to talk to nodes, such as threads or sockets.
    #[error("cannot talk to nodes: {0}")]
    Local(String),
}

impl ClientError {
    /// What went wrong, as a stable word in snake_case for programs. A node's refusal has the
    /// node's own code.
    #[must_use]
    pub fn code(&self) -> String {
        let code = match self {
            Self::Consul(error) => error.code(),
            Self::NodesHidden { .. } => "consul_nodes_hidden",
            #[cfg(feature = "strategies")]
            Self::Strategy(error) => return error.code().replace('-', "_"),
            #[cfg(feature = "strategies")]
            Self::NotAdmitted(NotAdmitted::Lacks { .. }) => "strategy_not_admitted",
            #[cfg(feature = "strategies")]
            Self::NotAdmitted(NotAdmitted::NotExamined { .. }) => "strategy_not_examined",
            Self::StrategyMismatch { .. } => "strategy_mismatch",
            Self::StrategyUnavailable { .. } => "strategy_unavailable",
            Self::Layout(_) | Self::LayoutUnreadable { .. } => "invalid_layout",
            Self::TableMismatch { .. } => "table_mismatch",
            Self::TableUnavailable { .. } => "table_unavailable",
            Self::NoLayout { .. } | Self::NotCreated { .. } => "no_layout",
            Self::UnknownEpoch { .. } => "unknown_epoch",
            Self::NoNodes { .. } => "no_nodes",
            Self::NodeNotReady { .. } => "node_not_ready",
            Self::LayoutLost { .. } => "layout_lost",
            Self::AlreadyCreated { .. } => "already_created",
            Self::LayoutVanished => "layout_vanished",
            Self::OtherCluster { .. } => "wrong_cluster",
            Self::InvalidKey(refusal)
            | Self::ValueTooLarge(refusal)
            | Self::Refused { refusal, .. } => return code_of(refusal.code),
            Self::Unavailable { .. } => "unavailable",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::InvalidReply { .. } => "invalid_reply",
            Self::Local(_) => "local",
        };
        code.to_owned()
    }
}

impl From<ReadLayoutError> for ClientError {
    fn from(error: ReadLayoutError) -> Self {
        match error {
            ReadLayoutError::Consul(error) => Self::Consul(error),
            ReadLayoutError::Unreadable { key, source } => Self::LayoutUnreadable { key, source },
        }
    }
}

impl From<StepLayoutError> for ClientError {
    fn from(error: StepLayoutError) -> Self {
        match error {
            StepLayoutError::Consul(error) => Self::Consul(error),
            error @ StepLayoutError::NoStep { .. } => {
                Self::Layout(LayoutError::Invalid(error.to_string()))
            }
        }
    }
}

/// A refusal's code as it stands on the wire.
fn code_of(code: ErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(code)) => code,
        _ => "refused".to_owned(),
    }
}
