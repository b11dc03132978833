//! How a request stands in a message.
//!
//! It is a JSON object in the header frame. A value stands in it as text (`"value"`) or, as any
//! bytes, in the body frame with its length in the header (`"value_bytes"`); the values of a batch
//! follow one another in the body. Members that are not known, or that do not belong to the
//! operation, are refused rather than passed over: a condition with a slip of the pen in its name
//! must never turn a conditional write into an unconditional one. A batch may instead have its
//! operations in the body frame, as an `operation_stream`, with their number in the header.
//!
//! - `header`: the object; `decode` and `encode`: reading and writing it;
//! - `operation`: its members that single operations have, in a batch too; `json`: how JSON is read.

mod decode;
mod encode;
mod header;
mod json;
mod operation;

pub use self::decode::DecodeError;
