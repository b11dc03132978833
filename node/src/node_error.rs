//! Why a node does not run, and what its process ends with.

use std::io;
use std::path::PathBuf;

use kv_consul::ConsulError;
use kv_core::layout::LayoutError;
use kv_storage::StoreError;
use kv_storage::fitness::UnfitDisk;
use kv_transport::server::ListenError;

use crate::address::InvalidHost;
use crate::claim::ClaimError;
use crate::decommission::DecommissionError;
use crate::identity::DataDirectoryError;
use crate::layout_sync::LayoutSyncError;
use crate::layouts::LayoutsError;
use crate::writer::NotInstalled;

/// A machine that has this many nodes has no id to choose left.
pub const AUTOMATIC_IDS_MAX: u32 = 1000;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// An option cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(ConsulError),
    /// The layout in Consul could not be fetched or installed.
    #[error(transparent)]
    Follow(#[from] LayoutSyncError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The disk is none on which a node can work as it is asked to.
    #[error(transparent)]
    Disk(#[from] UnfitDisk),
    /// The id is another's.
    #[error(transparent)]
    Claim(ClaimError),
    /// All ids that may be chosen are others'.
    #[error("node-0 to node-{} are all in use: choose an id with --id", AUTOMATIC_IDS_MAX - 1)]
    NoIdFree,
    /// The address or port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// An address is no address that can be used.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// The store cannot be opened.
    #[error("the store in {path} cannot be opened: {source}")]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// Why it does not open.
        source: StoreError,
    },
    /// The stored layout cannot be read.
    #[error("the layout that this node has installed cannot be read: {0}")]
    StoredLayout(#[from] LayoutError),
    /// The node could not leave its cluster in order.
    #[error(transparent)]
    Decommission(#[from] DecommissionError),
    /// The serving loop ended by itself.
    #[error("the serving loop failed: {0}")]
    Serving(String),
    /// The store could not go on for want of something that passes. A new process can.
    #[error("the store lacked something that the system will have again; a new process goes on")]
    StartsAnew,
    /// Kept records are to be discarded under a layout that is not the installed one.
    #[error(
        "--discard-kept names epoch {named}, and this node has epoch {installed} installed: see with `kvclient status` what it keeps, and why; nothing was removed"
    )]
    DiscardedEpoch {
        /// The epoch that was named.
        named: u64,
        /// The epoch that is installed; 0 without a layout.
        installed: u64,
    },
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ConsulError> for NodeError {
    fn from(error: ConsulError) -> Self {
        match error {
            ConsulError::InvalidConfig { .. } => Self::Usage(error.to_string()),
            error => Self::Consul(error),
        }
    }
}

/// What a process ends with because of Consul; `kvnode --help` lists the codes.
#[must_use]
pub fn code_of_consul(error: &ConsulError) -> u8 {
    match error {
        ConsulError::InvalidConfig { .. } => 2,
        ConsulError::PermissionDenied { .. } | ConsulError::ValueTooLarge { .. } => 4,
        _ => 3,
    }
}

impl NodeError {
    /// What the process ends with; `kvnode --help` lists the codes.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::DiscardedEpoch { .. }
            | Self::Disk(UnfitDisk::ReserveTooLarge { .. }) => 2,
            Self::Host(InvalidHost::NoneToAdvertise(_) | InvalidHost::Advertise { .. }) => 2,
            Self::Consul(error)
            | Self::Claim(ClaimError::Consul(error))
            | Self::Decommission(DecommissionError::Consul(error))
            | Self::Follow(LayoutSyncError::Layouts(LayoutsError::Consul(error))) => {
                code_of_consul(error)
            }
            Self::DataDirectory(DataDirectoryError::StoreReplaced { .. }) => 1,
            // The directory is this node's, and can be used when that has passed.
            Self::DataDirectory(error) | Self::Follow(LayoutSyncError::Identity(error))
                if error.passes() =>
            {
                1
            }
            Self::Follow(LayoutSyncError::NotInstalled(NotInstalled::Store(error)))
                if error.passes() =>
            {
                1
            }
            Self::Listen(ListenError::Scarce(_)) => 1,
            Self::Claim(_)
            | Self::NoIdFree
            | Self::Listen(_)
            | Self::Host(_)
            | Self::DataDirectory(_)
            | Self::Follow(_) => 4,
            _ => 1,
        }
    }
}
