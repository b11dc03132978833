//! What a client is made of, and how it carries out an operation on a key: it takes the steps that
//! `course` decides on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv_core::attempt::{Answer, Course, Promoted, Step, Trouble, What};
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
use crate::dispatch::Dispatcher;
use crate::error::ClientError;
use crate::opening::Helping;
use crate::outbox::Connections;
use crate::queue::QueuedOperation;
use crate::retry::Attempts;
use crate::routing::{Retry, Target, Verdict, View, describe, not_understood};

/// The parts of a client.
pub(crate) struct Executor {
    pub(crate) cluster: Cluster,
    pub(crate) connections: Connections,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) helping: Helping,
    pub(crate) timeout: Duration,
}

/// An attempt to carry out an operation under one view.
struct Attempt<'a> {
    executor: &'a Executor,
    view: &'a View,
    operation: &'a Arc<Operation<'static>>,
    deadline: Instant,
    /// Whether the operation must not share a batch.
    alone: bool,
}

impl Executor {
    /// The time that an operation which begins now has.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::within(self.timeout)
    }

    /// Carries out one operation, trying again while that is safe and there is time.
    pub(crate) async fn perform(&self, operation: Operation<'static>) -> Result<Done, ClientError> {
        check(&operation)?;
        let operation = Arc::new(operation);
        let mut attempts = self.attempts();
        let mut alone = false;
        loop {
            let view = self.cluster.view();
            let (view, deadline) = (&view, attempts.deadline());
            let attempt = Attempt { executor: self, view, operation: &operation, deadline, alone };
            match attempt.run().await {
                Verdict::Done(done) => return Ok(done),
                Verdict::Fail(error) => return Err(error),
                Verdict::Retry(retry) => {
                    alone |= retry.alone;
                    self.before_retry(&mut attempts, &retry, view).await?;
                }
            }
        }
    }
}

impl Attempt<'_> {
    /// Takes the steps of one course.
    async fn run(&self) -> Verdict<Done> {
        let (partition, assignment) = match self.view.assignment(self.operation.key()) {
            Ok(assigned) => assigned,
            Err(problem) => return Verdict::Fail(ClientError::Local(problem)),
        };
        let (mut course, mut step) = Course::start(assignment, self.operation);
        let mut last = None;
        loop {
            let (node, what) = match step {
                Step::Ask { node, what } => (node, what),
                step => return self.end(step, partition, last),
            };
            let target = match self.view.node(node) {
                Ok(target) => target,
                // What was asked before leaves nothing behind that harms.
                Err(problem) => return Verdict::Retry(Retry::elsewhere(problem)),
            };
            let answer = self.ask(target, what).await;
            let problem = match &answer {
                Ok(Answer::Outcome(Err(refusal))) => Some(refusal.to_string()),
                Err(error) => Some(error.to_string()),
                Ok(_) => None,
            };
            last = Some((target, problem));
            step = course.after(answer.unwrap_or_else(|error| Answer::Trouble(trouble(&error))));
        }
    }

    /// What the last step means for the operation. `last` is who was asked, and what was wrong with
    /// the answer.
    fn end(
        &self,
        step: Step,
        partition: Partition,
        last: Option<(&Arc<Target>, Option<String>)>,
    ) -> Verdict<Done> {
        let step = match step {
            Step::Done(done) => return Verdict::Done(done),
            step => step,
        };
        let Some((target, problem)) = last else {
            let problem = self.view.frozen(partition);
            return match step {
                Step::StartOver { remedy, alone } => {
                    Verdict::Retry(Retry { problem, remedy, alone })
                }
                _ => Verdict::Fail(ClientError::Local(problem)),
            };
        };
        let problem = problem.unwrap_or_else(|| "it answers another question".into());
        match step {
            Step::StartOver { remedy, alone } => {
                Verdict::Retry(Retry { problem: describe(target, &problem), remedy, alone })
            }
            Step::Refused(refusal) => {
                Verdict::Fail(ClientError::Refused { node: target.node.clone(), refusal })
            }
            Step::NotUnderstood | Step::Done(_) | Step::Ask { .. } => {
                Verdict::Fail(not_understood(target, problem))
            }
            Step::Unknown => Verdict::Fail(ClientError::OutcomeUnknown {
                key: self.operation.key().to_owned(),
                problem: describe(target, &problem),
            }),
        }
    }

    async fn ask(&self, target: &Arc<Target>, what: What) -> Result<Answer, ExchangeError> {
        let operation = match what {
            What::Operation => Arc::clone(self.operation),
            What::SourceRead => {
                Arc::new(Operation::Get { key: self.operation.key().to_owned().into() })
            }
            What::Promotion(promoted) => return self.promote(target, &promoted).await,
        };
        let context = self.view.context(target);
        let (deadline, alone) = (self.deadline, self.alone);
        let queued = QueuedOperation { operation, context, deadline, alone };
        self.executor.dispatcher.carry(target, queued).await.map(Answer::Outcome)
    }

    /// Promotions are rare, so each travels by itself.
    async fn promote(&self, target: &Target, promoted: &Promoted) -> Result<Answer, ExchangeError> {
        let command = promotion(self.operation.key(), promoted);
        let context = self.view.context(target);
        let mut request = Request { id: None, context, style: STYLE, command };
        let connections = &self.executor.connections;
        match connections.exchange(&target.endpoint, &mut request, self.deadline).await? {
            Content::Copied { .. } => Ok(Answer::Copied),
            Content::Refused(refusal) => Ok(Answer::Outcome(Err(refusal))),
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

fn trouble(error: &ExchangeError) -> Trouble {
    match error {
        ExchangeError::NotSent(_) => Trouble::NotSent,
        ExchangeError::SharedRefusal(_) => Trouble::SharedRefusal,
        ExchangeError::Lost(_) | ExchangeError::TimedOut => Trouble::Unanswered,
        ExchangeError::InvalidReply(_) => Trouble::Invalid,
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
