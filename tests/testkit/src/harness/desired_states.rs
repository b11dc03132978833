//! Desired states to start and stop nodes, written and read by plain HTTP.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_registry::desired_state::DesiredState;

use super::cluster::Cluster;
use super::http::{delete, get_json, put};
use crate::wait::eventually;

/// How long a desired state may take to have its effect: a start, with the time that an attempt is given.
pub const HEEDED_WITHIN: Duration = Duration::from_secs(60);

/// A desired state to run a node with the default weight, on the host `host` or, where there is none, on any.
pub fn running(host: Option<&str>) -> DesiredState {
    DesiredState::Running {
        host: host.map(ToOwned::to_owned),
        weight: 1,
        zone: String::new(),
        launcher: None,
    }
}

/// The desired states of the cluster `name` at the Consul `consul`.
pub struct DesiredStates {
    consul: String,
    name: String,
}

impl DesiredStates {
    /// The desired states of `cluster`.
    pub fn of(cluster: &Cluster) -> Self {
        Self { consul: cluster.consul(), name: cluster.name().to_owned() }
    }

    /// The desired states of the default cluster at the Consul `consul`.
    pub fn at(consul: &str) -> Self {
        Self { consul: consul.to_owned(), name: "default".to_owned() }
    }

    /// Writes a desired state to the node `id`, whatever was there.
    ///
    /// # Panics
    /// Where Consul does not take it.
    #[track_caller]
    pub fn write(&self, id: &str, desired_state: &DesiredState) {
        self.write_raw(id, &desired_state.to_json());
    }

    /// Writes what may be no desired state where the desired state to the node `id` lies.
    ///
    /// # Panics
    /// Where Consul does not take it.
    #[track_caller]
    pub fn write_raw(&self, id: &str, value: &[u8]) {
        put(&self.consul, &self.path(id), value);
    }

    /// Takes the desired state to the node `id` back.
    ///
    /// # Panics
    /// Where Consul does not do it.
    #[track_caller]
    pub fn delete(&self, id: &str) {
        delete(&self.consul, &self.path(id));
    }

    /// The desired state to the node `id`; none where there is none.
    #[track_caller]
    pub fn read(&self, id: &str) -> Option<DesiredState> {
        let entries = get_json(&self.consul, &self.path(id))?;
        let value = entries[0]["Value"].as_str().unwrap_or_default();
        let value = STANDARD.decode(value).expect("values are base64");
        Some(DesiredState::parse(&value).expect("it is a signal"))
    }

    /// Waits until the desired state to the node `id` says why the node could not be started.
    ///
    /// # Panics
    /// Where that does not come to be.
    #[track_caller]
    pub fn wait_for_failure(&self, id: &str) -> String {
        eventually("a failure in the signal", HEEDED_WITHIN, || match self.read(id) {
            Some(DesiredState::Running { launcher: Some(launcher), .. })
                if launcher.failure.is_some() =>
            {
                Ok(launcher.failure.unwrap_or_default())
            }
            desired_state => Err(format!("{desired_state:?}")),
        })
    }

    /// Waits until there is no desired state to the node `id`.
    ///
    /// # Panics
    /// Where that does not come to be.
    #[track_caller]
    pub fn wait_until_gone(&self, id: &str) {
        eventually("the end of the signal", HEEDED_WITHIN, || match self.read(id) {
            None => Ok(()),
            Some(desired_state) => Err(format!("{desired_state:?}")),
        });
    }

    fn path(&self, id: &str) -> String {
        format!("/v1/kv/kv/{}/desired/{id}", self.name)
    }
}
