//! Keeping the claim on a node's id while the node runs: it must stay this process's, and it counts what
//! the node writes.
//!
//! Any process that can write to Consul can write claims, so not every one is believed. A member of the layout
//! has its id from there, and no claim takes it away. No node is started so often that its number leaps,
//! and what this very process has written only this process can count.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use kv_consul::{ConsulError, Read};
use kv_core::guard::Guard;
use kv_core::incarnation::Incarnation;
use kv_core::layout::Layout;
use kv_core::lineage::is_within_reach;
use kv_registry::claim::Claim;
use kv_registry::{Registry, Versioned};
use kv_system::lock::lock;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::claim::{CLAIM_TRIES, ClaimError, check_not_running};
use crate::identity::Identity;
use crate::tenure::Tenure;
use crate::writer::Published;

/// How often a node that takes writes has them counted in its claim. It counts those that it had at the
/// time before, which are on the disk by now, also with `--fsync everysec`.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// What a node's claim rests on.
#[derive(Debug)]
pub struct Standing {
    /// The process's right to speak for the node.
    pub tenure: Arc<Tenure>,
    /// What the node has written.
    pub published: Arc<Published>,
    /// What the node has installed.
    pub guard: Arc<ArcSwap<Guard>>,
    /// Where the cluster's layout and claims are.
    pub registry: Registry,
}

/// What a look at the claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// To register: it must be the process's own.
    Register,
    /// To see that it still is, and to count what was written.
    Count,
    /// To see that it still is after a standstill, before anything is answered.
    Confirm,
}

/// A process that has claimed its node's id.
#[derive(Debug)]
pub struct Claimant {
    identity: Identity,
    standing: Standing,
    counted: Mutex<Counted>,
    /// Whether the log has said that claims are made up.
    has_warned: AtomicBool,
}

/// The number of the last write when it was looked at last.
#[derive(Clone, Copy, Debug)]
struct Counted {
    sequence: u64,
    at: Instant,
}

impl Claimant {
    /// A process that has claimed the id of the node with this `identity`.
    #[must_use]
    pub fn new(identity: &Identity, standing: Standing) -> Self {
        let sequence = standing.published.statistics.sequence.load(Ordering::Relaxed);
        let counted = Mutex::new(Counted { sequence, at: Instant::now() });
        let (identity, has_warned) = (identity.clone(), AtomicBool::default());
        Self { identity, standing, counted, has_warned }
    }

