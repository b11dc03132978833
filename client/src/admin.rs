//! What programs build on that run a cluster rather than read and write it, such as the rebalancer:
//! the cluster's place in Consul, its tables, and questions to its nodes.
//!
//! | what | where |
//! |---|---|
//! | the cluster's place in Consul: layout, nodes, tables, strategies | [`Registry`], [`read_layout`] |
//! | one layout with what it says of each partition | [`View`] |
//! | questions to nodes | [`Connections`], [`ask`], [`ask_instance`] |
//! | what the answers say | [`has_installed`], [`uuid_of`] |
//! | strategies, and the tables that they compute | [`StrategyRunner`], [`TableRequest`], [`table_verified`], [`admitted`] |
//! | the layouts of the past | [`history`] |
//!
//! Nothing here keeps a program from publishing a layout that loses data: what may follow what, the
//! steps of [`kv_core::layout::Layout`] say.

use std::time::Instant;

use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Request};

use crate::batch::STYLE;

pub use crate::catalog::uuid_of;
pub use crate::cluster::{Document, Registry, read_layout};
pub use crate::hand_off::has_installed;
pub use crate::outbox::Connections;
pub use crate::placement::{StrategyRunner, TableRequest, admitted, table_verified};
pub use crate::routing::View;
pub use crate::status::ask_instance;

/// The layouts of the past, which are kept in Consul.
pub mod history {
    pub use crate::history::{all, keep, kept};
}

/// Asks a node, by its index in `view`, in the circumstances that the view knows of. A refusal is an answer
/// too.
///
/// # Errors
/// Why there is no answer, for a person: the node has no address, is not reached, or says nothing that is
/// understood by `reply_by`.
pub async fn ask(
    connections: &Connections,
    view: &View,
    node: u16,
    command: Command<'_>,
    reply_by: Instant,
) -> Result<Content, String> {
    let target = view.node(node)?;
    let context = view.context(target);
    let mut request = Request { id: None, context, style: STYLE, command };
    let answer = connections.exchange(&target.endpoint, &mut request, reply_by).await;
    answer.map_err(|error| error.to_string())
}
