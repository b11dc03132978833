//! The mover's lock: it saves two movers from doing the same work, and tells everybody how far the
//! work is. Nothing is safe or unsafe because of it.

use std::time::{Duration, Instant};

use kv_consul::ConsulError;
use kv_registry::Registry;
use kv_registry::mover::HeldMover;

use crate::error::RebalanceError;
use crate::limits::{MOVER_BEAT_INTERVAL, MOVER_LOCK_WAIT, MOVER_SILENCE_MAX};
use crate::progress::Progress;

/// How long the session outlives its mover, at least.
const SESSION_TTL: Duration = Duration::from_secs(10);
/// How often the holder's progress is looked at by a mover that wants to take over.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The lock, held.
#[derive(Debug)]
pub(crate) struct MoverLock {
    registry: Registry,
    session: String,
}

impl MoverLock {
    /// Makes sure that Consul lets this client take the lock, also while another mover holds it: what is set on its way
    /// must not be left to others.
    ///
    /// # Errors
    /// Consul does not, or cannot be asked.
    pub(crate) async fn check_allowed(
        registry: &Registry,
        progress: &Progress,
    ) -> Result<(), RebalanceError> {
        let session = registry.mover_session(&progress.mover, SESSION_TTL).await?;
        Ok(registry.consul().session_destroy(&session).await?)
    }

    /// Takes the lock, as soon as a mover that is about to end has given it up, for which it is waited
    /// a little.
    ///
    /// # Errors
    /// As [`MoverLock::acquire`].
    pub(crate) async fn acquire_soon(
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Self, RebalanceError> {
        let until = Instant::now() + MOVER_LOCK_WAIT;
        loop {
            match Self::acquire(registry, progress).await {
                Err(RebalanceError::MoverAtWork { .. }) if Instant::now() < until => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                result => return result,
            }
        }
    }

    /// Takes the lock, from a mover that gives no sign of life too.
    ///
    /// # Errors
    /// [`RebalanceError::MoverAtWork`], or Consul cannot be asked.
    pub(crate) async fn acquire(
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Self, RebalanceError> {
        let session = registry.mover_session(&progress.mover, SESSION_TTL).await?;
        let lock = Self { registry: registry.clone(), session };
        match lock.take(progress).await {
            Ok(()) => Ok(lock),
            Err(error) => {
                lock.release().await;
                Err(error)
            }
        }
    }

    async fn take(&self, progress: &Progress) -> Result<(), RebalanceError> {
        let value = json(progress);
        let mut heard: Option<(Vec<u8>, Instant)> = None;
        loop {
            if self.registry.lock_mover(&value, &self.session).await? {
                return Ok(());
            }
            let held = self.registry.mover().await?;
            let Some(HeldMover { progress: told, session: Some(holder) }) = held else { continue };
            match &heard {
                Some((before, _)) if *before != told => {
                    let mover = serde_json::from_slice(&told)
                        .map_or_else(|_| "somebody".to_owned(), |it: Progress| it.mover);
                    return Err(RebalanceError::MoverAtWork { mover, silence: MOVER_SILENCE_MAX });
                }
                Some((_, since)) if since.elapsed() > MOVER_SILENCE_MAX => {
                    tracing::info!("the mover before gives no sign of life: taking over");
                    self.registry.consul().session_destroy(&holder).await?;
                    heard = None;
                }
                Some(_) => {}
                None => heard = Some((told, Instant::now())),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Tells how far the work is. Whether the lock was lost meanwhile makes no difference.
    pub(crate) async fn tell(&self, progress: &Progress) -> Result<(), ConsulError> {
        self.registry.consul().session_renew(&self.session).await?;
        self.registry.lock_mover(&json(progress), &self.session).await?;
        Ok(())
    }

    /// Gives the lock up.
    pub(crate) async fn release(self) {
        let destroyed = self.registry.consul().session_destroy(&self.session);
        // A Consul that does not answer ends the session by itself.
        let _ = tokio::time::timeout(MOVER_BEAT_INTERVAL, destroyed).await;
    }
}

/// What the mover at work tells of itself, `None` where no mover is at work.
pub(crate) async fn progress_of_mover(
    registry: &Registry,
) -> Result<Option<Progress>, ConsulError> {
    let held = registry.mover().await?;
    Ok(held.and_then(|held| serde_json::from_slice(&held.progress).ok()))
}

fn json(progress: &Progress) -> Vec<u8> {
    serde_json::to_vec(progress).expect("a progress holds only what JSON can say")
}
