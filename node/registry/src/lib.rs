//! The one door to what lies in Consul: every key of a cluster is read and written here, typed, and
//! nowhere else.
//!
//! [`Registry`] is the door of one cluster. What stands at which key, under `kv/<cluster>/`:
//!
//! | key | what | format | changed by | doors in |
//! |---|---|---|---|---|
//! | `layout` | the layout | JSON of a [`Layout`](kv_core::layout::Layout) | compare-and-set | [`layout`] |
//! | `history/<epoch>` | layouts of the past | the same | the client that begins a rebalance, and nodes | [`history`] |
//! | `tables/<digest>`, `strategies/<digest>`, `members/<digest>`, `standing/<digest>` | what layouts name | bytes of that digest | never: they are put there, and removed | [`parts`], [`gc`] |
//! | `nodes/<id>` | the claim on a node's id | JSON of a [`Claim`](claim::Claim) | compare-and-set | [`claims`] |
//! | `desired/<id>` | whether a node is to run | JSON of a [`DesiredState`](desired_state::DesiredState) | compare-and-set | [`desired`] |
//! | `leaving` | nodes that have left the layout | JSON of a list of [`Leaver`](leavers::Leaver) | compare-and-set | [`leavers`] |
//! | `mover` | the mover's lock | JSON of the mover | the mover that holds the lock | [`mover`] |
//!
//! Besides, every node registers as an instance of one service: [`members`].
//!
//! Any process that can write to Consul may have written what lies here. So every read is bounded, by Consul's
//! client ([`RESPONSE_BYTES_MAX`](kv_consul::RESPONSE_BYTES_MAX)) and by the bounds that each door names,
//! and checked; what does not pass is an error, or no value, and never a panic. Nothing above
//! [`VALUE_BYTES_MAX`](kv_consul::VALUE_BYTES_MAX) is written.
//!
//! A program that changes something names the index of what it has read: that is [`Versioned`].

pub mod claim;
pub mod claims;
pub mod desired;
pub mod desired_state;
mod error;
pub mod gc;
pub mod history;
mod keys;
pub mod layout;
pub mod leavers;
pub mod members;
pub mod mover;
pub mod parts;
mod place;
mod registry;

pub use error::{ReadLayoutError, ReadLeaversError, StepLayoutError};
pub use keys::CLUSTER_DEFAULT;
pub use place::Place;
pub use registry::{Registry, Versioned};
