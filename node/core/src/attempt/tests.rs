//! Every course, to its end, whatever the nodes answer.

use super::*;

const SOURCE: u16 = 1;
const DESTINATION: u16 = 2;

const VERSION: Version = Version { epoch: 3, sequence: 5 };

const CODES: [ErrorCode; 16] = {
    use ErrorCode::{
        BadRequest, Conflict, Corrupt, DiskFull, NoLayout, NotCopied, NotOwner, Overloaded, Retry,
        ShuttingDown, StaleEpoch, Storage, TooLarge, UnknownOp, WrongCluster, WrongNode,
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
        Overloaded,
        ShuttingDown,
    ]
};

const TROUBLES: [Trouble; 4] =
    [Trouble::NotSent, Trouble::SharedRefusal, Trouble::Unanswered, Trouble::Invalid];

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

fn read(record: Option<Record>) -> Answer {
    Answer::Outcome(Ok(Done::Read(record)))
}

fn refusal(code: ErrorCode) -> Answer {
    Answer::Outcome(Err(Refusal::new(code, "no")))
}

fn answers() -> Vec<Answer> {
    let dones = [
        Done::Stored { version: VERSION },
        Done::Deleted { existed: true },
        Done::Read(None),
        Done::Read(Some(record())),
        Done::Read(Some(Record { version: None, ..record() })),
    ];
    let outcomes = dones.map(|done| Answer::Outcome(Ok(done)));
    let refusals = CODES.map(refusal);
    let troubles = TROUBLES.map(Answer::Trouble);
    [Answer::Copied].into_iter().chain(outcomes).chain(refusals).chain(troubles).collect()
}

/// What was asked of whom, and what was answered.
type Past = Vec<(u16, What, Answer)>;

/// Follows a course through all answers, and shows each end with the way there.
fn explore(operation: &Operation<'_>, assignment: Assignment, end: &mut impl FnMut(&Past, &Step)) {
    fn follow(course: &Course, step: Step, past: &mut Past, end: &mut impl FnMut(&Past, &Step)) {
        let Step::Ask { node, what } = step else { return end(past, &step) };
        assert!(past.len() < 4, "a course has at most four questions: {past:?}");
        for answer in answers() {
            let mut course = course.clone();
            past.push((node, what.clone(), answer.clone()));
            let step = course.after(answer);
            follow(&course, step, past, end);
            past.pop();
        }
    }
    let (course, step) = Course::start(assignment, operation);
    follow(&course, step, &mut Vec::new(), end);
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
        let Some((_, What::Operation, answer)) = past.last() else {
            // What was asked last could not carry the operation out.
            assert!(!matches!(step, Step::Unknown), "{operation:?} {past:?}");
            return;
        };
        let in_doubt = match answer {
            Answer::Outcome(Ok(_)) => false,
            Answer::Outcome(Err(refusal)) => refusal.code == ErrorCode::Storage,
            Answer::Trouble(trouble) => {
                matches!(trouble, Trouble::Unanswered | Trouble::Invalid)
            }
            Answer::Copied => true,
        };
        let unknown = *step == Step::Unknown;
        assert_eq!(unknown, in_doubt && operation.is_write(), "{operation:?} {past:?}");
    });
}

