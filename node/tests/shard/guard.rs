//! The rules by which a node refuses what it does not own.

use crate::support::guards::{at_rest, guard_after, swap};
use crate::support::{CLUSTER, Cluster, PARTITIONS, uuid};
use kv_core::guard::{Context, Guard, LayoutVerdict};
use kv_core::layout::Side;
use kv_core::ownership::Right;
use kv_core::partition::Partition;
use kv_core::refusal::{ErrorCode, Refusal};

const STALE: Result<Right, ErrorCode> = Err(ErrorCode::StaleEpoch);
const RETRY: Result<Right, ErrorCode> = Err(ErrorCode::Retry);
const NOT_OWNER: Result<Right, ErrorCode> = Err(ErrorCode::NotOwner);
const OWNER: Result<Right, ErrorCode> = Ok(Right::Owner);

fn under(epoch: impl Into<Option<u64>>) -> Context {
    Context { epoch: epoch.into(), ..Context::default() }
}

fn refused(guard: &Guard, context: Context) -> ErrorCode {
    guard.admit(&context).unwrap_err().code
}

fn right(guard: &Guard, epoch: impl Into<Option<u64>>, partition: u32) -> Result<Right, ErrorCode> {
    let context = under(epoch);
    let code = |refusal: Refusal| refusal.code;
    guard.admit(&context).map_err(code)?.right_to(Partition(partition)).map_err(code)
}

#[test]
fn a_node_without_a_layout_owns_nothing() {
    let guard = Guard::new(uuid(0), None);
    assert_eq!(refused(&guard, Context::default()), ErrorCode::NoLayout);
    assert_eq!(guard.judge(&at_rest(1).layout), LayoutVerdict::Install);
    assert!(guard.is_behind(&under(1)) && !guard.is_behind(&under(None)));
}

#[test]
fn a_client_that_states_nothing_is_served_as_current() {
    let guard = guard_after(0, &[&at_rest(3)]);
    let admitted = guard.admit(&Context::default()).unwrap();
    assert_eq!(admitted.epoch(), 3);
    assert_eq!(admitted.right_to(Partition(2)), Ok(Right::Owner));
    let refusal = admitted.right_to(Partition(3)).unwrap_err();
    assert_eq!((refusal.code, refusal.epoch), (ErrorCode::NotOwner, Some(3)));
    assert!(refusal.message.contains("node-1"), "{}", refusal.message);
    assert_eq!(admitted.right_to(Partition(16)).unwrap_err().code, ErrorCode::BadRequest);
}

#[test]
fn what_a_client_believes_must_be_so() {
    let guard = guard_after(0, &[&at_rest(3)]);
    let (cluster, node) = (Some(CLUSTER), Some(uuid(0)));
    let context = Context { cluster, node, incarnation: None, epoch: Some(3) };
    assert!(guard.admit(&context).is_ok());
    for (context, code) in [
        (Context { node: Some(uuid(1)), ..context }, ErrorCode::WrongNode),
        (Context { cluster: Some(uuid(1)), ..context }, ErrorCode::WrongCluster),
        (Context { epoch: Some(4), ..context }, ErrorCode::Retry),
    ] {
        assert_eq!(refused(&guard, context), code);
    }
    assert!(guard.is_behind(&Context { epoch: Some(4), ..context }));
    let foreign = Context { epoch: Some(4), cluster: Some(uuid(1)), ..Context::default() };
    assert!(!guard.is_behind(&foreign), "another cluster's epochs mean nothing here");
}

#[test]
fn a_node_that_is_no_member_owns_nothing() {
    let guard = guard_after(3, &[&at_rest(1)]);
    for partition in 0..16 {
        assert_eq!(right(&guard, None, partition), NOT_OWNER);
    }
    assert_eq!(guard.installed().unwrap().summary().partitions_owned, 0);
}

