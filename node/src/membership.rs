//! Membership: the registration of a node in Consul, and the sign of life behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kv_consul::{AgentService, BACKOFF, Consul, ConsulError, ServiceRegistration};
use kv_registry::members::{Description, Registered as _};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::claim::ClaimError;
use crate::claimant::{Claimant, Look, Standing};
use crate::identity::Identity;
use crate::tenure::{LOOK_WITHIN, NOTE_EVERY, Tenure};

/// A node that gives no sign of life for this long is shown as critical.
pub const CHECK_TTL: Duration = Duration::from_secs(10);
/// How often a node gives a sign of life.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// What a sign of life says in Consul.
const SERVING: &str = "serving";
/// How long a stopping node tries to deregister, and to have its last write counted in its claim.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How often the claim is looked at again after a standstill where Consul fails.
const LOOK_TRIES: usize = 3;

const _: () = assert!(3 * CHECK_INTERVAL.as_millis() < CHECK_TTL.as_millis());

/// How a node is registered.
#[derive(Debug)]
pub struct Registration {
    consul: Consul,
    service: ServiceRegistration,
    tenure: Arc<Tenure>,
    claimant: Claimant,
    /// Which of the tokens, counted from 0, the node was registered with last.
    token: AtomicU64,
    /// Whether the log has said that other services are registered in the node's place.
    has_warned: AtomicBool,
}

impl Registration {
    /// Describes the node that listens at `host` and `port`, and that serves for as long as the tenure of
    /// its `standing` lasts.
    #[must_use]
    pub fn new(
        identity: &Identity,
        (host, port): (&str, u16),
        (weight, zone): (u32, &str),
        standing: Standing,
    ) -> Self {
        let tenure = Arc::clone(&standing.tenure);
        let described = Description {
            uuid: identity.uuid,
            incarnation: Some(tenure.incarnation()),
            weight,
            zone: zone.to_owned(),
            host: host.to_owned(),
        };
        let registry = &standing.registry;
        let service = registry.registration(&identity.id, &described, port, CHECK_TTL);
        let consul = registry.consul().clone();
        let claimant = Claimant::new(identity, standing);
        Self {
            consul,
            service,
            tenure,
            claimant,
            token: AtomicU64::default(),
            has_warned: AtomicBool::default(),
        }
    }

    /// Registers the node, whose id must still be its own, or free.
    ///
    /// # Errors
    /// [`ClaimError`] where the id is another's or Consul does not do it.
    pub async fn register(&self) -> Result<(), ClaimError> {
        self.claimant.check(Look::Register).await?;
        let token = self.consul.token_changes();
        self.consul.register(&self.service).await?;
        self.token.store(token, Ordering::Release);
        // A node that Consul knew as critical would stay so until its next sign of life.
        Ok(self.consul.check_pass(&self.service.id, SERVING).await?)
    }

    /// Passes the node's check for as long as the serving loop shows that it turns, and registers
    /// the node again when Consul has forgotten it, or may have, which `put_back` tells. It ends when the
    /// serving loop does.
    ///
    /// # Errors
    /// [`ClaimError::Lost`] where another node has taken the id, [`ClaimError::Superseded`] where
    /// another copy of the data directory has been started.
    pub async fn keep(
        &self,
        alive: watch::Receiver<()>,
        put_back: &Notify,
    ) -> Result<(), ClaimError> {
        tokio::select! {
            result = self.keep_reporting(alive, put_back) => result,
            error = self.look_after_standstills() => Err(error),
        }
    }

    async fn keep_reporting(
        &self,
        mut alive: watch::Receiver<()>,
        put_back: &Notify,
    ) -> Result<(), ClaimError> {
        let mut backoff = BACKOFF;
        let mut in_outage = false;
        let mut next = Instant::now() + CHECK_INTERVAL;
        loop {
            let is_put_back = tokio::select! {
                () = tokio::time::sleep_until(next) => false,
                // The agent knows this node still, and would tell its servers in a minute or two.
                () = put_back.notified() => true,
            };
            // A turn of the loop since the last sign of life is what makes the next one true.
            alive.mark_unchanged();
            if alive.changed().await.is_err() {
                return Ok(());
            }
            match if is_put_back { self.register().await } else { self.report().await } {
                Ok(()) => {
                    if std::mem::take(&mut in_outage) {
                        info!("Consul answers again");
                    }
                    backoff.succeeded();
                    next = Instant::now() + CHECK_INTERVAL;
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    if !std::mem::replace(&mut in_outage, true) {
                        warn!("cannot report to Consul: {error}; serving on");
                    }
                    next = Instant::now() + backoff.failed(rand::random()).min(CHECK_INTERVAL);
                }
            }
        }
    }

