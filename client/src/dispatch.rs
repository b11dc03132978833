//! Hands the operations of many tasks to the connections, which pack them into batches by themselves.
//!
//! While a few batches are under way to a node, whatever comes gathers in its [`Lane`] and becomes the
//! next batch, so that batches grow with the load and a lone operation waits for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::connection::Connections;
use crate::endpoint::Endpoint;
use crate::lane::{self, Answer, Errand, Lane, Queued};
use crate::routing::Target;

/// The lanes to all nodes.
pub(crate) struct Dispatcher {
    connections: Connections,
    /// How far apart the deadlines in one batch may be.
    spread: Duration,
    lanes: Mutex<HashMap<Endpoint, Arc<Lane>>>,
}

impl Dispatcher {
    /// For operations that have about `timeout` each.
    pub(crate) fn new(connections: Connections, timeout: Duration) -> Self {
        Self { connections, spread: timeout / 8, lanes: Mutex::default() }
    }

    /// Carries out one errand at `target`, which is one of this client's.
    ///
    /// It is answered by its deadline. Where the future is dropped before the errand was sent, it is
    /// not sent.
    ///
    /// # Errors
    /// [`ExchangeError`](crate::connection::ExchangeError) says whether the operation can have
    /// reached the node.
    pub(crate) async fn carry(&self, target: &Target, errand: Errand) -> Answer {
        let lane = target.lane.get_or_init(|| self.lane(&target.endpoint));
        let Queued { answered, is_first } = lane.put(errand).await?;
        if is_first {
            // Dropped after others had their turn, or with this future.
            let _announcement = Announcement { connections: &self.connections, lane };
            if lane.gathers() {
                give_way().await;
            }
        }
        answered.await.unwrap_or_else(|_| Err(lane::closed()))
    }

    fn lane(&self, endpoint: &Endpoint) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(endpoint) {
            return Arc::clone(lane);
        }
        // Nodes move, and the lanes to where they were are forgotten. One that somebody else still
        // knows is kept, so that a node never has two.
        lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_idle());
        let lane = Arc::new(Lane::new(endpoint.clone(), self.spread));
        lanes.insert(endpoint.clone(), Arc::clone(&lane));
        lane
    }
}

/// The promise to announce a lane whose queue is not empty any more, however the future ends that put
/// something there: nobody else will.
struct Announcement<'a> {
    connections: &'a Connections,
    lane: &'a Arc<Lane>,
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.connections.announce(self.lane);
    }
}

/// Lets the other tasks that are ready have their turn first, so that what they put into the lane goes
/// with the same message.
async fn give_way() {
    let mut gave_way = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
