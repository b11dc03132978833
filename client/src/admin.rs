//! What programs build on that run a cluster rather than read and write it, such as the rebalancer:
//! finding it, its tables, and questions to its nodes.
//!
//! | what | where |
//! |---|---|
//! | finding the cluster: layout, nodes, tables, strategies | [`Discovery`] |
//! | one layout with what it says of each partition | [`View`] |
//! | questions to nodes | [`Connections`], [`ask`], [`ask_instance`] |
//! | what the answers say | [`has_installed`] |
//! | strategies, and the tables that they compute | [`StrategyRunner`], [`TableRequest`], [`table_verified`], [`admitted`] |
//!
//! What lies in Consul is read and written through [`Discovery::registry`]. Nothing here keeps a program
//! from taking a step that loses data: which one may be taken when, [`kv_core::mover`] says.

pub use crate::ask::{ask, ask_instance};
pub use crate::discovery::Discovery;
pub use crate::hand_off::has_installed;
pub use crate::outbox::Connections;
#[cfg(feature = "strategies")]
pub use crate::placement::{StrategyRunner, TableRequest, admitted, table_verified};
pub use crate::routing::View;
