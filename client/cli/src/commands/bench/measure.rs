//! The second phase: carrying out the workload, and measuring it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt};
use kv_system::lock::lock;
use kvclient::{Client, ClientError};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::plan::{Extent, Plan};
use super::records::{Insertions, Values};
use super::tally::{Ending, Tally};
use super::workload::OperationKind;
use crate::progress::ticking;

/// What all workers share.
struct Work {
    client: Client,
    plan: Plan,
    values: Values,
    insertions: Insertions,
    /// When the warm-up ends and the measuring begins.
    began: Instant,
    /// How many measured operations have begun.
    begun: AtomicU64,
    stopped: AtomicBool,
}

/// What an operation that is to begin counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    WarmUp,
    Measured,
    /// It is not to begin.
    Over,
}

/// Carries out the plan's workload until it ends, or until `stop` does. Operations under way then are
/// finished, unless `give_up` ends before. Says also whether it was stopped.
pub(crate) async fn measure(
    client: &Client,
    plan: &Plan,
    stop: impl Future<Output = ()>,
    give_up: impl Future<Output = ()>,
) -> (Tally, bool) {
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let began = Instant::now() + plan.warm_up;
    let work = Arc::new(Work {
        client: client.clone(),
        plan: plan.clone(),
        values: Values::new(plan.value_bytes, &mut dice),
        insertions: Insertions::after(plan.records),
        began,
        begun: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
    });
    let workers = (0..plan.threads).map(|worker| {
        // Shared, so that its figures are there when a worker is given up.
        let tally = Arc::new(Mutex::new(Tally::from(began)));
        let running = tokio::spawn(run_worker(Arc::clone(&work), worker, Arc::clone(&tally)));
        (running, tally)
    });
    let workers: Vec<_> = workers.collect();
    let (mut stop, mut interrupted) = (std::pin::pin!(stop), false);
    let (mut give_up, mut given_up) = (std::pin::pin!(give_up), false);
    let bar = ticking("measuring for {elapsed}", None);
    let mut total = Tally::from(began);
    for (mut worker, tally) in workers {
        let ended = loop {
            tokio::select! {
                ended = &mut worker => break ended,
                () = &mut stop, if !interrupted => {
                    interrupted = true;
                    work.stopped.store(true, Ordering::Relaxed);
                }
                () = &mut give_up, if !given_up => given_up = true,
                () = std::future::ready(()), if given_up => break Ok(()),
            }
        };
        // A worker does not panic; if one did, its panic is this one's.
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
        total.merge(std::mem::replace(&mut *lock(&tally), Tally::from(began)));
    }
    bar.finish_and_clear();
    (total, interrupted)
}

/// One worker: as many slots as the plan's depth, and an operation under way in each.
///
/// The slots are futures of one task rather than tasks of their own, so that an answer to many of
/// them wakes one task once.
async fn run_worker(work: Arc<Work>, worker: usize, tally: Arc<Mutex<Tally>>) {
    let first = (worker * work.plan.depth) as u64;
    let slots = (first..).take(work.plan.depth).map(|slot| run_slot(&work, slot, &tally));
    slots.collect::<FuturesUnordered<_>>().collect::<()>().await;
}

/// Carries out one operation after the other.
async fn run_slot(work: &Work, slot: u64, tally: &Mutex<Tally>) {
    // Every slot has its own dice, so that what it does depends on no other.
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(work.plan.seed.wrapping_add(slot + 1));
    let mut chooser = work.plan.chooser();
    let mut began = Instant::now();
    loop {
        let turn = work.turn(began);
        if turn == Turn::Over {
            return;
        }
        let kind = work.plan.workload.draw(&mut dice);
        let record = match kind {
            OperationKind::Insert => work.insertions.begin(),
            _ => chooser.draw(&mut dice, &work.insertions),
        };
        let ending = work.perform(kind, record, &mut dice).await.unwrap_or_else(Ending::Failed);
        let ended = Instant::now();
        if turn == Turn::Measured {
            lock(tally).note(kind, began, ended, ending);
        }
        began = ended;
    }
}

impl Work {
    /// Whether an operation is to begin now.
    fn turn(&self, now: Instant) -> Turn {
        if self.stopped.load(Ordering::Relaxed) {
            return Turn::Over;
        }
        if now < self.began {
            return Turn::WarmUp;
        }
        let goes_on = match self.plan.extent {
            Extent::Duration(duration) => now < self.began + duration,
            Extent::Operations(count) => self.begun.fetch_add(1, Ordering::Relaxed) < count,
        };
        if goes_on { Turn::Measured } else { Turn::Over }
    }

    async fn perform(
        &self,
        kind: OperationKind,
        record: u64,
        dice: &mut Xoshiro256PlusPlus,
    ) -> Result<Ending, ClientError> {
        let key = self.plan.keys.key(record);
        match kind {
            OperationKind::Read => self.read(key).await,
            OperationKind::Update => {
                self.client.put(key, self.values.draw(dice)).await?;
                Ok(Ending::Done)
            }
            OperationKind::Insert => {
                let inserted = self.client.put(key, self.values.draw(dice)).await;
                self.insertions.finish(record);
                inserted.map(|_| Ending::Done)
            }
            OperationKind::ReadModifyWrite => {
                let ending = self.read(key.clone()).await?;
                self.client.put(key, self.values.draw(dice)).await?;
                Ok(ending)
            }
        }
    }

    async fn read(&self, key: String) -> Result<Ending, ClientError> {
        let found = self.client.get(key).await?;
        Ok(if found.is_some() { Ending::Done } else { Ending::NotFound })
    }
}
