//! What nodes and clients must agree on.
//!
//! This crate is the contract between `kvnode` and `kvclient`: the messages they exchange, the hash
//! that places a key, the layout document, and the one client for Consul's HTTP API. It opens no
//! ZeroMQ socket, stores nothing and decides nothing about ownership; that is the node's and the
//! client's business.
//!
//! - [`request`], [`reply`], [`refusal`]: what is asked, answered and refused, as types; their
//!   forms on the wire are in `request_wire` and `reply_wire`, those of our own client's batches in
//!   `operation_stream`, the frames around them in [`frame`].
//! - [`partition`], [`version`], [`incarnation`], [`digest`], [`name`]: the small values that they
//!   are made of.
//! - [`layout`]: the cluster's source of truth: who owns what, and how that changes.
//! - [`record_stream`]: records on their way from one node to another.
//! - [`signal`]: what is written to Consul to have a node started or stopped.
//! - [`consul`]: the client for Consul's HTTP API; [`consul_keys`]: where things lie in it.
//! - [`limits`]: every shared limit. [`linger`]: when the threads at both ends stay awake.
//!   [`printable`]: what others wrote, made safe to print. [`resources`]: what a process needs of the
//!   system; [`streams`]: whether it was given its standard streams.
//!
//! ```
//! use kv_protocol::request::{Command, Operation, Request};
//!
//! let request = Request::decode(br#"{"op":"GET_ONE","key":"key"}"#, None, 8 << 20).unwrap();
//! assert_eq!(request.command, Command::One(Operation::Get { key: "key".into() }));
//! ```

mod bounded;
pub mod consul;
pub mod consul_keys;
pub mod digest;
pub mod frame;
pub mod incarnation;
pub mod layout;
pub mod limits;
pub mod linger;
pub mod name;
mod operation_stream;
pub mod partition;
pub mod printable;
pub mod record_stream;
pub mod refusal;
pub mod reply;
mod reply_wire;
pub mod request;
mod request_wire;
pub mod resources;
pub mod signal;
pub mod streams;
pub mod version;

pub use reply_wire::InvalidReply;
pub use request_wire::DecodeError;
