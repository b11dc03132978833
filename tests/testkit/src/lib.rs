//! What the tests of this workspace share.
//!
//! | module | what it gives | feature |
//! |---|---|---|
//! | [`needs`] | marks a case that needs what not every machine has | |
//! | [`wait`] | waits for a condition | |
//! | [`consul`] | HashiCorp's Consul, as a process | |
//! | [`disk`] | disks that are small or fail, directories that are read-only | |
//! | [`files`] | copies directories | |
//! | [`zmtp`] | peers that speak ZeroMQ's protocol byte by byte | |
//! | [`bombs`] | components that are much work to compile | |
//! | `guests` | hostile strategies, as components | `guests` |
//! | `harness` | the real programs, as processes, and all that a test asks of them | `harness` |
//!
//! A package asks for what it uses, so that the tests of one that needs no more than a Consul compile
//! neither an engine for strategies nor a client. What fails here panics: a test fails, and says why.

#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]
#![allow(clippy::print_stderr, reason = "what a test prints is for people, and ends nothing")]

pub use kv_testkit_needs::needs;

pub mod bombs;
pub mod consul;
pub mod disk;
pub mod files;
#[cfg(feature = "guests")]
pub mod guests;
#[cfg(feature = "harness")]
pub mod harness;
pub mod wait;
pub mod zmtp;
