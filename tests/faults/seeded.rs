//! The checkers' own tests: histories with known faults, which both must find, beside the nearest
//! history without it, which both must accept; and random ones, on which they must agree.

use kvclient::{Condition, Version};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::check::{Verdict, both, check};
use super::events::events;
use super::history::{History, Operation, Outcome, Record};
use super::simulated::simulated;

use Condition::{Absent as IfAbsent, None as Always, Version as IfVersion};
use Operation::{Delete, Get, Put};
use Outcome::{Absent, Conflict, Deleted, Found, Stored, Unknown};

/// An operation from one time to another, in nanoseconds.
type Line = (u64, u64, Operation, Outcome);

fn version(sequence: u64) -> Version {
    Version { epoch: 1, sequence }
}

/// The write with a number has the version with the same number, unless a test says otherwise.
fn stored(write: u64) -> Outcome {
    Stored(version(write))
}

fn found(write: u64) -> Outcome {
    Found(write, Some(version(write)))
}

fn history(lines: &[Line]) -> History {
    let record = |(client, (call_ns, response_ns, operation, outcome)): (usize, &Line)| Record {
        client,
        operation: *operation,
        outcome: *outcome,
        call_ns: *call_ns,
        response_ns: *response_ns,
    };
    History { key: "key".into(), records: lines.iter().enumerate().map(record).collect() }
}

#[track_caller]
fn accepted(lines: &[Line]) {
    let history = history(lines);
    if let Err(finding) = check(&history) {
        panic!("{}", finding.report);
    }
}

/// Both checkers must find it, each by itself, unless it is wrong in any order.
#[track_caller]
fn caught(lines: &[Line]) {
    let history = history(lines);
    let finding = check(&history).expect_err("it is not linearizable");
    assert!(finding.is_violation, "{}", finding.report);
    if let Ok(events) = events(&history) {
        for verdict in both(&events) {
            assert!(matches!(verdict, Verdict::Violation(_)), "{verdict:?}: {}", finding.report);
        }
    }
}

#[test]
fn a_lost_write_is_caught() {
    let put = (0, 10, Put(1, Always), stored(1));
    accepted(&[put, (20, 30, Get, found(1))]);
    caught(&[put, (20, 30, Get, Absent)]);
    let second = (12, 18, Put(2, Always), stored(2));
    accepted(&[put, second, (20, 30, Get, found(2))]);
    caught(&[put, second, (20, 30, Get, found(1))]);
    // A write of unknown outcome may be lost, until a read has returned it.
    let unknown = (12, 18, Put(2, Always), Unknown);
    accepted(&[put, unknown, (20, 30, Get, found(1))]);
    accepted(&[put, unknown, (20, 30, Get, found(1)), (40, 50, Get, found(2))]);
    caught(&[put, unknown, (20, 30, Get, found(2)), (40, 50, Get, found(1))]);
}

#[test]
fn a_stale_read_is_caught() {
    let puts = [(0, 10, Put(1, Always), stored(1)), (20, 60, Put(2, Always), stored(2))];
    accepted(&[puts[0], puts[1], (25, 30, Get, found(1)), (35, 40, Get, found(2))]);
    caught(&[puts[0], puts[1], (25, 30, Get, found(2)), (35, 40, Get, found(1))]);
    // An overwritten value that comes back.
    caught(&[puts[0], puts[1], (70, 80, Get, found(1))]);
}

#[test]
fn a_resurrected_delete_is_caught() {
    let put = (0, 10, Put(1, Always), stored(1));
    let delete = (20, 30, Delete(Always), Deleted { existed: true });
    accepted(&[put, delete, (40, 50, Get, Absent)]);
    caught(&[put, delete, (40, 50, Get, found(1))]);
    caught(&[put, delete, (40, 50, Get, Absent), (60, 70, Get, found(1))]);
    // A delete of unknown outcome may come late, but not be taken back.
    let unknown = (20, 30, Delete(Always), Unknown);
    accepted(&[put, unknown, (40, 50, Get, found(1)), (60, 70, Get, Absent)]);
    caught(&[put, unknown, (40, 50, Get, Absent), (60, 70, Get, found(1))]);
}

#[test]
fn reordered_writes_are_caught() {
    let swapped =
        [(0, 10, Put(1, Always), Stored(version(2))), (20, 30, Put(2, Always), Stored(version(1)))];
    caught(&swapped);
    // Concurrent ones have the order that their versions say.
    let puts =
        [(0, 30, Put(1, Always), Stored(version(2))), (0, 30, Put(2, Always), Stored(version(1)))];
    accepted(&[puts[0], puts[1], (40, 50, Get, Found(1, Some(version(2))))]);
    caught(&[puts[0], puts[1], (40, 50, Get, Found(2, Some(version(1))))]);
    // Two who look see the same order.
    let puts = [(0, 90, Put(1, Always), Unknown), (0, 90, Put(2, Always), Unknown)];
    let seen =
        |first, second, at| [(at, at + 1, Get, found(first)), (at + 2, at + 3, Get, found(second))];
    accepted(&[&puts[..], &seen(1, 2, 10), &seen(2, 2, 20)].concat());
    caught(&[&puts[..], &seen(1, 2, 10), &seen(1, 2, 20)].concat());
}

