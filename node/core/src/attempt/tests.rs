//! Every attempt, to its end, under every sequence of answers.

use super::*;

const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;

const VERSION: Version = Version { epoch: 3, sequence: 5 };

const CODES: [ErrorCode; 18] = {
    use ErrorCode::{
        BadRequest, Conflict, Corrupt, DiskFull, NoLayout, NotCopied, NotOwner, Overloaded, Retry,
        ShuttingDown, StaleEpoch, Storage, TooFewReplicas, TooLarge, Unconfirmed, UnknownOp,
        WrongCluster, WrongNode,
    };
    [
        BadRequest,
        UnknownOp,
        TooLarge,
        NotOwner,
        StaleEpoch,
        Retry,
        NotCopied,
        WrongCluster,
        WrongNode,
        NoLayout,
        Conflict,
        Corrupt,
        DiskFull,
        Storage,
        TooFewReplicas,
        Unconfirmed,
        Overloaded,
        ShuttingDown,
    ]
};

const TROUBLES: [TransportFailure; 4] = [
    TransportFailure::NotSent,
    TransportFailure::SharedRefusal,
    TransportFailure::Unanswered,
    TransportFailure::Invalid,
];

fn moving(source: Option<u16>) -> Assignment {
    Assignment::Moving(Move { source, destination: DESTINATION })
}

fn assignments() -> [Assignment; 5] {
    let ends = Move { source: Some(SOURCE), destination: DESTINATION };
    [
        Assignment::Owned(DESTINATION),
        Assignment::Frozen(ends),
        Assignment::Frozen(Move { source: None, ..ends }),
        moving(Some(SOURCE)),
        moving(None),
    ]
}

fn get() -> Operation<'static> {
    Operation::Get { key: "k".into() }
}

fn put(condition: Condition) -> Operation<'static> {
    Operation::Put { key: "k".into(), value: b"v".into(), condition }
}

fn delete(condition: Condition) -> Operation<'static> {
    Operation::Delete { key: "k".into(), condition }
}

fn operations() -> [Operation<'static>; 7] {
    let version = Condition::Version(VERSION);
    [
        get(),
        put(Condition::None),
        put(Condition::Absent),
        put(version),
        delete(Condition::None),
        delete(Condition::Absent),
        delete(version),
    ]
}

fn record() -> Record {
    Record { value: b"old".to_vec(), version: Some(VERSION) }
}

fn read(record: Option<Record>) -> SubReply {
    SubReply::Outcome(Ok(Done::Read(record)))
}

fn refusal(code: ErrorCode) -> SubReply {
    SubReply::Outcome(Err(Refusal::new(code, "no")))
}

fn answers() -> Vec<SubReply> {
    let dones = [
        Done::Stored { version: VERSION },
        Done::Deleted { existed: true },
        Done::Read(None),
        Done::Read(Some(record())),
        Done::Read(Some(Record { version: None, ..record() })),
    ];
    let outcomes = dones.map(|done| SubReply::Outcome(Ok(done)));
    let refusals = CODES.map(refusal);
    let troubles = TROUBLES.map(SubReply::Failed);
    [SubReply::Copied].into_iter().chain(outcomes).chain(refusals).chain(troubles).collect()
}

/// Whether a node that refuses like this may have carried a write out.
fn is_doubtful(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Storage | ErrorCode::Unconfirmed)
}

/// What was asked of whom, and what was answered.
type Past = Vec<(u16, SubRequest, SubReply)>;

/// Follows an attempt through all answers, and shows each end with the way there.
fn explore(operation: &Operation<'_>, assignment: Assignment, end: &mut impl FnMut(&Past, &Step)) {
    fn follow(attempt: &Attempt, step: Step, past: &mut Past, end: &mut impl FnMut(&Past, &Step)) {
        let Step::Send { node, request } = step else { return end(past, &step) };
        assert!(past.len() < 4, "an attempt has at most four questions: {past:?}");
        for answer in answers() {
            let mut attempt = attempt.clone();
            past.push((node, request.clone(), answer.clone()));
            let step = attempt.after(answer);
            follow(&attempt, step, past, end);
            past.pop();
        }
    }
    let (attempt, step) = Attempt::start(assignment, operation);
    follow(&attempt, step, &mut Vec::new(), end);
}

