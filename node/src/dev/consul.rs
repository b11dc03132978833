//! The Consul of the cluster: the one that answers at the port, otherwise an embedded agent.
//!
//! The user's environment may hold credentials, and they belong to the Consul that it names. An
//! embedded agent needs none and gets none. Nor does the process that answers at the port, which any program
//! may have taken. Only where the environment names that very address are they meant for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use kv_consul::{Consul, ConsulConfig, ConsulError, HTTP_ADDR_VARIABLE};
use kv_consul_agent::{Agent, AgentConfig, AgentLimits};

use super::DevError;
use crate::words;

pub(super) const CONSUL_DIRECTORY: &str = "consul";
/// The variables that hold credentials.
pub(super) const CREDENTIALS: [&str; 3] =
    ["CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "CONSUL_HTTP_AUTH"];

/// A Consul and how to speak to it.
#[derive(Debug)]
pub(super) struct ChosenConsul {
    /// Its URL.
    pub(super) address: String,
    /// The agent, where it is an embedded one.
    pub(super) agent: Option<Agent>,
    /// Whether the environment's credentials are meant for it.
    pub(super) with_credentials: bool,
}

impl ChosenConsul {
    /// Finds the Consul at `port`, or starts one there, whose state is kept in `directory`.
    ///
    /// # Errors
    /// Where neither can be had.
    pub(super) async fn at(port: u16, directory: &Path) -> Result<Self, DevError> {
        if port != 0 {
            let address = format!("http://127.0.0.1:{port}");
            // Asked without credentials: which server leads is no secret of any Consul's.
            if client(&address, false)?.leader().await.is_ok() {
                let with_credentials = is_named(port, |name| std::env::var(name).ok());
                words::say(format_args!("a Consul answers at {address}: using it"));
                let kept = CREDENTIALS.into_iter().find(|name| std::env::var_os(name).is_some());
                if let Some(kept) = kept.filter(|_| !with_credentials) {
                    words::say(format_args!(
                        "it does not get {kept}: set {HTTP_ADDR_VARIABLE}={address} if that is meant for it"
                    ));
                }
                return Ok(Self { address, agent: None, with_credentials });
            }
        }
        let config = AgentConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            data_dir: directory.join(CONSUL_DIRECTORY),
            limits: AgentLimits::default(),
        };
        let agent = Agent::start(config).await?;
        let address = format!("http://{}", agent.address());
        Ok(Self { address, agent: Some(agent), with_credentials: false })
    }

    /// A client of it.
    ///
    /// # Errors
    /// Where the environment's settings cannot be used.
    pub(super) fn client(&self) -> Result<Consul, ConsulError> {
        client(&self.address, self.with_credentials)
    }

    /// Ends the agent, where it is an embedded one.
    pub(super) async fn shut_down(self) {
        if let Some(agent) = self.agent {
            agent.shutdown().await;
        }
    }
}

fn client(address: &str, with_credentials: bool) -> Result<Consul, ConsulError> {
    let variable = |name: &str| {
        let is_meant = with_credentials || !CREDENTIALS.contains(&name);
        is_meant.then(|| std::env::var_os(name)).flatten()
    };
    let config = ConsulConfig::resolve_with(Some(address), |name| {
        variable(name).map(|value| value.to_string_lossy().into_owned())
    });
    Consul::new(&config?)
}

/// Whether the environment names the Consul at `port` of this machine as its own.
fn is_named(port: u16, variable: impl Fn(&str) -> Option<String>) -> bool {
    let Some(named) = variable(HTTP_ADDR_VARIABLE).filter(|named| !named.is_empty()) else {
        return false;
    };
    let config = ConsulConfig::resolve_with(Some(&named), |_| None);
    let Ok(address) = config.map(|config| config.address()) else { return false };
    ["127.0.0.1", "localhost"].iter().any(|host| address == format!("http://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_environment_that_names_the_address_means_it() {
        let named = |text: &str| {
            is_named(8500, |name| (name == HTTP_ADDR_VARIABLE).then(|| text.to_owned()))
        };
        for text in
            ["127.0.0.1:8500", "localhost", "http://127.0.0.1:8500", "http://localhost:8500/"]
        {
            assert!(named(text), "{text}");
        }
        for text in ["", "127.0.0.1:8501", "consul.example:8500", "https://127.0.0.1:8500", "?"] {
            assert!(!named(text), "{text}");
        }
        assert!(!is_named(8500, |_| None));
    }
}