#[test]
fn a_partition_that_stays_is_served_through_every_epoch() {
    let rest = at_rest(3);
    // Only the first four partitions change places.
    let begun = rest.begin(2, |it| if it < 4 { (it + 1) % 2 } else { it % 2 }, &[]);
    let frozen = begun.prepare(16);
    let open = frozen.open();
    let settled = open.settle(None);
    let guard = guard_after(0, &[&rest, &begun, &frozen, &open, &settled]);
    assert_eq!(guard.installed().unwrap().layout.epoch, 7);
    // Partition 8 has been this node's since it installed epoch 3.
    let expected = [(2, STALE), (3, OWNER), (5, OWNER), (7, OWNER), (8, RETRY)];
    for (epoch, expected) in expected {
        assert_eq!(right(&guard, epoch, 8), expected, "{epoch}");
    }
    // Partition 1 since epoch 7, and partition 0 is the other's.
    for (epoch, expected) in [(6, STALE), (7, OWNER)] {
        assert_eq!(right(&guard, epoch, 1), expected, "{epoch}");
    }
    for (epoch, expected) in [(6, STALE), (7, NOT_OWNER)] {
        assert_eq!(right(&guard, epoch, 0), expected, "{epoch}");
    }
    assert_eq!((right(&guard, None, 1), right(&guard, None, 0)), (OWNER, NOT_OWNER));
}

#[test]
fn nobody_serves_what_is_frozen() {
    let rest = at_rest(3);
    let begun = swap(&rest);
    // The window ends in the middle.
    let frozen = begun.prepare(8);
    for node in [0, 1] {
        let guard = guard_after(node, &[&rest, &begun, &frozen]);
        for partition in [0, 1] {
            assert_eq!(right(&guard, 4, partition), STALE);
            assert_eq!(right(&guard, 5, partition), RETRY);
            assert_eq!(right(&guard, None, partition), RETRY);
        }
        // Beyond the window all is as before.
        assert_eq!(right(&guard, 3, 8 + node), OWNER);
    }
    let bystander = guard_after(2, &[&rest, &begun, &frozen]);
    assert_eq!(right(&bystander, 4, 0), STALE);
    assert_eq!((right(&bystander, 5, 0), right(&bystander, None, 0)), (NOT_OWNER, NOT_OWNER));
}

#[test]
fn what_is_moving_needs_its_exact_epoch() {
    let rest = at_rest(3);
    let begun = swap(&rest);
    let frozen = begun.prepare(8);
    let open = frozen.open();
    // A pause changes nothing but the epoch.
    let paused = open.step(|layout| layout.pause(true).unwrap());
    let layouts = [&rest, &begun, &frozen, &open, &paused];
    let destination = Ok(Right::Destination { has_source: true });
    for node in [0, 1] {
        let guard = guard_after(node, &layouts);
        let (source_of, destination_of) = (node, 1 - node);
        for epoch in 3..7 {
            assert_eq!(right(&guard, epoch, source_of), STALE, "{epoch}");
            assert_eq!(right(&guard, epoch, destination_of), STALE, "{epoch}");
        }
        assert_eq!(right(&guard, 7, source_of), Ok(Right::Source));
        assert_eq!(right(&guard, None, source_of), RETRY);
        assert_eq!(right(&guard, 7, destination_of), destination);
        assert_eq!(right(&guard, None, destination_of), destination);
        assert_eq!(right(&guard, 8, destination_of), RETRY);
        let installed = guard.installed().unwrap();
        let peer = uuid(1 - node);
        assert_eq!(installed.open_move(Partition(source_of)), Some((Side::Source, peer)));
        let other_way = installed.open_move(Partition(destination_of));
        assert_eq!(other_way, Some((Side::Destination, peer)));
        assert_eq!(installed.open_move(Partition(8)), None);
        assert_eq!(installed.since(Partition(0)), 6, "the pause did not change the assignment");
    }
}

#[test]
fn a_node_that_was_given_up_has_no_part_in_the_move() {
    let rest = at_rest(3);
    let begun = rest.begin(1, |_| 0, &[1]);
    let frozen = begun.prepare(16);
    let open = frozen.open();
    let guard = guard_after(0, &[&rest, &begun, &frozen, &open]);
    assert_eq!(right(&guard, 6, 1), Ok(Right::Destination { has_source: false }));
    assert_eq!(guard.installed().unwrap().open_move(Partition(1)), None);
    let lost = guard_after(1, &[&rest, &begun, &frozen, &open]);
    assert_eq!((right(&lost, 6, 1), right(&lost, 5, 1)), (NOT_OWNER, STALE));
}

