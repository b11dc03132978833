//! A node's lives, one after the other, on the same data.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kv_testkit::harness::node::Node;
use kv_testkit::harness::{Backend, Cluster};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Run;
use super::clients::{Client, Shared};
use super::death::Death;
use super::ledger::Fault;
use super::totals::Totals;

const CLIENTS: u64 = 3;
/// How the lanes' nodes are started: each way to be durable, with many checkpoints and with few.
const OPTIONS: [(&str, &str); 4] =
    [("always", "8192"), ("everysec", "16384"), ("always", "262144"), ("everysec", "4096")];
/// How long a node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait for answers before looking whether the node lives.
const LOOK_MS: i64 = 2;
/// How many kills pass between two words on how it goes.
const KILLS_PER_WORD: u64 = 500;
/// How many findings are told of a lane; what comes after them says little more.
const FINDINGS_MAX: usize = 10;

/// A node, its clients, and what they know.
pub(super) struct Lane<'a> {
    run: &'a Run,
    number: u64,
    cluster: Cluster,
    clients: Vec<Client>,
    shared: Shared,
    context: zmq::Context,
    /// How many of its findings have been told.
    told: usize,
}

impl<'a> Lane<'a> {
    /// Starts a node of its own.
    ///
    /// # Panics
    /// Where that fails.
    pub(super) fn start(run: &'a Run, number: u64) -> Self {
        let mut cluster = Cluster::empty(Backend::Embedded);
        let (fsync, segment_bytes) = OPTIONS[(number % OPTIONS.len() as u64) as usize];
        let options = ["--id", "node-0", "--port", "0", "--no-launch", "--fsync", fsync];
        cluster.add_node(&[&options[..], &["--segment-bytes", segment_bytes]].concat());
        cluster.create_layout(&[]);
        let shared = Shared {
            random: StdRng::seed_from_u64(run.settings.seed.wrapping_add(number)),
            number: 0,
            totals: Totals::default(),
            faults: Vec::new(),
            sequence: 0,
            horizon: 0,
        };
        let clients = (0..CLIENTS).map(Client::new).collect();
        Self { run, number, cluster, clients, shared, context: zmq::Context::new(), told: 0 }
    }

    /// Lets the node live and die until the run has seen enough of it.
    pub(super) fn go(mut self) {
        self.cluster.node_mut(0).kill();
        for life in 0.. {
            let kill = self.run.kills.fetch_add(1, Ordering::Relaxed) + 1;
            if kill > self.run.settings.kills {
                break;
            }
            let death = Death::draw(&mut self.shared.random, life);
            let goes_on = self.live(death);
            self.tell(&format!("life {life} of lane {}, which ended {death:?}", self.number));
            if !goes_on || self.told >= FINDINGS_MAX {
                break;
            }
            if kill.is_multiple_of(KILLS_PER_WORD) {
                println!("{kill} kills in {:.0} s", self.run.started.elapsed().as_secs_f64());
            }
        }
        self.look_at_last();
        let mut totals = self.run.totals.lock().expect("no lane panicked");
        totals.add(&self.shared.totals);
    }

    /// Starts the node once more and looks at all that it has, and whether it knows how much that is.
    fn look_at_last(&mut self) {
        self.node().respawn(&[]);
        if self.node().ready_or_end().is_ok() {
            let sockets = self.connect();
            self.recover(&sockets);
            let fsck = self.cluster.kvclient(&["fsck"]).output();
            if !fsck.status.success() {
                self.shared.faults.push(Fault::Wrong(format!("after all its lives: {fsck}")));
            }
        }
        if !self.node().process().is_running() {
            let log = self.node().last_words();
            self.shared.faults.push(Fault::Wrong(format!("the node has ended by itself:\n{log}")));
        }
        self.tell(&format!("the last life of lane {}", self.number));
    }

    /// One life of the node. Returns whether there may be another.
    fn live(&mut self, death: Death) -> bool {
        let failpoint = death.failpoint();
        let mut environment = vec![("RUST_LOG", "warn,sled=error")];
        environment.extend(failpoint.as_ref().map(|(_, text)| ("FAILPOINTS", text.as_str())));
        self.cluster.node_mut(0).respawn(&environment);
        let ended = match death {
            Death::Starting(time) => self.node().process().wait_at_most(time),
            Death::Working(_) | Death::At(..) => match self.node().ready_or_end() {
                Err(status) => Some(status),
                Ok(()) => self.work(death.working()),
            },
        };
        self.node().kill();
        self.shared.horizon = self.shared.sequence;
        let totals = &mut self.shared.totals;
        totals.kills += 1;
        totals.unknown += self.clients.iter_mut().map(Client::give_up).sum::<u64>();
        totals.kills_at_start += u64::from(matches!(death, Death::Starting(_)));
        match (ended, failpoint) {
            (None, _) => true,
            (Some(status), Some((name, _))) if is_killed(status) => {
                *totals.kills_at.entry(name).or_default() += 1;
                true
            }
            (Some(status), _) => {
                let log = self.cluster.node(0).last_words();
                self.shared.faults.push(Fault::Wrong(format!("the node ended, {status}:\n{log}")));
                false
            }
        }
    }

