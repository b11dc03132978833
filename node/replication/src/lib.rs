//! The two ends of replication, without I/O.
//!
//! A [`Replicator`] is what a node knows of the others while it runs: what it has sent to each and what of that is
//! durable there, what it has taken from each, who is silent, and which leases it has and gave. It is told what
//! happens (a layout is installed, something was written, a message came, time passes) and tells what is to be done
//! ([`Output`]). It reads no clock, opens no socket and knows no disk, so that a simulation can run thousands of
//! clusters a second through every order of events. The rules by which it decides are
//! [`kv_core::copies`].
//!
//! - [`replicator`]: what it is told and tells, and the order in which things are done;
//! - [`message`]: what nodes send each other; [`shard`]: what it asks of the store;
//!   [`placement`]: the rows of the installed layout;
//! - `stream`: a primary's stream to one other node, and how that node's copies are made equal; `intake`: the other
//!   end; `beacons`: who is heard, and leases; `jobs`: the writes that wait for copies;
//! - [`limits`]: how long, and how much.
//!
//! # How a copy is made equal
//!
//! All that a primary sends to a node is one stream, in the order in which it was written. *Offers* stand in it: the
//! digest that the primary's copy of a partition has at this place. The other node compares it with its own when it
//! comes to it. Where they are the same, the copies are, from there on. Where they are not, the primary sends what is
//! newer than anything that the other copy has, which is all that a node lacks that was away; and where the next
//! offer is not accepted either, all of the partition, in *parts*: from this key to that one it is exactly this. So
//! nothing is compared key by key, no tombstones are needed to delete, and writes go on meanwhile, since they
//! come later in the stream.

pub mod limits;
pub mod message;
pub mod placement;
pub mod replicator;
pub mod shard;

mod beacons;
mod intake;
mod jobs;
mod stream;

pub use self::message::{Answer, Item, Message, Session};
pub use self::placement::Placement;
pub use self::replicator::{Output, Replicator, Step};
pub use self::shard::{Change, Part, Shard};
