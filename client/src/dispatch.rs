//! Hands the operations of many tasks to the connections, which put them into batches by themselves.
//!
//! While a few batches are under way to a node, the operations that come gather in its [`SendQueue`] and become
//! the next batch, so that batches grow with the load and a lone operation waits for no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use kv_system::lock::lock;
use kv_transport::Endpoint;

use crate::outbox::Connections;
use crate::queue::{self, Enqueued, OperationResult, QueuedOperation, SendQueue};
use crate::routing::Target;

/// The queues to all nodes.
pub(crate) struct Dispatcher {
    connections: Connections,
    /// How far apart the deadlines in one batch may be.
    spread: Duration,
    queues: Mutex<HashMap<Endpoint, Arc<SendQueue>>>,
}

impl Dispatcher {
    /// For operations that have about `timeout` each.
    pub(crate) fn new(connections: Connections, timeout: Duration) -> Self {
        Self { connections, spread: timeout / 8, queues: Mutex::default() }
    }

    /// Carries out one operation at `target`, which is one of this client's.
    ///
    /// It is answered by its deadline. Where the future is dropped before it was sent, it is
    /// not sent.
    ///
    /// # Errors
    /// [`ExchangeError`](kv_transport::ExchangeError) says whether the operation can have
    /// reached the node.
    pub(crate) async fn carry(&self, target: &Target, queued: QueuedOperation) -> OperationResult {
        let queue = target.queue.get_or_init(|| self.queue(&target.endpoint));
        let Enqueued { answered, is_first } = queue.put(queued).await?;
        if is_first {
            // Dropped after others had their turn, or with this future.
            let _announcement = Announcement { connections: &self.connections, queue };
            if queue.gathers() {
                give_way().await;
            }
        }
        answered.await.unwrap_or_else(|_| Err(queue::closed()))
    }

    fn queue(&self, endpoint: &Endpoint) -> Arc<SendQueue> {
        let mut queues = lock(&self.queues);
        if let Some(queue) = queues.get(endpoint) {
            return Arc::clone(queue);
        }
        // Nodes move, and the queues to where they were are forgotten. One that an operation or the
        // connections' thread still knows is kept, so that a node never has two.
        queues.retain(|_, queue| Arc::strong_count(queue) > 1 || !queue.is_idle());
        let queue = Arc::new(SendQueue::new(endpoint.clone(), self.spread));
        queues.insert(endpoint.clone(), Arc::clone(&queue));
        queue
    }
}

/// The promise to announce a queue that is not empty any more, however the future ends that put
/// something there: no other task will.
struct Announcement<'a> {
    connections: &'a Connections,
    queue: &'a Arc<SendQueue>,
}

impl Drop for Announcement<'_> {
    fn drop(&mut self) {
        self.connections.announce(self.queue);
    }
}

/// Lets the other tasks that are ready have their turn first, so that what they put into the queue goes
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
