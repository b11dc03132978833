//! Which node to ask for a key, and what to do after its answer. Pure: no sockets, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use kv_protocol::layout::{Layout, Table};
use kv_protocol::partition::Partition;
use kv_protocol::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::{Done, Outcome};
use kv_protocol::request::{Context, Operation};
use uuid::Uuid;

use crate::connection::ExchangeError;
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

/// How a member of the layout is reached, or why it is not.
pub(crate) type Reach = Result<Arc<Target>, String>;

/// Everything that routing rests on: one epoch's layout and table, and where the members are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    pub(crate) layout: Layout,
    pub(crate) table: Table,
    /// By the members' index.
    pub(crate) reach: Vec<Reach>,
}

impl View {
    /// A view with members that are reached where `endpoints` says.
    pub(crate) fn fixed(layout: Layout, table: Table, endpoints: &HashMap<Uuid, Endpoint>) -> Self {
        let reach = |(id, uuid): (String, Uuid)| match endpoints.get(&uuid) {
            Some(endpoint) => Ok(Arc::new(Target { node: id, uuid, endpoint: endpoint.clone() })),
            None => Err(format!("node {id} has no address")),
        };
        let members =
            layout.placement.members.iter().map(|member| (member.id.to_string(), member.uuid));
        let reach = members.map(reach).collect();
        Self { layout, table, reach }
    }

    /// The partition of `key`, and the index of the member that owns it.
    ///
    /// # Errors
    /// What is wrong with the table, which cannot happen with one that fits its layout.
    pub(crate) fn owner(&self, key: &str) -> Result<(Partition, u16), String> {
        let partition = self.layout.partitions.partition_of(key);
        let owner = self.table.owner(partition);
        Ok((partition, owner.ok_or_else(|| format!("nobody owns partition {partition}"))?))
    }

    /// The node to ask for `key`.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn route(&self, key: &str) -> Result<&Arc<Target>, String> {
        let (_, owner) = self.owner(key)?;
        self.member(owner)
    }

    /// The node that is the member `index`.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn member(&self, index: u16) -> Result<&Arc<Target>, String> {
        match self.reach.get(usize::from(index)) {
            Some(reach) => reach.as_ref().map_err(Clone::clone),
            None => Err(format!("the layout has no member {index}")),
        }
    }

    /// What a request to `target` says of the circumstances.
    pub(crate) fn context(&self, target: &Target) -> Context {
        Context {
            cluster: Some(self.layout.cluster),
            node: Some(target.uuid),
            epoch: Some(self.layout.epoch),
        }
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
    /// Whether a newer layout or address may help.
    pub(crate) refresh: bool,
    /// Whether to send the operation by itself, since what it was sent with may be to blame.
    pub(crate) alone: bool,
}

impl Retry {
    /// A new attempt that may find the node elsewhere.
    pub(crate) fn elsewhere(problem: String) -> Self {
        Self { problem, refresh: true, alone: false }
    }
}

/// Judges the result of an operation on a key. A write of which it is not certain that it was not
/// carried out is never tried again.
pub(crate) fn judge(
    target: &Target,
    operation: &Operation<'_>,
    result: Result<Outcome, ExchangeError>,
) -> Verdict<Done> {
    let unknown = |problem: String| {
        let key = operation.key().to_owned();
        Verdict::Fail(ClientError::OutcomeUnknown { key, problem })
    };
    match result {
        Ok(Ok(done)) => Verdict::Done(done),
        Ok(Err(refusal)) if refusal.code == ErrorCode::Storage && operation.is_write() => {
            unknown(describe(target, &refusal))
        }
        Ok(Err(refusal)) => refused(target, refusal),
        Err(error @ ExchangeError::NotSent(_)) => {
            Verdict::Retry(Retry::elsewhere(describe(target, &error)))
        }
        Err(error @ ExchangeError::SharedRefusal(_)) => {
            Verdict::Retry(Retry { problem: describe(target, &error), refresh: false, alone: true })
        }
        Err(error) if operation.is_write() => unknown(describe(target, &error)),
        Err(error) => unanswered_read(target, &error),
    }
}

