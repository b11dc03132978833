//! What a node does before it serves: it takes its data directory, claims its id, listens, and opens its
//! store.

use std::fmt;
use std::time::{Duration, Instant};

use kv_consul::BACKOFF;
use kv_core::guard::Installed;
use kv_core::incarnation::Incarnation;
use kv_core::layout::{Layout, Member};
use kv_core::name::Name;
use kv_registry::Registry;
use kv_storage::disk::Disk;
use kv_storage::limits::SMALL_FILES_BYTES;
use kv_storage::{Store, StoreError, StoreOptions, fitness};
use kv_system::transient::file_bytes_max;
use kv_transport::server::{PortChoice, Server};
use tracing::warn;

use crate::claim::{ClaimError, claim};
use crate::config::{NodeArgs, default_data_dir};
use crate::data_directory::DataDirectory;
use crate::identity::{DataDirectoryError, InstalledEpoch};
use crate::installed_record;
use crate::layouts::LayoutsError;
use crate::node_error::{AUTOMATIC_IDS_MAX, NodeError};
use crate::succession::{Succession, SuccessionError};

/// How long something that passes is waited for before it is tried again.
const TRY_INTERVAL: Duration = Duration::from_secs(1);

/// All that a node needs to run.
pub struct Prepared {
    /// Its data directory.
    pub directory: DataDirectory,
    /// The disk that this is on.
    pub disk: Disk,
    /// Its socket, which listens.
    pub server: Server,
    /// Its store.
    pub opened: Opened,
}

/// A node's store, the layout that it has installed, and which run of the node this is.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The layout that it has installed, where it has one.
    pub installed: Option<Installed>,
    /// Which run of the node this is.
    pub begun: Incarnation,
}

/// Prepares a node that is to listen at the address `listen`, or waits for what keeps it from that and
/// passes. Dropping the future gives it up.
///
/// # Errors
/// [`NodeError`] where it cannot start.
pub async fn prepare(
    args: &NodeArgs,
    registry: &Registry,
    listen: &str,
) -> Result<Prepared, NodeError> {
    let offered = read_layout(registry, Duration::from_secs(args.start_timeout)).await?;
    let mut directory = take_directory(args, registry, offered.as_ref()).await?;
    let succession = Succession::examine(registry, &directory, args.serve_older_copy).await;
    let mut succession = succession.map_err(NodeError::Claim)?;
    tell_file_limit();
    let reserve_bytes = fitness::reserve_bytes(directory.path(), args.disk_reserve_bytes)?;
    let disk = Disk::new(directory.path(), reserve_bytes);
    directory.set_disk(&disk)?;
    let server = Server::listen(listen, port_choice(args, &directory), args.memory().bounds())?;
    let port = server.port();
    patiently(DataDirectoryError::passes, async || directory.keep(port)).await?;
    let opened = open(args, &mut directory, &disk, &mut succession).await?;
    Ok(Prepared { directory, disk, server, opened })
}

/// Says where files may become only so long.
fn tell_file_limit() {
    let longest = file_bytes_max();
    if longest < u64::MAX {
        warn!(
            "this process may make no file longer than {longest} bytes (ulimit -f): what would need a longer one is refused"
        );
    }
}

/// Tries until it succeeds, or fails in a way that does not pass.
async fn patiently<T, E: fmt::Display>(
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
    let options = StoreOptions {
        fsync: args.fsync.into(),
        segment_bytes: args.segment_bytes.unwrap_or(args.memory().segment_bytes()),
        memtable_bytes: args.memory().memtable_bytes(),
        engine_bytes: args.memory().engine_bytes(),
    };
    let store = patiently(StoreError::passes, async || Store::open_on(disk, &path, options));
    let store = store.await.map_err(store_error)?;
    let stored = store.layout().map_err(store_error)?;
    let record_bytes = stored.as_ref().map_or(0, Vec::len) as u64;
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
    let begun = patiently(SuccessionError::passes, async || {
        // The layout is written again, which a full disk must not keep from a start.
        let _ = disk.make_room(record_bytes + SMALL_FILES_BYTES, 0);
        succession.begin(directory, &store, &mut installed).await
    });
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

/// Has the store keep nothing any more that it keeps under the layout of the epoch `named`.
///
/// # Errors
/// The epoch that is installed, 0 without a layout; or what befell the store.
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
#[must_use]
pub fn described(args: &NodeArgs, member: Option<&Member>) -> (u32, String) {
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
async fn read_layout(registry: &Registry, within: Duration) -> Result<Option<Layout>, NodeError> {
    let started = Instant::now();
    let mut backoff = BACKOFF;
    loop {
        match registry.layout_now().await.map_err(LayoutsError::from) {
            Ok(offered) => return Ok(offered.map(|it| it.value)),
            Err(LayoutsError::Consul(error)) => {
                let wait = backoff.failed(rand::random());
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
    registry: &Registry,
    layout: Option<&Layout>,
) -> Result<DataDirectory, NodeError> {
    let root = match &args.data_dir {
        Some(root) => root.clone(),
        None => default_data_dir(args.cluster.as_str())
            .map_err(|error| NodeError::Usage(error.to_string()))?,
    };
    if let Some(id) = &args.id {
        let directory = DataDirectory::take(&root.join(id.as_str()), id, &args.cluster)?;
        return match claim(registry, directory.identity(), layout, false).await {
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
        match claim(registry, directory.identity(), layout, directory.is_new()).await {
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
