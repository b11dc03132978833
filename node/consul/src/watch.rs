//! Following a key, a prefix or a service by blocking queries, for as long as a process lives.

use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use kv_core::backoff::Backoff;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::ConsulError;
use super::health::ServiceInstance;
use super::kv::{KvEntry, validate_key};
use super::read::{Indexed, Read, WAIT_MAX};
use super::{BACKOFF, Consul};

/// How long Consul may hold one query of a watch. Short enough to find out that a connection is
/// dead, long enough to cost nothing.
pub const WATCH_WAIT: Duration = Duration::from_secs(60);

/// The shortest time between the starts of two queries of one watch. Consul may answer a blocking
/// query without a change, and would then be asked in a busy loop.
pub const WATCH_SPACING_MIN: Duration = Duration::from_millis(50);

const _: () = assert!(WATCH_WAIT.as_millis() <= WAIT_MAX.as_millis());

type Polled<T> = Result<Indexed<T>, ConsulError>;
type Fetch<T> = Box<dyn Fn(Read) -> Pin<Box<dyn Future<Output = Polled<T>> + Send>> + Send + Sync>;

/// Yields the state of something in Consul, now and whenever it changes.
pub struct Watch<T> {
    fetch: Fetch<T>,
    wait: Duration,
    /// The index of the last answer, or 0 to be told the present at once.
    index: u64,
    last: Option<T>,
    not_before: Instant,
    backoff: Backoff,
    /// The kind of error that the caller was last told of, until Consul answers again.
    outage: Option<Discriminant<ConsulError>>,
    /// Is raised where Consul may have been put back.
    put_back: Option<Arc<Notify>>,
}

impl<T> fmt::Debug for Watch<T> {
    /// The state itself may be large and is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Consul {
    /// Follows one key.
    ///
    /// # Errors
    ///
    /// [`ConsulError::InvalidName`] for a key that is not sent.
    pub fn watch_kv(&self, key: &str) -> Result<Watch<Option<KvEntry>>, ConsulError> {
        validate_key(key)?;
        let (consul, key) = (self.clone(), key.to_owned());
        Ok(Watch::new(Box::new(move |read| {
            let (consul, key) = (consul.clone(), key.clone());
            Box::pin(async move { consul.kv_get(&key, read).await })
        })))
    }

    /// Follows all keys that start with `prefix`.
    ///
    /// # Errors
    ///
    /// As [`watch_kv`](Self::watch_kv).
    pub fn watch_prefix(&self, prefix: &str) -> Result<Watch<Vec<KvEntry>>, ConsulError> {
        validate_key(prefix)?;
        let (consul, prefix) = (self.clone(), prefix.to_owned());
        Ok(Watch::new(Box::new(move |read| {
            let (consul, prefix) = (consul.clone(), prefix.clone());
            Box::pin(async move { consul.kv_list(&prefix, read).await })
        })))
    }

    /// Follows the instances of a service and their states.
    #[must_use]
    pub fn watch_service(&self, name: &str) -> Watch<Vec<ServiceInstance>> {
        let (consul, name) = (self.clone(), name.to_owned());
        Watch::new(Box::new(move |read| {
            let (consul, name) = (consul.clone(), name.clone());
            Box::pin(async move { consul.service_instances(&name, read).await })
        }))
    }
}

impl<T: Clone + PartialEq> Watch<T> {
    fn new(fetch: Fetch<T>) -> Self {
        Self {
            fetch,
            wait: WATCH_WAIT,
            index: 0,
            last: None,
            not_before: Instant::now(),
            backoff: BACKOFF,
            outage: None,
            put_back: None,
        }
    }

    /// Raises `put_back` where Consul may have been put back to an earlier state, also where what is
    /// watched is the same there.
    #[must_use]
    pub fn telling(self, put_back: Arc<Notify>) -> Self {
        Self { put_back: Some(put_back), ..self }
    }

    /// Lets Consul hold each query for at most `wait` instead of [`WATCH_WAIT`].
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Waits for the next state that differs from the last one returned; the first call returns the
    /// present state.
    ///
    /// Dropping the future is safe: nothing is lost and the next call continues. But it ends the
    /// query, so a `select!` in a loop should keep one future across its turns, or leave the watch
    /// to a task of its own.
    ///
    /// # Errors
    ///
    /// An outage is reported once: by its first error, and again only when its kind changes. Call
    /// again to go on waiting; the watch keeps trying, with [`BACKOFF`], and returns when there is a
    /// state that the caller has not seen.
    pub async fn next(&mut self) -> Result<Indexed<T>, ConsulError> {
        loop {
            tokio::time::sleep_until(self.not_before).await;
            // Set before the query, so that also a caller who drops this future cannot spin.
            self.not_before = Instant::now() + WATCH_SPACING_MIN;
            let asked = Instant::now();
            let answer = (self.fetch)(Read::default().after(self.index, self.wait)).await;
            match answer {
                Ok(answer) => {
                    if let Some(news) = self.accept(answer, asked.elapsed()) {
                        return Ok(news);
                    }
                }
                Err(error) => {
                    if let Some(news) = self.fail(error) {
                        return Err(news);
                    }
                }
            }
        }
    }

    /// Takes note of an answer that took so long, and returns it if it says something new.
    fn accept(&mut self, answer: Indexed<T>, took: Duration) -> Option<Indexed<T>> {
        self.backoff.succeeded();
        if self.outage.take().is_some() {
            tracing::info!("Consul answers again");
        }
        // A Consul whose state is restored from a snapshot ends all queries at once, with what it had
        // before. Its index is lower from then on, and a query for the old one would wait for nothing.
        let is_abandoned = self.index > 0 && answer.index == self.index && took < self.wait;
        self.index = if is_abandoned { 0 } else { next_index(self.index, answer.index) };
        if let Some(put_back) = self.put_back.as_ref().filter(|_| self.index == 0) {
            put_back.notify_one();
        }
        if self.last.as_ref() == Some(&answer.value) {
            return None;
        }
        self.last = Some(answer.value.clone());
        Some(answer)
    }

    /// Takes note of a failure, and returns it if the caller has not been told of its kind.
    fn fail(&mut self, error: ConsulError) -> Option<ConsulError> {
        self.not_before = Instant::now() + self.backoff.failed(rand::random());
        // A Consul that comes back may have forgotten everything and count from 1 again; with the
        // old index it would keep us waiting.
        self.index = 0;
        let kind = discriminant(&error);
        if self.outage.replace(kind) == Some(kind) {
            tracing::debug!(%error, "still no answer from Consul");
            return None;
        }
        Some(error)
    }
}

/// The index to wait on after an answer with index `answered` to a query with index `asked`.
///
/// An index that went backwards means that Consul was restored or started anew: ask afresh. An index
/// of 0 would make the next query not block, so it counts as 1.
fn next_index(asked: u64, answered: u64) -> u64 {
    if answered < asked { 0 } else { answered.max(1) }
}

#[cfg(test)]
mod tests;