    /// Sees that the claim on the id is this process's. Two nodes that start at the same moment may both
    /// find the id free and register: one of them has claimed it last, and the other one finds out here.
    /// So does one of whose data directory another copy has been started. A claim that Consul has lost,
    /// of which it has an older state, or that cannot be, is put there again.
    ///
    /// # Errors
    /// [`ClaimError::Lost`] or [`ClaimError::Superseded`] where the node is another process's, and where
    /// Consul cannot be asked.
    pub async fn check(&self, look: Look) -> Result<(), ClaimError> {
        let read = if look == Look::Count { Read::default() } else { Read::consistent() };
        let (id, own) = (self.identity.id.to_string(), self.standing.tenure.incarnation());
        for _ in 0..CLAIM_TRIES {
            let Versioned { value: found, index } =
                self.standing.registry.claim(&self.identity.id, read).await?;
            let ours = found.filter(|claim| claim.uuid == self.identity.uuid);
            if let Some(claim) = ours.filter(|claim| claim.incarnation == Some(own)) {
                match look {
                    Look::Register => return Ok(()),
                    Look::Count => return self.count(claim, index).await,
                    Look::Confirm => {
                        let confirmed = claim.confirmed.wrapping_add(1);
                        if self.set(&Claim { confirmed, ..claim }, index).await? {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            let newest = ours.and_then(|claim| claim.incarnation);
            let newest = newest.filter(|it| it.number >= own.number);
            if let Some(newest) = newest.filter(|it| is_within_reach(own.number, *it)) {
                self.standing.tenure.lose();
                return Err(ClaimError::Superseded { id, own, newest });
            }
            if !self.is_member().await {
                self.check_free(found).await?;
            }
            let (incarnation, sequence) = (Some(own), Some(self.counted().sequence));
            let claim = Claim { incarnation, sequence, ..Claim::of(self.identity.uuid) };
            if self.set(&claim, index).await? {
                self.tell(found, newest);
                return Ok(());
            }
        }
        Err(ClaimError::Contended { id })
    }

    /// Checks that no other node has or uses the id, which is that of no member.
    async fn check_free(&self, found: Option<Claim>) -> Result<(), ClaimError> {
        let id = self.identity.id.to_string();
        if found.is_some_and(|claim| claim.uuid != self.identity.uuid) {
            return Err(ClaimError::Lost { id });
        }
        check_not_running(&self.standing.registry, &self.identity).await.map_err(
            |error| match error {
                ClaimError::Running { id, .. } => ClaimError::Lost { id },
                error => error,
            },
        )
    }

    /// Whether the node is a member of the layout under its id.
    async fn is_member(&self) -> bool {
        let Identity { id, uuid, .. } = &self.identity;
        let knows = |layout: &Layout| layout.member_by_uuid(*uuid).is_some_and(|it| it.id == *id);
        match self.standing.registry.layout_now().await {
            Ok(Some(layout)) => knows(&layout.value),
            // Where Consul has no layout that can be read, the node goes by its own.
            Ok(None) | Err(_) => {
                self.standing.guard.load().installed().is_some_and(|it| knows(&it.layout))
            }
        }
    }

    /// Says why a claim was written again in whose place there was `found`, which names the `newest`
    /// incarnation where that cannot be.
    fn tell(&self, found: Option<Claim>, newest: Option<Incarnation>) {
        let Identity { id, uuid, .. } = &self.identity;
        match (found.map(|it| it.uuid).filter(|it| it != uuid), newest) {
            (Some(other), _) => self.warn(format_args!(
                "the claim on node {id} named the data directory {other}, and in the layout {id} is {uuid}, this one"
            )),
            (None, Some(newest)) => self.warn(format_args!(
                "the claim on node {id} named incarnation {newest}, and no node is started so often"
            )),
            (None, None) => {
                info!("Consul had lost the claim of this node: it has it again");
            }
        }
    }

    /// Says that claims are made up, once: their author can do it again and again.
    fn warn(&self, what: fmt::Arguments<'_>) {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            return debug!("{what}");
        }
        warn!("{what}: somebody has made that up, and it was put right; further ones are not told");
    }

    /// Has the claim, which is this process's, count what the node had written some time ago, so that a
    /// copy of its data from before can be told from it.
    async fn count(&self, claim: Claim, index: u64) -> Result<(), ClaimError> {
        let written = self.standing.published.statistics.sequence.load(Ordering::Relaxed);
        let before = self.counted();
        // Only this process counts what it writes.
        let is_made_up = claim.sequence.is_some_and(|known| known > written);
        if before.at.elapsed() >= COUNT_EVERY {
            *lock(&self.counted) = Counted { sequence: written, at: Instant::now() };
        } else if !is_made_up {
            return Ok(());
        }
        if is_made_up || claim.sequence.is_none_or(|known| known < before.sequence) {
            let counted = Claim { sequence: Some(before.sequence), ..claim };
            // One that has changed meanwhile is looked at the next time.
            let is_set = self.set(&counted, index).await?;
            if let (true, true, Some(known)) = (is_set, is_made_up, claim.sequence) {
                self.warn(format_args!(
                    "the claim on node {} counted {known} writes, and the node has made {written}",
                    self.identity.id
                ));
            }
        }
        Ok(())
    }

    /// Has the claim count the last write, where it is still this process's.
    ///
    /// # Errors
    /// Where Consul does not do it.
    pub async fn count_last(&self, sequence: u64) -> Result<(), ConsulError> {
        for _ in 0..CLAIM_TRIES {
            let Versioned { value: found, index } =
                self.standing.registry.claim_now(&self.identity.id).await?;
            let own = Some(self.standing.tenure.incarnation());
            let claim = found.filter(|claim| claim.incarnation == own);
            let Some(claim) = claim.filter(|claim| claim.sequence != Some(sequence)) else {
                return Ok(());
            };
            if self.set(&Claim { sequence: Some(sequence), ..claim }, index).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn counted(&self) -> Counted {
        *lock(&self.counted)
    }

    async fn set(&self, claim: &Claim, index: u64) -> Result<bool, ConsulError> {
        self.standing.registry.set_claim(&self.identity.id, claim, index).await
    }
}
