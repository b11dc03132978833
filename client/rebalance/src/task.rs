//! Rebalances that are under way: begun, moved on by this client or another, paused, turned back.

use std::collections::BTreeMap;

use kv_core::layout::{Goal, Layout, Phase};
use kv_core::name::Name;
use kv_core::partition::Partition;
use kv_core::window::Size;
use kv_system::failpoints;
use tokio::sync::watch;

use crate::aim::{Aim, End};
use crate::ask::{Asker, Trouble, in_plan};
use crate::error::RebalanceError;
use crate::lock::MoverLock;
use crate::mover::Mover;
use crate::plan::Prepared;
use crate::progress::Progress;
use crate::rebalancer::Rebalancer;
use crate::seen::{look, set};
use crate::{desired_states, leaving};

/// A rebalance that is under way, or was a moment ago, for [`Rebalancer::run`].
pub struct Task {
    aim: Aim,
    /// Held since before the rebalance was begun, where this rebalancer began it.
    lock: Option<MoverLock>,
    sizes: Option<BTreeMap<Partition, Size>>,
    /// Whether another mover may do it, and is waited for.
    shared: bool,
}

impl Rebalancer {
    /// Begins what was planned: from now on the cluster is being rebalanced, by whoever runs
    /// [`Rebalancer::run`]. What an earlier change has left to be done is done first.
    ///
    /// # Errors
    /// The layout has changed since, or this client may not move data: another one does, or Consul does
    /// not let it.
    pub async fn begin(&self, prepared: Prepared) -> Result<Task, RebalanceError> {
        leaving::carry_out(&self.discovery).await?;
        self.check_rights(&prepared).await?;
        let registry = &self.discovery.registry;
        // Before anything is begun which this client could not go on with.
        let lock = MoverLock::acquire_soon(registry, &self.no_progress()).await?;
        match self.begin_locked(&prepared).await {
            Ok(()) => {
                failpoints::pass("mover::after-begin");
                let Prepared { seen, to, sizes, .. } = prepared;
                let aim = Aim::new(seen.view.layout.placement, to);
                Ok(Task { aim, lock: Some(lock), sizes: Some(sizes), shared: false })
            }
            Err(error) => {
                lock.release().await;
                Err(error)
            }
        }
    }

    async fn begin_locked(&self, prepared: &Prepared) -> Result<(), RebalanceError> {
        let Prepared { seen, strategy, to, table, lost, .. } = prepared;
        let registry = &self.discovery.registry;
        let epoch = seen.view.layout.epoch;
        registry.put_strategy(strategy.bytes(), epoch).await?;
        registry.put_table(table, epoch).await?;
        let begun = seen.view.layout.begin(to.clone(), lost.clone())?;
        registry.keep_past_layout(&seen.view.layout).await?;
        let set = set(&self.discovery, seen, &begun).await;
        // What is there now decides: also a write whose answer got lost may have succeeded.
        let found = self.layout().await?;
        if found.epoch < begun.epoch {
            set?;
        }
        let is_ours = found.rebalance.as_ref().is_some_and(|it| it.to == *to);
        if !is_ours && found != begun {
            return Err(RebalanceError::PlanOutdated {
                planned: prepared.plan.epoch,
                cluster: prepared.plan.cluster,
                found: format!("the layout has epoch {} now", found.epoch),
            });
        }
        Ok(())
    }

