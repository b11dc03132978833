//! Whatever comes in, the answer is a clear error, and everything else goes on.
//!
//! | module | what comes in |
//! |---|---|
//! | `messages` | messages that are no requests, or too large |
//! | `older_peers` | peers of an older protocol, and web pages, which look like one |
//! | `peers` | peers that speak no ZeroMQ, or nothing, or without end |
//! | `greed` | peers that make a node hold much, each or all together |
//! | `layouts` | layouts in Consul that no step led to |
//! | `forgeries` | other entries in Consul that are made up or damaged |
//! | `limits` | a system that gives too few descriptors or threads |
//! | `registrations` | registrations in Consul that another process has made in a node's name |
//! | `places` | ports, addresses and directories that cannot be used |
//! | `disks`, `damage` | disks that are full or damaged |
//! | `directories` | data directories that others can read, or that vanish; descriptors that run out |
//! | `removed` | data directories of which a part is removed, or moved away |
//! | `small_disks` | disks that are small, that have no inodes left, or on which files may not grow |
//! | `memory` | a node that may have little address space |
//! | `strategies` | placement strategies that are none, or hostile, or another one |
//!
//! `witness` is a node, and a peer who looks whether it still serves.

mod damage;
mod directories;
mod disks;
mod forgeries;
mod greed;
mod layouts;
mod limits;
mod memory;
mod messages;
mod older_peers;
mod peers;
mod places;
mod registrations;
mod removed;
mod small_disks;
mod strategies;
mod witness;
