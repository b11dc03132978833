//! The nodes of `kvnode dev`: starting, watching and stopping their processes.
//!
//! - here: which nodes run, and when one is started again; `process`: one of them;
//! - `kept`: which nodes have data here; `orders`: how further ones are asked for.

mod error;
mod kept;
mod orders;
mod process;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kv_core::backoff::Backoff;
use kv_core::name::Name;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info, warn};

pub(super) use self::error::NodesError;
use self::kept::{Kept, kept_nodes};
pub(super) use self::orders::{Orders, Placed, orders};
use self::process::NodeProcess;
use super::consul::ChosenConsul;
use crate::data_directory::is_held;
use crate::memory::MemoryBudget;
use crate::supervisor::Order;
use crate::words;

/// A node that has not stopped within this time is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// How long a node of an earlier run, whose supervisor was killed, is waited for: as long as it may take
/// to stop, and some more.
const END_OF_EARLIER_WITHIN: Duration = Duration::from_secs(30);
/// How often the end of such a node is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait before a node that ended is started again, by how often it did not become ready.
const AGAIN: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(60));

/// The nodes of one cluster on this machine.
pub(super) struct Nodes {
    /// This program. It is looked up once, since a program that is built anew meanwhile is another.
    program: PathBuf,
    directory: PathBuf,
    consul: String,
    /// The nodes whose older data directories are to be served when they start next.
    older_copies: Vec<Name>,
    /// What each of them may take.
    memory: MemoryBudget,
    with_credentials: bool,
    /// Until when nodes of an earlier run are waited for.
    earlier_until: Instant,
    running: Vec<NodeProcess>,
    /// Those that have ended, or could not be started, and are to run.
    waiting: Vec<Waiting>,
}

/// A node that is to be started again.
struct Waiting {
    order: Order,
    due: Instant,
    /// How often it has not become ready.
    failures: u32,
}

