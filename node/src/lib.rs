//! A node of the store: it keeps a shard, and guards it.
//!
//! A node never runs a placement strategy. It knows, durably, which layout it has installed and
//! what it owns in it, and refuses everything else, so that no client, however stale or wrong, can
//! lose or fork a key. This crate is the binary `kvnode`; it is a library only so that its parts
//! can be tested.
//!
//! What a request passes, from the socket to the disk and back:
//!
//! - [`server`]: the ROUTER socket and the serving loop (the only file that names ZeroMQ);
//! - [`handler`]: what is answered at once, and what goes through the writer;
//! - [`guard`]: who may do what under which layout, as pure rules;
//! - [`writer`]: the one thread that changes anything, in groups that share a flush;
//!   [`staging`] carries a group's operations out, [`reader`] reads many keys;
//! - [`store`]: the shard on disk (the only module that names sled).
//!
//! What surrounds it:
//!
//! - [`node`]: one node, from start to stop; [`config`] is its command line, [`identity`] its data
//!   directory, [`signals`] what stops it;
//! - [`membership`]: its claim on an id and its registration in Consul;
//! - [`follower`] and [`layouts`]: how it is pushed the layout, installs it, and gives it back to a
//!   Consul that lost it; [`installed_record`] is how it lies on disk;
//! - [`dev`]: `kvnode dev`, a cluster on one machine with an embedded Consul agent;
//! - [`disk`], [`refusals`], [`wake`]: small things that several of these share.

pub mod config;
pub mod dev;
pub mod disk;
pub mod follower;
pub mod guard;
pub mod handler;
pub mod identity;
pub mod installed_record;
pub mod layouts;
pub mod membership;
pub mod node;
pub mod reader;
pub mod refusals;
pub mod server;
pub mod signals;
pub mod staging;
pub mod store;
pub mod wake;
pub mod writer;
