//! An embedded Consul agent: the part of Consul's HTTP API that the store uses, for one machine.
//!
//! It lets the store run where no Consul is at hand. A program that talks to it cannot tell it from Consul
//! 1.8: one contract suite runs against both. It is no replacement for Consul: it has no peers, no
//! access control and no TLS, and should listen on the loopback interface only. It answers no web pages,
//! and to no names but its own.
//!
//! | module | what |
//! |---|---|
//! | `state` | what the agent knows and how it changes; pure |
//! | `core` | changes in turn, blocking queries, things that happen by the clock |
//! | `disk` | the directory that keeps the keys |
//! | `api` | the HTTP API, and who may use it |
//! | `server` | connections and their limits |
//! | `error` | why it cannot start |
//!
//! ```no_run
//! # async fn example() -> Result<(), kv_consul_agent::AgentError> {
//! use kv_consul_agent::{Agent, AgentConfig, AgentLimits};
//!
//! let config = AgentConfig {
//!     listen: ([127, 0, 0, 1], 8500).into(),
//!     data_dir: "data/consul".into(),
//!     limits: AgentLimits::default(),
//! };
//! let agent = Agent::start(config).await?;
//! assert_eq!(agent.address().port(), 8500);
//! agent.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod core;
mod disk;
mod error;
mod server;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::error::AgentError;
pub use self::server::AgentLimits;

use self::core::Core;
use self::disk::Disk;

/// How long a shutdown waits for peers that are in the middle of a request.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Where the agent listens and keeps its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The address; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The directory for the keys, which no other process may use meanwhile. It is made if missing.
    pub data_dir: PathBuf,
    /// How much it gives to peers that connect.
    pub limits: AgentLimits,
}

/// A running agent. Dropping it stops it without waiting; prefer [`Agent::shutdown`].
#[derive(Debug)]
pub struct Agent {
    address: SocketAddr,
    core: Arc<Core>,
    server: JoinHandle<()>,
    clock: JoinHandle<()>,
}

impl Agent {
    /// Reads the state of the last run and begins to serve.
    ///
    /// # Errors
    ///
    /// [`AgentError`] when the address is taken, the directory is held by another process or cannot
    /// be written, or the state is damaged.
    pub async fn start(config: AgentConfig) -> Result<Self, AgentError> {
        let AgentConfig { listen, data_dir, limits } = config;
        let refused = |source| AgentError::Listen { address: listen, source };
        // Before the directory, so that a second agent says that the port is taken: this is what its
        // operator can act on.
        let listener = TcpListener::bind(listen).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        let (disk, state) = tokio::task::spawn_blocking(move || Disk::open(&data_dir))
            .await
            .expect("opening the directory does not panic")?;
        let core = Arc::new(Core::new(disk, state));
        let clock = tokio::spawn(core.clone().keep_time());
        let router = api::router(core.clone(), address, limits.change_within);
        let server = tokio::spawn(server::serve(listener, router, core.clone(), limits));
        Ok(Self { address, core, server, clock })
    }

    /// Where the agent listens, with the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops serving. Blocking queries are answered at once, changes that have begun are finished,
    /// further ones are refused, and a peer that dawdles is cut off after two seconds.
    pub async fn shutdown(mut self) {
        self.core.close();
        if tokio::time::timeout(SHUTDOWN_GRACE, &mut self.server).await.is_err() {
            tracing::warn!(
                "a peer of the embedded Consul agent did not finish its request in time"
            );
        }
        // The tasks that are left end as this is dropped.
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.core.close();
        self.server.abort();
        self.clock.abort();
    }
}
