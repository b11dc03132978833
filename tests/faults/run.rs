//! A run: rounds of work under faults, each judged when the faults have ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kv_consul::ConsulConfig;
use kv_testkit::harness::{Backend, Cluster};
use kvclient::{Client, ClientConfig};
use tokio::runtime::Runtime;

use super::aftermath::{self, Aftermath};
use super::check::{Finding, check};
use super::fleet::Fleet;
use super::history::{Clock, History, Outcome};
use super::ledger::{Discrepancies, Ledger};
use super::nemesis::Nemesis;
use super::scanning;
use super::settings::Settings;
use super::totals::Totals;
use super::workload::{self, Shared, Work};

/// How many nodes a run begins with.
const NODES: usize = 4;
/// How many clients work, some of which have been there for a while.
const CLIENTS: usize = 4;
/// How long faults go on in one round.
const ROUND: Duration = Duration::from_millis(2500);
/// How long an operation is given in the midst of faults.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(2);
/// How many rounds pass between two words on how it goes, in a long run.
const ROUNDS_PER_WORD: u64 = 20;

/// A run, and all that it needs.
pub(super) struct Run {
    backend: Backend,
    settings: Settings,
    pub(super) runtime: Runtime,
    pub(super) fleet: Fleet,
    nemesis: Nemesis,
    pub(super) shared: Shared,
    clients: VecDeque<Client>,
    pub(super) ledger: Ledger,
    pub(super) totals: Totals,
    /// The judges of earlier rounds, at work while the next one runs.
    judges: Vec<JoinHandle<Vec<Finding>>>,
    /// The problems that were found, in words.
    reports: Vec<String>,
}

