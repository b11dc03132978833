//! Messages between nodes and the clients, movers and nodes that ask them: the only crate that names ZeroMQ.
//!
//! - [`connection`]: to nodes, from clients and from other nodes; [`endpoint`]: where a node listens;
//! - [`server`]: a node's end, and the [`Service`] that answers; [`ask`]: asking one thing of a node whose
//!   address a stranger may have given; [`probe`]: whether something listens;
//! - [`tcp`]: what the kernel knows of a connection that ZeroMQ owns;
//! - [`spin_wait`]: staying awake for a moment where more is about to come;
//! - `own_io`: reading and writing by the thread that owns the sockets, instead of ZeroMQ's;
//! - [`limits`]: every limit of connections.

pub mod ask;
pub mod connection;
pub mod endpoint;
pub mod limits;
mod own_io;
pub mod probe;
pub mod server;
pub mod spin_wait;
pub mod tcp;

pub use connection::{Connections, ExchangeError, Outbox, Outgoing, Source};
pub use endpoint::{Endpoint, InvalidAddress};
pub use server::service::Service;