#[test]
fn an_operation_reaches_a_node_again_only_after_it_was_promoted() {
    explore_all(|operation, _, past, _| {
        let sent: Vec<_> = past.iter().filter(|(_, what, _)| *what == What::Operation).collect();
        if let [(_, _, first), _] = &sent[..] {
            assert_eq!(*first, refusal(ErrorCode::NotCopied), "{operation:?} {past:?}");
            assert_eq!(past[2].2, Answer::Copied, "{past:?}");
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
                (_, What::Operation) => assert_eq!(*node, DESTINATION),
                (Assignment::Moving(Move { source: Some(_), .. }), What::SourceRead) => {
                    assert_eq!(*node, SOURCE);
                    assert_ne!(*operation, put(Condition::None), "it asks for nothing");
                }
                (Assignment::Moving(Move { source: Some(_), .. }), What::Promotion(_)) => {
                    assert_eq!(*node, DESTINATION);
                    assert!(operation.is_write(), "a read changes nothing: {past:?}");
                }
                (_, What::SourceRead | What::Promotion(_)) => {
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
            let [(_, What::SourceRead, read), (_, What::Promotion(promoted), _)] = pair else {
                continue;
            };
            let expected = match read {
                Answer::Outcome(Ok(Done::Read(None))) => {
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
        assert_eq!(*answer, Answer::Outcome(Ok(done.clone())));
        let by_the_source = *what == What::SourceRead;
        assert!(*what == What::Operation || by_the_source && *operation == get(), "{past:?}");
    });
}

#[test]
fn final_refusals_are_final_and_others_name_what_helps() {
    explore_all(|_, assignment, past, step| {
        let Some((_, _, Answer::Outcome(Err(refusal)))) = past.last() else { return };
        match step {
            Step::Refused(told) => assert_eq!(told, refusal),
            Step::StartOver { remedy, alone } => {
                assert!(refusal.code.is_retryable() && !alone, "{refusal:?}");
                let newer = matches!(refusal.code, ErrorCode::StaleEpoch | ErrorCode::NotOwner);
                assert_eq!(*remedy == Remedy::NewerLayout, newer, "{refusal:?}");
            }
            Step::Unknown => assert_eq!(refusal.code, ErrorCode::Storage),
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
        let (_, step) = Course::start(assignment, &operation);
        assert_eq!(step, Step::StartOver { remedy: Remedy::NextLayout, alone: false });
    }
}

#[test]
fn a_read_falls_back_to_the_source() {
    let (mut course, step) = Course::start(moving(Some(SOURCE)), &get());
    assert_eq!(step, Step::Ask { node: DESTINATION, what: What::Operation });
    let step = course.after(refusal(ErrorCode::NotCopied));
    assert_eq!(step, Step::Ask { node: SOURCE, what: What::SourceRead });
    for answer in [None, Some(record())] {
        assert_eq!(course.clone().after(read(answer.clone())), Step::Done(Done::Read(answer)));
    }
    let stale = course.after(refusal(ErrorCode::StaleEpoch));
    assert_eq!(stale, Step::StartOver { remedy: Remedy::NewerLayout, alone: false });
}

#[test]
fn a_judged_write_is_promoted_first() {
    for operation in [delete(Condition::None), put(Condition::Absent)] {
        let (mut course, _) = Course::start(moving(Some(SOURCE)), &operation);
        let step = course.after(refusal(ErrorCode::NotCopied));
        assert_eq!(step, Step::Ask { node: SOURCE, what: What::SourceRead });
        let Step::Ask { node: DESTINATION, what: What::Promotion(promoted) } =
            course.after(read(Some(record())))
        else {
            panic!("{course:?}")
        };
        assert_eq!(promoted, Promoted { version: VERSION, value: Some(b"old".to_vec()) });
        let step = course.after(Answer::Copied);
        assert_eq!(step, Step::Ask { node: DESTINATION, what: What::Operation });
        // The destination cannot lose what it took in one epoch, so it is not asked for ever.
        let again = course.after(refusal(ErrorCode::NotCopied));
        assert_eq!(again, Step::StartOver { remedy: Remedy::Look, alone: false });
    }
}

#[test]
fn a_promotion_without_an_answer_starts_over() {
    for trouble in [Trouble::NotSent, Trouble::Unanswered] {
        let (mut course, _) = Course::start(moving(Some(SOURCE)), &delete(Condition::None));
        let _ = course.after(refusal(ErrorCode::NotCopied));
        let _ = course.after(read(None));
        let step = course.after(Answer::Trouble(trouble));
        assert!(matches!(step, Step::StartOver { remedy: Remedy::Look, .. }), "{step:?}");
    }
}
