//! Which node has which part of the store, and what follows from the answer to a question that only
//! reads. Pure: no sockets, no clock. What follows from the answer to an operation, `course` says.

use std::collections::HashMap;
use std::sync::Arc;

use kv_protocol::layout::{
    Assignment, Assignments, Layout, LayoutError, Placement, Rebalance, Table,
};
use kv_protocol::partition::Partition;
use kv_protocol::refusal::Refusal;
use kv_protocol::request::Context;
use uuid::Uuid;

use crate::connection::ExchangeError;
use crate::course::{self, Remedy};
use crate::endpoint::Endpoint;
use crate::error::ClientError;

/// A node that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// The node's id.
    pub(crate) node: String,
    /// The identity of its data directory.
    pub(crate) uuid: Uuid,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
}

/// How a node of the layout is reached, or why it is not.
pub(crate) type Reach = Result<Arc<Target>, String>;

/// Everything that routing rests on: one epoch's layout, what it says of each partition, and where
/// the nodes are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) layout: Layout,
    pub(crate) assignments: Assignments,
    /// By the nodes' indexes in `assignments`.
    pub(crate) reach: Vec<Reach>,
}

impl View {
    /// A view with nodes that are reached where `endpoints` says.
    ///
    /// # Errors
    /// The tables are not the layout's.
    pub(crate) fn fixed(
        layout: Layout,
        tables: &[Table],
        endpoints: &HashMap<Uuid, Endpoint>,
    ) -> Result<Self, LayoutError> {
        let assignments = Assignments::new(&layout, tables)?;
        let reach = |(id, uuid): (String, Uuid)| match endpoints.get(&uuid) {
            Some(endpoint) => Ok(Arc::new(Target { node: id, uuid, endpoint: endpoint.clone() })),
            None => Err(format!("node {id} has no address")),
        };
        let nodes = assignments.nodes().iter();
        let reach = nodes.map(|member| reach((member.id.to_string(), member.uuid))).collect();
        Ok(Self { layout, assignments, reach })
    }

    /// The partition of `key`, and who serves it.
    ///
    /// # Errors
    /// What is wrong with the layout, which cannot happen with one that fits its tables.
    pub(crate) fn assignment(&self, key: &str) -> Result<(Partition, Assignment), String> {
        let partition = self.layout.partitions.partition_of(key);
        let assignment = self.assignments.get(partition);
        Ok((partition, assignment.ok_or_else(|| format!("nobody owns partition {partition}"))?))
    }

    /// How the node of this index is reached.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn node(&self, index: u16) -> Result<&Arc<Target>, String> {
        match self.reach.get(usize::from(index)) {
            Some(reach) => reach.as_ref().map_err(Clone::clone),
            None => Err(format!("the layout has no node {index}")),
        }
    }

    /// The id of the node of this index.
    pub(crate) fn node_id(&self, index: u16) -> String {
        let node = self.assignments.nodes().get(usize::from(index));
        node.map_or_else(|| index.to_string(), |member| member.id.to_string())
    }

    /// The placement by which `partition` is where it is, or where it is moving to.
    pub(crate) fn placement_of(&self, partition: Partition) -> &Placement {
        let Layout { placement, rebalance, .. } = &self.layout;
        let passed =
            |it: &&Rebalance| partition.0 < it.window.map_or(it.settled, |window| window.until);
        rebalance.as_ref().filter(passed).map_or(placement, |rebalance| &rebalance.to)
    }

    /// What a request to `target` says of the circumstances.
    pub(crate) fn context(&self, target: &Target) -> Context {
        Context {
            cluster: Some(self.layout.cluster),
            node: Some(target.uuid),
            epoch: Some(self.layout.epoch),
        }
    }

    /// Why a partition that is being handed over cannot be used, for a person.
    pub(crate) fn frozen(&self, partition: Partition) -> String {
        let to = self.assignments.get(partition).map(|it| self.node_id(it.destination()));
        format!(
            "partition {partition} is being handed over to node {} (epoch {}), and not all nodes \
             that take part in the move have confirmed it",
            to.unwrap_or_default(),
            self.layout.epoch
        )
    }
}

/// What to do after an answer, or after the lack of one.
#[derive(Debug)]
pub(crate) enum Verdict<T> {
    /// It is done.
    Done(T),
    /// It will not be done.
    Fail(ClientError),
    /// It was not done, and may succeed if it is tried again.
    Retry(Retry),
}

/// How to try again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    /// What stood in the way, for a person.
    pub(crate) problem: String,
    /// What may help.
    pub(crate) remedy: Remedy,
    /// Whether to send the operation by itself, since what it was sent with may be to blame.
    pub(crate) alone: bool,
}

impl Retry {
    /// A new attempt that may find the node elsewhere.
    pub(crate) fn elsewhere(problem: String) -> Self {
        Self { problem, remedy: Remedy::Look, alone: false }
    }
}

/// Judges the answer to a request that only reads, such as a page of a scan.
pub(crate) fn judge_read<T>(
    target: &Target,
    result: Result<Result<T, Refusal>, ExchangeError>,
) -> Verdict<T> {
    match result {
        Ok(Ok(content)) => Verdict::Done(content),
        Ok(Err(refusal)) => match course::remedy(refusal.code) {
            Some(remedy) => {
                let problem = describe(target, &refusal);
                Verdict::Retry(Retry { problem, remedy, alone: false })
            }
            None => Verdict::Fail(ClientError::Refused { node: target.node.clone(), refusal }),
        },
        Err(ExchangeError::InvalidReply(problem)) => Verdict::Fail(not_understood(target, problem)),
        Err(error) => Verdict::Retry(Retry::elsewhere(describe(target, &error))),
    }
}

/// The error that says that a node's answer is not understood.
pub(crate) fn not_understood(target: &Target, problem: String) -> ClientError {
    ClientError::InvalidReply { node: format!("{} ({})", target.node, target.endpoint), problem }
}

/// A problem with a node, for a person.
pub(crate) fn describe(target: &Target, problem: &dyn std::fmt::Display) -> String {
    format!("node {} ({}): {problem}", target.node, target.endpoint)
}
