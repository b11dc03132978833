//! The mover: takes a rebalance from wherever it is to its goal.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use kv_consul::{Backoff, ConsulError, Read};
use kv_core::layout::{Goal, Layout, Table};
use kv_core::mover::{Action, Facts, decide};
use kv_core::partition::Partition;
use kv_core::window::{Moving, Size, moving, next_window};
use kv_registry::keys;
use kv_system::failpoints;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::aim::{Aim, Outcome};
use super::ask::{Asker, Trouble};
use super::error::RebalanceError;
use super::lock::MoverLock;
use super::progress::Progress;
use super::throttle::Throttle;
use super::transfer::{Cursor, Difference, Pair, Tally, Transfer};
use super::{gc, leaving, sizes};
use crate::cluster::{Registry, read_layout};
use crate::error::ClientError;
use crate::limits::{
    MOVER_BEAT_INTERVAL, MOVER_FREEZE_MAX, MOVER_NODE_WAIT, MOVER_TURN_PAUSE, MOVER_TURN_PAUSE_MAX,
};
use crate::outbox::Connections;
use crate::routing::View;

/// What helps where a node answers and does not follow.
const BEHIND_ADVICE: &str = "see that it reaches Consul, its log says what is in the way, or start it anew; then `kvclient rebalance \
     resume`, or undo it with `kvclient rebalance abort`. Nothing is frozen meanwhile, and the cluster serves on";

/// How a mover's work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// What the rebalance was for is so, and the layout is at rest.
    AtRest {
        /// Its epoch.
        epoch: u64,
    },
    /// Somebody has paused the rebalance.
    Paused {
        /// The layout's epoch.
        epoch: u64,
    },
    /// Somebody has turned the rebalance back: everything is as it was before.
    Undone {
        /// The layout's epoch.
        epoch: u64,
    },
    /// Somebody has ended the rebalance where it was, or changed the layout again: what it was for is
    /// not so.
    Ended {
        /// The layout's epoch.
        epoch: u64,
    },
}

impl End {
    pub(crate) fn of(aim: &Aim, layout: &Layout) -> Self {
        let epoch = layout.epoch;
        match aim.outcome(layout) {
            Outcome::Reached => Self::AtRest { epoch },
            Outcome::Undone => Self::Undone { epoch },
            Outcome::Ended => Self::Ended { epoch },
        }
    }
}

/// A layout as it was seen, with what belongs to it.
pub(crate) struct Seen {
    pub(crate) view: View,
    /// The tables of the layout's placements.
    pub(crate) tables: Vec<Table>,
    /// The document's index, for a compare-and-set.
    pub(crate) index: u64,
}

/// Who moves the data of one cluster.
pub(crate) struct Mover<'a> {
    registry: &'a Registry,
    /// The rebalance that is moved on, and no other that may come after it.
    aim: &'a Aim,
    connections: &'a Connections,
    throttle: Mutex<Throttle>,
    copied: Tally,
    began: Instant,
    /// What the moving partitions have, once it was counted.
    sizes: Option<BTreeMap<Partition, Size>>,
    progress: watch::Sender<Progress>,
    /// Since when nothing has got on; none where it has.
    stuck: Option<Stuck>,
    /// Where the copying of the window stands.
    window: WindowState,
}

/// A time in which nothing gets on.
#[derive(Clone, Copy)]
struct Stuck {
    since: Instant,
    /// What had been copied when it began.
    copied: Size,
}

/// What is known of the window under one epoch.
struct WindowState {
    epoch: u64,
    /// When the epoch was first seen.
    since: Instant,
    cursors: HashMap<Pair, Cursor>,
    copied_twice: bool,
    facts: Facts,
}

impl WindowState {
    fn new(epoch: u64) -> Self {
        let (cursors, copied_twice, facts) = Default::default();
        Self { epoch, since: Instant::now(), cursors, copied_twice, facts }
    }
}

