//! One node, from start to stop.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use kv_consul::{Consul, ConsulConfig};
use kv_core::guard::Guard;
use kv_core::layout::Member;
use kv_registry::Registry;
use kv_storage::Counters;
use kv_storage::disk::Disk;
use kv_system::lock::lock;
use kv_system::wake::Wake;
use kv_transport::server::{Server, Stop};
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use crate::address::{Addresses, with_port};
use crate::claimant::Standing;
use crate::config::NodeArgs;
use crate::confirmation::Confirmation;
use crate::data_directory::DataDirectory;
use crate::finished::Finished;
use crate::handler::{Handler, Resources};
use crate::hints::Hints;
use crate::layout_sync::{LayoutSync, LayoutSyncError};
use crate::lifecycle::{self, Lifecycle};
use crate::membership::Registration;
use crate::node_error::NodeError;
use crate::read_pool::ReadPool;
use crate::start::{self, Opened, Prepared};
use crate::stopping::StopReason;
use crate::tenure::Tenure;
use crate::writer::{NotInstalled, Published, Writer};
use crate::{place, words};

/// A node starts anew no sooner than this after its start.
const START_ANEW_SPACING: Duration = Duration::from_secs(5);

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
    let registry = Registry::new(consul.clone(), args.cluster.clone());
    let started_at = Instant::now();
    tokio::pin!(stopped);
    let listen = addresses.listen.to_string();
    let prepared = tokio::select! {
        prepared = start::prepare(&args, &registry, &listen) => match prepared {
            Err(NodeError::Store { source, .. }) if source.passes_with_the_process() => {
                warn!("{source}");
                return start_anew(started_at, stopped).await;
            }
            prepared => prepared?,
        },
        reason = &mut stopped => {
            info!("{reason}: stopping before the start");
            if let (StopReason::Terminated, Some(id)) = (reason, &args.id) {
                lifecycle::withdraw(&registry, id).await;
            }
            return Ok(());
        }
    };
    let Prepared { directory, disk, server, opened } = prepared;
    let (port, path) = (server.port(), directory.path().to_owned());
    let identity = directory.identity().clone();

    let mut node = Running::start(&args, directory, registry, opened, &disk)?;
    node.catch_up().await?;
    let member = node.member();
    let lifecycle = node.lifecycle(&args, (&advertised, &path))?;
    let serving = node.serve(server)?;
    let (weight, zone) = start::described(&args, member.as_ref());
    let registration =
        Registration::new(&identity, (&advertised, port), (weight, &zone), node.standing());
    let (failed, mut has_failed) = watch::channel(false);
    let serving = std::thread::Builder::new().name("served".into()).spawn(move || {
        let result = serving.join();
        failed.send_replace(true);
        result
    })?;
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
    let mut decommissioned = false;
    let kept = tokio::select! {
        reason = &mut stopped => {
            info!("{reason}: stopping");
            if reason == StopReason::Terminated {
                lifecycle.withdraw().await;
            }
            Ok(())
        }
        left = lifecycle.until_decommission() => {
            decommissioned = left.is_ok();
            left.map_err(NodeError::from)
        }
        _ = has_failed.wait_for(|failed| *failed) => Ok(()),
        kept = registration.keep(node.alive.clone(), &put_back) => kept.map_err(NodeError::Claim),
        () = node.confirmation.run() => Ok(()),
        followed = node.layout_sync.follow(Arc::clone(&put_back)) => {
            followed.map_err(NodeError::from)
        }
        () = place::watch(&node.layout_sync.directory, &disk) => Ok(()),
    };
    node.stop.store(true, Ordering::Release);
    node.wake.raise();
    let served = serving.join();
    let directory = Arc::clone(&node.layout_sync.directory);
    let published = Arc::clone(&node.published);
    let counters = node.close();
    match kept {
        // The node that took the id over has registered it, and must stay registered.
        Err(NodeError::Claim(_)) => registration.make_room().await,
        _ => registration.leave(counters.map(|it| it.sequence)).await,
    }
    if published.can_start_anew.load(Ordering::Acquire) {
        return start_anew(started_at, stopped).await;
    }
    kept?;
    if decommissioned {
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

/// The parts of a node that run.
struct Running {
    resources: Option<Resources>,
    pool: Option<ReadPool>,
    layout_sync: LayoutSync,
    published: Arc<Published>,
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
        registry: Registry,
        Opened { store, installed, begun }: Opened,
        disk: &Disk,
    ) -> Result<Self, NodeError> {
        let identity = directory.identity().clone();
        let uuid = identity.uuid;
        let tenure = Arc::new(Tenure::new(begun));
        let guard = Arc::new(ArcSwap::from_pointee(Guard::new(uuid, installed)));
        let published = Arc::new(Published::new(args.memory().bounds()));
        let wake = Wake::new()?;
        let (finished_sender, finished) = flume::unbounded();
        let reader = store.reader();
        let pool =
            ReadPool::start(args.memory().readers(), &reader, &published, &finished_sender, &wake)?;
        let (writer_guard, writer_published) = (Arc::clone(&guard), Arc::clone(&published));
        let mut writer = Writer::new(
            uuid,
            store,
            writer_guard,
            writer_published,
            disk.clone(),
            finished_sender,
            wake.clone(),
        );
        if args.discard_kept.is_some() {
            writer.let_all_go();
        }
        let (work, writer) = writer.lend();
        let thread = std::thread::Builder::new().name("writer".into());
        let writer = thread.spawn(move || writer.run())?;
        let hints = Arc::new(Hints::default());
        let (alive_sender, alive) = watch::channel(());
        let in_vain: Arc<ArcSwapOption<String>> = Arc::default();
        let not_followed: Arc<ArcSwapOption<String>> = Arc::default();
        Ok(Self {
            confirmation: Confirmation {
                registry: registry.clone(),
                guard: Arc::clone(&guard),
                published: Arc::clone(&published),
                work: work.clone(),
                in_vain: Arc::clone(&in_vain),
            },
            layout_sync: LayoutSync {
                uuid,
                begun,
                registry,
                guard: Arc::clone(&guard),
                work: work.clone(),
                not_followed: Arc::clone(&not_followed),
                hints: Arc::clone(&hints),
                directory: Arc::new(Mutex::new(directory)),
            },
            pool: Some(pool),
            resources: Some(Resources {
                identity,
                store: reader,
                guard,
                published: Arc::clone(&published),
                disk: disk.clone(),
                work,
                tenure: Arc::clone(&tenure),
                hints,
                in_vain,
                not_followed,
                value_bytes_max: usize::try_from(args.value_bytes_max).unwrap_or(usize::MAX),
                memory: args.memory(),
            }),
            published,
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
    fn standing(&self) -> Standing {
        Standing {
            tenure: Arc::clone(&self.tenure),
            published: Arc::clone(&self.published),
            guard: Arc::clone(&self.layout_sync.guard),
            registry: self.layout_sync.registry.clone(),
        }
    }

    /// The node's part in the desired states of its cluster. It is known as `host`, with its data in
    /// `directory`.
    fn lifecycle(
        &self,
        args: &NodeArgs,
        (host, directory): (&str, &Path),
    ) -> Result<Lifecycle, NodeError> {
        let Some(resources) = &self.resources else {
            return Err(NodeError::Serving("it was started before".into()));
        };
        let shared = (Arc::clone(&resources.guard), Arc::clone(&resources.published));
        Ok(Lifecycle::new(
            args,
            &self.layout_sync.registry,
            &resources.identity,
            (host, directory),
            shared,
        )?)
    }

    /// Brings the node to the layout that Consul has. One that has a layout of its own starts with
    /// that where Consul has none that can be used, unless Consul belongs to another cluster.
    async fn catch_up(&self) -> Result<(), NodeError> {
        let has_layout = self.layout_sync.guard.load().installed().is_some();
        match self.layout_sync.catch_up().await {
            Ok(()) => {}
            Err(
                error @ (LayoutSyncError::Layouts(_)
                | LayoutSyncError::MadeUp { .. }
                | LayoutSyncError::NotInstalled(NotInstalled::Unclear { .. })),
            ) if has_layout => warn!("{error}"),
            Err(error) if has_layout && error.passes() => warn!("{error}; trying on"),
            Err(error) => return Err(error.into()),
        }
        match self.layout_sync.remember_layout() {
            Err(error) if error.passes() => warn!("{error}"),
            result => result?,
        }
        Ok(())
    }

    /// The member of the installed layout that the node is.
    fn member(&self) -> Option<Member> {
        let guard = self.layout_sync.guard.load();
        guard.installed()?.layout.member_by_uuid(self.layout_sync.uuid).cloned()
    }

    /// Starts the serving loop.
    fn serve(&mut self, server: Server) -> Result<JoinHandle<io::Result<()>>, NodeError> {
        let parts = (self.resources.take(), self.pool.take(), self.alive_sender.take());
        let (Some(resources), Some(pool), Some(alive)) = parts else {
            return Err(NodeError::Serving("it was started twice".into()));
        };
        let (finished, wake) = (self.finished.clone(), self.wake.clone());
        let stop = Arc::clone(&self.stop);
        let thread = std::thread::Builder::new().name("serving".into());
        Ok(thread.spawn(move || {
            let mut handler = Handler::new(resources, pool);
            server.run(&mut handler, &finished, &wake, &alive, &stop)
        })?)
    }

    /// Lets the writer finish and closes the store. Returns its counters, where it works.
    fn close(mut self) -> Option<Counters> {
        let writer = self.writer.take();
        let directory = Arc::clone(&self.layout_sync.directory);
        // The writer ends when every sender of work is gone.
        drop(self);
        let counters = writer.and_then(|writer| writer.join().unwrap_or_default());
        if let Some(counters) = counters {
            let mut directory = lock(&directory);
            if let Err(error) = directory.remember_stop(counters) {
                warn!("{error}");
            }
        }
        counters
    }
}
