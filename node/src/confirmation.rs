//! Asking other nodes whether they hold the records that this one is to remove.
//!
//! That a layout gives a partition to another node is no proof that this node has its records: the
//! document may be forged, or be put back to what it was. So before anything is removed, the node that
//! holds the partition by the layout is asked over the wire. Until it says so, the records are kept,
//! nothing of them is served, and the node's log and status tell it. Where that node was given up, no node is
//! left to be asked, and what lies here goes as the rest of its partitions has gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use futures::stream::{self, StreamExt};
use kv_consul::{CheckStatus, Read, ServiceInstance};
use kv_core::backoff::Backoff;
use kv_core::guard::{Context, Guard, Installed};
use kv_core::incarnation::Incarnation;
use kv_core::limits::{HOLDS_PARTITIONS_MAX, KEPT_RANGES_MAX};
use kv_core::partition::Partition;
use kv_core::refusal::ErrorCode;
use kv_protocol::reply::{Content, Kept};
use kv_protocol::request::{Command, Request, Style};
use kv_registry::Registry;
use kv_registry::members::Registered as _;
use kv_transport::ask::Asker;
use tokio::sync::watch;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::writer::{Published, Questions, Work, WorkSender};

/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// How many nodes are asked at the same time.
const ASKED_AT_ONCE: usize = 8;
/// The pauses after questions in vain. The first is short, since the other node is often about to install
/// the layout that makes it the partition's owner.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(5));
/// Where nodes are is looked up at most this often.
const LOOK_SPACING: Duration = Duration::from_millis(500);
/// How often the log names the partitions that are kept.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long answers are waited for before the log says so.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// Asks, for one node.
pub struct Confirmation {
    /// Where the others are.
    pub registry: Registry,
    /// What the node has installed.
    pub guard: Arc<ArcSwap<Guard>>,
    /// The writer's questions, and the partitions that it keeps.
    pub published: Arc<Published>,
    /// The writer's queue.
    pub work: WorkSender,
    /// Why the last question was in vain; `None` where it was not.
    pub in_vain: Arc<ArcSwapOption<String>>,
}

/// Where a node listens, and which run of it, as it has registered.
struct Address {
    host: String,
    port: u16,
    incarnation: Option<Incarnation>,
}

/// Where nodes listen, by their data directories.
#[derive(Default)]
struct Addresses {
    known: HashMap<Uuid, Vec<Address>>,
    looked: Option<Instant>,
}

impl Confirmation {
    /// Asks the writer's questions until this future is dropped.
    pub async fn run(&self) {
        let asker = Asker::default();
        let mut questions = self.published.questions.subscribe();
        let mut addresses = Addresses::default();
        let mut pauses = PAUSES;
        let mut waiting_since = None;
        let mut said: Option<Instant> = None;
        loop {
            let asked = Arc::clone(&questions.borrow_and_update());
            if asked.partitions.is_empty() {
                pauses.succeeded();
                waiting_since = None;
                self.in_vain.store(None);
            } else {
                let since = *waiting_since.get_or_insert_with(Instant::now);
                let problem = self.ask(&asker, &asked, &mut addresses).await;
                if problem.is_none() {
                    pauses.succeeded();
                } else if since.elapsed() > SAY_AFTER {
                    self.in_vain.store(problem.map(Arc::new));
                }
            }
            let is_due = said.is_none_or(|at| at.elapsed() > SAY_EVERY);
            if is_due && let Some(kept) = kept(&self.published, &self.in_vain) {
                said = Some(Instant::now());
                warn!("{}", kept.reason);
            }
            let wait = if asked.partitions.is_empty() { SAY_EVERY } else { pauses.pause() };
            if await_others(&mut questions, &asked, wait).await {
                pauses.succeeded();
            } else {
                pauses.count();
            }
        }
    }

    /// Has the writer remove what lies here of these partitions.
    fn confirm(&self, epoch: u64, partitions: Vec<Partition>) {
        // The writer outlives this; where it is gone, the node ends.
        let _ = self.work.send(Work::Confirmed { epoch, partitions });
    }

