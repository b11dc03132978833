//! What nodes are to partitions with several copies and what they may do, whatever layouts they have missed.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod history;
mod support;

use kv_core::guard::{Context, Guard};
use kv_core::installed::InstallError;
use kv_core::layout::{Layout, Table};
use kv_core::ownership::{Right, Role};
use kv_core::partition::Partition;
use kv_core::refusal::ErrorCode;

use support::{NODES, PARTITIONS, ROWS, cluster, install, rows, try_install, uuid, without};

fn evict(cluster: &(Layout, Table), node: u16, reporter: u16) -> (Layout, Table) {
    let evicted = cluster.0.evict(&rows(cluster), &[node], reporter).unwrap();
    (evicted, cluster.1.clone())
}

fn admit(cluster: &(Layout, Table), node: u16, partitions: &[u32]) -> (Layout, Table) {
    let partitions = partitions.iter().copied().map(Partition).collect();
    let admitted = cluster.0.admit(&rows(cluster), node, &partitions).unwrap();
    (admitted, cluster.1.clone())
}

fn roles(cluster: &(Layout, Table), partition: u32) -> [Role; NODES as usize] {
    let rows = rows(cluster);
    [0, 1, 2, 3].map(|node| Role::of(Some(node), &rows, Partition(partition)).unwrap())
}

#[test]
fn a_node_is_what_its_copy_is() {
    use Role::{Backup, Learner, Owner, Stranger};
    let whole = cluster(5, &ROWS);
    assert_eq!(roles(&whole, 0), [Owner, Backup, Backup, Stranger]);
    assert_eq!(roles(&whole, 4), [Backup, Backup, Stranger, Owner]);
    let evicted = evict(&whole, 0, 1);
    assert_eq!(roles(&evicted, 0), [Learner, Owner, Backup, Stranger]);
    assert_eq!(roles(&evicted, 1), [Learner, Owner, Backup, Stranger]);
    assert_eq!(roles(&admit(&evicted, 0, &[0]), 0), [Owner, Backup, Backup, Stranger]);
    let rows = rows(&whole);
    assert_eq!(Role::of(None, &rows, Partition(0)), Some(Stranger));
    assert_eq!(Role::of(Some(0), &rows, Partition(PARTITIONS)), None);
    // What may lie on its disk, and what is said of it.
    let node = install(&evicted, 0, None);
    assert!(node.role(Partition(0)).unwrap().may_hold() && Backup.may_hold());
    assert!(!node.is_moving(), "a copy that is behind is no move");
    assert_eq!(install(&whole, 1, None).summary().partitions_owned, 2);
    assert_eq!(node.holder(Partition(0)).unwrap().id.as_str(), "node-1");
}

#[test]
fn clients_are_sent_to_the_primary() {
    let whole = cluster(5, &ROWS);
    let evicted = evict(&whole, 0, 1);
    // A learner, the primary, a backup and a stranger.
    for (node, is_primary) in [(0, false), (1, true), (2, false), (3, false)] {
        let before = install(&whole, node, None);
        let guard = Guard::new(uuid(node), Some(install(&evicted, node, Some(&before))));
        let ask = |epoch| {
            let admitted = guard.admit(&Context { epoch, ..Context::default() })?;
            admitted.right_to(Partition(0))
        };
        let code = |epoch| ask(epoch).map_err(|it| it.code);
        assert_eq!(code(Some(5)), Err(ErrorCode::StaleEpoch), "node {node}");
        assert_eq!(code(Some(7)), Err(ErrorCode::Retry), "node {node}");
        for epoch in [None, Some(6)] {
            if is_primary {
                assert_eq!(ask(epoch), Ok(Right::Owner));
            } else {
                let refusal = ask(epoch).unwrap_err();
                assert_eq!((refusal.code, refusal.epoch), (ErrorCode::NotOwner, Some(6)));
                assert!(refusal.message.contains("belongs to node-1"), "{refusal}");
            }
        }
        let plain = guard.admit(&Context::default()).unwrap();
        assert!(plain.check_whole().is_ok(), "it may have all that the node leads");
        assert_eq!(plain.check_countable(Partition(0)).is_ok(), is_primary);
    }
}

#[test]
fn only_a_change_of_the_primary_makes_its_clients_outdated() {
    let whole = cluster(5, &ROWS);
    let evicted = evict(&whole, 2, 0);
    let again = admit(&evicted, 2, &[0]);
    let failed_over = evict(&again, 0, 1);
    let mut node = install(&whole, 1, None);
    for (layout, since) in [(&evicted, 5), (&again, 5), (&failed_over, 8)] {
        node = install(layout, 1, Some(&node));
        assert_eq!(node.since(Partition(0)), since, "epoch {}", layout.0.epoch);
    }
    // What copies say to each other goes by the row.
    let views = [&evicted, &again, &failed_over].map(|it| rows(it).view(Partition(0)).unwrap());
    assert_eq!(views.map(|it| it.since), [6, 7, 8]);
    // Who has missed everything knows only that it is different now.
    let behind = install(&failed_over, 2, Some(&install(&whole, 2, None)));
    assert_eq!(behind.since(Partition(0)), 8);
}

