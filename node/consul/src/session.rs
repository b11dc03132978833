//! Sessions: who holds a lock, and for how long after its last sign of life.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Consul;
use super::error::ConsulError;

/// What happens to the keys that a session holds when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionBehavior {
    /// They are unlocked and keep their values.
    Release,
    /// They are deleted.
    Delete,
}

/// A session to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// What the session is for, for people who list sessions.
    pub name: String,
    /// How long it lives without being renewed: 10 s to 24 h. Consul may take up to twice as long to
    /// end it. Renew at a third of it.
    pub ttl: Duration,
    /// How long a key stays unlockable after its holder's session ended without releasing it.
    pub lock_delay: Duration,
    /// What happens to the keys that the session holds when it ends.
    pub behavior: SessionBehavior,
}

impl Consul {
    /// Creates a session and returns its id.
    ///
    /// # Errors
    ///
    /// [`ConsulError::Status`] when Consul does not accept the time to live, and any
    /// [`ConsulError`] of an exchange over HTTP.
    pub async fn session_create(&self, session: &SessionRequest) -> Result<String, ConsulError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(rename = "Name")]
            name: &'a str,
            #[serde(rename = "TTL")]
            ttl: String,
            #[serde(rename = "LockDelay")]
            lock_delay: String,
            #[serde(rename = "Behavior")]
            behavior: SessionBehavior,
        }
        #[derive(Deserialize)]
        struct Created {
            #[serde(rename = "ID")]
            id: String,
        }
        let body = Body {
            name: &session.name,
            ttl: format!("{}ms", session.ttl.as_millis()),
            lock_delay: format!("{}ms", session.lock_delay.as_millis()),
            behavior: session.behavior,
        };
        let request = self.http.put(&["session", "create"]).json(&body);
        let created: Created = self.http.send(request).await?.success()?.json()?;
        Ok(created.id)
    }

    /// Gives the session another time to live. Returns `false` when it has ended already.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn session_renew(&self, session: &str) -> Result<bool, ConsulError> {
        let answer = self.http.send(self.http.put(&["session", "renew", session])).await?;
        if answer.is_not_found() && answer.excerpt().contains("not found") {
            return Ok(false);
        }
        answer.success()?;
        Ok(true)
    }

    /// Ends the session; the keys that it holds are released or deleted at once, and are subject to
    /// its lock delay. A session that has ended already is no error.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn session_destroy(&self, session: &str) -> Result<(), ConsulError> {
        self.http.send(self.http.put(&["session", "destroy", session])).await?.success()?;
        Ok(())
    }
}
