//! The claim on a node's id: which data directory it belongs to, and why another may not use it.

use std::path::PathBuf;

use kv_consul::{CheckStatus, ConsulError, Read};
use kv_core::incarnation::Incarnation;
use kv_core::layout::Layout;
use kv_registry::claim::Claim;
use kv_registry::members::Registered as _;
use kv_registry::{Registry, Versioned};
use uuid::Uuid;

use crate::identity::Identity;

/// What else may be the matter where the data directory once followed a layout.
const FORGED: &str = ". Where this is the right directory and the layout is not, since somebody has forged it, publish the right one again (`kvclient restore-layout`)";

/// Why a node may not use its id.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// The id belongs to another data directory.
    #[error(
        "node {id} of cluster {cluster} has its data elsewhere (data directory {owner}; this one is {own}): start it on that directory, or choose another --id{}", if *was_member { FORGED } else { "" }
    )]
    MemberElsewhere {
        /// The node's id.
        id: String,
        /// The cluster's name.
        cluster: String,
        /// The data directory that the id belongs to.
        owner: Uuid,
        /// This node's data directory.
        own: Uuid,
        /// Whether this data directory has had a layout.
        was_member: bool,
    },
    /// The data directory is a member under another id.
    #[error(
        "this data directory is node {member} of the layout, not {id}: start it with --id {member}{}", if *was_member { FORGED } else { "" }
    )]
    OtherId {
        /// The node's id.
        id: String,
        /// The id in the layout.
        member: String,
        /// Whether this data directory has had a layout.
        was_member: bool,
    },
    /// A running node uses the id.
    #[error("node {id} of cluster {cluster} is running at {address}: choose another --id")]
    Running {
        /// The node's id.
        id: String,
        /// The cluster's name.
        cluster: String,
        /// Where the other node listens.
        address: String,
    },
    /// Another data directory has claimed the id.
    #[error("node {id} is claimed by the data directory {owner}")]
    Claimed {
        /// The node's id.
        id: String,
        /// The data directory that claimed it.
        owner: Uuid,
    },
    /// Another data directory has taken the id over.
    #[error(
        "node {id} was claimed by another data directory while this node was running: this node stops; start it with another --id"
    )]
    Lost {
        /// The node's id.
        id: String,
    },
    /// Another copy of the data directory has been started.
    #[error(
        "another copy of this data directory was started as node {id}, incarnation {newest}, while this one, {own}, was running: this node stops, and what it takes no more is there. Make sure with `kvclient status` which copy runs before you remove one; where none does, the claim was changed by hand: start this one with --serve-older-copy"
    )]
    Superseded {
        /// The node's id.
        id: String,
        /// This process.
        own: Incarnation,
        /// The other one.
        newest: Incarnation,
    },
    /// Another copy of the data directory has been started since.
    #[error(
        "{path} is an older copy of the data directory of node {id}, or was put back from a backup: it ran last {own}, and another copy of it as {newest} since. Served, it would lack what was written there, and bring back what was deleted. Start the node on the directory that ran last; where that is gone for good, --serve-older-copy (with `kvnode dev`: --serve-older-copy {id}) serves this one all the same"
    )]
    OlderCopy {
        /// The node's id.
        id: String,
        /// The data directory.
        path: PathBuf,
        /// When the directory ran last.
        own: String,
        /// The newest incarnation.
        newest: Incarnation,
    },
    /// The store lacks writes that it must have.
    #[error(
        "the data in {path} is older than what node {id} had, as if put back from a backup: it ends with write {found}, and the node had made {known} or more. Served, it would lack what was written since, and bring back what was deleted. Start the node on the data that it had last; where that is gone for good, --serve-older-copy (with `kvnode dev`: --serve-older-copy {id}) serves this all the same"
    )]
    OlderData {
        /// The node's id.
        id: String,
        /// The data directory.
        path: PathBuf,
        /// The number of the store's last write.
        found: u64,
        /// The number of a write that the node is known to have made.
        known: u64,
    },
    /// Another copy of the data directory is served.
    #[error(
        "another copy of the data directory of node {id} is running at {address}: it {how}. Two copies must never serve at the same time: stop that one first, if {path} is to run in its place, or remove {path}"
    )]
    TwinRuns {
        /// The node's id.
        id: String,
        /// This data directory.
        path: PathBuf,
        /// Where the other one is.
        address: String,
        /// How it shows that it runs.
        how: &'static str,
    },
    /// Others claim the id at the same time, again and again.
    #[error("node {id} could not be claimed: other nodes claim it at the same time; try again")]
    Contended {
        /// The node's id.
        id: String,
    },
}