    fn node(&mut self) -> &mut Node {
        self.cluster.node_mut(0)
    }

    /// Lets the clients work for some time, and then kills the node. Returns how it had ended before,
    /// where it had.
    fn work(&mut self, time: Duration) -> Option<ExitStatus> {
        let sockets = self.connect();
        let lives = self.recover(&sockets);
        let deadline = Instant::now() + if lives { time } else { Duration::ZERO };
        while Instant::now() < deadline {
            for (client, socket) in self.clients.iter_mut().zip(&sockets) {
                client.ask(socket, &mut self.shared);
            }
            if !self.hear(&sockets) && !self.cluster.node_mut(0).process().is_running() {
                break;
            }
        }
        let ended = self.node().process().wait_at_most(Duration::ZERO);
        self.node().kill();
        // What it said before it died counts.
        while self.hear(&sockets) {}
        ended
    }

    fn connect(&self) -> Vec<zmq::Socket> {
        let endpoint = self.cluster.node(0).endpoint();
        let connect = |_: &Client| {
            let socket = self.context.socket(zmq::DEALER).expect("a socket can be made");
            // Requests that were not sent when the node died must not reach it in its next life.
            socket.set_linger(0).expect("the socket takes a linger time");
            socket.connect(&endpoint).unwrap_or_else(|error| panic!("{endpoint}: {error}"));
            socket
        };
        self.clients.iter().map(connect).collect()
    }

    /// Takes the answers in that come within a moment. Returns whether there were any.
    fn hear(&mut self, sockets: &[zmq::Socket]) -> bool {
        let mut items: Vec<_> = sockets.iter().map(|it| it.as_poll_item(zmq::POLLIN)).collect();
        zmq::poll(&mut items, LOOK_MS).expect("the sockets can be polled");
        let mut heard = 0;
        for (client, socket) in self.clients.iter_mut().zip(sockets) {
            heard += client.hear(socket, &mut self.shared);
        }
        heard > 0
    }

    /// Reads everything after a start and judges it. Returns whether the node lived that long.
    fn recover(&mut self, sockets: &[zmq::Socket]) -> bool {
        let mut looks = Vec::new();
        for (number, socket) in sockets.iter().enumerate() {
            let Some(look) = self.ask(socket, &self.clients[number].look()) else { return false };
            looks.push(look);
        }
        let Some(status) = self.ask(&sockets[0], &json!({"op": "STATUS"})) else { return false };
        let (mut keys, mut bytes) = (0, 0);
        for (client, look) in self.clients.iter_mut().zip(&looks) {
            let (more_keys, more_bytes) = client.recover(look, &mut self.shared);
            keys += more_keys;
            bytes += more_bytes;
        }
        self.shared.horizon = self.shared.sequence;
        let told = ["keys", "bytes"].map(|it| status["status"][it].as_u64());
        if told != [Some(keys), Some(bytes)] {
            let text = format!("the node counts {told:?} keys and bytes, has {keys} and {bytes}");
            self.shared.faults.push(Fault::Wrong(text));
        }
        true
    }

    /// Asks the node, and waits for the answer as long as the node lives.
    fn ask(&mut self, socket: &zmq::Socket, request: &Value) -> Option<Value> {
        socket.send(request.to_string().as_bytes(), 0).expect("the socket takes messages");
        let deadline = Instant::now() + ANSWER_WITHIN;
        while socket.poll(zmq::POLLIN, LOOK_MS).expect("the socket can be polled") == 0 {
            if !self.node().process().is_running() {
                return None;
            }
            if Instant::now() >= deadline {
                let text = format!("the node has not answered {request} within {ANSWER_WITHIN:?}");
                self.shared.faults.push(Fault::Wrong(text));
                return None;
            }
        }
        let reply = socket.recv_bytes(zmq::DONTWAIT).expect("an answer is there");
        Some(serde_json::from_slice(&reply).unwrap_or_default())
    }

    /// Prints the findings since the last time.
    fn tell(&mut self, when: &str) {
        let totals = &mut self.shared.totals;
        for fault in self.shared.faults.drain(..) {
            let (count, text) = match fault {
                Fault::Lost(text) => (&mut totals.lost, text),
                Fault::Resurrected(text) => (&mut totals.resurrected, text),
                Fault::Wrong(text) => (&mut totals.wrong, text),
            };
            *count += 1;
            self.told += 1;
            if self.told <= FINDINGS_MAX {
                println!("{when}: {text}");
            }
        }
    }
}

fn is_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}
