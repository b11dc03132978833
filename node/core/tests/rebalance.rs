//! The steps of a rebalance, and what they make of each partition.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use kv_core::digest::Digest;
use kv_core::layout::{
    Assignment, Assignments, Document, Goal, LAYOUT_FORMAT, Layout, LayoutError, Member, Move,
    Origin, Phase, Placement, Standing, StrategyPin, Table, Window,
};
use kv_core::partition::{Partition, PartitionCount};
use proptest::prelude::*;
use uuid::Uuid;

const PARTITIONS: u32 = 8;

fn member(number: u128) -> Member {
    Member {
        id: format!("node-{number}").parse().unwrap(),
        uuid: Uuid::from_u128(number),
        weight: 1,
        zone: String::new(),
    }
}

fn table(owners: &[u32], members: usize) -> Table {
    Table::new(owners, PartitionCount::new(PARTITIONS).unwrap(), 1, members).unwrap()
}

fn placement(members: &[u128], table: &Table) -> Placement {
    let strategy =
        StrategyPin { name: "test".into(), sha256: Digest::of(b"test"), config: String::new() };
    let members = members.iter().map(|number| member(*number)).collect();
    Placement { strategy, members, table: table.digest(), origin: Origin::Strategy, replicas: 1 }
}

fn layout(placement: Placement) -> Layout {
    Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::from_u128(99),
        epoch: 5,
        partitions: PartitionCount::new(PARTITIONS).unwrap(),
        replicas: 1,
        min_in_sync: 1,
        placement,
        rebalance: None,
        standing: Standing::default(),
    }
}

/// Nodes 1 and 2 own one half each; node 3 gets partitions 1, 3 and 6.
fn joining() -> (Layout, Placement, [Table; 2]) {
    let before = table(&[0, 0, 0, 0, 1, 1, 1, 1], 2);
    let after = table(&[0, 2, 0, 2, 1, 1, 2, 1], 3);
    let at_rest = layout(placement(&[1, 2], &before));
    let to = placement(&[1, 2, 3], &after);
    (at_rest, to, [before, after])
}

fn read(layout: &Layout) -> Result<Layout, LayoutError> {
    Document::parse(&layout.to_json())?.layout(&layout.blobs())
}

fn seen(layout: &Layout, tables: &[Table]) -> Vec<Assignment> {
    let again = read(layout).unwrap();
    assert_eq!(again, *layout, "the document says all of it");
    let count = layout.placements().count();
    let assignments = Assignments::new(layout, &tables[..count]).unwrap();
    assignments.iter().map(|(_, assignment)| assignment).collect()
}

const fn moved(source: u16, destination: u16) -> Move {
    Move { source: Some(source), destination }
}

#[test]
fn a_rebalance_goes_through_its_windows() {
    use Assignment::{Frozen, Moving, Owned};
    let (at_rest, to, tables) = joining();
    let begun = at_rest.begin(to.clone(), Vec::new()).unwrap();
    assert_eq!(begun.epoch, 6);
    assert_eq!(seen(&begun, &tables), [0, 0, 0, 0, 1, 1, 1, 1].map(Owned));
    let prepared = begun.prepare(4).unwrap();
    let (a, b, c) = (Owned(0), Owned(1), Owned(2));
    let frozen = Frozen(moved(0, 2));
    assert_eq!(seen(&prepared, &tables), [a, frozen, a, frozen, b, b, b, b]);
    assert_eq!(Assignments::new(&prepared, &tables).unwrap().participants(), [0, 2]);
    let open = prepared.open().unwrap();
    let moving = Moving(moved(0, 2));
    assert_eq!(seen(&open, &tables), [a, moving, a, moving, b, b, b, b]);
    let next = open.settle(Some(8)).unwrap();
    assert_eq!(seen(&next, &tables), [a, c, a, c, b, b, Frozen(moved(1, 2)), b]);
    let done = next.open().unwrap().settle(None).unwrap();
    assert_eq!((done.epoch, &done.placement, &done.rebalance), (11, &to, &None));
    assert_eq!(seen(&done, &tables[1..]), [a, c, a, c, b, b, c, b]);
}