fn explore_all(mut end: impl FnMut(&Operation<'_>, Assignment, &Past, &Step)) {
    for operation in operations() {
        for assignment in assignments() {
            explore(&operation, assignment, &mut |past, step| {
                end(&operation, assignment, past, step);
            });
        }
    }
}

#[test]
fn a_write_that_may_have_been_carried_out_is_never_started_over() {
    explore_all(|operation, _, past, step| {
        let Some((_, SubRequest::Operation, answer)) = past.last() else {
            // The last request could not carry the operation out.
            assert!(!matches!(step, Step::Unknown), "{operation:?} {past:?}");
            return;
        };
        let in_doubt = match answer {
            SubReply::Outcome(Ok(_)) => false,
            SubReply::Outcome(Err(refusal)) => is_doubtful(refusal.code),
            SubReply::Failed(failure) => {
                matches!(failure, TransportFailure::Unanswered | TransportFailure::Invalid)
            }
            SubReply::Copied => true,
        };
        let unknown = *step == Step::Unknown;
        assert_eq!(unknown, in_doubt && operation.is_write(), "{operation:?} {past:?}");
    });
}

#[test]
fn an_operation_reaches_a_node_again_only_after_it_was_promoted() {
    explore_all(|operation, _, past, _| {
        let sent: Vec<_> =
            past.iter().filter(|(_, what, _)| *what == SubRequest::Operation).collect();
        if let [(_, _, first), _] = &sent[..] {
            assert_eq!(*first, refusal(ErrorCode::NotCopied), "{operation:?} {past:?}");
            assert_eq!(past[2].2, SubReply::Copied, "{past:?}");
        }
        assert!(sent.len() <= 2, "{past:?}");
    });
}

#[test]
fn everybody_is_asked_only_for_what_is_theirs() {
    explore_all(|operation, assignment, past, _| {
        for (node, what, _) in past {
            match (assignment, what) {
                (Assignment::Frozen(_), _) => panic!("nobody serves it: {past:?}"),
                (_, SubRequest::Operation) => assert_eq!(*node, DESTINATION),
                (Assignment::Moving(Move { source: Some(_), .. }), SubRequest::SourceRead) => {
                    assert_eq!(*node, SOURCE);
                    assert_ne!(*operation, put(Condition::None), "it asks for nothing");
                }
                (Assignment::Moving(Move { source: Some(_), .. }), SubRequest::Promotion(_)) => {
                    assert_eq!(*node, DESTINATION);
                    assert!(operation.is_write(), "a read changes nothing: {past:?}");
                }
                (_, SubRequest::SourceRead | SubRequest::Promotion(_)) => {
                    panic!("{assignment:?} has nothing to copy: {past:?}")
                }
            }
        }
    });
}

#[test]
fn what_is_promoted_is_what_the_source_has() {
    explore_all(|_, _, past, _| {
        for pair in past.windows(2) {
            let [(_, SubRequest::SourceRead, read), (_, SubRequest::Promotion(promoted), _)] = pair
            else {
                continue;
            };
            let expected = match read {
                SubReply::Outcome(Ok(Done::Read(None))) => {
                    Promoted { version: ABSENT_VERSION, value: None }
                }
                _ => Promoted { version: VERSION, value: Some(record().value) },
            };
            assert_eq!(*promoted, expected, "{past:?}");
        }
    });
}

#[test]
fn an_operation_is_done_only_by_who_is_to_do_it() {
    explore_all(|operation, _, past, step| {
        let Step::Done(done) = step else { return };
        let (_, what, answer) = past.last().unwrap();
        assert_eq!(*answer, SubReply::Outcome(Ok(done.clone())));
        let by_the_source = *what == SubRequest::SourceRead;
        assert!(*what == SubRequest::Operation || by_the_source && *operation == get(), "{past:?}");
    });
}

#[test]
fn final_refusals_are_final_and_others_name_what_helps() {
    explore_all(|_, assignment, past, step| {
        let Some((_, _, SubReply::Outcome(Err(refusal)))) = past.last() else { return };
        match step {
            Step::Refused(told) => assert_eq!(told, refusal),
            Step::StartOver { retry_after, alone } => {
                assert!(refusal.code.is_retryable() && !alone, "{refusal:?}");
                let newer = matches!(refusal.code, ErrorCode::StaleEpoch | ErrorCode::NotOwner);
                assert_eq!(*retry_after == RetryAfter::NewerLayout, newer, "{refusal:?}");
            }
            Step::Unknown => assert!(is_doubtful(refusal.code), "{refusal:?}"),
            other => panic!("{assignment:?} {past:?} {other:?}"),
        }
    });
}

#[test]
fn what_is_being_handed_over_waits_for_the_next_layout() {
    let [_, frozen, given_up, ..] = assignments();
    for (operation, assignment) in
        operations().iter().flat_map(|it| [(it.clone(), frozen), (it.clone(), given_up)])
    {
        let (_, step) = Attempt::start(assignment, &operation);
        assert_eq!(step, Step::StartOver { retry_after: RetryAfter::NextLayout, alone: false });
    }
}

#[test]
fn a_read_falls_back_to_the_source() {
    let (mut attempt, step) = Attempt::start(moving(Some(SOURCE)), &get());
    assert_eq!(step, Step::Send { node: DESTINATION, request: SubRequest::Operation });
    let step = attempt.after(refusal(ErrorCode::NotCopied));
    assert_eq!(step, Step::Send { node: SOURCE, request: SubRequest::SourceRead });
    for answer in [None, Some(record())] {
        assert_eq!(attempt.clone().after(read(answer.clone())), Step::Done(Done::Read(answer)));
    }
    let stale = attempt.after(refusal(ErrorCode::StaleEpoch));
    assert_eq!(stale, Step::StartOver { retry_after: RetryAfter::NewerLayout, alone: false });
}

#[test]
fn a_judged_write_is_promoted_first() {
    for operation in [delete(Condition::None), put(Condition::Absent)] {
        let (mut attempt, _) = Attempt::start(moving(Some(SOURCE)), &operation);
        let step = attempt.after(refusal(ErrorCode::NotCopied));
        assert_eq!(step, Step::Send { node: SOURCE, request: SubRequest::SourceRead });
        let Step::Send { node: DESTINATION, request: SubRequest::Promotion(promoted) } =
            attempt.after(read(Some(record())))
        else {
            panic!("{attempt:?}")
        };
        assert_eq!(promoted, Promoted { version: VERSION, value: Some(b"old".to_vec()) });
        let step = attempt.after(SubReply::Copied);
        assert_eq!(step, Step::Send { node: DESTINATION, request: SubRequest::Operation });
        // The destination cannot lose what it took in one epoch, so it is not asked for ever.
        let again = attempt.after(refusal(ErrorCode::NotCopied));
        assert_eq!(again, Step::StartOver { retry_after: RetryAfter::Refresh, alone: false });
    }
}

#[test]
fn a_promotion_without_an_answer_starts_over() {
    for failure in [TransportFailure::NotSent, TransportFailure::Unanswered] {
        let (mut attempt, _) = Attempt::start(moving(Some(SOURCE)), &delete(Condition::None));
        let _ = attempt.after(refusal(ErrorCode::NotCopied));
        let _ = attempt.after(read(None));
        let step = attempt.after(SubReply::Failed(failure));
        assert!(
            matches!(step, Step::StartOver { retry_after: RetryAfter::Refresh, .. }),
            "{step:?}"
        );
    }
}
