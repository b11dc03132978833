//! The mover: takes a rebalance from wherever it is to its goal.

mod patience;
mod turn;
mod window;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Instant;

use kv_consul::{BACKOFF, ConsulError};
use kv_core::partition::Partition;
use kv_core::window::Size;
use kvclient::ClientError;
use kvclient::admin::{Connections, Discovery};
use tokio::sync::{Mutex, watch};

use self::patience::Stuck;
use self::window::WindowState;
use crate::aim::{Aim, End};
use crate::ask::Trouble;
use crate::error::RebalanceError;
use crate::leaving;
use crate::limits::MOVER_BEAT_INTERVAL;
use crate::lock::MoverLock;
use crate::progress::Progress;
use crate::seen::look;
use crate::throttle::Throttle;
use crate::transfer::Tally;

/// What helps where a node answers and does not follow.
const BEHIND_ADVICE: &str = "see that it reaches Consul, its log says what is in the way, or start it anew; then `kvclient rebalance \
     resume`, or undo it with `kvclient rebalance abort`. Nothing is frozen meanwhile, and the cluster serves on";

/// Moves the data of one cluster.
pub(crate) struct Mover<'a> {
    discovery: &'a Discovery,
    /// The rebalance that is moved on, and no other that may come after it.
    aim: &'a Aim,
    connections: &'a Connections,
    throttle: Mutex<Throttle>,
    copied: Tally,
    began: Instant,
    /// What the moving partitions have, once it was counted.
    sizes: Option<BTreeMap<Partition, Size>>,
    progress: watch::Sender<Progress>,
    /// Since when nothing has got on, `None` where something has.
    stuck: Option<Stuck>,
    /// Where the copying of the window stands.
    window: WindowState,
}

impl<'a> Mover<'a> {
    pub(crate) fn new(
        discovery: &'a Discovery,
        aim: &'a Aim,
        connections: &'a Connections,
        bytes_per_s: Option<u64>,
        sizes: Option<BTreeMap<Partition, Size>>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self {
            discovery,
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
        let mut backoff = BACKOFF;
        loop {
            let result = match look(self.discovery).await {
                Ok(seen) => self.turn(&seen).await,
                Err(error) => Err(Stop::Error(error)),
            };
            match result {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => backoff.succeeded(),
                Err(Stop::Trouble(Trouble::Changed)) => {
                    // A node knows a newer layout; it is in Consul, or will be.
                    if self.is_out_of_patience() {
                        return Err(RebalanceError::out_of_step(self.window.epoch));
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
                    tokio::time::sleep(backoff.failed(rand::random())).await;
                }
                // There was one, so Consul has lost it, and the nodes give it back.
                Err(Stop::Error(RebalanceError::NoLayout { .. })) if self.window.epoch > 0 => {
                    if self.is_out_of_patience() {
                        let cluster = self.discovery.registry.cluster().to_string();
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
        let mut backoff = BACKOFF;
        loop {
            match leaving::carry_out(self.discovery).await {
                Ok(_) => break,
                Err(RebalanceError::Client(ClientError::Consul(error))) if is_outage(&error) => {
                    tracing::debug!(%error, "waiting for Consul");
                    let problem = format!("Consul ({error})");
                    self.progress.send_modify(|it| it.waiting = Some(problem));
                    tokio::time::sleep(backoff.failed(rand::random())).await;
                }
                Err(error) => return Err(leaving::left_to_do(self.discovery, error).await),
            }
        }
        // Nothing depends on it, and the next change does what this one leaves.
        if let Err(error) = self.discovery.registry.collect_garbage(self.aim.placements()).await {
            tracing::debug!(%error, "what nothing refers to stays in Consul for now");
        }
        Ok(())
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

fn is_outage(error: &ConsulError) -> bool {
    error.is_transient()
}