#[test]
fn what_has_moved_is_moved_back() {
    use Assignment::{Moving, Owned};
    let (at_rest, to, tables) = joining();
    let half = at_rest.begin(to, Vec::new()).unwrap().prepare(4).unwrap().open().unwrap();
    let back = half.turn_back().unwrap();
    assert!(back.turn_back().is_err(), "it is on its way back");
    assert_eq!(seen(&back, &tables), seen(&half, &tables), "an open window is settled first");
    let settled = back.settle(Some(2)).unwrap();
    assert_eq!(
        settled.rebalance.as_ref().unwrap().window,
        Some(Window { until: 2, phase: Phase::Preparing })
    );
    let open = settled.open().unwrap();
    let (a, b, c) = (Owned(0), Owned(1), Owned(2));
    assert_eq!(seen(&open, &tables), [a, c, a, Moving(moved(2, 0)), b, b, b, b]);
    let done = open.settle(Some(0)).unwrap().open().unwrap().settle(None).unwrap();
    assert_eq!((&done.placement, &done.rebalance), (&at_rest.placement, &None));
}

#[test]
fn a_window_that_was_not_opened_is_taken_back() {
    let (at_rest, to, tables) = joining();
    let prepared = at_rest.begin(to, Vec::new()).unwrap().prepare(8).unwrap();
    let retracted = prepared.retract().unwrap();
    assert_eq!(retracted.epoch, prepared.epoch + 1);
    assert_eq!(seen(&retracted, &tables), [0, 0, 0, 0, 1, 1, 1, 1].map(Assignment::Owned));
    let undone = prepared.turn_back().unwrap();
    assert_eq!((&undone.placement, &undone.rebalance), (&at_rest.placement, &None));
}

#[test]
fn steps_that_would_be_wrong_are_refused() {
    let (at_rest, to, _) = joining();
    assert!(
        at_rest.prepare(1).is_err() && at_rest.open().is_err() && at_rest.settle(None).is_err()
    );
    assert!(at_rest.retract().is_err() && at_rest.turn_back().is_err());
    assert!(at_rest.pause(true).is_err());
    let begun = at_rest.begin(to.clone(), Vec::new()).unwrap();
    assert!(begun.begin(to.clone(), Vec::new()).is_err());
    assert!(begun.prepare(0).is_err() && begun.prepare(PARTITIONS + 1).is_err());
    assert!(begun.open().is_err() && begun.settle(None).is_err() && begun.retract().is_err());
    let prepared = begun.prepare(3).unwrap();
    assert!(prepared.prepare(4).is_err() && prepared.settle(None).is_err());
    let open = prepared.open().unwrap();
    assert!(open.retract().is_err() && open.open().is_err() && open.prepare(5).is_err());
    assert!(open.settle(Some(3)).is_err(), "a window is not empty");
    let paused = open.pause(true).unwrap();
    assert!(paused.pause(true).is_err());
    let settled = paused.settle(Some(5)).unwrap();
    assert_eq!(settled.rebalance.as_ref().unwrap().window, None, "nothing new is begun");
    assert!(settled.prepare(5).is_err());
    assert!(settled.pause(false).unwrap().prepare(5).is_ok());
    let given_up = at_rest.begin(to, vec![Uuid::from_u128(2)]).unwrap();
    assert!(given_up.turn_back().is_err(), "what is lost does not come back");
}

#[test]
fn nothing_is_copied_from_nodes_that_were_given_up() {
    let before = table(&[0, 0, 0, 0, 1, 1, 1, 1], 2);
    let after = table(&[0; 8], 1);
    let at_rest = layout(placement(&[1, 2], &before));
    let lost = vec![Uuid::from_u128(2)];
    let begun = at_rest.begin(placement(&[1], &after), lost).unwrap();
    let open = begun.prepare(8).unwrap().open().unwrap();
    let assignments = seen(&open, &[before, after]);
    let it = Move { source: None, destination: 0 };
    assert_eq!(assignments[4..], [Assignment::Moving(it); 4]);
}

