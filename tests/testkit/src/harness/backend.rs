//! The Consul that a test uses: the embedded agent or a real one.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use super::dev::Dev;
use crate::consul::RealConsul;

/// Makes two tests of each case, a function that takes a [`Backend`]: one with the embedded agent,
/// one that needs a real Consul.
#[macro_export]
macro_rules! on_both_backends {
    ($($case:ident),+ $(,)?) => {
        mod embedded {
            $(
                #[test]
                fn $case() {
                    super::$case($crate::harness::Backend::Embedded);
                }
            )+
        }
        mod real_consul {
            $(
                #[$crate::needs(consul)]
                #[test]
                fn $case() {
                    super::$case($crate::harness::Backend::RealConsul);
                }
            )+
        }
    };
}

/// Which kind of Consul to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The agent that is part of `kvnode dev`.
    Embedded,
    /// HashiCorp's.
    RealConsul,
}

/// A running Consul. It ends when it is dropped.
#[derive(Debug)]
pub enum ConsulServer {
    /// `kvnode dev`; the node that it starts besides the agent is in a cluster of its own.
    Embedded(Dev, TempDir),
    /// HashiCorp's.
    Real(RealConsul),
}

/// The Consuls that the tests of this process share while any of them runs. Tests stay apart by the
/// names of their clusters.
static SHARED: [Mutex<Weak<ConsulServer>>; 2] = [Mutex::new(Weak::new()), Mutex::new(Weak::new())];

impl Backend {
    /// A Consul that other tests use too.
    pub fn shared(self) -> Arc<ConsulServer> {
        let slot = &SHARED[self as usize];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.upgrade().unwrap_or_else(|| {
            let started = Arc::new(self.start());
            *slot = Arc::downgrade(&started);
            started
        })
    }

    /// A Consul of the caller's own.
    pub fn start(self) -> ConsulServer {
        match self {
            Self::Embedded => {
                let directory = tempfile::tempdir().expect("a temporary directory can be made");
                let dev = Dev::start(directory.path(), 1);
                ConsulServer::Embedded(dev, directory)
            }
            Self::RealConsul => ConsulServer::Real(RealConsul::start(&[])),
        }
    }

    /// A Consul of the caller's own that keeps its state when it is [restarted](ConsulServer::restart).
    pub fn start_durable(self) -> ConsulServer {
        match self {
            Self::Embedded => self.start(),
            Self::RealConsul => ConsulServer::Real(RealConsul::start_durable()),
        }
    }
}

impl ConsulServer {
    /// Its host and port.
    pub fn address(&self) -> String {
        match self {
            Self::Embedded(dev, _) => dev.address().to_owned(),
            Self::Real(consul) => consul.address().to_string(),
        }
    }

    /// The one that is HashiCorp's.
    ///
    /// # Panics
    /// Where it is not.
    pub fn real(&self) -> &RealConsul {
        match self {
            Self::Real(consul) => consul,
            Self::Embedded(..) => panic!("it is the embedded agent"),
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        match self {
            Self::Embedded(dev, _) => dev.process.stop_quietly(),
            Self::Real(consul) => consul.kill(),
        }
    }

    /// Ends it and starts it at the same address, where it has forgotten everything.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart_empty(&mut self) {
        match self {
            Self::Embedded(dev, directory) => {
                dev.process.stop_quietly();
                let port = dev.port();
                for state in ["consul", "nodes"] {
                    let state = directory.path().join(state);
                    fs::remove_dir_all(&state).expect("the agent's state can be removed");
                }
                *dev = Dev::start_at(directory.path(), 1, port);
            }
            Self::Real(consul) => consul.restart_empty(),
        }
    }

    /// Starts it again, after [`stop`](Self::stop) or instead of it, at the same address. The embedded
    /// agent has its state then, and so has a durable Consul.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        match self {
            Self::Embedded(dev, directory) => {
                dev.process.stop_quietly();
                let port = dev.port();
                *dev = Dev::start_at(directory.path(), 1, port);
            }
            Self::Real(consul) => consul.restart(),
        }
    }

    /// The id of its process.
    pub fn pid(&self) -> u32 {
        match self {
            Self::Embedded(dev, _) => dev.process.pid(),
            Self::Real(consul) => consul.pid(),
        }
    }

    /// What it has printed, where that is known.
    pub fn log(&self) -> String {
        match self {
            Self::Embedded(dev, _) => dev.process.log(),
            Self::Real(_) => "(a real Consul)".to_owned(),
        }
    }
}
