//! What a client is made of, and how it carries out an operation on a key: it takes the steps that
//! `kv_core::attempt` decides on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::attempt::{Attempt, Promoted, Step, SubReply, SubRequest, TransportFailure};
use kv_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING};
use kv_core::operation::{Done, Operation};
use kv_core::partition::Partition;
use kv_core::refusal::{bad_request, too_large};
use kv_protocol::record_stream::{self, StreamRecord};
use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Request};
use kv_transport::ExchangeError;

use crate::batch::STYLE;
use crate::cluster::Cluster;
use crate::deadline::Deadline;
use crate::dispatch::Dispatcher;
use crate::error::ClientError;
use crate::hand_off::HandOffHelp;
use crate::outbox::Connections;
use crate::queue::QueuedOperation;
use crate::routing::{Retry, Routed, Target, View, describe, not_understood};

/// The parts of a client.
pub(crate) struct Executor {
    pub(crate) cluster: Cluster,
    pub(crate) connections: Connections,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) hand_off_help: HandOffHelp,
    pub(crate) timeout: Duration,
}

/// An attempt to carry out an operation under one view.
struct RoutedAttempt<'a> {
    executor: &'a Executor,
    view: &'a View,
    operation: &'a Arc<Operation<'static>>,
    deadline: Instant,
    /// Whether the operation must not share a batch.
    alone: bool,
}

impl Executor {
    /// The time that an operation which begins now has.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::within(self.timeout)
    }

    /// Carries out one operation, trying again while that is safe and there is time.
    pub(crate) async fn perform(&self, operation: Operation<'static>) -> Result<Done, ClientError> {
        check(&operation)?;
        let operation = Arc::new(operation);
        let mut deadline = self.deadline();
        let mut alone = false;
        loop {
            let view = self.cluster.view();
            let (view, reply_by) = (&view, deadline.instant());
            let attempt = RoutedAttempt {
                executor: self,
                view,
                operation: &operation,
                deadline: reply_by,
                alone,
            };
            match attempt.run().await {
                Routed::Done(done) => return Ok(done),
                Routed::Fail(error) => return Err(error),
                Routed::Retry(retry) => {
                    alone |= retry.alone;
                    self.before_retry(&mut deadline, &retry, view).await?;
                }
            }
        }
    }
}

impl RoutedAttempt<'_> {
    /// Asks one node after the other, until a step ends the attempt.
    async fn run(&self) -> Routed<Done> {
        let (partition, assignment) = match self.view.assignment(self.operation.key()) {
            Ok(assigned) => assigned,
            Err(problem) => return Routed::Fail(ClientError::Local(problem)),
        };
        let (mut attempt, mut step) = Attempt::start(assignment, self.operation);
        let mut last = None;
        loop {
            let (node, request) = match step {
                Step::Send { node, request } => (node, request),
                step => return self.end(step, partition, last),
            };
            let target = match self.view.node(node) {
                Ok(target) => target,
                // The requests before this one leave nothing behind that harms.
                Err(problem) => return Routed::Retry(Retry::elsewhere(problem)),
            };
            let answer = self.ask(target, request).await;
            let problem = match &answer {
                Ok(SubReply::Outcome(Err(refusal))) => Some(refusal.to_string()),
                Err(error) => Some(error.to_string()),
                Ok(_) => None,
            };
            last = Some((target, problem));
            step = attempt
                .after(answer.unwrap_or_else(|error| SubReply::Failed(transport_failure(&error))));
        }
    }

    /// What the last step means for the operation. `last` is the node that was asked, and why its answer
    /// was no success.
    fn end(
        &self,
        step: Step,
        partition: Partition,
        last: Option<(&Arc<Target>, Option<String>)>,
    ) -> Routed<Done> {
        let step = match step {
            Step::Done(done) => return Routed::Done(done),
            step => step,
        };
        let Some((target, problem)) = last else {
            let problem = self.view.frozen(partition);
            return match step {
                Step::StartOver { retry_after, alone } => {
                    Routed::Retry(Retry { problem, retry_after, alone })
                }
                _ => Routed::Fail(ClientError::Local(problem)),
            };
        };
        let problem = problem.unwrap_or_else(|| "it answers another question".into());
        match step {
            Step::StartOver { retry_after, alone } => {
                Routed::Retry(Retry { problem: describe(target, &problem), retry_after, alone })
            }
            Step::Refused(refusal) => {
                Routed::Fail(ClientError::Refused { node: target.node.clone(), refusal })
            }
            Step::NotUnderstood | Step::Done(_) | Step::Send { .. } => {
                Routed::Fail(not_understood(target, problem))
            }
            Step::Unknown => Routed::Fail(ClientError::OutcomeUnknown {
                key: self.operation.key().to_owned(),
                problem: describe(target, &problem),
            }),
        }
    }

    async fn ask(
        &self,
        target: &Arc<Target>,
        request: SubRequest,
    ) -> Result<SubReply, ExchangeError> {
        let operation = match request {
            SubRequest::Operation => Arc::clone(self.operation),
            SubRequest::SourceRead => {
                Arc::new(Operation::Get { key: self.operation.key().to_owned().into() })
            }
            SubRequest::Promotion(promoted) => return self.promote(target, &promoted).await,
        };
        let context = self.view.context(target);
        let (deadline, alone) = (self.deadline, self.alone);
        let queued = QueuedOperation { operation, context, deadline, alone };
        self.executor.dispatcher.carry(target, queued).await.map(SubReply::Outcome)
    }

    /// Promotions are rare, so each travels by itself.
    async fn promote(
        &self,
        target: &Target,
        promoted: &Promoted,
    ) -> Result<SubReply, ExchangeError> {
        let command = promotion(self.operation.key(), promoted);
        let context = self.view.context(target);
        let mut request = Request { id: None, context, style: STYLE, command };
        let connections = &self.executor.connections;
        match connections.exchange(&target.endpoint, &mut request, self.deadline).await? {
            Content::Copied { .. } => Ok(SubReply::Copied),
            Content::Refused(refusal) => Ok(SubReply::Outcome(Err(refusal))),
            _ => Err(ExchangeError::InvalidReply("it is not the answer to COPY".into())),
        }
    }
}

