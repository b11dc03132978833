//! Nodes that install layouts late or never while copies are evicted and admitted.

use std::collections::{BTreeMap, BTreeSet};

use kv_core::copies::session::View;
use kv_core::installed::Installed;
use kv_core::layout::{Layout, Table};
use kv_core::ownership::{Denied, Right, Role};
use kv_core::partition::Partition;
use proptest::prelude::*;

use crate::support::{NODES, PARTITIONS, ROWS, cluster, install, rows, try_install, without};

/// Something that happens in a cluster, to nodes, in partitions.
#[derive(Clone, Debug)]
struct Event {
    kind: u8,
    node: u16,
    other: u16,
    partitions: BTreeSet<u32>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let partitions = proptest::collection::btree_set(0..PARTITIONS, 1..5);
    let event = (0..16_u8, 0..NODES, 0..NODES, partitions);
    let event =
        event.prop_map(|(kind, node, other, partitions)| Event { kind, node, other, partitions });
    proptest::collection::vec(event, 0..200)
}

/// A cluster in which nodes install layouts late or never, and whose primaries have sessions with learners.
struct History {
    now: (Layout, Table),
    installed: [Option<Installed>; NODES as usize],
    /// The primary that has made a copy equal to its own, in a session that lasts as far as it knows.
    equal: BTreeMap<(Partition, u16), u16>,
    /// The copies that were evicted and whose nodes have not installed a layout in which they are learners.
    has_to_learn: BTreeSet<(Partition, u16)>,
}

impl History {
    fn view(&self, node: u16, partition: Partition) -> Option<View> {
        self.installed[usize::from(node)].as_ref()?.assignments().view(partition)
    }

    fn is_current(&self, node: u16) -> bool {
        let installed = self.installed[usize::from(node)].as_ref();
        installed.is_some_and(|it| it.layout.epoch == self.now.0.epoch)
    }

    /// A primary makes those copies of another node equal to its own that mean the same row.
    fn open(&mut self, primary: u16, copy: u16) {
        for partition in (0..PARTITIONS).map(Partition) {
            let views = (self.view(primary, partition), self.view(copy, partition));
            let (Some(from), Some(to)) = views else { return };
            let is_heard = [from, to].iter().all(|it| it.row.primary() == primary);
            let has_copy = to.row.position(copy).is_some() && primary != copy;
            if is_heard && has_copy && from.is_the_same_as(to.since, to.installed) {
                self.equal.insert((partition, copy), primary);
            }
        }
    }

    /// The layout in which those copies of `node` are admitted that have a promise.
    fn admit(&self, node: u16, partitions: &BTreeSet<u32>) -> Option<Layout> {
        let rows = rows(&self.now);
        let is_promised = |it: &Partition| {
            let row = rows.row(*it).unwrap();
            let is_learner = Role::in_row(node, &row) == Role::Learner;
            let has_session = self.equal.get(&(*it, node)) == Some(&row.primary());
            is_learner && has_session && self.is_current(row.primary())
        };
        let partitions = partitions.iter().copied().map(Partition).filter(is_promised).collect();
        self.now.0.admit(&rows, node, &partitions).ok()
    }

    fn change(&mut self, next: Layout) {
        let before = rows(&self.now);
        self.now.0 = next;
        let after = rows(&self.now);
        for (partition, _) in after.iter() {
            let [a, b] = [&before, &after].map(|it| it.row(partition).unwrap());
            let evicted = a.in_sync().minus(b.in_sync());
            self.has_to_learn.extend(evicted.iter().map(|it| (partition, a.node(it))));
        }
    }

