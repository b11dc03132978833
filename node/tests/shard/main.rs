//! A node's shard and the rules that guard it, without its socket: writers on real stores, under layouts that are
//! taken through the steps of a rebalance.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod clearing;
mod guard;
mod installing;
mod lending;
mod moving;
mod store;
mod sums;
mod support;
mod writer;