    /// Asks all holders, and hands the writer what they confirm. Returns why something is not confirmed.
    async fn ask(
        &self,
        asker: &Asker,
        questions: &Questions,
        addresses: &mut Addresses,
    ) -> Option<String> {
        let guard = self.guard.load_full();
        let installed = guard.installed().filter(|it| it.layout.epoch == questions.epoch)?;
        let (by_holder, given_up) = by_holder(installed, &questions.partitions);
        if !given_up.is_empty() {
            // They were verified at a node that was given up since. So no node can be asked, and the operator
            // who gave it up accepted that they are lost. The records here are older, and would bring back
            // what was deleted there.
            self.confirm(questions.epoch, given_up);
        }
        addresses.look_up(self, by_holder.keys().map(|(uuid, _)| *uuid)).await;
        let known = &*addresses;
        let ask = |((uuid, id), partitions): (&(Uuid, String), &Vec<Partition>)| {
            let (uuid, id, partitions) = (*uuid, id.clone(), partitions.clone());
            async move {
                let held = ask_holder(asker, known.of(uuid), installed, uuid, &partitions).await;
                (uuid, held.map_err(|it| it.of_node(&id)))
            }
        };
        let answers = stream::iter(by_holder.iter().map(ask));
        let answers: Vec<_> = answers.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let mut problem = None;
        for (uuid, answer) in answers {
            match answer {
                Ok(partitions) => {
                    let asked = by_holder.iter().find(|((it, _), _)| *it == uuid);
                    if asked.is_some_and(|(_, asked)| asked.len() > partitions.len()) {
                        problem = Some(format!(
                            "the node {uuid} does not hold all that the layout gives it"
                        ));
                    }
                    self.confirm(questions.epoch, partitions);
                }
                Err(unanswered) => {
                    debug!("{}", unanswered.problem);
                    if unanswered.is_elsewhere {
                        addresses.known.remove(&uuid);
                    }
                    problem = Some(unanswered.problem);
                }
            }
        }
        problem
    }
}

/// Waits for questions of another epoch, or for the first ones or the end of them, or for as long as
/// given. Returns whether they came. Questions that were asked in vain are no reason to hurry.
async fn await_others(
    questions: &mut watch::Receiver<Arc<Questions>>,
    asked: &Questions,
    wait: Duration,
) -> bool {
    let others = questions.wait_for(|it| {
        it.epoch != asked.epoch || it.partitions.is_empty() != asked.partitions.is_empty()
    });
    tokio::time::timeout(wait, others).await.is_ok()
}

/// By the node that holds it, each of `partitions`; and those that only a node held which was given up.
type ByHolder = BTreeMap<(Uuid, String), Vec<Partition>>;

fn by_holder(installed: &Installed, partitions: &[Partition]) -> (ByHolder, Vec<Partition>) {
    let (mut by_holder, mut given_up) = (ByHolder::new(), Vec::new());
    for partition in partitions {
        match installed.holder(*partition) {
            Some(holder) => {
                let holder = (holder.uuid, holder.id.to_string());
                by_holder.entry(holder).or_default().push(*partition);
            }
            None => given_up.push(*partition),
        }
    }
    (by_holder, given_up)
}

struct Unanswered {
    problem: String,
    /// Whether it may be somewhere else.
    is_elsewhere: bool,
}

impl Unanswered {
    fn of_node(self, id: &str) -> Self {
        Self { problem: format!("node {id} {}", self.problem), ..self }
    }
}

/// Asks the node `uuid`, which is registered at `addresses`, which of `partitions` it holds.
async fn ask_holder(
    asker: &Asker,
    addresses: &[Address],
    installed: &Installed,
    uuid: Uuid,
    partitions: &[Partition],
) -> Result<Vec<Partition>, Unanswered> {
    let problem = "is not registered with Consul".to_owned();
    let mut unanswered = Unanswered { problem, is_elsewhere: true };
    for address in addresses {
        match ask_at(asker, address, installed, uuid, partitions).await {
            Ok(held) => return Ok(held),
            Err(it) => {
                let Address { host, port, .. } = address;
                let problem = format!("({host}:{port}): {}", it.problem);
                unanswered = Unanswered { problem, ..it };
            }
        }
    }
    Err(unanswered)
}

async fn ask_at(
    asker: &Asker,
    address: &Address,
    installed: &Installed,
    uuid: Uuid,
    partitions: &[Partition],
) -> Result<Vec<Partition>, Unanswered> {
    let elsewhere = |problem| Unanswered { problem, is_elsewhere: true };
    let layout = &installed.layout;
    let context = Context {
        cluster: Some(layout.cluster),
        node: Some(uuid),
        incarnation: address.incarnation,
        epoch: Some(layout.epoch),
    };
    let mut held = Vec::new();
    for partitions in partitions.chunks(HOLDS_PARTITIONS_MAX) {
        let command = Command::Holds { partitions: partitions.to_vec() };
        let request = Request { id: None, context, style: Style::default(), command };
        match asker.ask((&address.host, address.port), &request, ANSWER_WITHIN).await {
            Ok(Content::Held(answer)) => {
                held.extend(answer.into_iter().filter(|it| partitions.binary_search(it).is_ok()));
            }
            Ok(Content::Refused(refusal)) => {
                let is_elsewhere = refusal.code == ErrorCode::WrongNode;
                return Err(Unanswered { problem: refusal.message, is_elsewhere });
            }
            Ok(_) => return Err(elsewhere("its answer is not the answer to HOLDS".into())),
            Err(error) => return Err(elsewhere(error.to_string())),
        }
    }
    Ok(held)
}