impl<'a> Mover<'a> {
    pub(crate) fn new(
        registry: &'a Registry,
        aim: &'a Aim,
        connections: &'a Connections,
        bytes_per_s: Option<u64>,
        sizes: Option<BTreeMap<Partition, Size>>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            registry,
            aim,
            connections,
            throttle: Mutex::new(Throttle::new(bytes_per_s)),
            copied: Tally::default(),
            began: Instant::now(),
            sizes,
            progress,
            stuck: None,
            window: WindowState::new(0),
        }
    }

    /// Works until the rebalance is over or paused, and does what is left to do then. It may be dropped
    /// anywhere.
    pub(crate) async fn run(mut self, lock: MoverLock) -> Result<End, RebalanceError> {
        let (copied, began, progress) = (self.copied.clone(), self.began, self.progress.clone());
        let working = async {
            let end = self.work().await?;
            if !matches!(end, End::Paused { .. }) {
                self.do_the_rest().await?;
            }
            Ok(end)
        };
        let end = tokio::select! {
            end = working => end,
            never = tell(&lock, &copied, began, &progress) => match never {},
        };
        self.progress.send_modify(|progress| progress.update(self.copied.sum(), self.began));
        lock.release().await;
        end
    }

    async fn work(&mut self) -> Result<End, RebalanceError> {
        let mut backoff = Backoff::default();
        loop {
            let result = match look(self.registry).await {
                Ok(seen) => self.turn(&seen).await,
                Err(error) => Err(Stop::Error(error)),
            };
            match result {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => backoff.succeeded(),
                Err(Stop::Trouble(Trouble::Changed)) => {
                    // A node knows a newer layout; it is in Consul, or will be.
                    if self.is_out_of_patience() {
                        return Err(out_of_step(self.window.epoch));
                    }
                    self.pause().await;
                }
                Err(Stop::Trouble(Trouble::Later { node, problem })) => {
                    if self.is_out_of_patience() {
                        let advice =
                            "start it, then `kvclient rebalance resume`; the cluster serves on"
                                .into();
                        return Err(RebalanceError::NodeDown { node, problem, advice });
                    }
                    self.tell_waiting(&node, &problem);
                    self.pause().await;
                }
                Err(Stop::Trouble(Trouble::Behind { node, problem })) => {
                    if self.is_out_of_patience() {
                        let advice = BEHIND_ADVICE.into();
                        return Err(RebalanceError::NodeBehind { node, problem, advice });
                    }
                    self.tell_waiting(&node, &problem);
                    self.pause().await;
                }
                Err(Stop::Trouble(Trouble::Never(error))) => return Err(error.into()),
                Err(Stop::Error(RebalanceError::Client(ClientError::Consul(error))))
                    if is_outage(&error) =>
                {
                    // What was copied stays copied, and the cluster serves: the move is paused.
                    tracing::debug!(%error, "waiting for Consul");
                    let problem = format!("Consul ({error})");
                    self.progress.send_modify(|it| it.waiting = Some(problem));
                    tokio::time::sleep(backoff.failed()).await;
                }
                // There was one, so Consul has lost it, and the nodes give it back.
                Err(Stop::Error(RebalanceError::NoLayout { .. })) if self.window.epoch > 0 => {
                    if self.is_out_of_patience() {
                        let cluster = self.registry.cluster.to_string();
                        return Err(RebalanceError::NoLayout { cluster });
                    }
                    self.tell_waiting("any", "the layout is gone from Consul");
                    self.pause().await;
                }
                Err(Stop::Error(RebalanceError::Client(ClientError::Consul(error))))
                    if matches!(error, ConsulError::PermissionDenied { .. }) =>
                {
                    return Err(RebalanceError::NotAllowedFurther { error });
                }
                Err(Stop::Error(error)) => return Err(error),
            }
        }
    }

    /// Does what the layout, which is at rest by now, has left to be done.
    async fn do_the_rest(&self) -> Result<(), RebalanceError> {
        let mut backoff = Backoff::default();
        loop {
            match leaving::carry_out(self.registry).await {
                Ok(_) => break,
                Err(RebalanceError::Client(ClientError::Consul(error))) if is_outage(&error) => {
                    tracing::debug!(%error, "waiting for Consul");
                    let problem = format!("Consul ({error})");
                    self.progress.send_modify(|it| it.waiting = Some(problem));
                    tokio::time::sleep(backoff.failed()).await;
                }
                Err(error) => return Err(leaving::left_to_do(self.registry, error).await),
            }
        }
        // Nothing depends on it, and the next change does what this one leaves.
        if let Err(error) = gc::collect(self.registry, self.aim.placements()).await {
            tracing::debug!(%error, "what nothing refers to stays in Consul for now");
        }
        Ok(())
    }

    /// Does what is to be done next.
    async fn turn(&mut self, seen: &Seen) -> Result<Option<End>, Stop> {
        let layout = &seen.view.layout;
        if !self.aim.is_under_way(layout) {
            self.progress.send_modify(|progress| {
                progress.epoch = layout.epoch;
                progress.partitions_settled = progress.partitions_total;
                progress.is_over = true;
            });
            return Ok(Some(End::of(self.aim, layout)));
        }
        if self.window.epoch != layout.epoch {
            self.window = WindowState::new(layout.epoch);
        }
        let asker = Asker { connections: self.connections, view: &seen.view };
        let moving = moving(layout, &seen.tables);
        if layout.rebalance.is_some() && self.sizes.is_none() {
            self.sizes = Some(sizes::count(asker, &ahead(layout, &moving)).await?);
        }
        let sizes = self.sizes.get_or_insert_default();
        report(&self.progress, layout, &moving, sizes);
        let partitions = layout.partitions.get();
        let window = |settled, goal| next_window(settled, goal, partitions, &moving, sizes);
        let action = decide(layout, self.window.facts, window);
        tracing::debug!(epoch = layout.epoch, ?action, "the mover's turn");
        match action {
            Action::Rest => return Ok(Some(End::of(self.aim, layout))),
            Action::Pause => return Ok(Some(End::Paused { epoch: layout.epoch })),
            Action::Prepare { until } => {
                let settled = layout.rebalance.as_ref().map_or(0, |it| it.settled);
                self.check_nodes(asker, &moving, settled, until).await?;
                self.set(seen, layout.prepare(until)?).await?;
                failpoints::pass("mover::after-prepare");
            }
            Action::Await => {
                let until = self.window.since + MOVER_FREEZE_MAX;
                let confirmed = confirm_all(asker, until).await;
                let is_enough = Instant::now() >= until || self.is_out_of_patience();
                let is_missing =
                    matches!(confirmed, Err(Trouble::Later { .. } | Trouble::Behind { .. }));
                if is_missing && is_enough {
                    // Nobody serves the window's keys, and a node that is down must not keep them all.
                    asker.check_unopened().await?;
                    self.set(seen, layout.retract()?).await?;
                }
                confirmed?;
                self.window.facts.acknowledged = true;
            }
            Action::Open => {
                failpoints::pass("mover::before-open");
                self.set(seen, layout.open()?).await?;
                self.got_on();
                failpoints::pass("mover::after-open");
            }
            Action::Transfer => {
                self.transfer(asker).await?;
                self.got_on();
            }
            Action::Settle { next } => {
                let settled = layout.rebalance.as_ref().and_then(|it| it.window);
                let next = match (settled, next) {
                    // Where the next window finds no room, this one is settled all the same.
                    (Some(window), Some(until)) => {
                        let room = self.check_nodes(asker, &moving, window.until, until).await;
                        Some(until).filter(|_| room.is_ok())
                    }
                    _ => None,
                };
                self.set(seen, layout.settle(next)?).await?;
                self.got_on();
                failpoints::pass("mover::after-settle");
            }
        }
        Ok(None)
    }

    async fn transfer(&mut self, asker: Asker<'_>) -> Result<(), Stop> {
        let copied = |size| self.copied.add(size);
        let transfer = Transfer { asker, throttle: &self.throttle, copied: &copied, lost: &[] };
        transfer.copy(&mut self.window.cursors).await?;
        failpoints::pass("mover::after-copy");
        match transfer.verify().await? {
            None => self.window.facts.verified = true,
            Some(difference) if self.window.copied_twice => {
                return Err(Stop::Error(unverified(asker, &difference)));
            }
            Some(difference) => {
                tracing::warn!(?difference, "copying the window once more");
                self.window.cursors.clear();
                self.window.copied_twice = true;
            }
        }
        failpoints::pass("mover::after-verify");
        Ok(())
    }

    /// Checks that the nodes of the window from `settled` to `until` follow the layout, and that its
    /// destinations have room, before it is begun: it would be frozen in vain, or could not be taken back.
    async fn check_nodes(
        &self,
        asker: Asker<'_>,
        moving: &[Moving],
        settled: u32,
        until: u32,
    ) -> Result<(), Stop> {
        let window = settled.min(until)..settled.max(until);
        let mut wanted: BTreeMap<Uuid, u64> = BTreeMap::new();
        for it in moving.iter().filter(|it| window.contains(&it.partition.0)) {
            let (source, destination) =
                if until > settled { (it.from, it.to) } else { (it.to, it.from) };
            wanted.entry(source).or_default();
            let size = self.sizes.as_ref().and_then(|sizes| sizes.get(&it.partition));
            *wanted.entry(destination).or_default() += size.map_or(0, |size| size.bytes);
        }
        let lost = asker.view.layout.rebalance.as_ref().map_or(&[][..], |it| &it.lost);
        for (uuid, wanted_bytes) in wanted.into_iter().filter(|(uuid, _)| !lost.contains(uuid)) {
            let node = asker.view.assignments.index_of(uuid).ok_or(Trouble::Changed)?;
            let status = asker.confirm(node).await?;
            if status.disk_room_bytes < wanted_bytes {
                let (node, room_bytes) = (asker.name(node), status.disk_room_bytes);
                return Err(Stop::Error(RebalanceError::NoRoom { node, room_bytes, wanted_bytes }));
            }
        }
        Ok(())
    }

    /// Sets the layout to the next one, unless somebody else has changed it. What is there then, the
    /// next look tells, also where the answer got lost.
    async fn set(&self, seen: &Seen, next: Layout) -> Result<(), Stop> {
        set(self.registry, seen, &next).await.map_err(Stop::from).map(|_| ())
    }

    /// Notes that data was moved, or is about to be. That a window was prepared does not count: where it
    /// is taken back again and again, its keys wait each time.
    fn got_on(&mut self) {
        self.stuck = None;
        self.progress.send_if_modified(|progress| progress.waiting.take().is_some());
    }

    /// Whether nothing has got on for as long as a mover waits. It is asked where nothing does.
    fn is_out_of_patience(&mut self) -> bool {
        let copied = self.copied.sum();
        let began = Stuck { since: Instant::now(), copied };
        // What was copied before the trouble came is progress.
        let stuck = self.stuck.filter(|it| it.copied == copied).unwrap_or(began);
        self.stuck = Some(stuck);
        stuck.since.elapsed() > MOVER_NODE_WAIT
    }

    /// Rests before the next look: the longer, the longer nothing has got on.
    async fn pause(&self) {
        let waited = self.stuck.map_or(Duration::ZERO, |stuck| stuck.since.elapsed());
        tokio::time::sleep((waited / 8).clamp(MOVER_TURN_PAUSE, MOVER_TURN_PAUSE_MAX)).await;
    }

    /// Tells who is waited for, once that takes longer than a node takes to follow.
    fn tell_waiting(&self, node: &str, problem: &str) {
        if self.stuck.is_none_or(|stuck| stuck.since.elapsed() < MOVER_BEAT_INTERVAL) {
            return;
        }
        let waiting = format!("node {node} ({problem})");
        self.progress.send_modify(|progress| progress.waiting = Some(waiting));
    }
}

