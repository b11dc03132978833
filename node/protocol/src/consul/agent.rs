//! The local agent: registering a service and keeping its check alive.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::Consul;
use super::error::ConsulError;
use crate::bounded;

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckStatus {
    /// All is well.
    Passing,
    /// It works, but needs attention.
    Warning,
    /// It does not work, or has not been heard of within its time to live.
    Critical,
}

/// A service to register, with one check that must be passed regularly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRegistration {
    /// The service's name, which its instances share.
    pub name: String,
    /// The instance's id, unique within the agent.
    pub id: String,
    /// Where the instance listens: a host name or an IP address.
    pub address: String,
    /// The port that it listens on.
    pub port: u16,
    /// What others want to know of it.
    pub meta: BTreeMap<String, String>,
    /// How long the check stays passing without being passed again.
    pub check_ttl: Duration,
    /// What the check is before it is first reported on. A check that is registered again stays in
    /// the state that it was in.
    pub initial_status: CheckStatus,
}

/// A service as the local agent knows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AgentService {
    /// The instance's id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name.
    #[serde(rename = "Service")]
    pub name: String,
    /// Where the instance listens; empty when it is the agent's own address.
    #[serde(rename = "Address")]
    pub address: String,
    /// The port that it listens on.
    #[serde(rename = "Port")]
    pub port: u16,
    /// What it told of itself.
    #[serde(rename = "Meta", default, deserialize_with = "meta")]
    pub meta: BTreeMap<String, String>,
}

/// The most pairs that Consul takes as the meta of one service.
const META_PAIRS_MAX: usize = 64;

fn meta<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    bounded::map::<_, String, String, _, META_PAIRS_MAX>(deserializer)
}

/// The id of the check that [`Consul::register`] gives to a service.
#[must_use]
pub fn service_check_id(service_id: &str) -> String {
    format!("service:{service_id}")
}

impl Consul {
    /// Registers a service with the local agent, or replaces its earlier registration.
    ///
    /// The check never removes the service, however long it is critical: a node that is away still
    /// owns its data, and operators want to see it.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn register(&self, service: &ServiceRegistration) -> Result<(), ConsulError> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            name: &'a str,
            #[serde(rename = "ID")]
            id: &'a str,
            address: &'a str,
            port: u16,
            meta: &'a BTreeMap<String, String>,
            check: Check,
        }
        #[derive(Serialize)]
        struct Check {
            #[serde(rename = "CheckID")]
            id: String,
            #[serde(rename = "TTL")]
            ttl: String,
            #[serde(rename = "Status")]
            status: CheckStatus,
        }
        validate_id(&service.id)?;
        let body = Body {
            name: &service.name,
            id: &service.id,
            address: &service.address,
            port: service.port,
            meta: &service.meta,
            check: Check {
                id: service_check_id(&service.id),
                ttl: format!("{}ms", service.check_ttl.as_millis()),
                status: service.initial_status,
            },
        };
        let request = self.http.put(&["agent", "service", "register"]).json(&body);
        self.http.send(request).await?.success()?;
        Ok(())
    }

    /// Reports that the service is well, which keeps its check passing for one more TTL.
    ///
    /// # Errors
    ///
    /// [`ConsulError::UnknownCheck`] when the agent has forgotten the service, which must then
    /// [`register`](Self::register) again.
    pub async fn check_pass(&self, service_id: &str, note: &str) -> Result<(), ConsulError> {
        self.report("pass", service_id, note).await
    }

    /// Reports that the service does not work.
    ///
    /// # Errors
    ///
    /// As [`check_pass`](Self::check_pass).
    pub async fn check_fail(&self, service_id: &str, note: &str) -> Result<(), ConsulError> {
        self.report("fail", service_id, note).await
    }

    async fn report(&self, verdict: &str, service_id: &str, note: &str) -> Result<(), ConsulError> {
        validate_id(service_id)?;
        let check_id = service_check_id(service_id);
        let mut request = self.http.put(&["agent", "check", verdict, &check_id]);
        if !note.is_empty() {
            request = request.parameter("note", note);
        }
        let answer = self.http.send(request).await?;
        if answer.is_failure() {
            // Consul 1.8 answers 500 with the first text, later versions 404 with the second.
            let text = answer.excerpt();
            if text.contains("does not have associated TTL") || text.contains("Unknown check") {
                return Err(ConsulError::UnknownCheck { check_id });
            }
        }
        answer.success()?;
        Ok(())
    }

    /// Removes a service and its check. A service that the agent does not know is no error.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn deregister(&self, service_id: &str) -> Result<(), ConsulError> {
        validate_id(service_id)?;
        let request = self.http.put(&["agent", "service", "deregister", service_id]);
        let answer = self.http.send(request).await?;
        // Consul 1.8 answers 200 for an unknown service, or, where it has to know who may change it, 500;
        // later versions 404. The failures have this text.
        if answer.is_failure() && answer.excerpt().contains("nknown service") {
            return Ok(());
        }
        answer.success()?;
        Ok(())
    }

    /// The service with this id, if the local agent knows it.
    ///
    /// # Errors
    ///
    /// Any [`ConsulError`] of an exchange over HTTP.
    pub async fn agent_service(
        &self,
        service_id: &str,
    ) -> Result<Option<AgentService>, ConsulError> {
        validate_id(service_id)?;
        let answer = self.http.send(self.http.get(&["agent", "service", service_id])).await?;
        if answer.is_not_found() && answer.excerpt().contains("nknown service") {
            return Ok(None);
        }
        answer.success()?.json().map(Some)
    }
}

/// Refuses ids that would not reach Consul as one segment of a path.
fn validate_id(id: &str) -> Result<(), ConsulError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if id.bytes().all(plain) && id.bytes().any(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(ConsulError::InvalidName {
        role: "a service id",
        name: id.to_owned(),
        problem: "expected letters, digits, '-', '_', '.' and ':'".to_owned(),
    })
}
