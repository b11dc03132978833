//! Asking a node.

use std::time::Instant;

use kv_consul::ServiceInstance;
use kv_core::guard::Context;
use kv_protocol::reply::{Content, NodeStatus};
use kv_protocol::request::{Command, Request};
use kv_transport::Endpoint;

use crate::batch::STYLE;
use crate::outbox::Connections;
use crate::routing::View;

/// Asks a registered node how it is.
///
/// # Errors
/// Why it says nothing, for a person.
pub async fn ask_instance(
    connections: &Connections,
    instance: &ServiceInstance,
    reply_by: Instant,
) -> Result<NodeStatus, String> {
    let endpoint =
        Endpoint::tcp(&instance.address, instance.port).map_err(|error| error.to_string())?;
    ask_status(connections, &endpoint, Context::default(), reply_by).await
}

/// Asks a node how it is. Where the context names an epoch that the node has not installed yet, it
/// looks for that layout at once.
///
/// # Errors
/// Why it says nothing, for a person.
pub(crate) async fn ask_status(
    connections: &Connections,
    endpoint: &Endpoint,
    context: Context,
    reply_by: Instant,
) -> Result<NodeStatus, String> {
    let mut request = Request { id: None, context, style: STYLE, command: Command::Status };
    match connections.exchange(endpoint, &mut request, reply_by).await {
        Ok(Content::Status(status)) => Ok(*status),
        Ok(Content::Refused(refusal)) => Err(refusal.message),
        Ok(_) => Err("its answer is not the answer to STATUS".into()),
        Err(error) => Err(error.to_string()),
    }
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