/// Tells how far the work is, until it is dropped.
async fn tell(
    lock: &MoverLock,
    copied: &Tally,
    began: Instant,
    progress: &watch::Sender<Progress>,
) -> Infallible {
    loop {
        progress.send_modify(|progress| progress.update(copied.sum(), began));
        let now = progress.borrow().clone();
        if let Err(error) = lock.tell(&now).await {
            tracing::debug!(%error, "progress could not be told");
        }
        tokio::time::sleep(MOVER_BEAT_INTERVAL).await;
    }
}

/// Why a turn came to nothing.
enum Stop {
    Trouble(Trouble),
    Error(RebalanceError),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl<E: Into<RebalanceError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Makes sure that all nodes that take part in the window have installed the layout, until then.
async fn confirm_all(asker: Asker<'_>, until: Instant) -> Result<(), Trouble> {
    let confirmed = asker.view.must_confirm().into_iter().map(async |node| {
        match tokio::time::timeout_at(until.into(), asker.confirm(node)).await {
            Ok(confirmed) => confirmed.map(|_| ()),
            Err(_) => {
                let problem = "it does not say in time that it has frozen what moves".into();
                Err(Trouble::Later { node: asker.name(node), problem })
            }
        }
    });
    try_join_all(confirmed).await.map(|_| ())
}

/// The error where nodes go on to tell of another layout than Consul has.
pub(crate) fn out_of_step(epoch: u64) -> RebalanceError {
    RebalanceError::Client(ClientError::Unavailable {
        timeout: MOVER_NODE_WAIT,
        problem: format!(
            "nodes go by another layout than that of epoch {epoch}, which Consul has. See with `kvclient status` \
             which ones, and that they reach Consul; then `kvclient rebalance resume`. The cluster serves on"
        ),
    })
}

/// Looks at the layout as it is now.
pub(crate) async fn look(registry: &Registry) -> Result<Seen, RebalanceError> {
    let key = keys::layout(&registry.cluster);
    let entry = registry.consul.kv_get(&key, Read::consistent()).await?.value;
    let Some(entry) = entry else {
        return Err(RebalanceError::NoLayout { cluster: registry.cluster.to_string() });
    };
    let layout = read_layout(&entry)?;
    let tables = registry.tables(&layout).await?;
    let view = registry.view(layout, &registry.instances().await?).await?;
    Ok(Seen { view, tables, index: entry.modify_index })
}

/// Sets the layout, if it is still the one that was seen. Returns whether it was. Where this brings it
/// to rest, what is to be done about nodes that leave is written down first.
pub(crate) async fn set(
    registry: &Registry,
    seen: &Seen,
    next: &Layout,
) -> Result<bool, RebalanceError> {
    if next.rebalance.is_none() {
        leaving::note(registry, &seen.view.layout, next).await?;
    }
    let key = keys::layout(&registry.cluster);
    Ok(registry.consul.kv_put_cas(&key, &next.to_json(), seen.index).await?)
}

/// The moving partitions that are not where the goal wants them yet.
fn ahead(layout: &Layout, moving: &[Moving]) -> Vec<Moving> {
    let Some(rebalance) = &layout.rebalance else { return Vec::new() };
    let split = moving.partition_point(|it| it.partition.0 < rebalance.settled);
    match rebalance.goal {
        Goal::Finish => moving[split..].to_vec(),
        Goal::Undo => moving[..split].to_vec(),
    }
}

fn report(
    progress: &watch::Sender<Progress>,
    layout: &Layout,
    moving: &[Moving],
    sizes: &BTreeMap<Partition, Size>,
) {
    let mut total = Size::default();
    sizes.values().for_each(|size| total.add(*size));
    let left = ahead(layout, moving).len();
    progress.send_modify(|progress| {
        progress.epoch = layout.epoch;
        if layout.rebalance.is_some() {
            progress.partitions_total = u32::try_from(moving.len()).unwrap_or(u32::MAX);
            progress.partitions_settled = u32::try_from(moving.len() - left).unwrap_or(u32::MAX);
            progress.keys_total = total.keys;
            progress.bytes_total = total.bytes;
        } else {
            progress.partitions_settled = progress.partitions_total;
        }
    });
}

pub(crate) fn unverified(asker: Asker<'_>, difference: &Difference) -> RebalanceError {
    let Difference { pair, partition, problem } = difference;
    RebalanceError::Unverified {
        from: asker.name(pair.source),
        destination: asker.name(pair.destination),
        partition: *partition,
        problem: problem.clone(),
    }
}

fn is_outage(error: &ConsulError) -> bool {
    error.is_transient()
}
