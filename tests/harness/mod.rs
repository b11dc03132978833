//! Starts the real binaries, talks to them, and leaves nothing behind.
//!
//! - [`binaries`]: the programs under test, built once;
//! - [`process`]: one running program; [`run`]: one that is expected to end;
//! - [`backend`]: the Consul that a test uses, embedded or real ([`consul`]);
//! - [`dev`]: `kvnode dev`; [`cluster`] and [`node`]: nodes that a test starts one by one;
//! - [`launched`]: nodes that other nodes have started; [`signals`]: what has them started;
//! - [`peer`], [`zmtp`], [`http`]: plain ZeroMQ, raw ZeroMQ frames and plain HTTP; [`catalog`]: what
//!   Consul says;
//! - [`library`]: the client's library; [`proxy`]: a bad network;
//! - [`corpus`]: real text; [`wait`]: waiting for a condition.
//!
//! All ports are chosen by the system, and a process is known to be ready by the line that it
//! prints. When a test fails, it shows the command that failed it and the logs of all nodes.

pub(crate) mod backend;
pub(crate) mod binaries;
pub(crate) mod catalog;
pub(crate) mod cluster;
// Shared with other packages, which use other parts of it.
#[allow(dead_code, unreachable_pub)]
pub(crate) mod consul;
pub(crate) mod corpus;
pub(crate) mod dev;
pub(crate) mod environment;
pub(crate) mod http;
pub(crate) mod launched;
pub(crate) mod library;
pub(crate) mod node;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod signals;
pub(crate) mod wait;
pub(crate) mod zmtp;

pub(crate) use backend::{Backend, on_both_backends};
pub(crate) use cluster::Cluster;
pub(crate) use wait::eventually;
