//! What nodes and clients must agree on.
//!
//! This crate is the contract between `kvnode` and `kvclient`: the messages they exchange, as bytes on
//! the wire. It opens no socket, stores nothing and decides nothing; what they mean, `kv_core` says.
//!
//! - [`request`], [`reply`]: questions and answers, as types; their
//!   forms on the wire are in `request_wire` and `reply_wire`, those of our own client's batches in
//!   `operation_stream`, the frames around them in [`frame`].
//! - [`record_stream`]: records on their way from one node to another.
//!
//! ```
//! use kv_core::operation::Operation;
//! use kv_protocol::request::{Command, Request};
//!
//! let request = Request::decode(br#"{"op":"GET_ONE","key":"key"}"#, None, 8 << 20).unwrap();
//! assert_eq!(request.command, Command::One(Operation::Get { key: "key".into() }));
//! ```

pub mod frame;
mod key;
mod operation_stream;
pub mod record_stream;
pub mod reply;
mod reply_wire;
pub mod request;
mod request_wire;

pub use reply_wire::InvalidReply;
pub use request_wire::DecodeError;
