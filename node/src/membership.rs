//! Membership: the claim on an id, the registration, and the sign of life behind it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kv_protocol::consul::{Backoff, CheckStatus, Consul, ConsulError, Read, ServiceRegistration};
use kv_protocol::consul_keys::{self, Claim, PROTOCOL_VERSION, SERVICE, meta};
use kv_protocol::layout::Layout;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::identity::Identity;

/// A node that gives no sign of life for this long is shown as critical.
const CHECK_TTL: Duration = Duration::from_secs(10);
/// How often a node gives a sign of life.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// What a sign of life says in Consul.
const SERVING: &str = "serving";
/// How long a stopping node tries to deregister.
const DEREGISTER_WITHIN: Duration = Duration::from_secs(3);

const _: () = assert!(3 * CHECK_INTERVAL.as_millis() < CHECK_TTL.as_millis());

/// Why a node may not use its id.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// The id belongs to another data directory.
    #[error(
        "node {id} of cluster {cluster} has its data elsewhere (data directory {owner}; this one is {own}): start it on that directory, or choose another --id"
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
    },
    /// The data directory is a member under another id.
    #[error(
        "this data directory is node {member} of the layout, not {id}: start it with --id {member}"
    )]
    OtherId {
        /// The node's id.
        id: String,
        /// The id in the layout.
        member: String,
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
    /// Others claim the id at the same time, again and again.
    #[error("node {id} could not be claimed: other nodes claim it at the same time; try again")]
    Contended {
        /// The node's id.
        id: String,
    },
}

/// How often a claim is tried again when others change it at the same time.
const CLAIM_TRIES: usize = 5;

/// Claims the node's id in Consul for its data directory.
///
/// An id that a member of the layout or a running node has is never taken from it. The claim of a
/// data directory that was thrown away is, where an operator asks for the id by name; an `automatic`
/// choice leaves it alone, since the other node may be just about to register.
///
/// # Errors
/// [`ClaimError`] where the id is another's.
pub async fn claim(
    consul: &Consul,
    identity: &Identity,
    layout: Option<&Layout>,
    automatic: bool,
) -> Result<(), ClaimError> {
    check_members(identity, layout)?;
    let key = consul_keys::claim(&identity.cluster, &identity.id);
    let own = serde_json::to_vec(&Claim { uuid: identity.uuid })
        .expect("a claim holds only what JSON can say");
    for _ in 0..CLAIM_TRIES {
        let entry = consul.kv_get(&key, Read::consistent()).await?.value;
        let index = match entry {
            None => 0,
            Some(entry) => match serde_json::from_slice::<Claim>(&entry.value) {
                Ok(claim) if claim.uuid == identity.uuid => return Ok(()),
                Ok(claim) if automatic => {
                    return Err(ClaimError::Claimed {
                        id: identity.id.to_string(),
                        owner: claim.uuid,
                    });
                }
                _ => entry.modify_index,
            },
        };
        check_not_running(consul, identity).await?;
        if consul.kv_put_cas(&key, &own, index).await? {
            return Ok(());
        }
    }
    Err(ClaimError::Contended { id: identity.id.to_string() })
}

/// Gives the claim on the node's id back, where it is the node's own.
///
/// # Errors
/// Where Consul does not do it.
pub async fn unclaim(consul: &Consul, identity: &Identity) -> Result<(), ConsulError> {
    let key = consul_keys::claim(&identity.cluster, &identity.id);
    let Some(entry) = consul.kv_get(&key, Read::consistent()).await?.value else { return Ok(()) };
    let claim = serde_json::from_slice::<Claim>(&entry.value);
    if claim.is_ok_and(|claim| claim.uuid == identity.uuid) {
        // One that has changed since is another's.
        consul.kv_delete_cas(&key, entry.modify_index).await?;
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
            });
        }
        if member.uuid == identity.uuid && member.id != identity.id {
            return Err(ClaimError::OtherId {
                id: identity.id.to_string(),
                member: member.id.to_string(),
            });
        }
    }
    Ok(())
}

