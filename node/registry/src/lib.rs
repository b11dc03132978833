//! What lies in Consul, and where.
//!
//! - [`keys`]: the keys of everything, and what a node registers; [`claim`]: the claim on a node's id;
//! - [`signal`]: what is written there to have a node started or stopped.

pub mod claim;
pub mod keys;
pub mod signal;
