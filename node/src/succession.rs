//! How a start of a node follows the one before.
//!
//! 1. The claim in Consul is read. A data directory that does not know the incarnation in it is an older
//!    copy, and is refused; so is one whose twin runs.
//! 2. The store is opened. One that lacks a write which the claim counts is older, too, and is refused.
//!    Up to here nothing has been changed.
//! 3. A new incarnation is written into the directory, durably, then into the store, which may be put back
//!    alone, and then into the claim, by compare-and-set. From here on every other copy is older. A start that
//!    dies in between leaves a directory that knows both incarnations, so whichever is in the claim, the next
//!    start goes on. A twin that stood still, and was silent for that, confirms its claim before it answers
//!    again ([`crate::membership`]): either it sees the new one, or the new one's compare-and-set fails.
//!
//! An operator may have an older copy served all the same; then it is the newest from here on.

use kv_core::guard::Installed;
use kv_core::incarnation::Incarnation;
use kv_registry::claim::Claim;
use kv_registry::{Registry, Versioned};
use kv_storage::{Store, StoreError};
use tracing::{debug, info, warn};

use crate::claim::{CLAIM_TRIES, ClaimError};
use crate::data_directory::DataDirectory;
use crate::identity::DataDirectoryError;
use crate::{installed_record, twins};

/// Why a start cannot follow the one before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuccessionError {
    /// The directory must not be served, or Consul did not do what was asked.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The directory cannot be written.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SuccessionError {
    /// Whether it passes, and can be tried again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Claim(_) => false,
            Self::DataDirectory(error) => error.passes(),
            Self::Store(error) => error.passes(),
        }
    }
}

/// How many numbers of writes an older copy leaves out, so that it gives none twice. It is not known how
/// many were given since the last one that the claim counts.
const SEQUENCES_LEFT_OUT: u64 = 1 << 32;
/// The most writes that a claim can count above those that the store has. At a million a second it is
/// what a backup of nine years ago lacks. A count that leaps further is made up, and would leave no
/// numbers for writes.
const SEQUENCE_LEAP_MAX: u64 = 1 << 48;

/// A start of a node whose data directory may be served, as far as its incarnations tell.
#[derive(Debug)]
pub struct Succession {
    registry: Registry,
    older_too: bool,
    /// The claim as it was before it was asked which processes run, with the index that a compare-and-set
    /// needs: a twin that has stood still until after that changes it before it answers anything.
    claim: Versioned<Option<Claim>>,
}

impl Succession {
    /// Examines the `directory`, whose id has been claimed, before anything of it is changed. With
    /// `older_too` an older copy will do.
    ///
    /// # Errors
    /// [`ClaimError::OlderCopy`] or [`ClaimError::TwinRuns`], and where Consul cannot be asked.
    pub async fn examine(
        registry: &Registry,
        directory: &DataDirectory,
        older_too: bool,
    ) -> Result<Self, ClaimError> {
        let (registry, claim) = (registry.clone(), Versioned::default());
        let mut succession = Self { registry, older_too, claim };
        succession.look(directory).await?;
        Ok(succession)
    }

    /// Reads the claim, and judges the directory by it and by the processes that run, in this order.
    async fn look(&mut self, directory: &DataDirectory) -> Result<(), ClaimError> {
        let identity = directory.identity();
        self.claim = self.registry.claim_now(&identity.id).await?;
        if let Some(claim) = self.claim.value.filter(|claim| claim.uuid != identity.uuid) {
            return Err(ClaimError::Claimed { id: identity.id.to_string(), owner: claim.uuid });
        }
        if let Some(claim) = &mut self.claim.value
            && let Some(claimed) =
                claim.incarnation.take_if(|it| !identity.incarnations.can_lead_to(*it))
        {
            warn!(
                "the claim on node {} names incarnation {claimed}, and no node is started so often: somebody has made that up, and it is not gone by",
                identity.id
            );
        }
        // An older copy may have a twin, but that is not why it is refused.
        self.check_incarnation(directory)?;
        // Of a directory that was just made there is no copy.
        if directory.is_new() { Ok(()) } else { twins::check(&self.registry, directory).await }
    }

