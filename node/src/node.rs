//! One node, from start to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use kv_protocol::consul::{Backoff, Consul, ConsulConfig, ConsulError};
use kv_protocol::incarnation::Incarnation;
use kv_protocol::layout::{Layout, LayoutError, Member};
use kv_protocol::name::Name;
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::address::{Addresses, InvalidHost, with_port};
use crate::config::{NodeArgs, default_data_dir};
use crate::confirmation::Confirmation;
use crate::departure::DepartureError;
use crate::disk::Disk;
use crate::follower::{FollowError, Follower};
use crate::guard::{Guard, Installed};
use crate::handler::{Handler, Resources};
use crate::hints::Hints;
use crate::identity::{DataDirectory, DataDirectoryError, InstalledEpoch};
use crate::installed_record;
use crate::layouts::{Layouts, LayoutsError};
use crate::lifecycle::Lifecycle;
use crate::membership::{ClaimError, Registration, claim};
use crate::server::{ListenError, PortChoice, Server, Stop};
use crate::stopping::StopReason;
use crate::store::{Counters, Store, StoreError, StoreOptions};
use crate::succession::{Succession, SuccessionError};
use crate::tenure::Tenure;
use crate::wake::Wake;
use crate::words;
use crate::writer::{Finished, Gauges, NotInstalled, Writer};

