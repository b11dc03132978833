//! After a round, when all faults have ended: the cluster must serve every key, come to rest, and
//! hold what the histories allow.

use std::time::{Duration, Instant};

use futures::future::join_all;
use kvclient::{Client, Condition};

use super::history::{History, Operation, Outcome, Record};
use super::ledger::{Found, add};
use super::mover::{Mover, Order};
use super::run::{Run, client_config};
use super::workload::{Failure, Shared, perform};

/// How long the cluster may take to serve every key.
const SERVES_WITHIN: Duration = Duration::from_secs(30);
/// How long a rebalance that is under way may take to come to its end.
const RESTS_WITHIN: Duration = Duration::from_secs(60);
/// How often to look.
const POLL: Duration = Duration::from_millis(20);
/// The number of the client that looks.
const CLIENT: usize = 1000;

/// How the cluster is.
pub(super) struct Aftermath {
    /// A client that knows nothing of the rounds before.
    pub(super) client: Client,
    /// What an export found.
    pub(super) found: Found,
    /// Answers that must not be.
    pub(super) problems: Vec<String>,
}

/// Reads every key, brings the cluster to rest, exports everything, and removes every key. All that
/// becomes part of the histories.
///
/// # Errors
/// What the cluster does not do any more.
pub(super) fn look(run: &mut Run, histories: &mut [History]) -> Result<Aftermath, String> {
    let end = Instant::now() + SERVES_WITHIN;
    let mut problems = Vec::new();
    let client = connect(run, end)?;
    on_every_key(run, &client, histories, Operation::Get, end, &mut problems)?;
    let client = come_to_rest(run, client)?;
    let end = Instant::now() + SERVES_WITHIN;
    let found = export(run, histories, end)?;
    let delete = Operation::Delete(Condition::None);
    on_every_key(run, &client, histories, delete, end, &mut problems)?;
    Ok(Aftermath { client, found, problems })
}

fn connect(run: &Run, end: Instant) -> Result<Client, String> {
    let config = client_config(&run.fleet.cluster);
    loop {
        match run.runtime.block_on(Client::connect(config.clone())) {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() >= end => {
                return Err(format!("no client can connect after {SERVES_WITHIN:?}: {error}"));
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Does the same to every key, until it is certain that it was done.
fn on_every_key(
    run: &Run,
    client: &Client,
    histories: &mut [History],
    operation: Operation,
    end: Instant,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let all = histories.iter_mut().map(|it| on_key(&run.shared, client, it, operation, end));
    for outcome in run.runtime.block_on(join_all(all)) {
        match outcome {
            Ok(()) => {}
            Err(Failure::NotDone) => {
                return Err(format!("{operation:?} is not done after {SERVES_WITHIN:?}"));
            }
            Err(Failure::MustNotBe(problem)) => problems.push(problem),
        }
    }
    Ok(())
}

async fn on_key(
    shared: &Shared,
    client: &Client,
    history: &mut History,
    operation: Operation,
    end: Instant,
) -> Result<(), Failure> {
    loop {
        match perform(shared, client, CLIENT, &history.key, operation).await {
            Ok(record) => {
                history.records.push(record);
                if record.outcome != Outcome::Unknown {
                    return Ok(());
                }
            }
            Err(Failure::NotDone) if Instant::now() < end => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Where a rebalance is under way, goes on with it until it has ended, by the one command for that.
/// Returns a client that has seen it.
fn come_to_rest(run: &mut Run, client: Client) -> Result<Client, String> {
    let end = Instant::now() + RESTS_WITHIN;
    let mut client = client;
    let mut last_words = String::new();
    while let Some(rebalance) = client.layout().rebalance {
        if Instant::now() >= end {
            let epoch = client.layout().epoch;
            return Err(format!(
                "a rebalance has not ended after {RESTS_WITHIN:?}, at epoch {epoch}: {rebalance:?}\n\
                 the last `kvclient rebalance resume` said:\n{last_words}"
            ));
        }
        let mut mover = Mover::start(&run.fleet.cluster, Order::Resume);
        while mover.is_running() && Instant::now() < end {
            // Nodes may be launched and may leave meanwhile.
            run.fleet.look_around();
            std::thread::sleep(POLL);
        }
        last_words = mover.log();
        client = connect(run, end)?;
    }
    Ok(client)
}

/// Exports everything by the command for that. For each key it is one more read, at some time from
/// its start to its end.
fn export(run: &Run, histories: &mut [History], end: Instant) -> Result<Found, String> {
    loop {
        let call_ns = run.shared.clock.now_ns();
        let output = run.fleet.cluster.kvclient(&["export"]).output();
        let response_ns = run.shared.clock.now_ns();
        if !output.status.success() {
            if Instant::now() >= end {
                return Err(format!("no export after {SERVES_WITHIN:?}: {output}"));
            }
            std::thread::sleep(POLL);
            continue;
        }
        let mut found = Found::new();
        for line in output.stdout_text().lines() {
            let line: serde_json::Value =
                serde_json::from_str(line).map_err(|error| format!("{line:?}: {error}"))?;
            let text = |member: &str| line[member].as_str().unwrap_or_default().to_owned();
            add(&mut found, text("key"), text("value").as_bytes())?;
        }
        for history in histories {
            let write = found.get(&history.key);
            let outcome = write.map_or(Outcome::Absent, |write| Outcome::Found(*write, None));
            let (client, operation) = (CLIENT, Operation::Get);
            history.records.push(Record { client, operation, outcome, call_ns, response_ns });
        }
        return Ok(found);
    }
}
