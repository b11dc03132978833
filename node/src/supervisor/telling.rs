//! What a supervisor writes into desired states: that it takes one up, and why a node does not run.

use kv_consul::{BACKOFF, ConsulError};
use kv_core::name::Name;
use kv_registry::Versioned;
use kv_registry::desired_state::{DesiredState, Launcher};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{Memory, Supervisor, Wanted};

/// How often a supervisor tries to write down why a node could not be started.
const TELL_TRIES: usize = 5;

impl Supervisor {
    /// Why no more nodes are started.
    pub(super) fn full(&self) -> String {
        format!(
            "{} nodes run or start with their data under {}, which is the most that signals may have here (--launch-max)",
            self.nodes_max,
            self.root.display()
        )
    }

    /// Says why a wanted node is not started here, once for each reason, and writes it into a desired state that
    /// no supervisor has taken up, so that the client that wrote it need not wait. A supervisor of another host
    /// may take it up all the same.
    pub(super) async fn tell_waiting(&self, wanted: &Wanted, memory: &mut Memory, reason: String) {
        let id = &wanted.id;
        if memory.told.as_ref() != Some(&reason) {
            warn!("{reason}; {id} and perhaps others are wanted and wait");
            memory.told = Some(reason.clone());
        }
        if wanted.launcher.is_some() {
            return;
        }
        let failure = Some(reason);
        let launcher = Launcher { name: self.name.clone(), attempt: Uuid::new_v4(), failure };
        if let Err(error) = self.write_launcher(wanted, launcher).await {
            debug!("the signal about {id} does not say why it waits: {error}");
        }
    }

    pub(super) async fn write_launcher(
        &self,
        wanted: &Wanted,
        launcher: Launcher,
    ) -> Result<bool, ConsulError> {
        let desired_state = DesiredState::Running {
            host: wanted.host.clone(),
            weight: wanted.described.weight,
            zone: wanted.described.zone.clone(),
            launcher: Some(launcher),
        };
        self.registry.set_desired(&wanted.id, &desired_state, wanted.index).await
    }

    /// Writes into the desired state why the attempt failed, as long as it is the last one.
    pub(super) async fn tell_failure(&self, id: &Name, attempt: Uuid, failure: String) {
        let mut backoff = BACKOFF;
        for _ in 0..TELL_TRIES {
            match self.try_to_tell(id, attempt, &failure).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    debug!("the failure of {id} could not be written: {error}");
                    tokio::time::sleep(backoff.failed(rand::random())).await;
                }
            }
        }
    }

    /// Returns whether there is nothing more to tell.
    async fn try_to_tell(
        &self,
        id: &Name,
        attempt: Uuid,
        failure: &str,
    ) -> Result<bool, ConsulError> {
        let Versioned { value: mut desired_state, index } = self.registry.desired(id).await?;
        match &mut desired_state {
            Some(DesiredState::Running { launcher: Some(launcher), .. })
                if launcher.attempt == attempt =>
            {
                launcher.failure = Some(failure.to_owned());
            }
            _ => return Ok(true),
        }
        let Some(desired_state) = desired_state else { return Ok(true) };
        self.registry.set_desired(id, &desired_state, index).await
    }
}