/// The COPY that brings what the source has of `key` to the destination.
fn promotion(key: &str, promoted: &Promoted) -> Command<'static> {
    let Promoted { version, value } = promoted;
    let record = StreamRecord { key, version: *version, value: value.as_deref() };
    let mut stream = Vec::new();
    record_stream::push(&mut stream, &record);
    Command::Copy { records: 1, stream: stream.into() }
}

fn transport_failure(error: &ExchangeError) -> TransportFailure {
    match error {
        ExchangeError::NotSent(_) => TransportFailure::NotSent,
        ExchangeError::SharedRefusal(_) => TransportFailure::SharedRefusal,
        ExchangeError::Lost(_) | ExchangeError::TimedOut => TransportFailure::Unanswered,
        ExchangeError::InvalidReply(_) => TransportFailure::Invalid,
    }
}

/// Refuses what every node would refuse, before it is sent.
fn check(operation: &Operation<'_>) -> Result<(), ClientError> {
    check_key(operation.key())?;
    match operation {
        Operation::Put { value, .. } if value.len() > VALUE_BYTES_MAX_CEILING => {
            let refusal = too_large("the value's length", value.len(), VALUE_BYTES_MAX_CEILING);
            Err(ClientError::ValueTooLarge(refusal))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), ClientError> {
    let refusal = match key.len() {
        0 => bad_request(format!("the key is empty: expected 1 to {KEY_BYTES_MAX} bytes")),
        length if length > KEY_BYTES_MAX => {
            too_large("the length of the key", length, KEY_BYTES_MAX)
        }
        _ => return Ok(()),
    };
    Err(ClientError::InvalidKey(refusal))
}

#[cfg(test)]
mod tests {
    use kv_core::operation::Condition;

    use super::*;

    #[test]
    fn keys_are_limited() {
        assert!(check_key("k").is_ok());
        assert!(check_key(&"k".repeat(KEY_BYTES_MAX)).is_ok());
        for key in [String::new(), "k".repeat(KEY_BYTES_MAX + 1)] {
            assert!(matches!(check_key(&key), Err(ClientError::InvalidKey(_))), "{key}");
        }
    }

    #[test]
    fn values_are_limited() {
        let put = |length| {
            let value = vec![0; length].into();
            check(&Operation::Put { key: "k".into(), value, condition: Condition::None })
        };
        assert!(put(VALUE_BYTES_MAX_CEILING).is_ok());
        let error = put(VALUE_BYTES_MAX_CEILING + 1);
        assert!(matches!(error, Err(ClientError::ValueTooLarge(_))), "{error:?}");
    }
}