/// Judges the answer to a request that only reads, such as a page of a scan.
pub(crate) fn judge_read<T>(
    target: &Target,
    result: Result<Result<T, Refusal>, ExchangeError>,
) -> Verdict<T> {
    match result {
        Ok(Ok(content)) => Verdict::Done(content),
        Ok(Err(refusal)) => refused(target, refusal),
        Err(error) => unanswered_read(target, &error),
    }
}

fn refused<T>(target: &Target, refusal: Refusal) -> Verdict<T> {
    if !refusal.code.is_retryable() {
        return Verdict::Fail(ClientError::Refused { node: target.node.clone(), refusal });
    }
    let refresh = refusal.code != ErrorCode::Overloaded;
    Verdict::Retry(Retry { problem: describe(target, &refusal), refresh, alone: false })
}

fn unanswered_read<T>(target: &Target, error: &ExchangeError) -> Verdict<T> {
    match error {
        ExchangeError::InvalidReply(problem) => Verdict::Fail(ClientError::InvalidReply {
            node: format!("{} ({})", target.node, target.endpoint),
            problem: problem.clone(),
        }),
        ExchangeError::NotSent(_)
        | ExchangeError::SharedRefusal(_)
        | ExchangeError::Lost(_)
        | ExchangeError::TimedOut => {
            // An answer that cannot be transmitted, for its size, may go through by itself.
            Verdict::Retry(Retry { problem: describe(target, error), refresh: true, alone: true })
        }
    }
}

fn describe(target: &Target, problem: &dyn std::fmt::Display) -> String {
    format!("node {} ({}): {problem}", target.node, target.endpoint)
}

#[cfg(test)]
mod tests {
    use kv_protocol::digest::Digest;
    use kv_protocol::layout::{LAYOUT_FORMAT, Member, Placement, StrategyPin};
    use kv_protocol::partition::PartitionCount;
    use kv_protocol::request::Condition;

    use super::*;

    fn target() -> Target {
        let endpoint = Endpoint::tcp("127.0.0.1", 2000).unwrap();
        Target { node: "node-0".into(), uuid: Uuid::from_u128(0), endpoint }
    }

    /// Two members that own one half of the partitions each; only the first has an address.
    fn view() -> View {
        let member = |index: u128| Member {
            id: format!("node-{index}").parse().unwrap(),
            uuid: Uuid::from_u128(index),
            weight: 1,
            zone: String::new(),
        };
        let partitions = PartitionCount::new(2).unwrap();
        let table = Table::new(&[0, 1], partitions, 1, 2).unwrap();
        let layout = Layout {
            format: LAYOUT_FORMAT,
            cluster: Uuid::from_u128(7),
            epoch: 3,
            partitions,
            replicas: 1,
            placement: Placement {
                strategy: StrategyPin {
                    name: "halves".into(),
                    sha256: Digest::of(b"halves"),
                    config: String::new(),
                },
                members: vec![member(0), member(1)],
                table: table.digest(),
            },
            rebalance: None,
        };
        let endpoints = HashMap::from([(Uuid::from_u128(0), target().endpoint)]);
        View::fixed(layout, table, &endpoints)
    }

