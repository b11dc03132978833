//! Batches: operations that travel in one message, and what became of each.

use kv_core::operation::{Done, Operation, Outcome};
use kv_core::refusal::{ErrorCode, Refusal};
use kv_protocol::reply::Content;
use kv_protocol::request::{Command, Request, RequestId, Style, Values};
use kv_transport::ExchangeError;

use crate::queue::{Entry, OperationResult};

/// How replies are to be written to this client.
pub(crate) const STYLE: Style = Style { values: Values::Body, versions: true, streams: true };

/// The frames of the request that carries `entries`, which have one context; `None` without entries.
pub(crate) fn encode(id: u64, entries: &[Entry]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let context = entries.first()?.queued.context;
    let mut operations = entries.iter().map(|entry| entry.queued.operation.borrowed());
    let command = match entries {
        [only] => Command::One(only.queued.operation.borrowed()),
        _ => Command::Batch(operations.by_ref().collect()),
    };
    let id = Some(RequestId::Number(id));
    Some(Request { id, context, style: STYLE, command }.encode())
}

/// What became of each of `entries`, which were sent together.
pub(crate) fn answers(entries: &[Entry], content: Content) -> Vec<OperationResult> {
    outcomes(entries.iter().map(|entry| &*entry.queued.operation), content)
}

/// What became of each operation of a batch.
fn outcomes<'a>(
    mut operations: impl ExactSizeIterator<Item = &'a Operation<'static>>,
    content: Content,
) -> Vec<OperationResult> {
    let count = operations.len();
    let invalid = |problem: String| vec![Err(ExchangeError::InvalidReply(problem)); count];
    match content {
        Content::Batch(outcomes) if count > 1 && outcomes.len() == count => {
            let pairs = operations.zip(outcomes);
            pairs.map(|(operation, outcome)| checked(operation, outcome)).collect()
        }
        Content::One { key, done } if count == 1 => {
            let operation = operations.next().filter(|operation| operation.key() == key);
            let result = operation.map(|operation| checked(operation, Ok(done)));
            result.map_or_else(|| invalid("it is about another key".into()), |it| vec![it])
        }
        Content::Refused(refusal) => vec![refused(refusal, count); count],
        _ => invalid(format!("it is not the answer to {count} operations")),
    }
}

/// The outcome of each operation in a batch that was refused as a whole. Where one operation of several may
/// be to blame, it says nothing about the others.
fn refused(refusal: Refusal, count: usize) -> Result<Outcome, ExchangeError> {
    match refusal.code {
        ErrorCode::BadRequest | ErrorCode::UnknownOp | ErrorCode::TooLarge if count > 1 => {
            Err(ExchangeError::SharedRefusal(refusal.message))
        }
        _ => Ok(Err(refusal)),
    }
}

/// Checks that an outcome is one that the operation can have.
fn checked(operation: &Operation<'_>, outcome: Outcome) -> Result<Outcome, ExchangeError> {
    let fits = matches!(
        (operation, &outcome),
        (_, Err(_))
            | (Operation::Put { .. }, Ok(Done::Stored { .. }))
            | (Operation::Delete { .. }, Ok(Done::Deleted { .. }))
            | (Operation::Get { .. }, Ok(Done::Read(_)))
    );
    if fits {
        return Ok(outcome);
    }
    Err(ExchangeError::InvalidReply("it answers another operation than was asked for".into()))
}

#[cfg(test)]
mod tests {
    use kv_core::operation::Condition;
    use kv_core::operation::Record;
    use kv_core::version::Version;
    use kv_protocol::reply::Page;

    use super::*;

    const VERSION: Version = Version { epoch: 1, sequence: 1 };

    fn get(key: &'static str) -> Operation<'static> {
        Operation::Get { key: key.into() }
    }

    fn put(key: &'static str) -> Operation<'static> {
        Operation::Put { key: key.into(), value: b"v".into(), condition: Condition::None }
    }

    fn delete(key: &'static str) -> Operation<'static> {
        Operation::Delete { key: key.into(), condition: Condition::None }
    }

    fn of(operations: &[Operation<'static>], content: Content) -> Vec<OperationResult> {
        let outcomes = outcomes(operations.iter(), content);
        assert_eq!(outcomes.len(), operations.len());
        outcomes
    }

    fn is_invalid(results: &[OperationResult]) -> bool {
        results.iter().all(|it| matches!(it, Err(ExchangeError::InvalidReply(_))))
    }

    #[test]
    fn outcomes_go_to_their_operations() {
        let stored = Done::Stored { version: VERSION };
        let full = Refusal::new(ErrorCode::DiskFull, "full");
        let content =
            Content::Batch(vec![Ok(stored.clone()), Err(full.clone()), Ok(Done::Read(None))]);
        let results = of(&[put("a"), put("b"), get("c")], content);
        assert_eq!(results, [Ok(Ok(stored.clone())), Ok(Err(full)), Ok(Ok(Done::Read(None)))]);
        let content = Content::One { key: "a".into(), done: stored.clone() };
        assert_eq!(of(&[put("a")], content), [Ok(Ok(stored))]);
    }

    #[test]
    fn answers_to_something_else_are_refused() {
        let read = Done::Read(Some(Record { value: Vec::new(), version: None }));
        for (operation, done) in [
            (get("k"), Done::Stored { version: VERSION }),
            (get("k"), Done::Deleted { existed: true }),
            (put("k"), read.clone()),
            (put("k"), Done::Deleted { existed: true }),
            (delete("k"), Done::Stored { version: VERSION }),
            (delete("k"), read.clone()),
        ] {
            assert!(is_invalid(&of(&[operation], Content::One { key: "k".into(), done })));
        }
        assert!(is_invalid(&of(
            &[get("k")],
            Content::One { key: "other".into(), done: read.clone() }
        )));
        assert!(is_invalid(&of(&[get("k")], Content::Batch(vec![Ok(read.clone())]))));
        let both = [get("a"), get("b")];
        assert!(is_invalid(&of(&both, Content::Batch(Vec::new()))));
        assert!(is_invalid(&of(&both, Content::Batch(vec![Ok(read.clone()); 3]))));
        assert!(is_invalid(&of(&both, Content::One { key: "a".into(), done: read })));
        assert!(is_invalid(&of(&both, Content::Page(Page::default()))));
    }

    #[test]
    fn one_bad_operation_does_not_speak_for_the_others() {
        let refusal = |code| Content::Refused(Refusal::new(code, "operation 1: no"));
        let shared = of(&[put("a"), put("b")], refusal(ErrorCode::TooLarge));
        assert!(shared.iter().all(|it| matches!(it, Err(ExchangeError::SharedRefusal(_)))));
        let own = of(&[put("a")], refusal(ErrorCode::TooLarge));
        assert!(matches!(&own[..], [Ok(Err(_))]));
        let stale = of(&[put("a"), put("b")], refusal(ErrorCode::StaleEpoch));
        assert!(stale.iter().all(|it| matches!(it, Ok(Err(_)))));
    }
}