/// How long something that passes is waited for before it is tried again, and how often the data directory
/// is looked for.
const TRY_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is said that the data directory is lost.
const LOST_SAYING_SPACING: Duration = Duration::from_secs(60);
/// A node starts anew no sooner than this after its start.
const START_ANEW_SPACING: Duration = Duration::from_secs(5);
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
    /// An address is no address that can be used.
    #[error(transparent)]
    Host(#[from] InvalidHost),
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
    /// The store could not go on for want of something that passes. A new process can.
    #[error("the store lacked something that the system will have again; a new process goes on")]
    StartsAnew,
    /// What is kept is to be discarded under a layout that is not the installed one.
    #[error(
        "--discard-kept names epoch {named}, and this node has epoch {installed} installed: see with `kvclient status` what it keeps, and why; nothing was removed"
    )]
    DiscardedEpoch {
        /// The epoch that was named.
        named: u64,
        /// The epoch that is installed; 0 where none is.
        installed: u64,
    },
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
            Self::Usage(_) | Self::DiscardedEpoch { .. } => 2,
            Self::Host(InvalidHost::NoneToAdvertise(_) | InvalidHost::Advertise { .. }) => 2,
            Self::Consul(_)
            | Self::Claim(ClaimError::Consul(_))
            | Self::Departure(DepartureError::Consul(_))
            | Self::Follow(FollowError::Layouts(LayoutsError::Consul(_))) => 3,
            Self::DataDirectory(DataDirectoryError::StoreReplaced { .. }) => 1,
            // The directory is this node's, and can be used when that has passed.
            Self::DataDirectory(error) | Self::Follow(FollowError::Identity(error))
                if error.passes() =>
            {
                1
            }
            Self::Follow(FollowError::NotInstalled(NotInstalled::Store(error)))
                if error.passes() =>
            {
                1
            }
            Self::Claim(_)
            | Self::NoIdFree
            | Self::Listen(_)
            | Self::Host(_)
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
    let addresses = Addresses::resolve(&args.host, args.advertise.as_deref()).await?;
    let advertised = addresses.advertised;
    let layouts = Layouts::new(consul.clone(), args.cluster.clone());
    let started_at = Instant::now();
    tokio::pin!(stopped);
    let taking = async {
        let offered = read_layout(&layouts, Duration::from_secs(args.start_timeout)).await?;
        let directory = take_directory(&args, &consul, offered.as_ref()).await?;
        let succession = Succession::examine(&consul, &directory, args.serve_older_copy).await;
        Ok::<_, NodeError>((directory, succession.map_err(NodeError::Claim)?))
    };
    let (mut directory, mut succession) = tokio::select! {
        taken = taking => taken?,
        reason = &mut stopped => {
            info!("{reason}: stopping before the start");
            return Ok(());
        }
    };
    let disk = Disk::new(directory.path(), args.disk_reserve_bytes);
    directory.set_disk(&disk);
    let server = Server::listen(&addresses.listen.to_string(), port_choice(&args, &directory))?;
    let opening = async {
        let port = server.port();
        patiently(DataDirectoryError::passes, async || directory.keep(port)).await?;
        open(&args, &mut directory, &disk, &mut succession).await
    };
    let opened = tokio::select! {
        opened = opening => match opened {
            Err(NodeError::Store { source, .. }) if source.passes_with_the_process() => {
                warn!("{source}");
                return start_anew(started_at, stopped).await;
            }
            opened => opened?,
        },
        reason = &mut stopped => {
            info!("{reason}: stopping before the start");
            return Ok(());
        }
    };
    let (port, path) = (server.port(), directory.path().to_owned());
    let identity = directory.identity().clone();

    let mut node = Running::start(&args, directory, layouts, opened, &disk)?;
    node.catch_up().await?;
    let member = node.member();
    let lifecycle = node.lifecycle(&args, &consul, (&advertised, &path))?;
    let serving = node.serve(server)?;
    let (weight, zone) = described(&args, member.as_ref());
    let registration = Registration::new(
        consul.clone(),
        &identity,
        (&advertised, port),
        (weight, &zone),
        node.standing(),
    );
    registration.register().await.map_err(NodeError::Claim)?;
    words::tell(format_args!(
        "ready: {} at {}, cluster {}, consul {}, data in {}",
        identity.id,
        with_port(&advertised, port),
        identity.cluster,
        consul.address(),
        path.display()
    ));

    let put_back = Arc::new(Notify::new());
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
        kept = registration.keep(node.alive.clone(), &put_back) => kept.map_err(NodeError::Claim),
        () = node.confirmation.run() => Ok(()),
        followed = node.follower.follow(&consul, Arc::clone(&put_back)) => {
            followed.map_err(NodeError::from)
        }
        () = watch_directory(&node.follower.directory, &disk) => Ok(()),
    };
    node.stop.store(true, Ordering::Release);
    node.wake.raise();
    let served = serving.join();
    let directory = Arc::clone(&node.follower.directory);
    let gauges = Arc::clone(&node.gauges);
    let counters = node.close();
    match kept {
        // The node that took the id over has registered it, and must stay registered.
        Err(NodeError::Claim(_)) => registration.make_room().await,
        _ => registration.leave(counters.map(|it| it.sequence)).await,
    }
    if gauges.can_start_anew.load(Ordering::Acquire) {
        return start_anew(started_at, stopped).await;
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

/// Says that the node starts anew, a while after it started, unless it is told to stop meanwhile.
async fn start_anew(
    started_at: Instant,
    stopped: impl Future<Output = StopReason>,
) -> Result<(), NodeError> {
    let wait = START_ANEW_SPACING.saturating_sub(started_at.elapsed());
    tokio::select! {
        reason = stopped => {
            info!("{reason}: stopping");
            Ok(())
        }
        () = tokio::time::sleep(wait) => Err(NodeError::StartsAnew),
    }
}

/// Tries until it succeeds, or fails in a way that does not pass.
async fn patiently<T, E: std::fmt::Display>(
    passes: impl Fn(&E) -> bool,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let mut said = String::new();
    loop {
        match attempt().await {
            Err(error) if passes(&error) => {
                let text = error.to_string();
                if text != said {
                    warn!("{text}; trying on until that has passed");
                    said = text;
                }
                tokio::time::sleep(TRY_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// Opens the node's store, makes sure that it is the node's, and claims the node for this run of it. A disk
/// that is full is waited for where the reserve is not enough.
async fn open(
    args: &NodeArgs,
    directory: &mut DataDirectory,
    disk: &Disk,
    succession: &mut Succession,
) -> Result<Opened, NodeError> {
    disk.tend();
    let path = directory.store();
    let store_error = |source| NodeError::Store { path: path.clone(), source };
    let options = StoreOptions { fsync: args.fsync, segment_bytes: args.segment_bytes };
    let store = patiently(StoreError::passes, async || Store::open_on(disk, &path, options));
    let store = store.await.map_err(store_error)?;
    let stored = store.layout().map_err(store_error)?;
    let uuid = directory.identity().uuid;
    let mut installed = stored.map(|it| installed_record::decode(&it, uuid)).transpose()?;
    let epoch = installed
        .as_ref()
        .map(|it| InstalledEpoch { cluster: it.layout.cluster, epoch: it.layout.epoch });
    let counters = store.counters();
    patiently(DataDirectoryError::passes, async || {
        directory.check_store(epoch, counters, args.serve_older_copy)
    })
    .await?;
    let begun =
        patiently(SuccessionError::passes, async || succession.begin(directory, &store).await);
    let begun = begun.await.map_err(|error| match error {
        SuccessionError::Claim(error) => NodeError::Claim(error),
        SuccessionError::DataDirectory(error) => error.into(),
        SuccessionError::Store(error) => store_error(error),
    })?;
    if let Some(named) = args.discard_kept {
        installed = Some(discard_kept(&store, installed, named).map_err(|error| match error {
            Ok(epoch) => NodeError::DiscardedEpoch { named, installed: epoch },
            Err(source) => store_error(source),
        })?);
    }
    Ok(Opened { store, installed, begun })
}

/// Looks whether the data directory is in its place, for as long as the node runs. What is written to one
/// that was removed is gone when the process ends; what was stored before can still be read, and moved
/// away, which is why the node neither ends nor writes on.
async fn watch_directory(directory: &Mutex<DataDirectory>, disk: &Disk) {
    let mut said_at: Option<Instant> = None;
    loop {
        let (path, is_in_place) = {
            let directory = directory.lock().unwrap_or_else(PoisonError::into_inner);
            (directory.path().to_owned(), directory.is_in_place())
        };
        // Where it cannot be found out, nothing is known.
        if let Ok(is_in_place) = is_in_place {
            let is_news = disk.set_lost(!is_in_place);
            let is_due = said_at.is_none_or(|at| at.elapsed() >= LOST_SAYING_SPACING);
            if !is_in_place && (is_news || is_due) {
                said_at = Some(Instant::now());
                error!(
                    "the data directory {} was removed, or another is in its place: writes are refused, and what this node has is lost when it ends. Export it, or remove the node from the cluster, which moves it away; or put the directory back",
                    path.display()
                );
            } else if is_in_place && is_news {
                warn!("the data directory {} is back in its place", path.display());
            }
        }
        tokio::time::sleep(TRY_INTERVAL).await;
    }
}

/// A node's store, the layout that it has installed, and which run of the node this is.
struct Opened {
    store: Store,
    installed: Option<Installed>,
    begun: Incarnation,
}

/// The parts of a node that run.
struct Running {
    resources: Option<Resources>,
    follower: Follower,
    gauges: Arc<Gauges>,
    confirmation: Confirmation,
    writer: Option<JoinHandle<Option<Counters>>>,
    finished: flume::Receiver<Finished>,
    wake: Wake,
    alive_sender: Option<watch::Sender<()>>,
    alive: watch::Receiver<()>,
    stop: Stop,
    tenure: Arc<Tenure>,
}

impl Running {
    /// Starts the writer.
    fn start(
        args: &NodeArgs,
        directory: DataDirectory,
        layouts: Layouts,
        Opened { store, installed, begun }: Opened,
        disk: &Disk,
    ) -> Result<Self, NodeError> {
        let identity = directory.identity().clone();
        let uuid = identity.uuid;
        let layouts_consul = layouts.consul().clone();
        let tenure = Arc::new(Tenure::new(begun));
        let guard = Arc::new(ArcSwap::from_pointee(Guard::new(uuid, installed)));
        let gauges = Arc::new(Gauges::default());
        let wake = Wake::new()?;
        let (work, work_receiver) = flume::unbounded();
        let (finished_sender, finished) = flume::unbounded();
        let reader = store.reader();
        let (writer_guard, writer_gauges) = (Arc::clone(&guard), Arc::clone(&gauges));
        let mut writer = Writer::new(
            uuid,
            store,
            writer_guard,
            writer_gauges,
            disk.clone(),
            finished_sender,
            wake.clone(),
        );
        if args.discard_kept.is_some() {
            writer.let_all_go();
        }
        let writer = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer.run(&work_receiver))?;
        let hints = Arc::new(Hints::default());
        let (alive_sender, alive) = watch::channel(());
        let in_vain: Arc<ArcSwapOption<String>> = Arc::default();
        Ok(Self {
            confirmation: Confirmation {
                consul: layouts_consul,
                cluster: args.cluster.clone(),
                guard: Arc::clone(&guard),
                gauges: Arc::clone(&gauges),
                work: work.clone(),
                in_vain: Arc::clone(&in_vain),
            },
            follower: Follower {
                uuid,
                layouts,
                guard: Arc::clone(&guard),
                work: work.clone(),
                hints: Arc::clone(&hints),
                directory: Arc::new(Mutex::new(directory)),
            },
            resources: Some(Resources {
                identity,
                store: reader,
                guard,
                gauges: Arc::clone(&gauges),
                disk: disk.clone(),
                work,
                tenure: Arc::clone(&tenure),
                hints,
                in_vain,
                value_bytes_max: usize::try_from(args.value_bytes_max).unwrap_or(usize::MAX),
            }),
            gauges,
            writer: Some(writer),
            finished,
            wake,
            alive_sender: Some(alive_sender),
            alive,
            stop: Arc::new(AtomicBool::new(false)),
            tenure,
        })
    }

    /// What the registration rests on.
    fn standing(&self) -> (Arc<Tenure>, Arc<Gauges>) {
        (Arc::clone(&self.tenure), Arc::clone(&self.gauges))
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
            Err(error) if has_layout && error.passes() => warn!("{error}; trying on"),
            Err(error) => return Err(error.into()),
        }
        match self.follower.remember_layout() {
            Err(error) if error.passes() => warn!("{error}"),
            result => result?,
        }
        Ok(())
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

    /// Lets the writer finish and closes the store. Returns its counters, where it works.
    fn close(mut self) -> Option<Counters> {
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
        counters
    }
}

/// Has the store keep nothing any more that it keeps under the layout of the epoch `named`.
///
/// # Errors
/// The epoch that is installed, 0 where none is; or what befell the store.
fn discard_kept(
    store: &Store,
    installed: Option<Installed>,
    named: u64,
) -> Result<Installed, Result<u64, StoreError>> {
    let epoch = installed.as_ref().map_or(0, |it| it.layout.epoch);
    let Some(installed) = installed.filter(|_| epoch == named) else { return Err(Ok(epoch)) };
    let installed = installed.without_kept();
    store.put_layout(&installed_record::encode(&installed)).map_err(Err)?;
    Ok(installed)
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
