//! How a node leaves: told to by a desired state, once nothing is its own and nothing is stored any more.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use kv_consul::{BACKOFF, ConsulError};
use kv_core::guard::Guard;
use kv_registry::Registry;
use kv_registry::desired_state::DesiredState;
use kv_system::lock::lock;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::claim::unclaim;
use crate::data_directory::DataDirectory;
use crate::desired_states::DesiredStates;
use crate::identity::{DataDirectoryError, Identity};
use crate::layouts::LayoutsError;
use crate::writer::{Published, Statistics};

/// How often a node that is told to stop looks whether it may.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the node tries to tell Consul that it has left.
const TELL_TRIES: usize = 6;

/// Why a node could not leave in order. Started again, it goes on leaving.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecommissionError {
    /// Consul could not be told.
    #[error("this node has left its cluster, but Consul could not be told: {0}")]
    Consul(#[from] ConsulError),
    /// The data directory could not be marked.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
}

/// One node's way out of its cluster.
#[derive(Debug)]
pub struct Decommission {
    /// Where the cluster's layout and desired states are.
    pub registry: Registry,
    /// The node.
    pub identity: Identity,
    /// What the node has installed.
    pub guard: Arc<ArcSwap<Guard>>,
    /// What the node stores.
    pub published: Arc<Published>,
}

impl Decommission {
    /// Waits until the node is told to stop and may. Until then it goes on serving.
    pub async fn due(&self, mut desired_states: watch::Receiver<DesiredStates>) {
        let mut told = None;
        let mut kept_by = None;
        loop {
            let own = desired_states.borrow_and_update().get(&self.identity.id).cloned();
            let own = own.map(|own| own.value);
            let is_meant = own.as_ref().is_some_and(|own| self.is_meant(own));
            // Every change of any desired state leads here.
            if told != own {
                self.tell(own.as_ref());
                told = own;
            }
            tokio::select! {
                () = self.until_free(&mut kept_by), if is_meant => return,
                Ok(()) = desired_states.changed() => {}
                // Desired states are not reported any more, and the last one does not let the node go.
                else => std::future::pending().await,
            }
        }
    }

    fn is_meant(&self, desired_state: &DesiredState) -> bool {
        *desired_state == DesiredState::Stopped { uuid: self.identity.uuid }
    }

    /// Says what a desired state about this node asks of it.
    fn tell(&self, desired_state: Option<&DesiredState>) {
        match desired_state {
            Some(DesiredState::Stopped { uuid }) if *uuid == self.identity.uuid => {
                info!("a signal tells this node to stop: it does once it owns and stores nothing");
            }
            Some(DesiredState::Stopped { uuid }) => warn!(
                "a signal tells {} to stop, but means the data directory {uuid}, and this is {}: serving on",
                self.identity.id, self.identity.uuid
            ),
            Some(DesiredState::Running { .. }) | None => {}
        }
    }

    /// Waits until nothing keeps the node, and says what does where that is not what it was `told` last.
    async fn until_free(&self, told: &mut Option<&'static str>) {
        loop {
            let Some(reason) = self.kept_by().await else { return };
            if *told != Some(reason) {
                info!("serving on: {reason}");
                *told = Some(reason);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Why the node must stay; `None` where it may leave.
    async fn kept_by(&self) -> Option<&'static str> {
        let uuid = self.identity.uuid;
        if self.guard.load().installed().is_some_and(|it| it.layout.member_by_uuid(uuid).is_some())
        {
            return Some("this node is a member of the layout");
        }
        if !self.published.kept.load().is_empty() {
            return Some("records are kept here that this node never handed over: see its status");
        }
        if !self.stores_nothing() {
            return Some("data is stored here");
        }
        // The layout that is installed may not be the newest one.
        match self.registry.layout_now().await.map_err(LayoutsError::from) {
            Ok(layout) => layout
                .is_some_and(|it| it.value.member_by_uuid(uuid).is_some())
                .then_some("this node is a member of the newest layout"),
            Err(error) => {
                debug!("{error}");
                Some("the newest layout cannot be read")
            }
        }
    }

    /// Whether everything has been moved off and cleared.
    fn stores_nothing(&self) -> bool {
        let Statistics { keys, partitions_to_clear, .. } = &self.published.statistics;
        keys.load(Ordering::Acquire) == 0 && partitions_to_clear.load(Ordering::Acquire) == 0
    }

    /// Leaves, after the node has stopped serving: its data directory is marked, and Consul forgets
    /// the registration, the claim on the id and, last, the desired state.
    ///
    /// # Errors
    /// [`DecommissionError`]; the desired state stays then.
    pub async fn complete(
        &self,
        directory: &Mutex<DataDirectory>,
    ) -> Result<(), DecommissionError> {
        lock(directory).remember_removal()?;
        let mut backoff = BACKOFF;
        let mut tries_left = TELL_TRIES;
        while let Err(error) = self.forget().await {
            tries_left -= 1;
            if tries_left == 0 {
                return Err(error.into());
            }
            debug!("{error}; trying again");
            tokio::time::sleep(backoff.failed(rand::random())).await;
        }
        info!("this node has left its cluster");
        Ok(())
    }

    async fn forget(&self) -> Result<(), ConsulError> {
        let Identity { id, uuid, .. } = &self.identity;
        self.registry.consul().deregister(&self.registry.service_id(id)).await?;
        unclaim(&self.registry, &self.identity).await?;
        let desired = self.registry.desired(id).await?;
        if desired.value == Some(DesiredState::Stopped { uuid: *uuid }) {
            // One that has changed since means something else.
            self.registry.remove_desired(id, desired.index).await?;
        }
        Ok(())
    }
}