impl Run {
    /// Starts a cluster with a population.
    pub(super) fn start(backend: Backend, settings: Settings) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let cluster = Cluster::empty_with_durable_consul(backend);
        let fleet = Fleet::start(cluster, runtime.handle(), NODES);
        let population = Ledger::population();
        fleet.cluster.kvclient(&["import"]).stdin(population).output().success();
        let shared = Shared {
            clock: Clock::start(),
            next_write: Arc::new(AtomicU64::new(Ledger::next_write())),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let config = client_config(&fleet.cluster);
        let client = || runtime.block_on(Client::connect(config.clone())).expect("all is well yet");
        let clients = (0..CLIENTS).map(|_| client()).collect();
        let nemesis = Nemesis::new(settings.seed, settings.kinds.clone());
        Self {
            backend,
            settings,
            runtime,
            fleet,
            nemesis,
            shared,
            clients,
            ledger: Ledger::default(),
            totals: Totals::default(),
            judges: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// Runs rounds for as long as the settings say, and tells the figures.
    ///
    /// # Panics
    /// Where anything was found, with all there is to know about it.
    pub(super) fn go(mut self) {
        let end = Instant::now() + self.settings.duration;
        while Instant::now() < end {
            self.totals.rounds += 1;
            self.round();
            self.hear_judges(1);
            self.fail_where_not_clean();
            if self.totals.rounds.is_multiple_of(ROUNDS_PER_WORD) {
                println!("{:?} so far:\n{}", self.backend, self.totals);
            }
        }
        self.hear_judges(0);
        self.fail_where_not_clean();
        println!("{:?} in the end:\n{}", self.backend, self.totals);
    }

    fn round(&mut self) {
        let keys = workload::keys_of_round(self.totals.rounds);
        let clients: Vec<Client> = self.clients.iter().cloned().collect();
        let newest = clients.last().expect("there are clients").clone();
        let layout = newest.layout();
        let members = layout.members().iter().map(|member| member.id.to_string()).collect();
        self.shared.stop.store(false, Ordering::Release);
        let seed = self.settings.seed.wrapping_add(self.totals.rounds << 32);
        let work = workload::work(self.shared.clone(), clients, keys.clone(), seed);
        let work = self.runtime.spawn(work);
        let scans = self.runtime.spawn(scanning::scan(self.shared.clone(), newest));
        let (fleet, totals) = (&mut self.fleet, &mut self.totals);
        let healed = self
            .nemesis
            .rage(fleet, members, ROUND, totals)
            .and_then(|()| self.nemesis.heal(fleet, totals));
        self.shared.stop.store(true, Ordering::Release);
        let work = self.runtime.block_on(work).expect("no worker panics");
        let scans = self.runtime.block_on(scans).expect("no scan panics");
        if let Err(problem) = healed {
            self.totals.wedged += 1;
            self.reports.push(format!("a node does not start again: {problem}"));
            return;
        }
        let (crashes, mistakes) = (self.fleet.take_crashes(), self.nemesis.take_problems());
        self.note_wrong_answers([crashes, mistakes].concat());
        self.totals.scans += scans.complete.len() as u64;
        for found in &scans.complete {
            self.note_discrepancies(self.ledger.compare(found, &keys), "a scan under way");
        }
        self.note_wrong_answers(scans.problems);
        self.judge(work, &keys);
    }

    /// Looks at how the cluster is after a round, and has the histories judged.
    fn judge(&mut self, work: Work, keys: &[String]) {
        let Work { mut histories, unavailable, problems } = work;
        self.totals.unavailable += unavailable;
        self.note_wrong_answers(problems);
        match aftermath::look(self, &mut histories) {
            Ok(Aftermath { client, found, problems }) => {
                self.note_wrong_answers(problems);
                self.note_discrepancies(self.ledger.compare(&found, keys), "the export");
                self.clients.pop_front();
                self.clients.push_back(client);
            }
            Err(problem) => {
                self.totals.wedged += 1;
                self.reports.push(format!("the cluster is wedged: {problem}"));
            }
        }
        self.ledger.bury(&histories);
        self.totals.histories += histories.len() as u64;
        let records = || histories.iter().flat_map(|history| &history.records);
        self.totals.operations += records().count() as u64;
        let is_unknown = |outcome| outcome == Outcome::Unknown;
        self.totals.unknown += records().filter(|it| is_unknown(it.outcome)).count() as u64;
        self.judges.push(std::thread::spawn(move || judge(&histories)));
    }

    /// Waits for judges until at most `left` are at work.
    fn hear_judges(&mut self, left: usize) {
        while self.judges.len() > left {
            let findings = self.judges.remove(0).join().expect("no judge panics");
            for finding in findings {
                let count = match finding.is_violation {
                    true => &mut self.totals.violations,
                    false => &mut self.totals.undecided,
                };
                *count += 1;
                self.reports.push(finding.report);
            }
        }
    }

    fn note_discrepancies(&mut self, wrong: Discrepancies, by: &str) {
        self.totals.lost += wrong.lost.len() as u64;
        self.totals.resurrected += wrong.resurrected.len() as u64;
        let lines = wrong.lost.into_iter().chain(wrong.resurrected);
        self.reports.extend(lines.map(|line| format!("{by}: {line}")));
    }

    fn note_wrong_answers(&mut self, problems: Vec<String>) {
        self.totals.wrong_answers += problems.len() as u64;
        self.reports.extend(problems);
    }

    fn fail_where_not_clean(&mut self) {
        if !self.totals.is_clean() {
            // What the judges still know belongs to it.
            self.hear_judges(0);
            panic!("{}", self.reports.join("\n"));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if std::thread::panicking() {
            eprintln!("-- {:?}, seed {}\n{}", self.backend, self.settings.seed, self.totals);
            eprintln!("-- what was done last\n{}", self.nemesis.actions());
            eprintln!("{}", self.fleet.logs());
        }
    }
}

/// How to connect to the cluster in the midst of faults.
pub(super) fn client_config(cluster: &Cluster) -> ClientConfig {
    let consul = ConsulConfig::resolve(Some(&cluster.consul())).expect("the address is one");
    let mut config = ClientConfig::new(consul);
    config.cluster = cluster.name().parse().expect("the cluster's name is one");
    config.timeout = OPERATION_TIMEOUT;
    config
}

fn judge(histories: &[History]) -> Vec<Finding> {
    histories.iter().filter_map(|history| check(history).err()).collect()
}
