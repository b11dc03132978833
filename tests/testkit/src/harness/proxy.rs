//! A bad network: a TCP proxy that delays, stalls and cuts what passes through it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::wait::eventually;

/// How much is carried at once, in bytes.
const CHUNK_BYTES: usize = 16 << 10;
/// How long a port that another program has is waited for.
const BIND_WITHIN: Duration = Duration::from_secs(60);

/// What becomes of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// It passes.
    Flows,
    /// It passes, each piece this much later.
    IsLate(Duration),
    /// Nothing passes in either direction, and neither side is told; later all of it does.
    Stalls,
    /// What the client sends arrives, and no answer comes back: the connection is open on one side.
    IsOneWay,
    /// All connections are closed, and new ones at once.
    IsRefused,
}

/// A proxy before one listener. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    rule: watch::Sender<Rule>,
    serving: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    traffic: Traffic,
    /// Grows when all open connections are to be closed.
    cuts: u64,
}

impl Proxy {
    /// Listens at `listen` and connects each client to `target`.
    ///
    /// # Panics
    /// Where another program has the port, and does not give it back.
    #[track_caller]
    pub fn start(runtime: &Handle, listen: SocketAddr, target: SocketAddr) -> Self {
        Self::begin(runtime, listen, target, false)
    }

    /// A proxy on a port of the system's choice before a Consul agent that answers to its own name only:
    /// in requests, the proxy's is replaced by that.
    #[track_caller]
    pub fn before_consul(runtime: &Handle, target: SocketAddr) -> Self {
        Self::begin(runtime, (target.ip(), 0).into(), target, true)
    }

    #[track_caller]
    fn begin(runtime: &Handle, listen: SocketAddr, target: SocketAddr, renames: bool) -> Self {
        // The system may have given the port to a connection of another program for a while.
        let listener = eventually(&format!("a proxy at {listen}"), BIND_WITHIN, || {
            runtime.block_on(TcpListener::bind(listen)).map_err(|error| error.to_string())
        });
        let address = listener.local_addr().expect("it is bound");
        let (rule, rules) = watch::channel(Rule { traffic: Traffic::Flows, cuts: 0 });
        let name = renames.then(|| [address, target].map(|it| it.to_string().into_bytes()));
        let serving = runtime.spawn(serve(listener, target, rules, name));
        Self { address, rule, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what becomes of the traffic.
    pub fn set(&self, traffic: Traffic) {
        self.rule.send_modify(|rule| {
            // Where bytes were swallowed, what follows them would make no sense.
            let is_broken = rule.traffic == Traffic::IsOneWay || traffic == Traffic::IsRefused;
            *rule = Rule { traffic, cuts: rule.cuts + u64::from(is_broken) };
        });
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.rule.send_modify(|rule| rule.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The tasks that carry bytes end when no owner can change their rule any more.
        self.serving.abort();
    }
}

/// Bytes to replace in what clients send, and their replacement.
type Name = Option<[Vec<u8>; 2]>;

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    rules: watch::Receiver<Rule>,
    name: Name,
) {
    loop {
        let accepted = listener.accept().await;
        let is_refused = rules.borrow().traffic == Traffic::IsRefused;
        match accepted {
            Ok((client, _)) if !is_refused => {
                tokio::spawn(carry(client, target, rules.clone(), name.clone()));
            }
            // It is closed by being dropped; an error is about one connection that is gone already.
            Ok(_) | Err(_) => {}
        }
    }
}

async fn carry(
    client: TcpStream,
    target: SocketAddr,
    mut rules: watch::Receiver<Rule>,
    name: Name,
) {
    let Ok(node) = TcpStream::connect(target).await else { return };
    // Late answers are what `Traffic::IsLate` is for.
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let cuts = rules.borrow_and_update().cuts;
    let ((from_client, to_client), (from_node, to_node)) = (client.into_split(), node.into_split());
    tokio::select! {
        () = pump(from_client, to_node, rules.clone(), false, name) => {}
        () = pump(from_node, to_client, rules.clone(), true, None) => {}
        _ = rules.wait_for(|rule| rule.cuts != cuts) => {}
    }
}

/// Carries one direction until a side closes it.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut rules: watch::Receiver<Rule>,
    are_answers: bool,
    name: Name,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(length @ 1..) = from.read(&mut chunk).await else { return };
        let rule = rules.wait_for(|rule| rule.traffic != Traffic::Stalls).await;
        let Ok(traffic) = rule.map(|rule| rule.traffic) else { return };
        match traffic {
            Traffic::IsOneWay if are_answers => continue,
            Traffic::IsLate(delay) => tokio::time::sleep(delay).await,
            _ => {}
        }
        // The head of a request comes in one piece.
        let carried = match &name {
            Some([from, to]) => replaced(&chunk[..length], from, to),
            None => chunk[..length].to_vec(),
        };
        if to.write_all(&carried).await.is_err() {
            return;
        }
    }
}

/// `bytes` with the first `from` in it replaced.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match bytes.windows(from.len()).position(|window| window == from) {
        Some(at) => [&bytes[..at], to, &bytes[at + from.len()..]].concat(),
        None => bytes.to_vec(),
    }
}
