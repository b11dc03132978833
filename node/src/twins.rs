//! Whether another process serves as the node that is about to start: one on another copy of its data
//! directory.
//!
//! Consul shows who has registered as the node. A registration outlives its process for some seconds, so
//! the process is asked itself. It is known to have ended where it held the very lock that this process
//! holds, and where no process listens at its address any more. Where it is silent, it may hang, or not be
//! reachable from here: then its sign of life decides, which Consul soon misses when it is gone.

use std::time::Duration;

use futures::future::join_all;
use kv_consul::{CheckStatus, Read, ServiceInstance};
use kv_registry::Registry;
use kv_registry::members::Registered as _;
use kv_transport::ask::Asker;
use kv_transport::probe::{Found, probe};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::claim::ClaimError;
use crate::data_directory::DataDirectory;
use crate::membership::CHECK_TTL;

/// How many registrations of one node are looked at; there are not so many by accident.
const REGISTRATIONS_MAX: usize = 8;
/// How often one that is silent is asked again.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// One that is silent and still shown as well after this time gives signs of life to Consul.
const SILENCE_MAX: Duration = Duration::from_secs(CHECK_TTL.as_secs() + 5);

/// Checks that no process serves as the node of this `directory`, and waits where that is not certain.
///
/// # Errors
/// [`ClaimError::TwinRuns`] where one does, or where Consul cannot be asked.
pub async fn check(registry: &Registry, directory: &DataDirectory) -> Result<(), ClaimError> {
    let (began, asker) = (Instant::now(), Asker::default());
    loop {
        let others = registered(registry, directory).await?;
        let asked = others.iter().map(|it| probe(&asker, &it.address, it.port));
        let found = join_all(asked).await;
        let mut waits_for = None;
        for (other, found) in others.iter().zip(found) {
            // What others wrote must not pass for lines of the log.
            let address = format!("{}:{}", other.address.escape_debug(), other.port);
            match found {
                Found::Node(status) if status.uuid == directory.identity().uuid => {
                    return Err(runs(directory, address, "answers there"));
                }
                Found::Node(_) | Found::Nobody => {}
                Found::Silence if other.status == CheckStatus::Critical => {
                    warn!("this node was registered at {address} before, where nobody answers");
                }
                Found::Silence => waits_for = Some(address),
            }
        }
        let Some(address) = waits_for else { return Ok(()) };
        if began.elapsed() > SILENCE_MAX {
            let how = "does not answer this machine, but gives signs of life to Consul";
            return Err(runs(directory, address, how));
        }
        info!(
            "this node is registered at {address}, where nobody answers: waiting for Consul to miss it"
        );
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn runs(directory: &DataDirectory, address: String, how: &'static str) -> ClaimError {
    ClaimError::TwinRuns {
        id: directory.identity().id.to_string(),
        path: directory.path().to_owned(),
        address,
        how,
    }
}

/// The registrations of this node by processes that may run.
async fn registered(
    registry: &Registry,
    directory: &DataDirectory,
) -> Result<Vec<ServiceInstance>, ClaimError> {
    let own = directory.identity().uuid;
    let ended = directory.ended();
    let instances = registry.instances(Read::consistent()).await?;
    let of_others = |it: &ServiceInstance| {
        let has_ended = ended.is_some() && it.incarnation() == ended;
        it.uuid() == Some(own) && !has_ended
    };
    Ok(instances.into_iter().filter(of_others).take(REGISTRATIONS_MAX).collect())
}