    /// The rebalance that is under way, to go on with; none where none is.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn under_way(&self) -> Result<Option<Task>, RebalanceError> {
        let aim = Aim::of(&self.layout().await?);
        Ok(aim.map(|aim| Task { aim, lock: None, sizes: None, shared: false }))
    }

    /// Moves data until the rebalance is over or paused, and does what is left to do then: nodes that
    /// are members no more are told to stop. It may be dropped, or its process killed, anywhere.
    ///
    /// At most `bytes_per_s` are moved, where that is given.
    ///
    /// # Errors
    /// Another mover is at work, a node is down for too long, or the data cannot be moved.
    pub async fn run(
        &self,
        task: Task,
        bytes_per_s: Option<u64>,
        progress: watch::Sender<Progress>,
    ) -> Result<End, RebalanceError> {
        progress.send_modify(|progress| progress.mover.clone_from(&self.name));
        let Task { aim, lock, sizes, shared } = task;
        let lock = match lock {
            Some(lock) => lock,
            None => match self.lock_or_follow(&aim, shared, &progress).await? {
                Some(lock) => lock,
                None => {
                    if let Err(error) = leaving::carry_out(&self.discovery).await {
                        return Err(leaving::left_to_do(&self.discovery, error).await);
                    }
                    return Ok(End::of(&aim, &self.layout().await?));
                }
            },
        };
        let (discovery, connections) = (&self.discovery, &self.connections);
        let mover = Mover::new(discovery, &aim, connections, bytes_per_s, sizes, progress);
        let end = mover.run(lock).await?;
        if let End::AtRest { .. } = end {
            self.confirm_members().await.map_err(|error| RebalanceError::LeftToDo {
                cluster: self.discovery.registry.cluster().to_string(),
                left: "the signals of some nodes, by which they are started, do not say so yet"
                    .into(),
                error: Box::new(error),
            })?;
        }
        Ok(end)
    }

    /// Takes the mover's lock. Where the task is shared and another mover is at work, its progress is
    /// told until it has ended, or gives no sign of life; none is returned where the rebalance is over
    /// then.
    async fn lock_or_follow(
        &self,
        aim: &Aim,
        shared: bool,
        progress: &watch::Sender<Progress>,
    ) -> Result<Option<MoverLock>, RebalanceError> {
        let registry = &self.discovery.registry;
        loop {
            match MoverLock::acquire(registry, &self.no_progress()).await {
                Err(RebalanceError::MoverAtWork { .. }) if shared => {}
                result => return result.map(Some),
            }
            if let Some(theirs) = self.progress().await? {
                progress.send_replace(theirs);
            }
            if !aim.is_under_way(&self.layout().await?) {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn check_may_move(&self) -> Result<(), RebalanceError> {
        MoverLock::check_allowed(&self.discovery.registry, &self.no_progress()).await
    }

    fn no_progress(&self) -> Progress {
        Progress { mover: self.name.clone(), ..Progress::default() }
    }

    async fn confirm_members(&self) -> Result<(), RebalanceError> {
        let layout = self.layout().await?;
        desired_states::confirm_members(&self.discovery, &layout.placement.members).await
    }

    /// Does what an earlier change, whose layout is at rest, has left to be done: nodes that are members
    /// no more are told to stop. Gives their ids.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn finish_rest(&self) -> Result<Vec<Name>, RebalanceError> {
        let done = leaving::carry_out(&self.discovery).await?;
        Ok(done.into_iter().map(|it| it.id).collect())
    }

    /// Asks that no further window be begun.
    ///
    /// # Errors
    /// No rebalance is under way, or it is paused already.
    pub async fn pause(&self) -> Result<Layout, RebalanceError> {
        Ok(self.step(|layout| Ok(Some(layout.pause(true)?))).await?.0)
    }

    /// Takes back that the rebalance is paused. It is for [`Rebalancer::run`] to go on with, or for the
    /// mover that is at work still.
    ///
    /// # Errors
    /// No rebalance is under way, or it is not paused.
    pub async fn unpause(&self) -> Result<Task, RebalanceError> {
        self.check_may_move().await?;
        let (_, aim) = self.step(|layout| Ok(Some(layout.pause(false)?))).await?;
        Ok(Task { aim, lock: None, sizes: None, shared: true })
    }

    /// Turns the rebalance back, where it is not on its way back already. What it moved is moved back by
    /// whoever runs [`Rebalancer::run`], or by the mover that is at work.
    ///
    /// # Errors
    /// No rebalance is under way, or it cannot be turned back.
    pub async fn turn_back(&self) -> Result<Task, RebalanceError> {
        let is_back = |layout: &Layout| {
            layout.rebalance.as_ref().is_some_and(|it| it.goal == Goal::Undo && !it.paused)
        };
        let step = |layout: &Layout| match is_back(layout) {
            true => Ok(None),
            false if layout.rebalance.as_ref().is_some_and(|it| it.goal == Goal::Undo) => {
                Ok(Some(layout.pause(false)?))
            }
            false => Ok(Some(layout.turn_back()?)),
        };
        if self.layout().await?.rebalance.is_some() {
            self.check_may_move().await?;
        }
        let (_, aim) = self.step(step).await?;
        Ok(Task { aim: aim.undone(), lock: None, sizes: None, shared: true })
    }

    /// Takes one step from the layout as it is, however often others take one at the same time, or none
    /// where `step` gives none. Gives the layout after it, and what the rebalance was to bring about
    /// before it.
    async fn step(
        &self,
        step: impl Fn(&Layout) -> Result<Option<Layout>, RebalanceError>,
    ) -> Result<(Layout, Aim), RebalanceError> {
        loop {
            let seen = look(&self.discovery).await?;
            let layout = &seen.view.layout;
            let Some(aim) = Aim::of(layout) else {
                return Err(RebalanceError::AtRest { epoch: layout.epoch });
            };
            let window = layout.rebalance.as_ref().and_then(|it| it.window);
            if window.is_some_and(|it| it.phase == Phase::Preparing) {
                let asker = Asker { connections: &self.connections, view: &seen.view };
                asker.check_unopened().await.map_err(|trouble| match trouble {
                    Trouble::Later { node, problem } => {
                        RebalanceError::Refused(format!("node {node}: {problem}: try again"))
                    }
                    trouble => in_plan(trouble),
                })?;
            }
            let Some(next) = step(layout)? else { return Ok((layout.clone(), aim)) };
            if set(&self.discovery, &seen, &next).await? {
                return Ok((next, aim));
            }
        }
    }
}
