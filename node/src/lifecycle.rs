//! How a node takes part in the desired states of its cluster: it starts others, and leaves when told to.
//!
//! A signal is the truth about whether a node is wanted. The one exception is SIGTERM, by which an
//! operator says more plainly than by any document that a node is not to run: a node that gets it
//! takes its own desired state to run back, so that no supervisor starts it again. Started by hand, it is back.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use kv_consul::ConsulError;
use kv_core::guard::Guard;
use kv_core::name::Name;
use kv_registry::Registry;
use kv_registry::desired_state::DesiredState;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::NodeArgs;
use crate::data_directory::DataDirectory;
use crate::decommission::{Decommission, DecommissionError};
use crate::desired_states::{self, DesiredStates};
use crate::identity::Identity;
use crate::launcher::NodeLauncher;
use crate::supervisor::Supervisor;
use crate::writer::Published;

/// How long a stopping node tries to take its desired state back.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(3);

/// A node's part in the desired states of its cluster.
#[derive(Debug)]
pub struct Lifecycle {
    decommission: Decommission,
    /// `None` where a supervisor starts the nodes.
    launching: Option<(Supervisor, NodeLauncher)>,
}

impl Lifecycle {
    /// The part of the node `identity`, which was started with `args`, is known as `host` and has its
    /// data in `directory`.
    ///
    /// # Errors
    /// Where the path of this program cannot be found out.
    pub fn new(
        args: &NodeArgs,
        registry: &Registry,
        identity: &Identity,
        (host, directory): (&str, &Path),
        (guard, published): (Arc<ArcSwap<Guard>>, Arc<Published>),
    ) -> io::Result<Self> {
        let root = directory.parent().unwrap_or(directory);
        let supervisor = Supervisor {
            registry: registry.clone(),
            name: identity.id.to_string(),
            host: Some(host.to_owned()),
            root: root.to_owned(),
            within: Duration::from_millis(args.launch_within_ms),
            nodes_max: args.launch_max,
        };
        let launching = match args.no_launch {
            true => None,
            false => Some((supervisor, NodeLauncher::new(args, root)?)),
        };
        let decommission = Decommission {
            registry: registry.clone(),
            identity: identity.clone(),
            guard,
            published,
        };
        Ok(Self { decommission, launching })
    }

    /// Follows the desired states. Returns when this node is to leave; [`complete`](Self::complete) follows
    /// when it has stopped serving.
    ///
    /// # Errors
    /// Where the desired states' prefix is not one that Consul takes.
    pub async fn until_decommission(&self) -> Result<(), ConsulError> {
        let (news, desired_states) = watch::channel(DesiredStates::new());
        let launching = async {
            if let Some((supervisor, launcher)) = &self.launching {
                supervisor.run(desired_states.clone(), launcher).await;
            }
            std::future::pending().await
        };
        tokio::select! {
            result = desired_states::follow(&self.decommission.registry, news) => result,
            () = self.decommission.due(desired_states.clone()) => Ok(()),
            result = launching => result,
        }
    }

    /// Leaves the cluster for good.
    ///
    /// # Errors
    /// [`DecommissionError`]; the node goes on leaving when it is started again.
    pub async fn complete(
        &self,
        directory: &Mutex<DataDirectory>,
    ) -> Result<(), DecommissionError> {
        self.decommission.complete(directory).await
    }

    /// Takes back the desired state that this node is to run, since its operator stops it.
    pub async fn withdraw(&self) {
        let Decommission { registry, identity: Identity { id, .. }, .. } = &self.decommission;
        withdraw(registry, id).await;
    }
}

/// Takes back the desired state that the node `id` is to run, since its operator stops it, perhaps before it
/// has started.
pub async fn withdraw(registry: &Registry, id: &Name) {
    match tokio::time::timeout(WITHDRAW_WITHIN, try_to_withdraw(registry, id)).await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => info!("nobody will start {id} again: start it with --id {id}"),
        Ok(Err(error)) => warn!("the signal to run {id} could not be taken back: {error}"),
        Err(_) => warn!("the signal to run {id} could not be taken back: no answer"),
    }
}

async fn try_to_withdraw(registry: &Registry, id: &Name) -> Result<bool, ConsulError> {
    loop {
        let own = registry.desired(id).await?;
        if !matches!(own.value, Some(DesiredState::Running { .. })) {
            return Ok(false);
        }
        // One that has changed meanwhile is looked at again.
        if registry.remove_desired(id, own.index).await? {
            return Ok(true);
        }
    }
}
