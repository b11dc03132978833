//! A node that answers as a test tells it to: a real ROUTER socket without a store behind it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use kv_core::digest::Digest;
use kv_core::layout::{
    LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::limits::VALUE_BYTES_MAX_CEILING;
use kv_core::operation::{Done, Operation, Record};
use kv_core::partition::PartitionCount;
use kv_core::version::Version;
use kv_protocol::record_stream::records;
use kv_protocol::reply::{Content, Page, Reply};
use kv_protocol::request::{Command, Request, RequestId, Style, Values};
use kvclient::{Client, Endpoint};
use uuid::Uuid;

/// How often the node looks whether it shall stop, in milliseconds.
const LOOK_MS: i64 = 10;

/// What the node does with a request.
pub(crate) enum Answer {
    /// It gives this answer.
    Content(Content),
    /// It sends these frames.
    Frames(Vec<Vec<u8>>),
    /// It is silent.
    Nothing,
    /// It closes its socket and is gone.
    Die,
}

/// What the node has heard.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// How many requests came.
    pub(crate) requests: usize,
    /// From how many sockets.
    pub(crate) peers: usize,
    /// The operations in the order in which they came, such as `PUT key`.
    pub(crate) operations: Vec<String>,
}

/// A node on a thread of its own. It ends with its handle.
pub(crate) struct ScriptedNode {
    port: u16,
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedNode {
    /// Starts a node on a free port. The script is told each request and how many have come.
    pub(crate) fn start(
        script: impl FnMut(&Request<'_>, usize) -> Answer + Send + 'static,
    ) -> Self {
        Self::bind("tcp://127.0.0.1:*", script)
    }

    /// Starts a node where another one was.
    pub(crate) fn start_at(
        port: u16,
        script: impl FnMut(&Request<'_>, usize) -> Answer + Send + 'static,
    ) -> Self {
        Self::bind(&format!("tcp://127.0.0.1:{port}"), script)
    }

    fn bind(
        endpoint: &str,
        script: impl FnMut(&Request<'_>, usize) -> Answer + Send + 'static,
    ) -> Self {
        let socket = zmq::Context::new().socket(zmq::ROUTER).unwrap();
        socket.set_linger(0).unwrap();
        socket.bind(endpoint).unwrap();
        let bound = socket.get_last_endpoint().unwrap().unwrap();
        let port = bound.rsplit(':').next().unwrap().parse().unwrap();
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let serving = Serving { socket, stop: Arc::clone(&stop), heard: Arc::clone(&heard) };
        let thread = Some(std::thread::spawn(move || serving.run(script)));
        Self { port, stop, heard, thread }
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A client whose only node this is.
    pub(crate) fn client(&self, timeout: Duration) -> Client {
        client_of(&[self.port], timeout)
    }

    /// Waits until the node has died by its script.
    pub(crate) fn wait(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }

    /// Stops the node, and says what it has heard.
    pub(crate) fn stop(self) -> Heard {
        let heard = Arc::clone(&self.heard);
        drop(self);
        let heard = heard.lock().unwrap();
        heard.clone()
    }
}

impl Drop for ScriptedNode {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

struct Serving {
    socket: zmq::Socket,
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Heard>>,
}

impl Serving {
    fn run(self, mut script: impl FnMut(&Request<'_>, usize) -> Answer) {
        let mut peers = HashSet::new();
        while !self.stop.load(Ordering::Acquire) {
            if self.socket.poll(zmq::POLLIN, LOOK_MS).unwrap() == 0 {
                continue;
            }
            let frames = self.socket.recv_multipart(0).unwrap();
            let body = frames.get(2).map(Vec::as_slice);
            let request = Request::decode(&frames[1], body, VALUE_BYTES_MAX_CEILING).unwrap();
            peers.insert(frames[0].clone());
            let received = self.note(&request, peers.len());
            let frames_back = match script(&request, received) {
                Answer::Content(content) => encoded(Some(id_of(&request)), content),
                Answer::Frames(frames) => frames,
                Answer::Nothing => continue,
                Answer::Die => return,
            };
            let message = std::iter::once(frames[0].clone()).chain(frames_back);
            self.socket.send_multipart(message, 0).unwrap();
        }
    }

    fn note(&self, request: &Request<'_>, peers: usize) -> usize {
        let mut heard = self.heard.lock().unwrap();
        heard.requests += 1;
        heard.peers = peers;
        heard.operations.extend(names(&request.command));
        heard.requests
    }
}

/// The operations of a command, such as `PUT key`, and the records that it copies.
fn names(command: &Command<'_>) -> Vec<String> {
    let name = |operation: &Operation<'_>| {
        let name = match operation {
            Operation::Put { .. } => "PUT",
            Operation::Get { .. } => "GET",
            Operation::Delete { .. } => "DELETE",
        };
        format!("{name} {}", operation.key())
    };
    match command {
        Command::One(operation) => vec![name(operation)],
        Command::Batch(operations) => operations.iter().map(name).collect(),
        Command::Copy { stream, .. } => {
            records(stream).map(|record| format!("COPY {}", record.unwrap().key)).collect()
        }
        _ => Vec::new(),
    }
}

/// The identity of the only cluster that the scripted nodes know.
pub(crate) const CLUSTER: Uuid = Uuid::from_u128(2);

/// The data directory of the node of this number, whose id is `node-<number>`.
pub(crate) fn uuid(number: usize) -> Uuid {
    Uuid::from_u128(1000 + number as u128)
}

fn member(number: usize) -> Member {
    let id = format!("node-{number}").parse().unwrap();
    Member { id, uuid: uuid(number), weight: 1, zone: String::new() }
}

/// A client of the nodes that listen on these ports, of which there is a power of two. Each owns the partition
/// of its number.
pub(crate) fn client_of(ports: &[u16], timeout: Duration) -> Client {
    let count = PartitionCount::new(u32::try_from(ports.len()).unwrap()).unwrap();
    let (mut layout, _) = at_rest();
    let owners: Vec<u32> = (0..count.get()).collect();
    let table = Table::new(&owners, count, 1, ports.len()).unwrap();
    layout.partitions = count;
    layout.placement.members = (0..ports.len()).map(member).collect();
    layout.placement.table = table.digest();
    let endpoint = |port: &u16| Endpoint::tcp("127.0.0.1", *port).unwrap();
    let endpoints = ports.iter().enumerate();
    let endpoints = endpoints.map(|(number, port)| (uuid(number), endpoint(port))).collect();
    Client::fixed(layout, &[table], &endpoints, timeout).unwrap()
}

/// A placement of the one partition on the first of some nodes.
fn placement(members: &[usize]) -> (Placement, Table) {
    let table = Table::new(&[0], PartitionCount::new(1).unwrap(), 1, members.len()).unwrap();
    let strategy =
        StrategyPin { name: "first".into(), sha256: Digest::of(b"first"), config: String::new() };
    let members = members.iter().copied().map(member).collect();
    (
        Placement {
            strategy,
            members,
            table: table.digest(),
            origin: Origin::Strategy,
            replicas: 1,
        },
        table,
    )
}

/// A layout of epoch 1, whose one partition node-0 owns.
fn at_rest() -> (Layout, Table) {
    let (placement, table) = placement(&[0]);
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: CLUSTER,
        epoch: 1,
        partitions: PartitionCount::new(1).unwrap(),
        replicas: 1,
        min_in_sync: 1,
        placement,
        rebalance: None,
        standing: Standing::default(),
    };
    (layout, table)
}

fn endpoints(nodes: &[&ScriptedNode]) -> HashMap<Uuid, Endpoint> {
    let endpoint = |node: &ScriptedNode| Endpoint::tcp("127.0.0.1", node.port).unwrap();
    nodes.iter().enumerate().map(|(number, node)| (uuid(number), endpoint(node))).collect()
}

/// A client of a cluster whose one partition is on its way from the first node to the second. `step`
/// takes the layout, in which that is being prepared, to where the test wants it.
pub(crate) fn moving_client(
    nodes: [&ScriptedNode; 2],
    timeout: Duration,
    step: impl FnOnce(Layout) -> Layout,
) -> Client {
    let (layout, table) = at_rest();
    let (to, other) = placement(&[1]);
    let prepared = layout.begin(to, Vec::new()).unwrap().prepare(1).unwrap();
    let layout = step(prepared);
    let tables = if layout.rebalance.is_some() { vec![table, other] } else { vec![other] };
    Client::fixed(layout, &tables, &endpoints(&nodes), timeout).unwrap()
}

/// The number by which the client knows its request.
pub(crate) fn id_of(request: &Request<'_>) -> u64 {
    match request.id {
        Some(RequestId::Number(id)) => id,
        _ => panic!("the client numbers its requests"),
    }
}

/// The frames of an answer.
pub(crate) fn encoded(id: Option<u64>, content: Content) -> Vec<Vec<u8>> {
    let style = Style { values: Values::Body, versions: true, streams: true };
    let (header, body) = Reply { id: id.map(RequestId::Number), content }.encode(style);
    std::iter::once(header).chain(body).collect()
}

/// The right answer of a node that stores nothing, but for a scan, which finds one record.
pub(crate) fn carry_out(request: &Request<'_>) -> Content {
    let done = |operation: &Operation<'_>| match operation {
        Operation::Put { .. } => Done::Stored { version: Version { epoch: 1, sequence: 1 } },
        Operation::Get { .. } => Done::Read(None),
        Operation::Delete { .. } => Done::Deleted { existed: false },
    };
    match &request.command {
        Command::One(operation) => {
            Content::One { key: operation.key().to_owned(), done: done(operation) }
        }
        Command::Batch(operations) => {
            Content::Batch(operations.iter().map(|operation| Ok(done(operation))).collect())
        }
        Command::Scan(_) => {
            let record = Record { value: b"v".to_vec(), version: None };
            Content::Page(Page { items: vec![("key".into(), record)], ..Page::default() })
        }
        other => panic!("the client does not ask this here: {other:?}"),
    }
}