#[test]
fn the_primary_alone_vouches_that_it_holds_everything() {
    let evicted = evict(&cluster(5, &ROWS), 0, 1);
    let asked = [Partition(0), Partition(4)];
    for (node, held) in [(0, &[][..]), (1, &asked[..1]), (2, &[]), (3, &asked[1..])] {
        let guard = Guard::new(uuid(node), Some(install(&evicted, node, None)));
        let cluster = Some(evicted.0.cluster);
        let context =
            Context { cluster, node: Some(uuid(node)), epoch: Some(6), incarnation: None };
        assert_eq!(guard.admit(&context).unwrap().held(&asked).unwrap(), held, "node {node}");
    }
}

#[test]
fn who_is_taken_out_of_a_row_keeps_its_copy() {
    let whole = cluster(5, &ROWS);
    let evicted = evict(&whole, 2, 0);
    for (node, held) in [(0, Role::Owner), (1, Role::Backup), (2, Role::Learner)] {
        let copy = install(&evicted, node, Some(&install(&whole, node, None)));
        assert_eq!(copy.role(Partition(0)), Some(held));
        assert!(copy.kept().is_empty(), "it is in the row");
        // No step leads there: it is forged.
        let forged = install(&cluster(1000, &without(node)), node, Some(&copy));
        assert_eq!(forged.kept().get(&Partition(0)), Some(&held));
        let again = install(&cluster(1001, &ROWS), node, Some(&forged));
        assert!(again.kept().is_empty());
        let back = evict(&cluster(1001, &ROWS), node, 3 - node.max(1));
        assert!(install(&back, node, Some(&forged)).kept().is_empty(), "as a learner, too");
    }
}

#[test]
fn who_joins_a_row_is_a_learner_before_it_is_in_sync() {
    let outside = install(&cluster(4, &without(0)), 0, None);
    let joined = evict(&cluster(5, &ROWS), 0, 1);
    let joined = evict(&joined, 0, 2);
    let in_sync = admit(&joined, 0, &[1]);
    let put_back = try_install(&in_sync, 0, Some(&outside));
    let is_found_out = matches!(
        put_back,
        Err(InstallError::Unreachable { partition: Partition(1), installed: 4, .. })
    );
    assert!(is_found_out, "{put_back:?}");
    let learner = install(&joined, 0, Some(&outside));
    assert_eq!(learner.role(Partition(1)), Some(Role::Learner));
    assert!(try_install(&in_sync, 0, Some(&learner)).is_ok());
    let as_primary = admit(&joined, 0, &[0]);
    assert!(try_install(&as_primary, 0, Some(&outside)).is_err());
    let primary = install(&as_primary, 0, Some(&learner));
    assert_eq!(primary.role(Partition(0)), Some(Role::Owner), "the best one of its row");
}

#[test]
fn who_has_missed_its_admission_may_find_itself_primary() {
    let evicted = evict(&cluster(5, &ROWS), 0, 1);
    let learner = install(&evicted, 0, None);
    assert_eq!(learner.role(Partition(1)), Some(Role::Learner));
    let admitted = admit(&evicted, 0, &[1]);
    assert_eq!(roles(&admitted, 1)[0], Role::Backup);
    let alone = evict(&evict(&admitted, 1, 0), 2, 0);
    let primary = install(&alone, 0, Some(&learner));
    assert_eq!((primary.role(Partition(1)), primary.since(Partition(1))), (Some(Role::Owner), 9));
}

#[test]
fn every_role_in_a_row_follows_every_other_and_being_outside_none_in_sync() {
    use Role::{Backup, FrozenDestination, FrozenSource, Learner, Owner, Source, Stranger};
    for role in [Owner, Backup, Learner] {
        for previous in [None, Some(Owner), Some(Backup), Some(Learner)] {
            assert!(role.can_follow(previous), "{role:?} after {previous:?}");
        }
        let destination = Role::Destination { has_source: true };
        for previous in [FrozenSource, FrozenDestination, Source, destination] {
            let follows = role.can_follow(Some(previous));
            assert_eq!(follows, role != Backup, "{role:?} after {previous:?}");
            assert!(!destination.can_follow(Some(role)));
        }
        assert_eq!(role.can_follow(Some(Stranger)), role == Learner);
        assert!(Stranger.can_follow(Some(role)), "and it keeps what it has");
        assert_eq!(Stranger.keeps(role, true), Some(role));
        assert_eq!(Learner.keeps(role, false), None);
    }
}
