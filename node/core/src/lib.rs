//! The rules of the store: what nodes, clients and movers may do, and what they do next.
//!
//! Nothing here does I/O, reads a clock or needs a runtime, so that a model checker explores the very
//! code that runs (`tests/model`). What carries the rules out stands around this crate: the node serves
//! and stores, the client asks, the mover steps.
//!
//! The words of the whole:
//!
//! - [`name`], [`digest`], [`partition`], [`version`], [`incarnation`]: small values that all share;
//!   [`limits`]: how large what is shared may be; [`backoff`]: how long to wait after a failure;
//!   [`bounded`]: reading JSON that strangers wrote; [`printable`]: what others wrote, made safe to print.
//! - [`layout`]: the cluster's source of truth: who owns what, and the steps by which that changes.
//! - [`operation`]: an operation on one key and what may become of it; [`refusal`]: why a node refuses.
//!
//! A node's rules:
//!
//! - [`ownership`]: what a node is to a partition, and which rights that gives to a request;
//! - [`record`]: what an operation makes of a record;
//! - [`installed`]: a layout as one node sees it; [`guard`]: a request's circumstances against it;
//! - [`lineage`]: whether a data directory is the newest copy of itself.
//!
//! A client's and a mover's:
//!
//! - [`attempt`]: one attempt to carry out an operation under one layout, as a state machine;
//! - [`mover`]: what a mover does next; [`window`]: which partitions it takes next.

pub mod attempt;
pub mod backoff;
pub mod bounded;
pub mod digest;
pub mod guard;
pub mod incarnation;
pub mod installed;
pub mod layout;
pub mod limits;
pub mod lineage;
pub mod mover;
pub mod name;
pub mod operation;
pub mod ownership;
pub mod partition;
pub mod printable;
pub mod record;
pub mod refusal;
#[cfg(feature = "sample")]
pub mod sample;
pub mod version;
pub mod window;
