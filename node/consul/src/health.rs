//! The instances of a service and how they are.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Consul;
use super::agent::{AgentService, CheckStatus};
use super::error::ConsulError;
use super::read::{Indexed, Read};

/// One registered instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInstance {
    /// The instance's id, unique within the Consul agent that it registered with.
    pub id: String,
    /// The name of the machine whose Consul agent it registered with.
    pub node: String,
    /// Where it listens: a host name or an IP address.
    pub address: String,
    /// The port that it listens on.
    pub port: u16,
    /// What it told of itself.
    pub meta: BTreeMap<String, String>,
    /// The worst state of its checks and its machine's.
    pub status: CheckStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    node: Node,
    service: AgentService,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    status: CheckStatus,
}

impl From<Entry> for ServiceInstance {
    fn from(Entry { node, service, checks }: Entry) -> Self {
        let AgentService { id, address, port, meta, .. } = service;
        Self {
            id,
            node: node.node,
            address: if address.is_empty() { node.address } else { address },
            port,
            meta,
            status: checks.iter().map(|c| c.status).max().unwrap_or(CheckStatus::Passing),
        }
    }
}

impl Consul {
    /// All instances of a service, healthy or not, sorted by id.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn service_instances(
        &self,
        name: &str,
        read: Read,
    ) -> Result<Indexed<Vec<ServiceInstance>>, ConsulError> {
        let request = self.http.get(&["health", "service", name]).read(read);
        let answer = self.http.send(request).await?.success()?;
        let entries: Vec<Entry> = answer.json()?;
        let mut instances: Vec<ServiceInstance> = entries.into_iter().map(Into::into).collect();
        instances.sort_by(|a, b| (&a.id, &a.node).cmp(&(&b.id, &b.node)));
        Ok(Indexed { index: answer.index()?, value: instances })
    }

    /// Whether this client may see all instances of a service, on all machines. Lists come back without
    /// those that it may not see, and without a word on that; a request about one service, or one machine,
    /// is denied. So it is asked for the coordinates of a machine that does not exist, which
    /// only a rule about all machines allows.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP but a denial.
    pub async fn may_see_all(&self, service: &str) -> Result<bool, ConsulError> {
        for path in [
            &["agent", "health", "service", "name", service][..],
            &["coordinate", "node", "no-machine-has-this-name"],
        ] {
            // With any other answer, such as that there is no such machine, it was allowed to ask.
            match self.http.send(self.http.get(path)).await?.success() {
                Err(ConsulError::PermissionDenied { .. }) => return Ok(false),
                Err(error)
                    if error.is_transient() && !matches!(error, ConsulError::Status { .. }) =>
                {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(true)
    }
}
