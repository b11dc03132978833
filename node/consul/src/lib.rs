//! The one client for Consul's HTTP API, used by nodes and clients alike.
//!
//! It covers what the store needs of Consul and nothing else, so that the embedded agent of
//! `kvnode dev` can speak the same part:
//!
//! | module | what |
//! |---|---|
//! | `config` | where Consul is and how to authenticate, from an argument or the usual variables |
//! | `http` | the only code that names reqwest: timeouts, bounded bodies, errors |
//! | `agent` | registering a service and keeping its TTL check alive |
//! | `health` | the instances of a service and how they are |
//! | `kv` | reading, compare-and-set, deleting, locking |
//! | `session` | the sessions that hold locks |
//! | `token` | the token, read again when its file changes |
//! | `watch` | following a key, a prefix or a service by blocking queries |
//! | `bounded` | maps that others wrote, in bounded memory |
//! | `error` | what can go wrong, in words for the operator |
//!
//! ```no_run
//! # async fn example() -> Result<(), kv_consul::ConsulError> {
//! use kv_consul::{Consul, ConsulConfig, Read};
//!
//! let consul = Consul::new(&ConsulConfig::resolve(None)?)?;
//! let created = consul.kv_put_cas("kv/default/layout", b"{}", 0).await?;
//! let entry = consul.kv_get("kv/default/layout", Read::consistent()).await?;
//! println!("created: {created}, now: {:?}", entry.value);
//! # Ok(())
//! # }
//! ```

mod agent;
mod bounded;
mod config;
mod error;
mod health;
mod http;
mod kv;
mod read;
mod session;
mod token;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use kv_core::backoff::Backoff;

pub use agent::{AgentService, CheckStatus, ServiceRegistration, service_check_id};
pub use config::{ADDRESS_DEFAULT, ConsulConfig, HTTP_ADDR_VARIABLE, REQUEST_TIMEOUT};
pub use error::ConsulError;
pub use health::ServiceInstance;
pub use http::{CONNECT_TIMEOUT, RESPONSE_BYTES_MAX};
pub use kv::{KEY_BYTES_MAX, KvEntry, VALUE_BYTES_MAX};
pub use read::{Indexed, Read, WAIT_MAX};
pub use session::{SessionBehavior, SessionRequest};
pub use watch::{WATCH_SPACING_MIN, WATCH_WAIT, Watch};

/// How long to wait before Consul is asked again after it has failed: from 250 ms, doubling, to 10 s.
pub const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));

/// A handle to one Consul. Cloning is cheap: clones share a connection pool.
#[derive(Clone, Debug)]
pub struct Consul {
    http: Arc<http::Http>,
}

impl Consul {
    /// Prepares to talk to the Consul that `config` names. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ConsulError::InvalidConfig`] when a certificate or key file cannot be read or understood.
    pub fn new(config: &ConsulConfig) -> Result<Self, ConsulError> {
        Ok(Self { http: Arc::new(http::Http::new(config)?) })
    }

    /// Where this Consul is, as a URL for messages to people. It carries no secrets.
    #[must_use]
    pub fn address(&self) -> &str {
        self.http.address()
    }

    /// How often the token has become another one, since its file has changed. What an agent was told
    /// under an earlier one, it may not be able to act on any more.
    #[must_use]
    pub fn token_changes(&self) -> u64 {
        self.http.token_changes()
    }

    /// The address of the cluster's leader, or `None` while it has no leader.
    ///
    /// It is the cheapest way to learn whether Consul answers and can serve requests.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn leader(&self) -> Result<Option<String>, ConsulError> {
        let answer = self.http.send(self.http.get(&["status", "leader"])).await?;
        let leader: String = answer.success()?.json()?;
        Ok(Some(leader).filter(|address| !address.is_empty()))
    }
}
