//! A node of the store: it keeps a shard, and guards it.
//!
//! A node never runs a placement strategy. It knows, durably, which layout it has installed and
//! what it owns in it, and refuses everything else, so that no client, however stale or wrong, can
//! lose or fork a key. This crate is the binary `kvnode`; it is a library only so that its parts
//! can be tested.
//!
//! What a request passes, from the socket to the disk and back:
//!
//! - `kv_transport`'s `server`: the ROUTER socket and the serving loop;
//! - [`handler`]: requests answered at once, or sent through the writer; [`cache`] has the records that were
//!   read lately;
//! - `kv_core`'s `guard`: who may do what under which layout, by the pure rules beside it;
//! - [`writer`]: the one thread that changes anything, in groups that share a flush;
//!   [`write_set`] carries a group's operations out, [`reader`] reads many keys;
//! - [`read_pool`]: the threads that read what is not in memory; [`finished`]: what these and the writer hand back;
//! - `kv_storage`: the shard on disk.
//!
//! What surrounds it:
//!
//! - [`node`]: one node, from start to stop; [`start`] is what it does before it serves, [`node_error`] why
//!   it does not run, [`config`] its command line ([`command_line`]: understood, or answered), [`address`]
//!   where it is, [`identity`] who it is, [`data_directory`] where that and all data lie ([`place`]: is it
//!   still there?), [`stopping`] what the system stops it with;
//! - [`claim`]: its claim on its id, which [`claimant`] keeps; [`membership`]: its registration in Consul;
//! - [`succession`]: how a start follows the one before, by `kv_core::lineage` (is the data directory the newest
//!   copy of itself?) and [`twins`] (does another one run?); [`tenure`] is whether a process may still
//!   speak for its node;
//! - [`desired_states`]: the documents in Consul that have nodes started and stopped. [`lifecycle`] is how a
//!   node takes part: [`supervisor`] sees which nodes are wanted and do not run, [`attempts`] when
//!   one may be started, [`launch_room`] how many, [`launcher`] starts its process, and [`decommission`] is
//!   how a node leaves;
//! - [`layout_sync`] and [`layouts`]: how it is pushed the layout, installs it, and gives it back to a
//!   Consul that lost it, [`hints`] what makes it look there; [`installed_record`] is how an
//!   installed one lies on disk;
//! - [`confirmation`]: how it asks other nodes whether they hold the records that it is to remove;
//! - [`dev`]: `kvnode dev`, a cluster on one machine with an embedded Consul agent;
//! - [`words`]: all that the process says, and why that never ends it; [`panics`]: what happens where a
//!   thread panics; [`limits`] and [`address_space`]: what it needs
//!   to start; [`memory`]: how it divides what it may take, and [`allocator`] what it keeps of what it has freed;
//! - [`refusals`]: a small thing that several of these share.

pub mod address;
pub mod address_space;
pub mod allocator;
pub mod attempts;
pub mod cache;
pub mod claim;
pub mod claimant;
pub mod command_line;
pub mod config;
pub mod confirmation;
pub mod data_directory;
pub mod decommission;
pub mod desired_states;
#[cfg(feature = "dev")]
pub mod dev;
pub mod finished;
pub mod handler;
pub mod hints;
pub mod identity;
pub mod installed_record;
pub mod launch_room;
pub mod launcher;
pub mod layout_sync;
pub mod layouts;
pub mod lifecycle;
pub mod limits;
pub mod membership;
pub mod memory;
pub mod node;
pub mod node_error;
pub mod panics;
pub mod place;
pub mod read_pool;
pub mod reader;
pub mod refusals;
pub mod start;
pub mod stopping;
pub mod succession;
pub mod supervisor;
pub mod tenure;
pub mod twins;
pub mod words;
pub mod write_set;
pub mod writer;
