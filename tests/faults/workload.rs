//! Clients at work on a few keys, who write down what they did.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv_core::refusal::ErrorCode;
use kvclient::{Client, ClientError, Condition, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use super::history::{Clock, History, Operation, Outcome, Record};
use super::value::{value_of, write_of};

/// The workers on the same keys.
const WORKERS_OF_GROUP: usize = 6;
/// How many such groups there are.
const GROUPS: usize = 20;
const KEYS_OF_GROUP: usize = 4;
/// How long a group keeps to the same two keys, so that they meet there, before it goes to the next.
const FOCUS: Duration = Duration::from_millis(120);
/// The most operations on one key, so that its history can be judged soon.
const OPERATIONS_OF_KEY_MAX: usize = 600;
/// How long a worker waits after an operation that failed for certain, and that it would repeat.
const PAUSE: Duration = Duration::from_millis(5);

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    /// The number of the next write.
    pub(super) next_write: Arc<AtomicU64>,
    /// Whether all are to come to an end.
    pub(super) stop: Arc<AtomicBool>,
}

/// What one worker did.
#[derive(Default)]
pub(super) struct Log {
    /// The operations that belong in histories, by the key's place in the round.
    records: Vec<(usize, Record)>,
    /// How many operations were certainly not carried out.
    unavailable: u64,
    /// Answers that must not be.
    problems: Vec<String>,
}

/// What all workers did in a round.
pub(super) struct Work {
    /// The histories of all keys.
    pub(super) histories: Vec<History>,
    /// How many operations were certainly not carried out.
    pub(super) unavailable: u64,
    /// Answers that must not be.
    pub(super) problems: Vec<String>,
}

/// The keys of a round: no other has them.
pub(super) fn keys_of_round(round: u64) -> Vec<String> {
    (0..GROUPS * KEYS_OF_GROUP).map(|key| format!("round-{round}/{key}")).collect()
}

/// Lets all groups work until they are to stop.
pub(super) async fn work(
    shared: Shared,
    clients: Vec<Client>,
    keys: Vec<String>,
    seed: u64,
) -> Work {
    let mut workers = JoinSet::new();
    let all_keys = Arc::new(keys);
    for number in 0..GROUPS * WORKERS_OF_GROUP {
        let worker = Worker {
            shared: shared.clone(),
            client: clients[number % clients.len()].clone(),
            number,
            keys: Arc::clone(&all_keys),
            random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
            seen: HashMap::new(),
            done: HashMap::new(),
            log: Log::default(),
        };
        workers.spawn(worker.run());
    }
    let histories = all_keys.iter().map(|key| History { key: key.clone(), records: Vec::new() });
    let mut work = Work { histories: histories.collect(), unavailable: 0, problems: Vec::new() };
    for log in workers.join_all().await {
        work.add(log);
    }
    work
}

impl Work {
    fn add(&mut self, log: Log) {
        for (key, record) in log.records {
            self.histories[key].records.push(record);
        }
        self.unavailable += log.unavailable;
        self.problems.extend(log.problems);
    }
}

struct Worker {
    shared: Shared,
    client: Client,
    number: usize,
    keys: Arc<Vec<String>>,
    random: StdRng,
    /// The version that it saw last, by key.
    seen: HashMap<usize, Version>,
    /// What it did, by key.
    done: HashMap<usize, usize>,
    log: Log,
}

impl Worker {
    async fn run(mut self) -> Log {
        let start = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            let key = self.choose_key(start.elapsed());
            let done = self.done.entry(key).or_default();
            *done += 1;
            if *done > OPERATIONS_OF_KEY_MAX / WORKERS_OF_GROUP {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let operation = self.choose_operation(key);
            match perform(&self.shared, &self.client, self.number, &self.keys[key], operation).await
            {
                Ok(record) => {
                    if let Outcome::Found(_, Some(version)) | Outcome::Stored(version) =
                        record.outcome
                    {
                        self.seen.insert(key, version);
                    }
                    self.log.records.push((key, record));
                }
                Err(Failure::NotDone) => {
                    self.log.unavailable += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Failure::MustNotBe(problem)) => self.log.problems.push(problem),
            }
        }
        self.log
    }

    /// Mostly one of the two keys that the whole group is at.
    fn choose_key(&mut self, elapsed: Duration) -> usize {
        let turn = usize::try_from(elapsed.as_millis() / FOCUS.as_millis()).unwrap_or_default();
        let key = match self.random.random_range(0..10) {
            0 => self.random.random_range(0..KEYS_OF_GROUP),
            1..6 => turn,
            _ => turn + 1,
        };
        self.number / WORKERS_OF_GROUP * KEYS_OF_GROUP + key % KEYS_OF_GROUP
    }

    fn choose_operation(&mut self, key: usize) -> Operation {
        let write = self.shared.next_write.fetch_add(1, Ordering::Relaxed);
        let version = self.seen.get(&key).map_or(Condition::None, |it| Condition::Version(*it));
        match self.random.random_range(0..100) {
            0..40 => Operation::Get,
            40..62 => Operation::Put(write, Condition::None),
            62..72 => Operation::Put(write, Condition::Absent),
            72..82 => Operation::Put(write, version),
            82..93 => Operation::Delete(Condition::None),
            _ => Operation::Delete(version),
        }
    }
}

/// Why an operation is in no history.
pub(super) enum Failure {
    /// It was certainly not carried out, and may be repeated.
    NotDone,
    /// The answer is none that a client may be given.
    MustNotBe(String),
}

/// Carries out an operation and writes down what came of it.
///
/// # Errors
/// [`Failure`] where there is nothing to write down.
pub(super) async fn perform(
    shared: &Shared,
    client: &Client,
    number: usize,
    key: &str,
    operation: Operation,
) -> Result<Record, Failure> {
    let call_ns = shared.clock.now_ns();
    let result = match operation {
        Operation::Get => client.get(key).await.map(|record| match record {
            None => Ok(Outcome::Absent),
            Some(record) => match write_of(&record.value) {
                Some(write) => Ok(Outcome::Found(write, record.version)),
                None => Err(format!("{key} has a value that nobody wrote: {:?}", record.value)),
            },
        }),
        Operation::Put(write, condition) => {
            let stored = client.put_if(key, value_of(write), condition).await;
            stored.map(|version| Ok(Outcome::Stored(version)))
        }
        Operation::Delete(condition) => {
            let deleted = client.delete_if(key, condition).await;
            deleted.map(|existed| Ok(Outcome::Deleted { existed }))
        }
    };
    let response_ns = shared.clock.now_ns();
    let outcome = match result {
        Ok(outcome) => outcome.map_err(Failure::MustNotBe)?,
        Err(ClientError::OutcomeUnknown { .. }) => Outcome::Unknown,
        Err(ClientError::Unavailable { .. }) => return Err(Failure::NotDone),
        Err(ClientError::Refused { refusal, .. }) if refusal.code == ErrorCode::Conflict => {
            Outcome::Conflict(refusal.version)
        }
        Err(ClientError::Refused { refusal, .. }) if refusal.code.is_retryable() => {
            return Err(Failure::NotDone);
        }
        Err(error) => return Err(Failure::MustNotBe(format!("{operation:?} of {key}: {error}"))),
    };
    Ok(Record { client: number, operation, outcome, call_ns, response_ns })
}
