//! Sessions, which hold locks for as long as they are renewed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Refusal;

/// How many sessions there may be at once.
pub(crate) const SESSIONS_MAX: usize = 4_096;

/// A session lives this many times its time to live without being renewed, as it does in Consul,
/// so that a renewal which is a little late finds it alive.
const TTL_MULTIPLIER: u32 = 2;

/// The length of a session's id, a UUID in text form.
const ID_CHARS: usize = 36;

/// What happens to the keys that a session holds when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Behavior {
    Release,
    Delete,
}

#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    pub(crate) name: String,
    /// The time to live as the creator wrote it, which is how it is shown.
    pub(crate) ttl_text: String,
    /// The time to live, or `None` for a session that lives until it is destroyed.
    pub(crate) ttl: Option<Duration>,
    pub(crate) lock_delay: Duration,
    pub(crate) behavior: Behavior,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) ttl_text: String,
    pub(crate) lock_delay: Duration,
    pub(crate) behavior: Behavior,
    pub(crate) create_index: u64,
    ttl: Option<Duration>,
    deadline: Option<Instant>,
}

#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    sessions: BTreeMap<String, Session>,
    /// The index of the last creation or end.
    index: u64,
}

impl Sessions {
    pub(super) fn new(index: u64) -> Self {
        Self { sessions: BTreeMap::new(), index }
    }

    /// The index that queries for sessions wait on.
    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The session, if there is one with this id.
    pub(crate) fn get(&self, id: &str) -> Result<Option<&Session>, Refusal> {
        validate_id(id)?;
        Ok(self.sessions.get(id))
    }

    /// What becomes of a key that the session holds when the session ends.
    pub(crate) fn behavior(&self, id: &str) -> Behavior {
        self.sessions.get(id).map_or(Behavior::Release, |session| session.behavior)
    }

    pub(super) fn require(&self, id: &str) -> Result<&Session, Refusal> {
        self.get(id)?.ok_or_else(|| Refusal::UnknownSession(id.to_owned()))
    }

    pub(super) fn create(
        &mut self,
        id: String,
        session: NewSession,
        index: u64,
        now: Instant,
    ) -> Result<(), Refusal> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::Full { what: "sessions", limit: SESSIONS_MAX });
        }
        let NewSession { name, ttl_text, ttl, lock_delay, behavior } = session;
        let deadline = deadline(ttl, now);
        let session = Session {
            id: id.clone(),
            name,
            ttl_text,
            lock_delay,
            behavior,
            create_index: index,
            ttl,
            deadline,
        };
        self.sessions.insert(id, session);
        self.index = index;
        Ok(())
    }

    pub(super) fn renew(&mut self, id: &str, now: Instant) -> Result<Option<Session>, Refusal> {
        validate_id(id)?;
        Ok(self.sessions.get_mut(id).map(|session| {
            session.deadline = deadline(session.ttl, now);
            session.clone()
        }))
    }

    pub(super) fn remove(&mut self, id: &str, index: u64) -> Result<Option<Session>, Refusal> {
        validate_id(id)?;
        let removed = self.sessions.remove(id);
        if removed.is_some() {
            self.index = index;
        }
        Ok(removed)
    }

    /// The sessions that were not renewed in time.
    pub(super) fn expired(&self, now: Instant) -> Vec<String> {
        let late = |session: &&Session| session.deadline.is_some_and(|deadline| deadline <= now);
        self.sessions.values().filter(late).map(|session| session.id.clone()).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.sessions.values().filter_map(|session| session.deadline).min()
    }
}

fn deadline(ttl: Option<Duration>, now: Instant) -> Option<Instant> {
    Some(now + ttl? * TTL_MULTIPLIER)
}

fn validate_id(id: &str) -> Result<(), Refusal> {
    match id.len() {
        0 => Err(Refusal::NoSession),
        ID_CHARS => Ok(()),
        _ => Err(Refusal::MalformedSession),
    }
}