impl Nodes {
    /// No nodes yet; their data will be in `directory`, and may be older for those in `older_copies`.
    ///
    /// # Errors
    /// Where the path of this program cannot be found out.
    pub(super) fn new(
        directory: PathBuf,
        consul: &ChosenConsul,
        older_copies: Vec<Name>,
        memory: MemoryBudget,
    ) -> io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            directory,
            consul: consul.address.clone(),
            older_copies,
            memory,
            with_credentials: consul.with_credentials,
            earlier_until: Instant::now() + END_OF_EARLIER_WITHIN,
            running: Vec::new(),
            waiting: Vec::new(),
        })
    }

    /// How many nodes are ready, and of how many where some are not.
    #[must_use]
    pub(super) fn counted(&self) -> String {
        let ready = self.ready();
        match self.running.len() + self.waiting.len() {
            all if all == ready => format!("{ready} nodes"),
            all => format!("{ready} of {all} nodes"),
        }
    }

    fn ready(&self) -> usize {
        self.running.iter().filter(|node| node.is_ready).count()
    }

    /// Starts `count` nodes, or more where more have data here, and waits until each is ready or has
    /// failed. One that was removed from the cluster stays away, and one that fails is tried again by
    /// [`supervise`](Self::supervise). Those in `described` start as these orders say.
    ///
    /// # Errors
    /// [`NodesError`] of the first node where none becomes ready.
    pub(super) async fn start(
        &mut self,
        count: u32,
        mut described: BTreeMap<Name, Order>,
    ) -> Result<(), NodesError> {
        let Kept { mut ids, removed } = kept_nodes(&self.directory)?;
        if ids.len() > count as usize {
            let directory = self.directory.display();
            words::say(format_args!(
                "{} nodes have data in {directory}: starting all of them",
                ids.len()
            ));
        }
        let numbered = (0..count).filter_map(|number| format!("node-{number}").parse().ok());
        ids.extend(numbered.filter(|id| !removed.contains(id)));
        // So that they take their ports in the order of their numbers.
        ids.sort_by_key(|id| (id.as_str().len(), id.clone()));
        ids.dedup();
        let mut first = None;
        for id in ids {
            let order = described.remove(&id);
            let order = order.unwrap_or(Order { id, described: None });
            if let Err(error) = self.start_one(order.clone()).await {
                // One that only takes too long is watched.
                if !self.runs(&order.id) {
                    self.start_later(order, 1);
                }
                match &first {
                    None => first = Some(error),
                    Some(_) => words::say(&error),
                }
            }
        }
        match first {
            Some(error) if self.ready() == 0 => Err(error),
            Some(error) => {
                words::say(&error);
                for Waiting { order: Order { id, .. }, .. } in &self.waiting {
                    words::say(format_args!(
                        "{id} does not run, and is tried again now and then; if its data is lost for good, `kvclient remove-node --dead {id} --accept-data-loss` lets the others go on without it"
                    ));
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Starts nodes anew that end by themselves, and those that are ordered. A node that ends without
    /// an error has been told to, and stays away. Returns when no node is left.
    pub(super) async fn supervise(&mut self, orders: &mut mpsc::Receiver<Placed>) {
        while !self.running.is_empty() || !self.waiting.is_empty() {
            let next = self.waiting.iter().map(|waiting| waiting.due).min();
            let due = async {
                match next {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (index, status) = self.first_to_end() => {
                    let ended = self.running.remove(index);
                    if status.success() {
                        info!("{} has stopped", ended.order.id);
                    } else {
                        warn!("{} ended ({status})", ended.order.id);
                        self.start_later(ended.order, u32::from(!ended.is_ready));
                    }
                }
                Some(placed) = orders.recv() => self.fill(placed).await,
                () = due => self.start_due().await,
            }
        }
        warn!("no node is left");
    }

    /// Has a node started in a while, longer and longer the more often it has failed.
    fn start_later(&mut self, order: Order, failures: u32) {
        let wait = AGAIN.after(failures);
        warn!("starting {} again in {wait:?}", order.id);
        self.waiting.push(Waiting { order, due: Instant::now() + wait, failures });
    }

    async fn start_due(&mut self) {
        let now = Instant::now();
        let Some(index) = self.waiting.iter().position(|waiting| waiting.due <= now) else {
            return;
        };
        let Waiting { order, failures, .. } = self.waiting.remove(index);
        if self.runs(&order.id) {
            return;
        }
        match self.start_one(order.clone()).await {
            Ok(()) => info!("{} runs again", order.id),
            Err(error) => {
                error!("{error}");
                if !self.runs(&order.id) {
                    self.start_later(order, failures.saturating_add(1));
                }
            }
        }
    }

    /// Starts a node that is ordered. One that ends at once is not started again, since the supervisor that
    /// ordered it decides about that.
    async fn fill(&mut self, Placed { order, outcome }: Placed) {
        let id = order.id.clone();
        let result = if self.runs(&id) { Ok(()) } else { self.start_one(order).await };
        if let Err(error) = &result {
            error!("{error}");
            self.running.retain(|node| node.order.id != id);
        }
        let result = result.map_err(|error| match error {
            NodesError::Ended { status, .. } => {
                format!("it ended ({status}); `kvnode dev` has printed its last words")
            }
            error => error.to_string(),
        });
        // The supervisor that ordered it may have gone meanwhile.
        let _ = outcome.send(result);
    }

    fn runs(&self, id: &Name) -> bool {
        self.running.iter().any(|node| node.order.id == *id)
    }

    /// Stops all nodes and waits for their ends.
    pub(super) async fn stop(&mut self) {
        for node in &mut self.running {
            node.stdin = None;
        }
        for mut node in self.running.drain(..) {
            match tokio::time::timeout(STOP_WITHIN, node.child.wait()).await {
                Ok(Ok(status)) if status.success() => {}
                Ok(status) => warn!("{} did not stop cleanly: {status:?}", node.order.id),
                Err(_) => {
                    warn!("{} does not stop: killing it", node.order.id);
                    let _ = node.child.kill().await;
                }
            }
        }
    }

    /// Starts a node and waits until it is ready. One that takes too long for that is watched all the
    /// same: its end leads to another start.
    async fn start_one(&mut self, order: Order) -> Result<(), NodesError> {
        self.wait_for_earlier(&order.id).await;
        let id = order.id.clone();
        let mut node = self.spawn(order)?;
        let result = node.wait_until_ready().await;
        if result.is_ok() {
            // From here on its directory is the newest one, unless its operator puts an older one back again.
            self.older_copies.retain(|it| *it != id);
        }
        if !matches!(result, Err(NodesError::Ended { .. })) {
            self.running.push(node);
        }
        result
    }

    /// Waits for a node of an earlier run to end, for a bounded time in all. Where that run was killed, its
    /// nodes stop by themselves, which takes some moments.
    async fn wait_for_earlier(&self, id: &Name) {
        let directory = self.directory.join(id.as_str());
        let mut told = false;
        while Instant::now() < self.earlier_until && is_held(&directory) {
            if !std::mem::replace(&mut told, true) {
                words::say(format_args!(
                    "{id} of an earlier run has not ended: waiting for it, for at most {END_OF_EARLIER_WITHIN:?}"
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
