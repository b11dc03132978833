//! The agent's connections: how many there are, and how long one may take for what.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::core::Core;

/// How long to leave the system alone after it could not hand out a connection.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// How much the agent gives to peers that connect. A peer that is slow, stuck or mean holds no more than
/// this, and none of it for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// The most connections at a time. Further ones wait until one of these ends.
    pub connections: usize,
    /// How long a connection may be without a request: idle, or in the middle of a request's head.
    pub head_within: Duration,
    /// How long a change may take, with the time that its body takes to come.
    pub change_within: Duration,
    /// How long a peer may leave an answer unread.
    pub unread_for: Duration,
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            // Sixty-four nodes have four connections each, and as much is left for clients.
            connections: 512,
            head_within: Duration::from_secs(15),
            change_within: Duration::from_secs(15),
            unread_for: Duration::from_secs(30),
        }
    }
}

/// Serves `router` until the agent ends, and then until the last request is answered.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    core: Arc<Core>,
    limits: AgentLimits,
) {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = core.closed() => break,
        };
        match accepted {
            Ok((stream, place)) => {
                let connection = Connection { stream, router: router.clone(), limits };
                let core = Arc::clone(&core);
                connections.spawn(async move {
                    connection.serve(&core).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the embedded Consul agent cannot take a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits for room, and then for a connection.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, place)),
            // The peer has gone before it was taken in.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    stream: TcpStream,
    router: Router,
    limits: AgentLimits,
}

impl Connection {
    /// Answers its requests, until either side ends it or the agent ends.
    async fn serve(self, core: &Core) {
        let Self { stream, router, limits } = self;
        let _ = stream.set_nodelay(true);
        let unread_for = u32::try_from(limits.unread_for.as_millis()).unwrap_or(u32::MAX);
        // A system that does not know this still has the total to go by.
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, unread_for);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = core.closed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the embedded Consul agent ended");
        }
    }
}
