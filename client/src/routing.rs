//! Which node has which part of the store, and what follows from the answer to a question that only
//! reads. Pure: no sockets, no clock. What follows from the answer to an operation, `attempt` says.

use std::collections::HashMap;
use std::sync::Arc;

use kv_core::attempt::{self, RetryAfter};
use kv_core::guard::Context;
use kv_core::incarnation::Incarnation;
use kv_core::layout::{Assignment, Assignments, Layout, LayoutError, Placement, Rebalance, Table};
use kv_core::partition::Partition;
use kv_core::refusal::Refusal;
use kv_transport::{Endpoint, ExchangeError};
use uuid::Uuid;

use crate::error::ClientError;
use crate::queue::QueueCell;

/// A node that can be asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The node's id.
    pub(crate) node: String,
    /// The identity of its data directory.
    pub(crate) uuid: Uuid,
    /// Which run of it has registered, where it says so.
    pub(crate) incarnation: Option<Incarnation>,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
    /// The queue to it, once it was needed.
    pub(crate) queue: QueueCell,
}

impl Target {
    pub(crate) fn new(node: String, uuid: Uuid, endpoint: Endpoint) -> Self {
        Self { node, uuid, incarnation: None, endpoint, queue: QueueCell::default() }
    }

    /// The same, as this run of the node.
    pub(crate) fn in_run(self, incarnation: Option<Incarnation>) -> Self {
        Self { incarnation, ..self }
    }
}

/// How a node of the layout is reached, or why it is not.
pub(crate) type Reach = Result<Arc<Target>, String>;