#[test]
fn requests_for_all_of_a_node_mean_its_very_epoch() {
    let rest = at_rest(3);
    let quiet = guard_after(0, &[&rest]);
    let check = |guard: &Guard, epoch: Option<u64>| {
        let context = under(epoch);
        let admitted = guard.admit(&context).unwrap();
        [admitted.check_whole(), admitted.check_current(), admitted.check_exact("COPY")]
            .map(|it| it.err().map(|refusal| refusal.code))
    };
    let (stale, bad) = (Some(ErrorCode::StaleEpoch), Some(ErrorCode::BadRequest));
    assert_eq!(check(&quiet, Some(3)), [None, None, None]);
    assert_eq!(check(&quiet, Some(2)), [stale, stale, stale]);
    assert_eq!(check(&quiet, None), [None, None, bad]);
    let frozen = swap(&rest).prepare(2);
    let moving = guard_after(0, &[&rest, &frozen]);
    assert_eq!(check(&moving, None), [Some(ErrorCode::Retry), None, bad]);
    assert_eq!(check(&moving, Some(5)), [None, None, None]);
    // A window between other nodes does not matter here.
    let bystander = guard_after(2, &[&rest, &frozen]);
    assert_eq!(check(&bystander, None), [None, None, bad]);
}

#[test]
fn sizes_are_told_by_who_has_the_data() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(16);
    let code = |guard: &Guard, epoch: u64, partition| {
        let context = under(epoch);
        let admitted = guard.admit(&context).unwrap();
        admitted.check_countable(Partition(partition)).err().map(|refusal| refusal.code)
    };
    let guard = guard_after(0, &[&rest, &frozen]);
    assert_eq!(code(&guard, 5, 0), None);
    assert_eq!(code(&guard, 4, 0), Some(ErrorCode::StaleEpoch));
    assert_eq!(code(&guard, 5, 1), Some(ErrorCode::Retry));
    let guard = guard_after(0, &[&rest, &frozen, &frozen.open()]);
    assert_eq!((code(&guard, 6, 0), code(&guard, 6, 1)), (None, Some(ErrorCode::Retry)));
}

#[test]
fn held_is_what_a_node_has_as_a_whole() {
    let rest = at_rest(3);
    let frozen = swap(&rest).prepare(8);
    let all: Vec<_> = (0..PARTITIONS).map(Partition).collect();
    let asked = Context {
        cluster: Some(CLUSTER),
        node: Some(uuid(0)),
        epoch: Some(5),
        ..Context::default()
    };
    let held = |layouts: &[&Cluster], context: &Context| {
        let guard = guard_after(0, layouts);
        guard.admit(context).and_then(|it| it.held(&all)).map_err(|refusal| refusal.code)
    };
    let source = held(&[&rest, &frozen], &asked).unwrap();
    assert!(source.contains(&Partition(0)) && !source.contains(&Partition(1)), "{source:?}");
    let open = held(&[&rest, &frozen, &frozen.open()], &asked).unwrap();
    assert_eq!(open, source, "a destination has not everything yet");
    let settled = held(&[&rest, &frozen, &frozen.open(), &frozen.open().settle(None)], &asked);
    let settled = settled.unwrap();
    assert!(settled.contains(&Partition(1)) && !settled.contains(&Partition(0)), "{settled:?}");
    // Not by a node that is behind, is another, or does not know which one it asks.
    assert_eq!(held(&[&rest], &asked), Err(ErrorCode::Retry));
    let other = Context { node: Some(uuid(1)), ..asked };
    assert_eq!(held(&[&rest, &frozen], &other), Err(ErrorCode::WrongNode));
    for vague in [
        Context { node: None, ..asked },
        Context { cluster: None, ..asked },
        Context { epoch: None, ..asked },
    ] {
        assert_eq!(held(&[&rest, &frozen], &vague), Err(ErrorCode::BadRequest));
    }
}
