//! What a client is made of, and how it carries out an operation on a key.

use std::sync::Arc;
use std::time::Duration;

use kv_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING};
use kv_protocol::refusal::{bad_request, too_large};
use kv_protocol::reply::Done;
use kv_protocol::request::Operation;

use crate::cluster::Cluster;
use crate::connection::Connections;
use crate::dispatch::{Dispatcher, Errand};
use crate::error::ClientError;
use crate::retry::Attempts;
use crate::routing::{Retry, Verdict, judge};

/// The parts of a client.
pub(crate) struct Executor {
    pub(crate) cluster: Cluster,
    pub(crate) connections: Connections,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) timeout: Duration,
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
            let verdict = match view.route(operation.key()) {
                Ok(target) => {
                    let errand = Errand {
                        operation: Arc::clone(&operation),
                        context: view.context(target),
                        deadline: attempts.deadline(),
                        alone,
                    };
                    judge(target, &operation, self.dispatcher.carry(target, errand).await)
                }
                Err(problem) => Verdict::Retry(Retry::elsewhere(problem)),
            };
            match verdict {
                Verdict::Done(done) => return Ok(done),
                Verdict::Fail(error) => return Err(error),
                Verdict::Retry(retry) => {
                    alone |= retry.alone;
                    self.cluster.before_retry(&mut attempts, &retry, &view).await?;
                }
            }
        }
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
    use kv_protocol::request::Condition;

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