async fn check_not_running(consul: &Consul, identity: &Identity) -> Result<(), ClaimError> {
    let service_id = consul_keys::service_id(&identity.cluster, &identity.id);
    let own_uuid = identity.uuid.to_string();
    let instances = consul.service_instances(SERVICE, Read::consistent()).await?.value;
    let running = instances.into_iter().find(|instance| {
        instance.id == service_id
            && instance.status != CheckStatus::Critical
            && instance.meta.get(meta::UUID) != Some(&own_uuid)
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

/// How a node is registered.
#[derive(Clone, Debug)]
pub struct Registration {
    consul: Consul,
    identity: Identity,
    service: ServiceRegistration,
    /// Which of the tokens, counted from 0, the node was registered with last.
    token: Arc<AtomicU64>,
}

impl Registration {
    /// Describes the node that listens at `host` and `port`.
    #[must_use]
    pub fn new(
        consul: Consul,
        identity: &Identity,
        (host, port): (&str, u16),
        weight: u32,
        zone: &str,
    ) -> Self {
        let meta = [
            (meta::CLUSTER, identity.cluster.to_string()),
            (meta::UUID, identity.uuid.to_string()),
            (meta::PROTOCOL, PROTOCOL_VERSION.to_owned()),
            (meta::WEIGHT, weight.to_string()),
            (meta::ZONE, zone.to_owned()),
            (meta::HOST, host.to_owned()),
        ];
        let service = ServiceRegistration {
            name: SERVICE.to_owned(),
            id: consul_keys::service_id(&identity.cluster, &identity.id),
            address: host.to_owned(),
            port,
            meta: meta
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<BTreeMap<_, _>>(),
            check_ttl: CHECK_TTL,
            initial_status: CheckStatus::Passing,
        };
        Self { consul, identity: identity.clone(), service, token: Arc::default() }
    }

    /// Registers the node, whose id must still be its own, or free.
    ///
    /// # Errors
    /// [`ClaimError`] where the id is another's or Consul does not do it.
    pub async fn register(&self) -> Result<(), ClaimError> {
        claim(&self.consul, &self.identity, None, true).await.map_err(|error| match error {
            ClaimError::Claimed { id, .. } | ClaimError::Running { id, .. } => {
                ClaimError::Lost { id }
            }
            error => error,
        })?;
        let token = self.consul.token_changes();
        self.consul.register(&self.service).await?;
        self.token.store(token, Ordering::Release);
        // A node that Consul knew as critical would stay so until its next sign of life.
        Ok(self.consul.check_pass(&self.service.id, SERVING).await?)
    }

    /// Passes the node's check for as long as the serving loop shows that it turns, and registers
    /// the node again when Consul has forgotten it. It ends when the serving loop does.
    ///
    /// # Errors
    /// [`ClaimError::Lost`] where another node has taken the id.
    pub async fn keep(&self, mut alive: watch::Receiver<()>) -> Result<(), ClaimError> {
        let mut backoff = Backoff::default();
        let mut in_outage = false;
        let mut next = Instant::now() + CHECK_INTERVAL;
        loop {
            tokio::time::sleep_until(next).await;
            // A turn of the loop since the last sign of life is what makes the next one true.
            alive.mark_unchanged();
            if alive.changed().await.is_err() {
                return Ok(());
            }
            match self.report().await {
                Ok(()) => {
                    if std::mem::take(&mut in_outage) {
                        info!("Consul answers again");
                    }
                    backoff.succeeded();
                    next = Instant::now() + CHECK_INTERVAL;
                }
                Err(error @ ClaimError::Lost { .. }) => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut in_outage, true) {
                        warn!("cannot report to Consul: {error}; serving on");
                    }
                    next = Instant::now() + backoff.failed().min(CHECK_INTERVAL);
                }
            }
        }
    }

    /// Removes the node from Consul's catalog. A Consul that cannot be reached notices by itself
    /// that the node is gone.
    pub async fn deregister(&self) {
        let deregistered = self.consul.deregister(&self.service.id);
        match tokio::time::timeout(DEREGISTER_WITHIN, deregistered).await {
            Ok(Ok(())) => info!("deregistered"),
            Ok(Err(error)) => warn!("could not deregister: {error}"),
            Err(_) => warn!("could not deregister: Consul did not answer"),
        }
    }

    async fn report(&self) -> Result<(), ClaimError> {
        if self.token.load(Ordering::Acquire) != self.consul.token_changes() {
            // The agent tells the servers of this node under the token that it was registered with.
            info!("Consul's token was replaced: registering again");
            return self.register().await;
        }
        match self.consul.check_pass(&self.service.id, SERVING).await {
            Err(ConsulError::UnknownCheck { .. }) => {
                info!("Consul has forgotten this node: registering again");
                self.register().await
            }
            result => {
                result?;
                self.check_claim().await
            }
        }
    }

    /// Two nodes that start at the same moment may both find the id free and register. One of them
    /// has claimed it last, and the other one finds out here.
    async fn check_claim(&self) -> Result<(), ClaimError> {
        let key = consul_keys::claim(&self.identity.cluster, &self.identity.id);
        let entry = self.consul.kv_get(&key, Read::default()).await?.value;
        let claim = entry.and_then(|entry| serde_json::from_slice::<Claim>(&entry.value).ok());
        match claim {
            Some(claim) if claim.uuid != self.identity.uuid => {
                Err(ClaimError::Lost { id: self.identity.id.to_string() })
            }
            _ => Ok(()),
        }
    }
}
