//! `kvnode dev`: a cluster on one machine, for trying things out.
//!
//! It starts a Consul agent of its own, unless a Consul answers already, and each node as a process
//! of its own, exactly as an operator would. Nodes that desired states in Consul want are started beside
//! them, and stop with them; started again, it starts every node that has data here, except those
//! that were removed from the cluster.

mod consul;
mod nodes;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use kv_consul::ConsulError;
use kv_consul_agent::AgentError;
use kv_core::limits::HOST_NODES_MAX;
use kv_core::name::Name;
use kv_registry::desired_state::DesiredState;
use kv_registry::{CLUSTER_DEFAULT, Registry};
use kv_system::private;
use kv_system::transient::passes;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{DevArgs, LAUNCH_WITHIN_DEFAULT, default_data_dir};
use crate::desired_states::{self, DesiredStates};
use crate::dev::consul::{CONSUL_DIRECTORY, ChosenConsul};
use crate::dev::nodes::{Nodes, NodesError, Orders};
use crate::limits::{DESCRIPTORS_MIN, DEV_DESCRIPTORS_MIN, DEV_DESCRIPTORS_PER_NODE};
use crate::memory::MemoryBudget;
use crate::node_error::code_of_consul;
use crate::stopping::stop_signal;
use crate::supervisor::{Described, Order, Supervisor};
use crate::words;

const NODES_DIRECTORY: &str = "nodes";
/// What it is called in the desired states that it takes up.
const NAME: &str = "dev";

/// Why a cluster on one machine does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// An option cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The embedded agent does not start.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The Consul that answers cannot be used.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// A node does not start.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl DevError {
    /// What the process ends with; `kvnode --help` lists the codes.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Consul(error) => code_of_consul(error),
            // The directory is this cluster's, and can be used when that has passed.
            Self::Agent(AgentError::Io { source, .. }) if passes(source) => 1,
            Self::Agent(_) => 4,
            Self::Nodes(NodesError::Ended { code: Some(code), .. }) => *code,
            _ => 1,
        }
    }
}

/// How many descriptors must be free before it starts. Its nodes have the same limit, and look themselves.
#[must_use]
pub fn descriptors_needed(args: &DevArgs) -> usize {
    let nodes = usize::try_from(args.nodes).unwrap_or(usize::MAX);
    let own = nodes.saturating_mul(DEV_DESCRIPTORS_PER_NODE) + DEV_DESCRIPTORS_MIN;
    own.max(DESCRIPTORS_MIN)
}

/// Runs a cluster until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// [`DevError`] where none of its nodes starts.
pub async fn run(args: DevArgs) -> Result<(), DevError> {
    let desired_state = stop_signal()?;
    let directory = match args.data_dir {
        Some(directory) => directory,
        None => default_data_dir("dev").map_err(|error| DevError::Usage(error.to_string()))?,
    };
    // Files beside these are not this program's.
    for part in [CONSUL_DIRECTORY, NODES_DIRECTORY].map(|it| directory.join(it)) {
        if part.exists() {
            private::tighten(&part);
        }
    }
    let consul = ChosenConsul::at(args.consul_port, &directory).await?;
    let root = directory.join(NODES_DIRECTORY);
    let memory = MemoryBudget::new(args.memory, args.nodes.into());
    let mut nodes = Nodes::new(root.clone(), &consul, args.serve_older_copy, memory)?;
    let wanted = Wanted::new(&consul, root)?;
    tokio::pin!(desired_state);
    let starting = async {
        let described = wanted.described().await.unwrap_or_else(|error| {
            warn!("cannot read how nodes are to be started: {error}");
            BTreeMap::new()
        });
        Ok(nodes.start(args.nodes, described).await?)
    };
    let result: Result<(), DevError> = tokio::select! {
        result = starting => result,
        reason = &mut desired_state => {
            info!("{reason}: stopping");
            nodes.stop().await;
            consul.shut_down().await;
            return Ok(());
        }
    };
    if let Err(error) = result {
        nodes.stop().await;
        consul.shut_down().await;
        return Err(error);
    }
    words::tell(format_args!("ready: {}, consul {}", nodes.counted(), consul.address));
    tell_next_steps(&consul.address);
    let (orders, mut placed) = nodes::orders();
    tokio::select! {
        reason = &mut desired_state => info!("{reason}: stopping"),
        () = nodes.supervise(&mut placed) => {}
        result = wanted.start(&orders) => result?,
    }
    nodes.stop().await;
    consul.shut_down().await;
    Ok(())
}

/// The nodes that desired states in Consul want here.
struct Wanted {
    supervisor: Supervisor,
}

impl Wanted {
    /// An embedded agent can be reached from this machine alone, and all nodes that are
    /// wanted there are wanted here, however their host is called. Another Consul may have nodes
    /// elsewhere.
    fn new(consul: &ChosenConsul, root: PathBuf) -> Result<Self, DevError> {
        let cluster = CLUSTER_DEFAULT.parse().expect("the default is a name");
        let supervisor = Supervisor {
            registry: Registry::new(consul.client()?, cluster),
            name: NAME.to_owned(),
            host: consul.agent.is_none().then(|| Ipv4Addr::LOCALHOST.to_string()),
            root,
            within: LAUNCH_WITHIN_DEFAULT,
            nodes_max: HOST_NODES_MAX,
        };
        Ok(Self { supervisor })
    }

    /// How the nodes are to be started that are wanted now.
    async fn described(&self) -> Result<BTreeMap<Name, Order>, ConsulError> {
        let desired_states = self.supervisor.registry.all_desired().await?.states;
        let orders = desired_states.into_iter().filter_map(|(id, desired)| match desired.value {
            DesiredState::Running { weight, zone, .. } => {
                let described = Some(Described { weight, zone });
                Some((id.clone(), Order { id, described }))
            }
            DesiredState::Stopped { .. } => None,
        });
        Ok(orders.collect())
    }

    /// Orders the nodes that are wanted and do not run.
    async fn start(&self, orders: &Orders) -> Result<(), ConsulError> {
        let (news, desired_states) = watch::channel(DesiredStates::new());
        tokio::select! {
            result = desired_states::follow(&self.supervisor.registry, news) => result,
            () = self.supervisor.run(desired_states, orders) => Ok(()),
        }
    }
}

fn tell_next_steps(consul: &str) {
    let option =
        if consul.ends_with(":8500") { String::new() } else { format!(" --consul {consul}") };
    words::tell(format_args!(
        "\nTry, in another terminal:\n\
         \x20 kvclient{option} put greeting hello\n\
         \x20 kvclient{option} get greeting\n\
         \x20 kvclient{option} locate greeting\n\
         \x20 kvclient{option} status\n\n\
         Ctrl-C stops the cluster; the same command starts it again with its data."
    ));
}