#[test]
fn a_rebalance_is_ended_where_nodes_are_gone() {
    let (at_rest, to, tables) = joining();
    assert!(at_rest.give_up(tables[0].digest()).is_err());
    let begun = at_rest.begin(to, Vec::new()).unwrap();
    let frozen = begun.prepare(4).unwrap();
    let open = frozen.open().unwrap();
    let survivors = |layout: &Layout, lost: &[u128]| {
        let lost: Vec<Uuid> = lost.iter().map(|number| Uuid::from_u128(*number)).collect();
        Assignments::new(layout, &tables).unwrap().survivors(&lost)
    };
    assert_eq!(survivors(&frozen, &[3]), [0, 0, 0, 0, 1, 1, 1, 1]);
    assert_eq!(survivors(&open, &[2]), [0, 2, 0, 2, 1, 1, 1, 1], "what is open is settled");
    assert_eq!(survivors(&open, &[3]), [0, 0, 0, 0, 1, 1, 1, 1], "or stays with the source");
    assert_eq!(survivors(&open, &[1, 3]), [0, 2, 0, 2, 1, 1, 1, 1]);
    let table = table(&survivors(&open, &[3]), 3);
    let ended = open.give_up(table.digest()).unwrap();
    assert_eq!((ended.epoch, ended.placement.members.len()), (open.epoch + 1, 3));
    assert_eq!(ended.placement.origin, Origin::Interrupted);
    assert_eq!(seen(&ended, &[table]), [0, 0, 0, 0, 1, 1, 1, 1].map(Assignment::Owned));
}

#[test]
fn documents_that_break_the_rules_are_refused() {
    let (at_rest, to, tables) = joining();
    let begun = at_rest.begin(to, Vec::new()).unwrap();
    let refused = |change: &dyn Fn(&mut Layout)| {
        let mut layout = begun.clone();
        change(&mut layout);
        read(&layout).is_err()
    };
    let window = |until| Some(Window { until, phase: Phase::Migrating });
    assert!(refused(&|it| it.rebalance.as_mut().unwrap().settled = 9));
    assert!(refused(&|it| it.rebalance.as_mut().unwrap().window = window(0)));
    assert!(refused(&|it| it.rebalance.as_mut().unwrap().window = window(9)));
    assert!(refused(&|it| it.rebalance.as_mut().unwrap().to.members[0].uuid = Uuid::nil()));
    assert!(refused(&|it| it.rebalance.as_mut().unwrap().to.members.reverse()));
    assert!(!refused(&|it| it.rebalance.as_mut().unwrap().goal = Goal::Undo));
    assert!(Assignments::new(&begun, &tables[..1]).is_err());
    assert!(Assignments::new(&begun, &[tables[1].clone(), tables[1].clone()]).is_err());
}

/// Any step that a mover or an operator may take from a layout.
fn step(layout: &Layout, choice: u32, until: u32) -> Option<Layout> {
    match choice {
        0 => layout.prepare(until).ok(),
        1 => layout.open().ok(),
        2 => layout.settle(Some(until)).or_else(|_| layout.settle(None)).ok(),
        3 => layout.retract().ok(),
        4 => layout.turn_back().ok(),
        _ => layout.pause(choice == 5).ok(),
    }
}

proptest! {
    /// After any steps in any order, a partition changes its owner only by being frozen and
    /// then moved, and each step raises the epoch by one.
    #[test]
    fn a_partition_never_jumps(
        before in proptest::collection::vec(0..3_u32, 8),
        after in proptest::collection::vec(0..3_u32, 8),
        steps in proptest::collection::vec((0..7_u32, 0..=PARTITIONS), 0..60),
    ) {
        let tables = [table(&before, 3), table(&after, 3)];
        let [from, to] = tables.each_ref().map(|table| placement(&[1, 2, 3], table));
        let mut now = layout(from).begin(to, Vec::new()).unwrap();
        for (choice, until) in steps {
            let Some(next) = step(&now, choice, until) else { continue };
            prop_assert_eq!(next.epoch, now.epoch + 1);
            let ours = seen(&now, &tables);
            let at_end = next.rebalance.is_none() && next.placement.table == tables[1].digest();
            let theirs = seen(&next, if at_end { &tables[1..] } else { &tables });
            for (partition, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                use Assignment::{Frozen, Moving, Owned};
                let fits = match (*a, *b) {
                    (Owned(a), Owned(b)) => a == b,
                    (Owned(a), Frozen(it)) => it.source == Some(a),
                    (Frozen(a), Frozen(b) | Moving(b)) | (Moving(a), Moving(b)) => a == b,
                    (Frozen(it), Owned(b)) => it.source == Some(b),
                    (Moving(it), Owned(b)) => it.destination == b,
                    (Moving(a), Frozen(b)) => Some(a.destination) == b.source,
                    (Owned(_), Moving(_)) => false,
                };
                prop_assert!(fits, "partition {}: {:?} to {:?}", Partition(partition as u32), a, b);
            }
            if next.rebalance.is_none() {
                break;
            }
            now = next;
        }
    }
}