impl Addresses {
    fn of(&self, uuid: Uuid) -> &[Address] {
        self.known.get(&uuid).map_or(&[], Vec::as_slice)
    }

    /// Looks in Consul, now and then, for those of `wanted` whose addresses are not known.
    async fn look_up(&mut self, asked: &Confirmation, mut wanted: impl Iterator<Item = Uuid>) {
        let recently = self.looked.is_some_and(|at| at.elapsed() < LOOK_SPACING);
        if recently || wanted.all(|uuid| self.known.contains_key(&uuid)) {
            return;
        }
        self.looked = Some(Instant::now());
        let mut instances = match asked.registry.instances(Read::default()).await {
            Ok(instances) => instances,
            Err(error) => {
                return debug!("where the other nodes are could not be looked up: {error}");
            }
        };
        instances.retain(|it| asked.registry.is_ours(it));
        // Of several registrations of one node the newest comes first, then those that live.
        instances.sort_by_key(|it| (Reverse(it.incarnation()), it.status == CheckStatus::Critical));
        self.known.clear();
        for instance in instances {
            if let Some(uuid) = instance.uuid() {
                let incarnation = instance.incarnation();
                let ServiceInstance { address: host, port, .. } = instance;
                self.known.entry(uuid).or_default().push(Address { host, port, incarnation });
            }
        }
    }
}

/// The partitions that the node keeps, for its status; `None` where it keeps none. `in_vain` is why the last
/// question was.
#[must_use]
pub fn kept(published: &Published, in_vain: &ArcSwapOption<String>) -> Option<Kept> {
    let (kept, in_vain) = (published.kept.load(), in_vain.load());
    let unconfirmed = Arc::clone(&published.questions.borrow());
    let unconfirmed = in_vain.as_ref().map_or(&[][..], |_| &unconfirmed.partitions);
    if kept.is_empty() && unconfirmed.is_empty() {
        return None;
    }
    let mut reason =
        "records of partitions that are not this node's are kept and not served:".to_owned();
    if !kept.is_empty() {
        let epoch = unconfirmed_epoch(published);
        reason.push_str(&format!(
            " {} partitions were never handed over to those who own them by the layout of epoch {epoch}. If somebody has forged or put back the layout, publish the right one again (`kvclient restore-layout`); if this node was given up, and its records with it, start it once with --discard-kept {epoch}",
            kept.len()
        ));
    }
    if let Some(problem) = in_vain.as_ref().filter(|_| !unconfirmed.is_empty()) {
        let and = if kept.is_empty() { "" } else { ";" };
        reason.push_str(&format!(
            "{and} of {} partitions their owners have not confirmed yet that they hold them, and will be asked again: {problem}",
            unconfirmed.len()
        ));
    }
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let mut all: Vec<Partition> = kept.iter().chain(unconfirmed).copied().collect();
    all.sort_unstable();
    Some(Kept {
        not_handed_over: count(kept.len()),
        unconfirmed: count(unconfirmed.len()),
        ranges: ranges(&all),
        reason,
    })
}

fn unconfirmed_epoch(published: &Published) -> u64 {
    published.questions.borrow().epoch
}

/// The first ranges of `partitions`, which are in ascending order.
fn ranges(partitions: &[Partition]) -> Vec<(Partition, Partition)> {
    let mut ranges: Vec<(Partition, Partition)> = Vec::new();
    for partition in partitions {
        let follows =
            ranges.last().is_some_and(|(_, last)| last.0.checked_add(1) == Some(partition.0));
        match ranges.last_mut() {
            Some((_, last)) if follows => *last = *partition,
            _ => ranges.push((*partition, *partition)),
        }
        if ranges.len() > KEPT_RANGES_MAX {
            ranges.pop();
            break;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_as_ranges_and_not_without_end() {
        let partitions =
            |numbers: &[u32]| numbers.iter().copied().map(Partition).collect::<Vec<_>>();
        assert!(ranges(&[]).is_empty());
        let found = ranges(&partitions(&[0, 1, 2, 5, 7, 8]));
        let expected = [(0, 2), (5, 5), (7, 8)].map(|(a, b)| (Partition(a), Partition(b)));
        assert_eq!(found, expected);
        let scattered: Vec<u32> = (0..1000).map(|number| number * 2).collect();
        assert_eq!(ranges(&partitions(&scattered)).len(), KEPT_RANGES_MAX);
        assert_eq!(ranges(&partitions(&[u32::MAX])).len(), 1);
    }
}
