//! Starts the real programs, talks to them, and leaves nothing behind.
//!
//! - [`binaries`]: the programs under test, built once;
//! - [`process`]: one running program; [`run`]: one that is expected to end;
//! - [`backend`]: the Consul that a test uses, embedded or real;
//! - [`dev`]: `kvnode dev`; [`cluster`] and [`node`]: nodes that a test starts one by one;
//! - [`launched`]: nodes that other nodes have started; [`desired_states`]: what has them started;
//! - [`peer`], [`http`]: plain ZeroMQ and plain HTTP; [`catalog`]: what Consul says;
//! - [`limits`]: programs to which the system gives little;
//! - [`proxy`]: a bad network;
//! - [`corpus`]: real text; [`address`]: hosts and ports.
//!
//! All ports are chosen by the system, and a process is known to be ready by the line that it
//! prints. When a test fails, it shows the command that failed it and the logs of all nodes.

pub mod address;
pub mod backend;
pub mod binaries;
pub mod catalog;
pub mod cluster;
pub mod corpus;
pub mod desired_states;
pub mod dev;
pub mod environment;
pub mod http;
pub mod launched;
pub mod limits;
pub mod node;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod run;

pub use backend::Backend;
pub use cluster::Cluster;

pub use crate::on_both_backends;
pub use crate::wait::eventually;
