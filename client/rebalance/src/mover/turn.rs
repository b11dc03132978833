//! One turn of the mover: what the rules say comes next, done.

use std::collections::BTreeMap;
use std::time::Instant;

use futures::future::try_join_all;
use kv_core::layout::Layout;
use kv_core::mover::{Action, decide};
use kv_core::window::{Moving, moving, next_window};
use kv_system::failpoints;
use uuid::Uuid;

use super::window::{WindowState, ahead, report};
use super::{Mover, Stop};
use crate::aim::End;
use crate::ask::{Asker, Trouble};
use crate::error::RebalanceError;
use crate::limits::MOVER_FREEZE_MAX;
use crate::seen::{Seen, set};
use crate::sizes;
use crate::transfer::{Transfer, unverified};

impl Mover<'_> {
    /// Does what is to be done next.
    pub(super) async fn turn(&mut self, seen: &Seen) -> Result<Option<End>, Stop> {
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

    /// Sets the layout to the next one, unless another client has changed it. What is there then, the
    /// next look tells, also where the answer got lost.
    async fn set(&self, seen: &Seen, next: Layout) -> Result<(), Stop> {
        set(self.discovery, seen, &next).await.map_err(Stop::from).map(|_| ())
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
