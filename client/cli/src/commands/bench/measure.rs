//! The second phase: carrying out the workload, and measuring it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};
use kv_system::lock::lock;
use kvclient::{Client, ClientError};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::plan::{Extent, Plan};
use super::records::{Insertions, Values};
use super::schedule::{Kept, Schedule, due_before};
use super::tally::{Ending, Tally};
use super::workload::OperationKind;
use crate::failure::Failure;
use crate::progress::ticking;

/// How long after the end operations still begin that fell due before it: what a pause just before the end has
/// held up is measured too, and a cluster that cannot hold the rate does not make the run longer than that.
const OVERTIME: Duration = Duration::from_secs(1);

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
    /// When operations are due; `None` if each follows on the one before.
    schedules: Option<Schedules>,
}

/// When operations are due at a fixed rate.
struct Schedules {
    /// Where there is one. What it leaves behind does not count: the measuring begins with nothing due.
    warm_up: Option<Arc<Schedule>>,
    measured: Arc<Schedule>,
}

/// An operation that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    /// What its latency counts from.
    since: Instant,
    is_measured: bool,
}

/// What was measured.
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    /// How long the warm-up was.
    pub(crate) warm_up: Duration,
    /// How the rate was kept, where there was one.
    pub(super) kept: Option<Kept>,
    /// Whether it was stopped before its end.
    pub(crate) is_interrupted: bool,
}

/// Carries out the plan's workload until it ends, or until `stop` does. Operations under way then are
/// finished, unless `give_up` ends before.
///
/// # Errors
/// The system gives no thread that keeps the rate.
pub(crate) async fn measure(
    client: &Client,
    plan: &Plan,
    stop: impl Future<Output = ()>,
    give_up: impl Future<Output = ()>,
) -> Result<Measured, Failure> {
    let work = Arc::new(Work::begin(client, plan)?);
    let began = work.began;
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
                    work.stop();
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
    let now = Instant::now();
    let warm_up = plan.warm_up.saturating_sub(began.saturating_duration_since(now));
    let kept = work.schedules.as_ref().map(|it| it.measured.kept(now));
    Ok(Measured { tally: total, warm_up, kept, is_interrupted: interrupted })
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
    let mut ended = Instant::now();
    while let Some(turn) = work.turn(ended).await {
        let kind = work.plan.workload.draw(&mut dice);
        let record = match kind {
            OperationKind::Insert => work.insertions.begin(),
            _ => chooser.draw(&mut dice, &work.insertions),
        };
        let ending = work.perform(kind, record, &mut dice).await.unwrap_or_else(Ending::Failed);
        ended = Instant::now();
        if turn.is_measured {
            lock(tally).note(kind, turn.since, ended, ending);
        } else {
            lock(tally).warm_up_operations += 1;
        }
    }
}

impl Schedules {
    fn start(plan: &Plan, rate: u64, now: Instant) -> io::Result<Self> {
        let began = now + plan.warm_up;
        let warm_up = (!plan.warm_up.is_zero()).then(|| {
            let total = due_before(rate, plan.warm_up);
            Arc::new(Schedule::new(now, rate, total, Some(began)))
        });
        let (total, ends) = match plan.extent {
            Extent::Duration(time) => (due_before(rate, time), Some(began + time + OVERTIME)),
            Extent::Operations(count) => (count, None),
        };
        let measured = Arc::new(Schedule::new(began, rate, total, ends));
        Schedule::start(warm_up.iter().chain([&measured]).cloned().collect())?;
        Ok(Self { warm_up, measured })
    }

    /// The next operation once it is due.
    async fn turn(&self) -> Option<Turn> {
        if let Some(warm_up) = &self.warm_up
            && let Some(since) = warm_up.next().await
        {
            return Some(Turn { since, is_measured: false });
        }
        let since = self.measured.next().await?;
        Some(Turn { since, is_measured: true })
    }
}

impl Work {
    fn begin(client: &Client, plan: &Plan) -> Result<Self, Failure> {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
        let values = Values::new(plan.value_bytes, &mut dice);
        let now = Instant::now();
        let schedules = match plan.rate {
            Some(rate) => Some(Schedules::start(plan, rate, now).map_err(Failure::Scarce)?),
            None => None,
        };
        Ok(Self {
            client: client.clone(),
            plan: plan.clone(),
            values,
            insertions: Insertions::after(plan.records),
            began: now + plan.warm_up,
            begun: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            schedules,
        })
    }

    /// Lets no further operation begin.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(Schedules { warm_up, measured }) = &self.schedules {
            warm_up.iter().chain([measured]).for_each(|schedule| schedule.stop());
        }
    }

    /// The next operation of a slot whose last one ended at `now`; `None` if none is to begin.
    async fn turn(&self, now: Instant) -> Option<Turn> {
        match &self.schedules {
            Some(schedules) => schedules.turn().await,
            None => self.following(now),
        }
    }

    /// In a closed loop: an operation that begins as soon as the one before it has ended.
    fn following(&self, now: Instant) -> Option<Turn> {
        if self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let is_measured = now >= self.began;
        let goes_on = !is_measured
            || match self.plan.extent {
                Extent::Duration(duration) => now < self.began + duration,
                Extent::Operations(count) => self.begun.fetch_add(1, Ordering::Relaxed) < count,
            };
        goes_on.then_some(Turn { since: now, is_measured })
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
