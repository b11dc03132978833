//! One node, from start to stop.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kv_protocol::consul::{Backoff, Consul, ConsulConfig, ConsulError};
use kv_protocol::layout::{Layout, LayoutError, Member};
use kv_protocol::name::Name;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::config::{NodeArgs, default_data_dir};
use crate::departure::DepartureError;
use crate::disk::Disk;
use crate::follower::{FollowError, Follower};
use crate::guard::Guard;
use crate::handler::{Handler, Resources};
use crate::identity::{DataDirectory, DataDirectoryError, InstalledEpoch};
use crate::installed_record;
use crate::layouts::{Layouts, LayoutsError};
use crate::lifecycle::Lifecycle;
use crate::membership::{ClaimError, Registration, claim};
use crate::server::{ListenError, PortChoice, Server, Stop};
use crate::stopping::StopReason;
use crate::store::{Counters, Store, StoreError, StoreOptions};
use crate::wake::Wake;
use crate::writer::{Finished, Gauges, Writer};

/// A machine that has this many nodes has no id to choose left.
const AUTOMATIC_IDS_MAX: u32 = 1000;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// An option cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Consul did not do what was asked.
    #[error(transparent)]
    Consul(ConsulError),
    /// The layout in Consul could not be fetched or installed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDirectory(#[from] DataDirectoryError),
    /// The id is another's.
    #[error(transparent)]
    Claim(ClaimError),
    /// All ids that may be chosen are others'.
    #[error("node-0 to node-{} are all in use: choose an id with --id", AUTOMATIC_IDS_MAX - 1)]
    NoIdFree,
    /// The address or port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The store cannot be opened.
    #[error("the store in {path} cannot be opened: {source}")]
    Store {
        /// The store's directory.
        path: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
    /// The stored layout cannot be read.
    #[error("the layout that this node has installed cannot be read: {0}")]
    StoredLayout(#[from] LayoutError),
    /// The node could not leave its cluster in order.
    #[error(transparent)]
    Departure(#[from] DepartureError),
    /// The serving loop ended by itself.
    #[error("the serving loop failed: {0}")]
    Serving(String),
    /// The operating system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ConsulError> for NodeError {
    fn from(error: ConsulError) -> Self {
        match error {
            ConsulError::InvalidConfig { .. } => Self::Usage(error.to_string()),
            error => Self::Consul(error),
        }
    }
}

impl NodeError {
    /// What the process ends with; `kvnode --help` lists the codes.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Consul(_)
            | Self::Claim(ClaimError::Consul(_))
            | Self::Departure(DepartureError::Consul(_))
            | Self::Follow(FollowError::Layouts(LayoutsError::Consul(_))) => 3,
            Self::DataDirectory(DataDirectoryError::StoreReplaced { .. }) => 1,
            Self::Claim(_)
            | Self::NoIdFree
            | Self::Listen(_)
            | Self::DataDirectory(_)
            | Self::Follow(_) => 4,
            _ => 1,
        }
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// [`NodeError`] where it cannot start or serve.
pub async fn run(
    args: NodeArgs,
    stopped: impl Future<Output = StopReason>,
) -> Result<(), NodeError> {
    let consul = Consul::new(&ConsulConfig::resolve(args.consul.as_deref())?)?;
    let advertised = advertised_host(&args)?;
    let layouts = Layouts::new(consul.clone(), args.cluster.clone());
    tokio::pin!(stopped);
    let taking = async {
        let offered = read_layout(&layouts, Duration::from_secs(args.start_timeout)).await?;
        take_directory(&args, &consul, offered.as_ref()).await
    };
    let mut directory = tokio::select! {
        directory = taking => directory?,
        reason = &mut stopped => {
            info!("{reason}: stopping before the start");
            return Ok(());
        }
    };
    let server = Server::listen(&args.host, port_choice(&args, &directory))?;
    directory.keep(server.port())?;
    let (port, path) = (server.port(), directory.path().to_owned());
    let identity = directory.identity().clone();

    let mut node = Running::start(&args, directory, layouts)?;
    node.catch_up().await?;
    let member = node.member();
    let lifecycle = node.lifecycle(&args, &consul, (&advertised, &path))?;
    let serving = node.serve(server)?;
    let (weight, zone) = described(&args, member.as_ref());
    let registration =
        Registration::new(consul.clone(), &identity, (&advertised, port), weight, &zone);
    registration.register().await.map_err(NodeError::Claim)?;
    // Nobody may be reading, and that is no reason not to serve.
    let _ = writeln!(
        io::stdout(),
        "ready: {} at {advertised}:{port}, cluster {}, consul {}, data in {}",
        identity.id,
        identity.cluster,
        consul.address(),
        path.display()
    );

    let (failed, mut has_failed) = watch::channel(false);
    let serving = std::thread::spawn(move || {
        let result = serving.join();
        failed.send_replace(true);
        result
    });
    let mut departs = false;
    let kept = tokio::select! {
        reason = &mut stopped => {
            info!("{reason}: stopping");
            if reason == StopReason::Terminated {
                lifecycle.withdraw().await;
            }
            Ok(())
        }
        left = lifecycle.until_departure() => {
            departs = left.is_ok();
            left.map_err(NodeError::from)
        }
        _ = has_failed.wait_for(|failed| *failed) => Ok(()),
        kept = registration.keep(node.alive.clone()) => kept.map_err(NodeError::Claim),
        followed = node.follower.follow(&consul) => followed.map_err(NodeError::from),
    };
    node.stop.store(true, Ordering::Release);
    node.wake.raise();
    let served = serving.join();
    let directory = Arc::clone(&node.follower.directory);
    node.close();
    // Whoever took the id over has registered it, and must stay registered.
    if !matches!(kept, Err(NodeError::Claim(_))) {
        registration.deregister().await;
    }
    kept?;
    if departs {
        lifecycle.complete(&directory).await?;
    }
    match served {
        Ok(Ok(result)) => Ok(result?),
        Ok(Err(_)) | Err(_) => Err(NodeError::Serving("it panicked".into())),
    }
}

/// The parts of a node that run.
struct Running {
    resources: Option<Resources>,
    follower: Follower,
    writer: Option<JoinHandle<Option<Counters>>>,
    finished: flume::Receiver<Finished>,
    wake: Wake,
    alive_sender: Option<watch::Sender<()>>,
    alive: watch::Receiver<()>,
    stop: Stop,
}

impl Running {
    /// Opens the store and starts the writer.
    fn start(
        args: &NodeArgs,
        mut directory: DataDirectory,
        layouts: Layouts,
    ) -> Result<Self, NodeError> {
        let path = directory.store();
        let store_error = |source| NodeError::Store { path: path.clone(), source };
        let options = StoreOptions { fsync: args.fsync, segment_bytes: args.segment_bytes };
        let store = Store::open(&path, options).map_err(store_error)?;
        let identity = directory.identity().clone();
        let uuid = identity.uuid;
        let stored = store.layout().map_err(store_error)?;
        let installed = stored.map(|it| installed_record::decode(&it, uuid)).transpose()?;
        let stored = installed
            .as_ref()
            .map(|it| InstalledEpoch { cluster: it.layout.cluster, epoch: it.layout.epoch });
        directory.check_store(stored, store.counters())?;
        let guard = Arc::new(ArcSwap::from_pointee(Guard::new(uuid, installed)));
        let gauges = Arc::new(Gauges::default());
        let disk = Disk::new(directory.path(), args.disk_reserve_bytes);
        let wake = Wake::new()?;
        let (work, work_receiver) = flume::unbounded();
        let (finished_sender, finished) = flume::unbounded();
        let reader = store.reader();
        let (writer_guard, writer_gauges) = (Arc::clone(&guard), Arc::clone(&gauges));
        let writer = Writer::new(
            uuid,
            store,
            writer_guard,
            writer_gauges,
            disk.clone(),
            finished_sender,
            wake.clone(),
        );
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run(&work_receiver))?;
        let layout_wanted = Arc::new(Notify::new());
        let (alive_sender, alive) = watch::channel(());
        Ok(Self {
            follower: Follower {
                uuid,
                layouts,
                guard: Arc::clone(&guard),
                work: work.clone(),
                layout_wanted: Arc::clone(&layout_wanted),
                directory: Arc::new(Mutex::new(directory)),
            },
            resources: Some(Resources {
                identity,
                store: reader,
                guard,
                gauges,
                disk,
                work,
                layout_wanted,
                value_bytes_max: usize::try_from(args.value_bytes_max).unwrap_or(usize::MAX),
            }),
            writer: Some(writer),
            finished,
            wake,
            alive_sender: Some(alive_sender),
            alive,
            stop: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The node's part in the signals of its cluster. It is known as `host`, with its data in
    /// `directory`.
    fn lifecycle(
        &self,
        args: &NodeArgs,
        consul: &Consul,
        (host, directory): (&str, &Path),
    ) -> Result<Lifecycle, NodeError> {
        let Some(resources) = &self.resources else {
            return Err(NodeError::Serving("it was started before".into()));
        };
        let shared = (Arc::clone(&resources.guard), Arc::clone(&resources.gauges));
        Ok(Lifecycle::new(args, consul, &resources.identity, (host, directory), shared)?)
    }

    /// Brings the node to the layout that Consul has. One that has a layout of its own starts with
    /// that where Consul has none that can be used, unless Consul belongs to another cluster.
    async fn catch_up(&self) -> Result<(), NodeError> {
        let has_layout = self.follower.guard.load().installed().is_some();
        match self.follower.catch_up().await {
            Ok(()) => {}
            Err(error @ FollowError::Layouts(_)) if has_layout => warn!("{error}"),
            Err(error) => return Err(error.into()),
        }
        Ok(self.follower.remember_layout()?)
    }

    /// The member of the installed layout that the node is.
    fn member(&self) -> Option<Member> {
        let guard = self.follower.guard.load();
        guard.installed()?.layout.member_by_uuid(self.follower.uuid).cloned()
    }

    /// Starts the serving loop.
    fn serve(&mut self, server: Server) -> Result<JoinHandle<io::Result<()>>, NodeError> {
        let (Some(resources), Some(alive)) = (self.resources.take(), self.alive_sender.take())
        else {
            return Err(NodeError::Serving("it was started twice".into()));
        };
        let (finished, wake) = (self.finished.clone(), self.wake.clone());
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new().name("serving".into());
        Ok(thread.spawn(move || {
            let mut handler = Handler::new(resources);
            server.run(&mut handler, &finished, &wake, &alive, &stop)
        })?)
    }

    /// Lets the writer finish and closes the store.
    fn close(mut self) {
        let writer = self.writer.take();
        let directory = Arc::clone(&self.follower.directory);
        // The writer ends when nobody can give it work any more.
        drop(self);
        let counters = writer.and_then(|writer| writer.join().unwrap_or_default());
        if let Some(counters) = counters {
            let mut directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = directory.remember_stop(counters) {
                warn!("{error}");
            }
        }
    }
}

/// The weight and zone that the node registers. What the layout says of a member counts, so one that is
/// started with something else says so.
fn described(args: &NodeArgs, member: Option<&Member>) -> (u32, String) {
    let weight = args.weight.or(member.map(|it| it.weight)).unwrap_or(1);
    let zone = args.zone.clone().or_else(|| member.map(|it| it.zone.clone())).unwrap_or_default();
    if let Some(member) = member
        && (member.weight != weight || member.zone != zone)
    {
        warn!(
            "started with weight {weight} and zone {zone:?}, but the layout has {} with weight {} and zone \
             {:?}, which count: change them with `kvclient set-node {} --weight N --zone NAME`",
            member.id, member.weight, member.zone, member.id
        );
    }
    (weight, zone)
}

/// Reads the layout, and waits for Consul where it does not answer yet.
async fn read_layout(layouts: &Layouts, within: Duration) -> Result<Option<Layout>, NodeError> {
    let started = Instant::now();
    let mut backoff = Backoff::default();
    loop {
        match layouts.read().await {
            Ok(offered) => return Ok(offered.layout),
            Err(LayoutsError::Consul(error)) => {
                let wait = backoff.failed();
                if started.elapsed() + wait > within || !error.is_transient() {
                    return Err(error.into());
                }
                warn!("{error}; trying again");
                tokio::time::sleep(wait).await;
            }
            // Whether the node can do without the document shows once its own layout is known.
            Err(error) => {
                warn!("{error}");
                return Ok(None);
            }
        }
    }
}

/// Takes the node's data directory and claims its id.
async fn take_directory(
    args: &NodeArgs,
    consul: &Consul,
    layout: Option<&Layout>,
) -> Result<DataDirectory, NodeError> {
    let root = match &args.data_dir {
        Some(root) => root.clone(),
        None => default_data_dir(args.cluster.as_str())
            .map_err(|error| NodeError::Usage(error.to_string()))?,
    };
    if let Some(id) = &args.id {
        let directory = DataDirectory::take(&root.join(id.as_str()), id, &args.cluster)?;
        return match claim(consul, directory.identity(), layout, false).await {
            Ok(()) => Ok(directory),
            Err(error) => {
                directory.abandon();
                Err(NodeError::Claim(error))
            }
        };
    }
    for number in 0..AUTOMATIC_IDS_MAX {
        let id: Name = format!("node-{number}").parse().expect("such an id is a name");
        let directory = match DataDirectory::take(&root.join(id.as_str()), &id, &args.cluster) {
            Err(DataDirectoryError::Held { .. }) => continue,
            result => result?,
        };
        match claim(consul, directory.identity(), layout, directory.is_new()).await {
            Ok(()) => return Ok(directory),
            // Another machine, or another directory on this one, has a node of this name.
            Err(error) if directory.is_new() && !matches!(error, ClaimError::Consul(_)) => {
                directory.abandon();
            }
            Err(error) => return Err(NodeError::Claim(error)),
        }
    }
    Err(NodeError::NoIdFree)
}

fn port_choice(args: &NodeArgs, directory: &DataDirectory) -> PortChoice {
    match args.port {
        Some(port) => PortChoice::Exactly(port),
        None => PortChoice::Preferably(directory.identity().port),
    }
}

fn advertised_host(args: &NodeArgs) -> Result<String, NodeError> {
    match &args.advertise {
        Some(host) => Ok(host.clone()),
        None if matches!(args.host.as_str(), "0.0.0.0" | "::" | "*") => {
            Err(NodeError::Usage(format!(
                "--host {} is no address that others can reach: name one with --advertise",
                args.host
            )))
        }
        None => Ok(args.host.clone()),
    }
}