    /// A node installs the newest layout, whatever it has missed.
    fn install(&mut self, node: u16) -> Result<(), TestCaseError> {
        let before = self.installed[usize::from(node)].take();
        let installed = match try_install(&self.now, node, before.as_ref()) {
            Ok(installed) => installed,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        for (partition, role) in installed.roles() {
            let view = installed.assignments().view(partition).unwrap();
            match role {
                Role::Learner => _ = self.has_to_learn.remove(&(partition, node)),
                Role::Stranger => prop_assert_eq!(view.row.position(node), None),
                _ => prop_assert!(!self.has_to_learn.contains(&(partition, node))),
            }
            let was_led_by = before.as_ref().map(|it| it.assignments().row(partition).unwrap());
            let is_unchanged = was_led_by.is_some_and(|it| it.primary() == view.row.primary());
            let since = before.as_ref().filter(|_| is_unchanged).map(|it| it.since(partition));
            prop_assert_eq!(installed.since(partition), since.unwrap_or(installed.layout.epoch));
            // Sessions with whom it was silent to are over, and all with another primary than its own.
            let missed = before.as_ref().map_or(0, |it| it.layout.epoch);
            let evicted = installed.assignments().standing().row(partition).evicted_after(missed);
            self.equal.retain(|(it, copy), primary| {
                let was_silent = view.row.position(*copy).is_some_and(|it| evicted.contains(it));
                let is_over = view.row.primary() != *primary && [*primary, *copy].contains(&node);
                *it != partition || !(is_over || (*primary == node && was_silent))
            });
        }
        self.installed[usize::from(node)] = Some(installed);
        Ok(())
    }

    /// One node owns each partition by the newest layout, and no other has any right for clients.
    fn check_rights(&self) -> Result<(), TestCaseError> {
        let (rows, epoch) = (rows(&self.now), self.now.0.epoch);
        for (partition, _) in rows.iter() {
            let row = rows.row(partition).unwrap();
            for node in (0..NODES).map(Some).chain([None]) {
                let role = Role::of(node, &rows, partition).unwrap();
                let is_primary = node == Some(row.primary());
                prop_assert_eq!(role == Role::Owner, is_primary);
                for wanted in [None, Some(epoch)] {
                    let right = role.right(epoch, epoch, wanted);
                    let expected =
                        if is_primary { Ok(Right::Owner) } else { Err(Denied::NotOwner) };
                    prop_assert_eq!(right, expected);
                }
                prop_assert_eq!(role.right(epoch, epoch, Some(epoch + 1)), Err(Denied::Newer));
                prop_assert_eq!(role.right(epoch, epoch, Some(epoch - 1)), Err(Denied::Stale));
            }
        }
        Ok(())
    }
}

proptest! {
    /// Whatever layouts a node has missed, it installs the newest one; what it missed is never that it was a
    /// learner. A directory from before it joined is found out by any copy that is in sync.
    #[test]
    fn real_histories_are_followed_and_others_are_not(events in events()) {
        let outside: Vec<_> =
            (0..NODES).map(|it| install(&cluster(4, &without(it)), it, None)).collect();
        let now = cluster(5, &ROWS);
        let (equal, has_to_learn) = Default::default();
        let mut history = History { now, installed: Default::default(), equal, has_to_learn };
        history.check_rights()?;
        for Event { kind, node, other, partitions } in events {
            let rows = rows(&history.now);
            let next = match kind {
                0..5 if history.is_current(node) => None,
                0..5 => {
                    history.install(node)?;
                    let mut roles = history.installed[usize::from(node)].iter().flat_map(Installed::roles);
                    let has_copy = roles.any(|(_, it)| matches!(it, Role::Owner | Role::Backup));
                    let put_back = try_install(&history.now, node, Some(&outside[usize::from(node)]));
                    prop_assert_eq!(put_back.is_err(), has_copy);
                    None
                }
                5..8 => {
                    history.open(node, other);
                    None
                }
                8..12 if !history.is_current(other) => None,
                8..12 => history.now.0.evict(&rows, &[node], other).ok(),
                12..15 => history.admit(node, &partitions),
                _ => history.now.0.fence().ok(),
            };
            if let Some(next) = next {
                history.change(next);
                history.check_rights()?;
            }
        }
    }
}