    /// Makes this start the node's newest incarnation, and returns that. The store, and what is `installed`
    /// in it, is that of this run from then on.
    ///
    /// # Errors
    /// [`SuccessionError`]; where Consul failed, the same directory can be started again.
    pub async fn begin(
        &mut self,
        directory: &mut DataDirectory,
        store: &Store,
        installed: &mut Option<Installed>,
    ) -> Result<Incarnation, SuccessionError> {
        for _ in 0..CLAIM_TRIES {
            let claim = self.claim.value;
            let found = store.counters().sequence;
            let known = self.known_sequence(directory, found);
            let begun = installed.as_ref().and_then(Installed::begun);
            let is_newest = self.check_incarnation(directory)?
                & self.check_sequence(directory, found, known)?
                & self.check_run(directory, begun)?;
            let claimed = claim.and_then(|it| it.incarnation);
            let stopped_with = directory.identity().stopped_with.unwrap_or_default();
            let incarnation = directory.identity().incarnations.next(claimed);
            directory.begin(incarnation)?;
            if let Some(before) = installed.take() {
                let now = installed.insert(before.begun_by(Some(incarnation)));
                store.put_layout(&installed_record::encode(now))?;
            }
            if !is_newest || stopped_with.sequence > found {
                let known = known.unwrap_or(0).max(stopped_with.sequence).max(found);
                store.skip_to(known.saturating_add(SEQUENCES_LEFT_OUT))?;
            }
            let (uuid, sequence) = (directory.identity().uuid, store.counters().sequence);
            let sequence = Some(sequence);
            let own = Claim { incarnation: Some(incarnation), sequence, ..Claim::of(uuid) };
            let id = &directory.identity().id;
            let claimed = self.registry.set_claim(id, &own, self.claim.index).await;
            if claimed.map_err(ClaimError::from)? {
                info!("this is incarnation {incarnation} of the node");
                return Ok(incarnation);
            }
            debug!("the claim has changed meanwhile: looking at it again");
            self.look(directory).await?;
        }
        Err(ClaimError::Contended { id: directory.identity().id.to_string() }.into())
    }

    /// Returns whether the directory is the newest copy of itself; where an older one will do, it may
    /// not be.
    fn check_incarnation(&self, directory: &DataDirectory) -> Result<bool, ClaimError> {
        let identity = directory.identity();
        let claimed = self.claim.value.and_then(|it| it.incarnation);
        let Some(newest) = claimed.filter(|_| !identity.incarnations.is_newest(claimed)) else {
            return Ok(true);
        };
        let own = identity.incarnations.last();
        let own = own.map_or("before it had incarnations".to_owned(), |it| format!("as {it}"));
        if self.older_too {
            warn!(
                "serving an older copy, as --serve-older-copy says: this data directory ran last {own}, and another copy of it as {newest} since. What was written there is missing here, and what was deleted there comes back"
            );
            return Ok(false);
        }
        let (id, path) = (identity.id.to_string(), directory.path().to_owned());
        Err(ClaimError::OlderCopy { id, path, own, newest })
    }

    /// Returns whether the store, which the run `begun` had last, is of the run that the claim names, or of
    /// a later one; where an older copy will do, it may not.
    fn check_run(
        &self,
        directory: &DataDirectory,
        begun: Option<Incarnation>,
    ) -> Result<bool, SuccessionError> {
        let claimed = self.claim.value.and_then(|it| it.incarnation);
        let (Some(begun), Some(claimed)) = (begun, claimed) else { return Ok(true) };
        if !directory.identity().incarnations.is_before(begun, claimed) {
            return Ok(true);
        }
        let reason = format!(
            "it was served last by run {begun} of the node, which has run as {claimed} since"
        );
        if self.older_too {
            warn!("serving another store than before, as --serve-older-copy says: {reason}");
            return Ok(false);
        }
        let path = directory.path().to_owned();
        Err(DataDirectoryError::StoreReplaced { path, reason }.into())
    }

    /// How many writes the claim counts of the node, whose store has `found`; `None` where it does not say,
    /// or where that cannot be.
    fn known_sequence(&self, directory: &DataDirectory, found: u64) -> Option<u64> {
        let known = self.claim.value.and_then(|it| it.sequence)?;
        if known.saturating_sub(found) > SEQUENCE_LEAP_MAX {
            warn!(
                "the claim on node {} counts {known} writes, and the node has {found}: nobody writes so much, so somebody has made that up, and it is not gone by",
                directory.identity().id
            );
            return None;
        }
        Some(known)
    }

    /// Returns whether the store, whose last write has the number `found`, has all that the claim
    /// is `known` to count; where an older copy will do, it may not.
    fn check_sequence(
        &self,
        directory: &DataDirectory,
        found: u64,
        known: Option<u64>,
    ) -> Result<bool, ClaimError> {
        let Some(known) = known.filter(|known| found < *known) else { return Ok(true) };
        if self.older_too {
            warn!(
                "serving older data, as --serve-older-copy says: it ends with write {found}, and the node had made {known} or more. What was written since is missing, and what was deleted since comes back"
            );
            return Ok(false);
        }
        let (id, path) = (directory.identity().id.to_string(), directory.path().to_owned());
        Err(ClaimError::OlderData { id, path, found, known })
    }
}
