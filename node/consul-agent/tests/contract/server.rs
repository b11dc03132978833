//! The server that a test talks to, of either kind.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use kv_consul::{Consul, ConsulConfig};
use kv_consul_agent::{Agent, AgentConfig, AgentLimits};
use kv_testkit::consul::RealConsul;

/// How long a test waits for what should happen at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A server that several tests share; it ends when the last of them does.
pub(crate) struct Server {
    address: SocketAddr,
    _running: Arc<Running>,
}

/// Dropped to end the server.
enum Running {
    Embedded { _agent: AgentThread },
    Real { _consul: RealConsul },
}

static EMBEDDED: Mutex<Weak<Running>> = Mutex::new(Weak::new());
static REAL: Mutex<Weak<Running>> = Mutex::new(Weak::new());

impl Server {
    /// The embedded agent.
    pub(crate) fn embedded() -> Self {
        Self::shared(&EMBEDDED, || Running::Embedded { _agent: AgentThread::start() })
    }

    /// A real Consul.
    pub(crate) fn real() -> Self {
        Self::shared(&REAL, || Running::Real { _consul: RealConsul::start(&[]) })
    }

    fn shared(slot: &Mutex<Weak<Running>>, start: impl FnOnce() -> Running) -> Self {
        // A test that failed to start the server must not fail the others with a poisoned lock.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let running = slot.upgrade().unwrap_or_else(|| Arc::new(start()));
        *slot = Arc::downgrade(&running);
        let address = match &*running {
            Running::Embedded { _agent } => _agent.address,
            Running::Real { _consul } => _consul.address(),
        };
        Self { address, _running: running }
    }

    /// Where it answers HTTP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The product's own client for it, with nothing from the environment.
    pub(crate) fn consul(&self) -> Consul {
        consul_at(&self.address.to_string())
    }
}

/// The product's own client for an address, with nothing from the environment.
pub(crate) fn consul_at(address: &str) -> Consul {
    let config = ConsulConfig::resolve_with(Some(address), |_| None).unwrap();
    Consul::new(&config.with_request_timeout(PATIENCE)).unwrap()
}

/// An embedded agent on a runtime of its own, since each test's runtime ends with the test.
struct AgentThread {
    address: SocketAddr,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

impl AgentThread {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = AgentConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data_dir: directory.path().to_owned(),
            limits: AgentLimits::default(),
        };
        let (started, address) = channel();
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let agent = runtime.block_on(Agent::start(config)).unwrap();
            started.send(agent.address()).unwrap();
            // It ends when the other side is dropped.
            let _ = stopped.recv();
            runtime.block_on(agent.shutdown());
        });
        let address = address.recv().unwrap();
        Self { address, stop: Some(stop), thread: Some(thread), _directory: directory }
    }
}

impl Drop for AgentThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Waits until `check` gives an answer. A real Consul takes what its agent was told into its catalog
/// a moment later.
pub(crate) async fn eventually<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let polled = async {
        loop {
            if let Some(found) = check().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, polled).await;
    found.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