/// Everything that routing rests on: one epoch's layout, what it says of each partition, and where
/// the nodes are.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The layout.
    pub layout: Layout,
    /// What the layout says of each partition.
    pub assignments: Assignments,
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
            Some(endpoint) => Ok(Arc::new(Target::new(id, uuid, endpoint.clone()))),
            None => Err(format!("node {id} has no address")),
        };
        let nodes = assignments.nodes().iter();
        let reach = nodes.map(|member| reach((member.id.to_string(), member.uuid))).collect();
        Ok(Self { layout, assignments, reach })
    }

    /// The partition of `key`, and which nodes serve it.
    ///
    /// # Errors
    /// The layout gives the partition no owner, which cannot happen with one that fits its tables.
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

    /// Whether it is known where the node of this index is.
    #[must_use]
    pub fn is_reachable(&self, index: u16) -> bool {
        self.node(index).is_ok()
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
            incarnation: target.incarnation,
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
pub(crate) enum Routed<T> {
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
    pub(crate) retry_after: RetryAfter,
    /// Whether to send the operation by itself, since what it was sent with may be to blame.
    pub(crate) alone: bool,
}

impl Retry {
    /// A retry under newer addresses, by which the node may be found elsewhere.
    pub(crate) fn elsewhere(problem: String) -> Self {
        Self { problem, retry_after: RetryAfter::Refresh, alone: false }
    }
}

/// Judges the answer to a request that only reads, such as a page of a scan.
pub(crate) fn judge_read<T>(
    target: &Target,
    result: Result<Result<T, Refusal>, ExchangeError>,
) -> Routed<T> {
    match result {
        Ok(Ok(content)) => Routed::Done(content),
        Ok(Err(refusal)) => match attempt::retry_after(refusal.code) {
            Some(retry_after) => {
                let problem = describe(target, &refusal);
                Routed::Retry(Retry { problem, retry_after, alone: false })
            }
            None => Routed::Fail(ClientError::Refused { node: target.node.clone(), refusal }),
        },
        Err(ExchangeError::InvalidReply(problem)) => Routed::Fail(not_understood(target, problem)),
        Err(error) => Routed::Retry(Retry::elsewhere(describe(target, &error))),
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

#[cfg(test)]
mod tests {
    use kv_core::refusal::ErrorCode;

    use super::*;
    use kv_core::sample;

    fn target() -> Target {
        let endpoint = Endpoint::tcp("127.0.0.1", 2000).unwrap();
        Target::new("node-0".into(), Uuid::from_u128(0), endpoint)
    }

    /// Two nodes that own one half of the partitions each; only the first has an address.
    fn view() -> View {
        let (layout, table) = sample::layout(&[0, 1], 2);
        let endpoints = HashMap::from([(Uuid::from_u128(0), target().endpoint)]);
        View::fixed(layout, &[table], &endpoints).unwrap()
    }

    #[test]
    fn a_key_is_served_by_its_owner() {
        let view = view();
        let mut served = [0, 0];
        for number in 0..100 {
            let (partition, assignment) = view.assignment(&format!("key-{number}")).unwrap();
            let Assignment::Owned(owner) = assignment else { panic!("{assignment:?}") };
            assert_eq!(partition.0, u32::from(owner), "the table gives each half to its node");
            served[usize::from(owner)] += 1;
        }
        assert!(served.iter().all(|count| *count > 10), "{served:?}");
        assert_eq!(view.node(0).unwrap().node, "node-0");
        assert!(view.node(1).unwrap_err().contains("node-1"));
        assert!(view.node(2).is_err());
    }

    #[test]
    fn a_request_says_what_it_was_routed_by() {
        let run = Some(Incarnation { number: 3, nonce: 4 });
        let context = view().context(&target().in_run(run));
        assert_eq!(context.cluster, Some(sample::CLUSTER));
        assert_eq!((context.node, context.epoch), (Some(Uuid::from_u128(0)), Some(1)));
        assert_eq!(context.incarnation, run);
        assert_eq!(view().context(&target()).incarnation, None);
    }

    #[test]
    fn a_partition_is_placed_by_the_placement_that_it_is_on_its_way_to() {
        let (layout, table) = sample::layout(&[0, 0, 0, 0], 2);
        let (to, other) = sample::placement(&[1, 1, 1, 1], 2);
        let begun = layout.begin(to, Vec::new()).unwrap();
        let open = begun.prepare(2).unwrap().open().unwrap();
        let half = open.settle(None).unwrap();
        let back = half.turn_back().unwrap().prepare(1).unwrap();
        let arrived = |layout: &Layout| {
            let tables = [table.clone(), other.clone()];
            let view = View::fixed(layout.clone(), &tables, &HashMap::new()).unwrap();
            let is_new = |it: &u32| view.placement_of(Partition(*it)).table == other.digest();
            (0..4).filter(is_new).count()
        };
        assert_eq!([&begun, &open, &half, &back].map(arrived), [0, 2, 2, 1]);
    }

    #[test]
    fn a_read_is_tried_again_where_that_may_help() {
        let judge = |code| judge_read::<()>(&target(), Ok(Err(Refusal::new(code, "no"))));
        for (code, expected) in [
            (ErrorCode::StaleEpoch, RetryAfter::NewerLayout),
            (ErrorCode::Retry, RetryAfter::Refresh),
            (ErrorCode::Overloaded, RetryAfter::Pause),
        ] {
            let Routed::Retry(retry) = judge(code) else { panic!("{code:?}") };
            assert_eq!(retry.retry_after, expected, "{code:?}");
            assert!(retry.problem.contains("node-0 (127.0.0.1:2000)"), "{}", retry.problem);
        }
        let refused = judge(ErrorCode::Corrupt);
        assert!(matches!(refused, Routed::Fail(ClientError::Refused { .. })), "{refused:?}");
        for error in [ExchangeError::TimedOut, ExchangeError::Lost("gone".into())] {
            assert!(matches!(judge_read::<()>(&target(), Err(error)), Routed::Retry(_)));
        }
        let nonsense = judge_read::<()>(&target(), Err(ExchangeError::InvalidReply("?".into())));
        assert!(matches!(nonsense, Routed::Fail(ClientError::InvalidReply { .. })));
    }
}