#[test]
fn an_unknown_write_that_is_carried_out_twice_is_caught() {
    let start = [
        (0, 10, Put(1, Always), Unknown),
        (20, 30, Get, found(1)),
        (40, 50, Put(2, Always), stored(2)),
    ];
    accepted(&[start[0], start[1], start[2], (60, 70, Get, found(2))]);
    caught(&[start[0], start[1], start[2], (60, 70, Get, found(1))]);
    // The second time it has a version of its own.
    caught(&[start[0], start[1], start[2], (60, 70, Get, Found(1, Some(version(3))))]);
    // An export does not see versions.
    caught(&[start[0], (20, 30, Get, Found(1, None)), start[2], (60, 70, Get, Found(1, None))]);
    let delete = (40, 50, Delete(Always), Deleted { existed: true });
    caught(&[start[0], start[1], delete, (60, 70, Get, Found(1, None))]);
}

#[test]
fn a_delete_that_is_wrong_about_what_existed_is_caught() {
    let put = (0, 10, Put(1, Always), stored(1));
    let delete = |existed| (20, 30, Delete(Always), Deleted { existed });
    accepted(&[put, delete(true)]);
    caught(&[put, delete(false)]);
    accepted(&[delete(false)]);
    caught(&[delete(true)]);
    caught(&[put, delete(true), (40, 50, Delete(Always), Deleted { existed: true })]);
    // Any write of unknown outcome may have been what existed, but only once.
    let unknown = (0, 10, Put(1, Always), Unknown);
    accepted(&[unknown, delete(true)]);
    accepted(&[unknown, delete(false)]);
    caught(&[unknown, delete(true), (40, 50, Delete(Always), Deleted { existed: true })]);
}

#[test]
fn a_condition_that_was_judged_wrongly_is_caught() {
    let put = (0, 10, Put(1, Always), stored(1));
    let on = |condition, outcome| (20, 30, Put(2, condition), outcome);
    accepted(&[put, on(IfAbsent, Conflict(Some(version(1))))]);
    caught(&[put, on(IfAbsent, stored(2))]);
    caught(&[put, on(IfAbsent, Conflict(None))]);
    caught(&[on(IfAbsent, Conflict(Some(version(1)))), (40, 50, Put(1, Always), stored(1))]);
    accepted(&[put, on(IfVersion(version(1)), stored(2))]);
    caught(&[put, on(IfVersion(version(1)), Conflict(Some(version(1))))]);
    caught(&[put, on(IfVersion(version(1)), Conflict(None))]);
    // A version of before a delete is not that of the record that came after it.
    let deleted = (12, 14, Delete(Always), Deleted { existed: true });
    let anew = (15, 18, Put(3, Always), stored(3));
    let delete_of = |version, outcome| (20, 30, Delete(IfVersion(version)), outcome);
    accepted(&[put, deleted, anew, delete_of(version(3), Deleted { existed: true })]);
    accepted(&[put, deleted, anew, delete_of(version(1), Conflict(Some(version(3))))]);
    caught(&[put, deleted, anew, delete_of(version(1), Deleted { existed: true })]);
    caught(&[put, deleted, anew, delete_of(version(3), Deleted { existed: false })]);
    // Of two who hold the same version, one wins.
    let both_win = [
        (20, 40, Put(2, IfVersion(version(1))), stored(2)),
        (20, 40, Put(3, IfVersion(version(1))), stored(3)),
    ];
    caught(&[put, both_win[0], both_win[1]]);
    accepted(&[
        put,
        both_win[0],
        (20, 40, Put(3, IfVersion(version(1))), Conflict(Some(version(2)))),
    ]);
}

#[test]
fn a_value_that_nobody_wrote_is_caught() {
    caught(&[(0, 10, Get, found(1))]);
    caught(&[(0, 10, Get, found(1)), (20, 30, Put(1, Always), stored(1))]);
}

#[test]
fn correct_histories_are_accepted_and_faulty_ones_are_judged_alike() {
    let mut random = StdRng::seed_from_u64(1);
    let mut caught = 0;
    for _ in 0..300 {
        let mut history = simulated(&mut random, 60);
        if let Err(finding) = check(&history) {
            panic!("{}", finding.report);
        }
        // One answer is exchanged for that of another operation of its kind.
        let [one, other] = [0; 2].map(|_| random.random_range(0..history.records.len()));
        let outcome = history.records[other].outcome;
        if outcome == Unknown || history.records[one].outcome == Unknown {
            continue;
        }
        history.records[one].outcome = outcome;
        let Ok(events) = events(&history) else { continue };
        let [forward, backtracking] = both(&events);
        let violations = [&forward, &backtracking].map(|it| matches!(it, Verdict::Violation(_)));
        assert_eq!(
            violations[0],
            violations[1],
            "{forward:?} {backtracking:?}\n{}",
            history.lines()
        );
        caught += usize::from(violations[0]);
    }
    assert!(caught > 50, "only {caught} were caught: the test tests nothing");
}

#[test]
fn long_histories_with_many_unknown_outcomes_are_decided() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..5 {
        let history = simulated(&mut random, 400);
        if let Err(finding) = check(&history) {
            panic!("{}", finding.report);
        }
    }
}