    fn write() -> Operation<'static> {
        Operation::Put { key: "k".into(), value: b"v".into(), condition: Condition::None }
    }

    fn read() -> Operation<'static> {
        Operation::Get { key: "k".into() }
    }

    #[test]
    fn a_key_is_asked_for_at_its_owner() {
        let view = view();
        let mut asked = [0, 0];
        for number in 0..100 {
            let key = format!("key-{number}");
            let (partition, owner) = view.owner(&key).unwrap();
            assert_eq!(partition.0, u32::from(owner), "the table gives each half to its member");
            asked[usize::from(owner)] += 1;
            match view.route(&key) {
                Ok(target) => assert_eq!((owner, &*target.node), (0, "node-0")),
                Err(problem) => assert!(owner == 1 && problem.contains("node-1"), "{problem}"),
            }
        }
        assert!(asked.iter().all(|count| *count > 10), "{asked:?}");
        assert!(view.member(2).is_err());
    }

    #[test]
    fn a_request_says_what_it_was_routed_by() {
        let context = view().context(&target());
        assert_eq!(context.cluster, Some(Uuid::from_u128(7)));
        assert_eq!((context.node, context.epoch), (Some(Uuid::from_u128(0)), Some(3)));
    }

    #[test]
    fn only_what_was_certainly_not_carried_out_is_tried_again() {
        use ErrorCode::{
            BadRequest, Conflict, Corrupt, DiskFull, NoLayout, NotOwner, Overloaded, ShuttingDown,
            StaleEpoch, Storage, TooLarge, UnknownOp, WrongCluster, WrongNode,
        };
        for operation in [write(), read()] {
            let judge = |code| judge(&target(), &operation, Ok(Err(Refusal::new(code, "no"))));
            for code in [
                NotOwner,
                StaleEpoch,
                ErrorCode::Retry,
                NoLayout,
                WrongNode,
                Overloaded,
                ShuttingDown,
            ] {
                let Verdict::Retry(retry) = judge(code) else { panic!("{code:?}") };
                assert_eq!((retry.refresh, retry.alone), (code != Overloaded, false), "{code:?}");
                assert!(retry.problem.contains("node-0 (127.0.0.1:2000)"), "{}", retry.problem);
            }
            for code in [BadRequest, UnknownOp, TooLarge, WrongCluster, Conflict, Corrupt, DiskFull]
            {
                let verdict = judge(code);
                let refused = matches!(&verdict, Verdict::Fail(ClientError::Refused { .. }));
                assert!(refused, "{verdict:?}");
            }
            let storage = judge(Storage);
            let unknown = matches!(storage, Verdict::Fail(ClientError::OutcomeUnknown { .. }));
            assert_eq!(unknown, operation.is_write());
        }
    }

    #[test]
    fn a_write_without_an_answer_is_unknown_and_a_read_is_tried_again() {
        for error in [ExchangeError::TimedOut, ExchangeError::Lost("gone".into())] {
            let verdict = judge(&target(), &write(), Err(error.clone()));
            assert!(
                matches!(&verdict, Verdict::Fail(ClientError::OutcomeUnknown { key, .. }) if key == "k"),
                "{verdict:?}"
            );
            let Verdict::Retry(retry) = judge(&target(), &read(), Err(error.clone())) else {
                panic!()
            };
            assert!(retry.refresh && retry.alone);
            let page = judge_read::<()>(&target(), Err(error));
            assert!(matches!(page, Verdict::Retry(_)));
        }
    }

    #[test]
    fn what_was_not_sent_or_not_read_is_tried_again() {
        for operation in [write(), read()] {
            let verdict =
                judge(&target(), &operation, Err(ExchangeError::NotSent("no line".into())));
            let Verdict::Retry(retry) = verdict else { panic!("{verdict:?}") };
            assert!(retry.refresh);
            let verdict =
                judge(&target(), &operation, Err(ExchangeError::SharedRefusal("too large".into())));
            let Verdict::Retry(retry) = verdict else { panic!("{verdict:?}") };
            assert_eq!((retry.refresh, retry.alone), (false, true));
        }
    }

    #[test]
    fn nonsense_is_named() {
        let nonsense = || ExchangeError::InvalidReply("nonsense".into());
        let verdict = judge(&target(), &read(), Err(nonsense()));
        assert!(matches!(verdict, Verdict::Fail(ClientError::InvalidReply { .. })), "{verdict:?}");
        let verdict = judge(&target(), &write(), Err(nonsense()));
        assert!(
            matches!(verdict, Verdict::Fail(ClientError::OutcomeUnknown { .. })),
            "{verdict:?}"
        );
    }
}
