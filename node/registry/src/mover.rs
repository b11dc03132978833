//! The mover's lock. It saves work that would be done twice; nothing is safe or unsafe because of it.
//!
//! Key `mover`, locked by a session of Consul's; the value is what the holder tells of its progress, in a
//! format that is the movers' own.

use std::time::Duration;

use kv_consul::{ConsulError, SessionBehavior, SessionRequest};

use crate::keys;
use crate::registry::Registry;

/// What stands at the lock's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldMover {
    /// What the holder told last.
    pub progress: Vec<u8>,
    /// The holder's session; `None` where no mover holds the lock just now.
    pub session: Option<String>,
}

impl Registry {
    /// Begins the session of a mover of this name, which ends by itself, and the key with it, where it is
    /// not renewed for `ttl` or somewhat longer. Returns its id.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn mover_session(&self, name: &str, ttl: Duration) -> Result<String, ConsulError> {
        let request = SessionRequest {
            name: format!("kv mover of {}: {name}", self.cluster()),
            ttl,
            lock_delay: Duration::ZERO,
            behavior: SessionBehavior::Delete,
        };
        self.consul().session_create(&request).await
    }

    /// Takes the lock for a session, or tells the progress of the one that has it. Returns whether the
    /// session has it now.
    ///
    /// # Errors
    /// Consul did not do it.
    pub async fn lock_mover(&self, progress: &[u8], session: &str) -> Result<bool, ConsulError> {
        self.consul().kv_acquire(&keys::mover(self.cluster()), progress, session).await
    }

    /// What the mover at work tells; `None` without a mover at work.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn mover(&self) -> Result<Option<HeldMover>, ConsulError> {
        let entry = self.get(&keys::mover(self.cluster())).await?;
        Ok(entry.map(|entry| HeldMover { progress: entry.value, session: entry.session }))
    }
}
