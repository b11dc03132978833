//! Messages between nodes and those who ask them: the only crate that names ZeroMQ.
//!
//! - [`connection`]: to nodes, from clients and from other nodes; [`endpoint`]: where a node listens;
//! - [`tcp`]: what the kernel knows of a connection that ZeroMQ owns;
//! - [`spin_wait`]: staying awake for a moment where more is about to come;
//! - [`limits`]: every limit of connections.

pub mod connection;
pub mod endpoint;
pub mod limits;
pub mod spin_wait;
pub mod tcp;

pub use connection::{Connections, ExchangeError, Outbox, Outgoing, Source};
pub use endpoint::{Endpoint, InvalidAddress};