impl ClaimError {
    /// Whether the node must end, whatever else works.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Superseded { .. })
    }
}

/// How often a claim is tried again when others change it at the same time.
pub const CLAIM_TRIES: usize = 5;

/// Claims the node's id in Consul for its data directory.
///
/// An id that a member of the layout or a running node has is never taken from it, and a member takes its
/// own from any claimant. The claim of a data directory that was thrown away is taken, where an operator asks for
/// the id by name; an `automatic` choice leaves it alone, since the other node may be just about to register.
///
/// # Errors
/// [`ClaimError`] where the id is another's.
pub async fn claim(
    registry: &Registry,
    identity: &Identity,
    layout: Option<&Layout>,
    automatic: bool,
) -> Result<(), ClaimError> {
    check_members(identity, layout)?;
    let is_member = layout.is_some_and(|it| it.member_by_uuid(identity.uuid).is_some());
    // Which run it is, is claimed once the data directory has been examined.
    let own = Claim::of(identity.uuid);
    for _ in 0..CLAIM_TRIES {
        let Versioned { value: found, index } = registry.claim_now(&identity.id).await?;
        match found {
            Some(claim) if claim.uuid == identity.uuid => return Ok(()),
            Some(claim) if automatic && !is_member => {
                let id = identity.id.to_string();
                return Err(ClaimError::Claimed { id, owner: claim.uuid });
            }
            _ => {}
        }
        if !is_member {
            check_not_running(registry, identity).await?;
        }
        if registry.set_claim(&identity.id, &own, index).await? {
            return Ok(());
        }
    }
    Err(ClaimError::Contended { id: identity.id.to_string() })
}

/// Gives the claim on the node's id back, where it is the node's own.
///
/// # Errors
/// Where Consul does not do it.
pub async fn unclaim(registry: &Registry, identity: &Identity) -> Result<(), ConsulError> {
    let found = registry.claim_now(&identity.id).await?;
    if found.value.is_some_and(|claim| claim.uuid == identity.uuid) {
        // One that has changed since is another's.
        registry.remove_claim(&identity.id, found.index).await?;
    }
    Ok(())
}

fn check_members(identity: &Identity, layout: Option<&Layout>) -> Result<(), ClaimError> {
    for member in layout.iter().flat_map(|layout| layout.members()) {
        if member.id == identity.id && member.uuid != identity.uuid {
            return Err(ClaimError::MemberElsewhere {
                id: identity.id.to_string(),
                cluster: identity.cluster.to_string(),
                owner: member.uuid,
                own: identity.uuid,
                was_member: identity.layout.is_some(),
            });
        }
        if member.uuid == identity.uuid && member.id != identity.id {
            return Err(ClaimError::OtherId {
                id: identity.id.to_string(),
                member: member.id.to_string(),
                was_member: identity.layout.is_some(),
            });
        }
    }
    Ok(())
}

/// Checks that no process on another data directory is registered under the id, and alive.
///
/// # Errors
/// [`ClaimError::Running`], or where Consul cannot be asked.
pub(crate) async fn check_not_running(
    registry: &Registry,
    identity: &Identity,
) -> Result<(), ClaimError> {
    let service_id = registry.service_id(&identity.id);
    let instances = registry.instances(Read::consistent()).await?;
    let running = instances.into_iter().find(|instance| {
        instance.id == service_id
            && instance.status != CheckStatus::Critical
            && instance.uuid() != Some(identity.uuid)
    });
    match running {
        None => Ok(()),
        Some(instance) => Err(ClaimError::Running {
            id: identity.id.to_string(),
            cluster: identity.cluster.to_string(),
            address: format!("{}:{}", instance.address, instance.port),
        }),
    }
}
