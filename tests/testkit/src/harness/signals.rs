//! Signals to start and stop nodes, written and read by plain HTTP.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_registry::signal::Signal;

use super::cluster::Cluster;
use super::http::{delete, get_json, put};
use crate::wait::eventually;

/// How long a signal may take to have its effect: a start, with the time that an attempt is given.
pub const HEEDED_WITHIN: Duration = Duration::from_secs(60);

/// A signal to run a node with the default weight, on the host `host` or, where there is none, on any.
pub fn running(host: Option<&str>) -> Signal {
    Signal::Running {
        host: host.map(ToOwned::to_owned),
        weight: 1,
        zone: String::new(),
        launcher: None,
    }
}

/// The signals of the cluster `name` at the Consul `consul`.
pub struct Signals {
    consul: String,
    name: String,
}

impl Signals {
    /// The signals of `cluster`.
    pub fn of(cluster: &Cluster) -> Self {
        Self { consul: cluster.consul(), name: cluster.name().to_owned() }
    }

    /// The signals of the default cluster at the Consul `consul`.
    pub fn at(consul: &str) -> Self {
        Self { consul: consul.to_owned(), name: "default".to_owned() }
    }

    /// Writes a signal to the node `id`, whatever was there.
    ///
    /// # Panics
    /// Where Consul does not take it.
    #[track_caller]
    pub fn write(&self, id: &str, signal: &Signal) {
        self.write_raw(id, &signal.to_json());
    }

    /// Writes what may be no signal where the signal to the node `id` lies.
    ///
    /// # Panics
    /// Where Consul does not take it.
    #[track_caller]
    pub fn write_raw(&self, id: &str, value: &[u8]) {
        put(&self.consul, &self.path(id), value);
    }

    /// Takes the signal to the node `id` back.
    ///
    /// # Panics
    /// Where Consul does not do it.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        delete(&self.consul, &self.path(id));
    }

    /// The signal to the node `id`; none where there is none.
    #[track_caller]
    pub fn read(&self, id: &str) -> Option<Signal> {
        let entries = get_json(&self.consul, &self.path(id))?;
        let value = entries[0]["Value"].as_str().unwrap_or_default();
        let value = STANDARD.decode(value).expect("values are base64");
        Some(Signal::parse(&value).expect("it is a signal"))
    }

    /// Waits until the signal to the node `id` says why the node could not be started.
    ///
    /// # Panics
    /// Where that does not come to be.
    #[track_caller]
    pub fn wait_for_failure(&self, id: &str) -> String {
        eventually("a failure in the signal", HEEDED_WITHIN, || match self.read(id) {
            Some(Signal::Running { launcher: Some(launcher), .. })
                if launcher.failure.is_some() =>
            {
                Ok(launcher.failure.unwrap_or_default())
            }
            signal => Err(format!("{signal:?}")),
        })
    }

    /// Waits until there is no signal to the node `id`.
    ///
    /// # Panics
    /// Where that does not come to be.
    #[track_caller]
    pub fn wait_until_gone(&self, id: &str) {
        eventually("the end of the signal", HEEDED_WITHIN, || match self.read(id) {
            None => Ok(()),
            Some(signal) => Err(format!("{signal:?}")),
        });
    }

    fn path(&self, id: &str) -> String {
        format!("/v1/kv/kv/{}/desired/{id}", self.name)
    }
}
