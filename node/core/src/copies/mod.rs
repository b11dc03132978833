//! Copies of a partition on several nodes: the rules by which none of them loses, shows or forks anything.
//!
//! A partition's copies stand in a [`Row`], in the order that the strategy gave. Those that have every
//! acknowledged write are *in sync*, and the first of them is the *primary*, which serves the partition. The
//! other ones in sync are *backups*; a copy that is not in sync, since its node was away, is a *learner*.
//!
//! - [`row`]: the row, its positions, and the steps by which a copy leaves the set of those in sync and comes
//!   back into it: *evict* and *admit*.
//! - [`term`]: what a primary does before it serves, whom it waits for, and whom it promises to wait for.
//! - [`session`]: what a node takes from which primary, and when both mean the same row.
//! - [`lease`]: what a primary needs in order to read without asking, and what a node waits for before it
//!   serves what was another's.
//!
//! Which copies are in sync, and since when, the layout says ([`Standing`](crate::layout::Standing)), and it changes
//! by the layout's steps. [`Assignments::view`](crate::layout::Assignments::view) is what these rules are asked about.
//!
//! What a node is to a partition with copies, and which rights that gives to clients, is in
//! [`ownership`](crate::ownership).
//!
//! The family of it is `PacificA`: the configuration is kept by others (Consul), and a write needs all copies
//! that are in sync.
//!
//! # Why no acknowledged write is lost
//!
//! - **A write is acknowledged once every copy has it that the primary needs**: those in sync by the layout
//!   that it has installed, and all that it has promised to wait for. Each in-sync set that the layout comes to
//!   while a primary does not know of it yet is a part of that: it is smaller after an eviction, and after
//!   an admission it has only those besides that were promised under that very epoch ([`term`]).
//! - **Only a copy that is in sync becomes primary**, for a row's primary is the first of these, and the
//!   set never becomes empty ([`row`]).
//! - **A new primary makes all others in sync equal to itself before it serves.** What they have beyond it
//!   was never acknowledged, and what it has counts ([`term`]).
//! - **A deposed primary cannot acknowledge**, since the copies that it needs refuse it: they have a newer
//!   layout, under which the row changed ([`session`]).
//! - **A deposed primary cannot read what is outdated**, since it reads only while it holds a lease from each
//!   that it needs, and no other serves before that has run out ([`lease`]).

pub mod lease;
pub mod row;
pub mod session;
pub mod term;

pub use row::{Positions, Row};
