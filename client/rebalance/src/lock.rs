//! The mover's lock: it saves two movers from doing the same work, and tells everybody how far the
//! work is. Nothing is safe or unsafe because of it.

use std::time::{Duration, Instant};

use kv_consul::{Consul, ConsulError, Read, SessionBehavior, SessionRequest};
use kv_core::name::Name;
use kv_registry::keys;

use crate::error::RebalanceError;
use crate::limits::{MOVER_BEAT_INTERVAL, MOVER_LOCK_WAIT, MOVER_SILENCE_MAX};
use crate::progress::Progress;

/// How long the session outlives its mover, at least.
const SESSION_TTL: Duration = Duration::from_secs(10);
/// How often the holder's progress is looked at by who wants to take over.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// The lock, held.
#[derive(Debug)]
pub(crate) struct MoverLock {
    consul: Consul,
    key: String,
    session: String,
}

impl MoverLock {
    /// Makes sure that Consul lets this client take the lock, whoever holds it: what is set on its way
    /// must not be left to others.
    ///
    /// # Errors
    /// Consul does not, or cannot be asked.
    pub(crate) async fn check_allowed(
        consul: &Consul,
        cluster: &Name,
        progress: &Progress,
    ) -> Result<(), RebalanceError> {
        let session = consul.session_create(&request(cluster, progress)).await?;
        Ok(consul.session_destroy(&session).await?)
    }

    /// Takes the lock, as soon as a mover that is about to end has given it up, for which it is waited
    /// a little.
    ///
    /// # Errors
    /// As [`MoverLock::acquire`].
    pub(crate) async fn acquire_soon(
        consul: &Consul,
        cluster: &Name,
        progress: &Progress,
    ) -> Result<Self, RebalanceError> {
        let until = Instant::now() + MOVER_LOCK_WAIT;
        loop {
            match Self::acquire(consul, cluster, progress).await {
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
        consul: &Consul,
        cluster: &Name,
        progress: &Progress,
    ) -> Result<Self, RebalanceError> {
        let key = keys::mover(cluster);
        let session = consul.session_create(&request(cluster, progress)).await?;
        let lock = Self { consul: consul.clone(), key, session };
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
            if self.consul.kv_acquire(&self.key, &value, &self.session).await? {
                return Ok(());
            }
            let entry = self.consul.kv_get(&self.key, Read::consistent()).await?.value;
            let Some(entry) = entry else { continue };
            let Some(holder) = entry.session else { continue };
            match &heard {
                Some((value, _)) if *value != entry.value => {
                    let mover = serde_json::from_slice(&entry.value)
                        .map_or_else(|_| "somebody".to_owned(), |it: Progress| it.mover);
                    return Err(RebalanceError::MoverAtWork { mover, silence: MOVER_SILENCE_MAX });
                }
                Some((_, since)) if since.elapsed() > MOVER_SILENCE_MAX => {
                    tracing::info!("the mover before gives no sign of life: taking over");
                    self.consul.session_destroy(&holder).await?;
                    heard = None;
                }
                Some(_) => {}
                None => heard = Some((entry.value, Instant::now())),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Tells how far the work is. Whether the lock was lost meanwhile makes no difference.
    pub(crate) async fn tell(&self, progress: &Progress) -> Result<(), ConsulError> {
        self.consul.session_renew(&self.session).await?;
        self.consul.kv_acquire(&self.key, &json(progress), &self.session).await?;
        Ok(())
    }

    /// Gives the lock up.
    pub(crate) async fn release(self) {
        let destroyed = self.consul.session_destroy(&self.session);
        // A Consul that does not answer ends the session by itself.
        let _ = tokio::time::timeout(MOVER_BEAT_INTERVAL, destroyed).await;
    }
}

fn request(cluster: &Name, progress: &Progress) -> SessionRequest {
    SessionRequest {
        name: format!("kv mover of {cluster}: {}", progress.mover),
        ttl: SESSION_TTL,
        lock_delay: Duration::ZERO,
        behavior: SessionBehavior::Delete,
    }
}

/// What the mover at work tells of itself; none where there is none.
pub(crate) async fn progress_of_mover(
    consul: &Consul,
    cluster: &Name,
) -> Result<Option<Progress>, ConsulError> {
    let entry = consul.kv_get(&keys::mover(cluster), Read::consistent()).await?.value;
    Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
}

fn json(progress: &Progress) -> Vec<u8> {
    serde_json::to_vec(progress).expect("a progress holds only what JSON can say")
}