    /// Looks at the claim at once where the process stood still for so long that it may have been taken
    /// for dead. Until then it answers nothing. Returns why it must end.
    async fn look_after_standstills(&self) -> ClaimError {
        loop {
            tokio::select! {
                () = tokio::time::sleep(NOTE_EVERY) => self.tenure.note(),
                () = self.tenure.look_wanted() => {
                    info!("this node stood still: looking whether another one has taken its place");
                    match self.look_again().await {
                        Err(error) if error.is_final() => return error,
                        Ok(()) => self.tenure.confirm(),
                        Err(error) => {
                            warn!("cannot look at the claim: {error}; serving on");
                            self.tenure.confirm();
                        }
                    }
                }
            }
        }
    }

    /// Confirms the claim, by which one that is just starting on a copy of the data directory fails.
    async fn look_again(&self) -> Result<(), ClaimError> {
        let mut tries_left = LOOK_TRIES;
        loop {
            tries_left -= 1;
            let looked = self.claimant.check(Look::Confirm);
            // Requests wait no longer.
            let Ok(looked) = tokio::time::timeout(LOOK_WITHIN, looked).await else { return Ok(()) };
            match looked {
                // Connections that stood still with the process may be broken.
                Err(ClaimError::Consul(error)) if error.is_transient() && tries_left > 0 => {}
                looked => return looked,
            }
        }
    }

    /// Removes the node from Consul's catalog, and has its last write counted in its claim, where it
    /// has stopped in order. A Consul that cannot be reached notices by itself that the node is gone.
    pub async fn leave(&self, last: Option<u64>) {
        let count = async {
            match last {
                Some(sequence) => self.claimant.count_last(sequence).await,
                None => Ok(()),
            }
        };
        let leaving = async { tokio::join!(self.consul.deregister(&self.service.id), count) };
        match tokio::time::timeout(LEAVE_WITHIN, leaving).await {
            Ok((deregistered, counted)) => {
                match deregistered {
                    Ok(()) => info!("deregistered"),
                    Err(error) => warn!("could not deregister: {error}"),
                }
                if let Err(error) = counted {
                    warn!("the claim does not count the last writes: {error}");
                }
            }
            Err(_) => warn!("could not deregister: Consul did not answer"),
        }
    }

    /// Removes the node from the catalog of its Consul agent, unless the process that has taken its
    /// place has registered there.
    pub async fn make_room(&self) {
        let making_room = async {
            let there = self.consul.agent_service(&self.service.id).await?;
            if there.is_some_and(|it| it.incarnation() == self.service.incarnation()) {
                self.consul.deregister(&self.service.id).await?;
            }
            Ok::<_, ConsulError>(())
        };
        // Where it stays, clients pass it over: it is that of an older incarnation.
        let _ = tokio::time::timeout(LEAVE_WITHIN, making_room).await;
    }

    /// Whether the agent has something else in the place of this node, whose claim is its own. Its sign of
    /// life would count for that.
    async fn is_displaced(&self) -> bool {
        let ServiceRegistration { id, address, port, meta, .. } = &self.service;
        let is_other =
            |it: AgentService| (&it.address, it.port, &it.meta) != (address, *port, meta);
        self.consul.agent_service(id).await.is_ok_and(|there| there.is_some_and(is_other))
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
                self.claimant.check(Look::Count).await?;
                if !self.is_displaced().await {
                    return Ok(());
                }
                if !self.has_warned.swap(true, Ordering::Relaxed) {
                    warn!(
                        "somebody has registered another address in this node's place with the Consul agent: registering again; further times are not told"
                    );
                }
                self.register().await
            }
        }
    }
}
