//! Orders for nodes, from the supervisor that wants them to the task that starts them.

use tokio::sync::{mpsc, oneshot};

use crate::supervisor::{Order, Start};

/// How many orders may wait until a node that starts is ready.
const ORDERS_MAX: usize = 64;

/// Places orders with the [`Nodes`] that are supervised.
#[derive(Clone, Debug)]
pub(in crate::dev) struct Orders(mpsc::Sender<Placed>);

/// An order with the place where its outcome is told.
pub(in crate::dev) struct Placed {
    pub(super) order: Order,
    pub(super) outcome: oneshot::Sender<Result<(), String>>,
}

/// What takes orders for nodes, and where they come in.
pub(in crate::dev) fn orders() -> (Orders, mpsc::Receiver<Placed>) {
    let (sender, receiver) = mpsc::channel(ORDERS_MAX);
    (Orders(sender), receiver)
}

impl Start for Orders {
    /// Has the node started, and waits until it is ready.
    fn start(&self, order: Order) -> impl Future<Output = Result<(), String>> + Send + 'static {
        let orders = self.0.clone();
        async move {
            let (outcome, told) = oneshot::channel();
            let stopping = "its supervisor is stopping";
            orders.send(Placed { order, outcome }).await.map_err(|_| stopping)?;
            told.await.map_err(|_| stopping)?
        }
    }
}
