//! Groups of changes, and what a store must contain after them.

use std::collections::BTreeMap;

use kv_core::version::Version;
use kv_storage::{Batch, Before, Counters, ScanStart, StorageKey, Store, Visit};
use proptest::prelude::*;

const KEYS: u8 = 12;
const VALUE_BYTES_MAX: usize = 300;

/// What becomes of a key.
#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Put(Vec<u8>),
    Bury,
    Remove,
}

/// Changes that are committed at once.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Changes(Vec<(u8, Mutation)>),
    Layout(Vec<u8>),
}

pub(crate) fn group() -> impl Strategy<Value = Group> {
    let change = prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..VALUE_BYTES_MAX).prop_map(Mutation::Put),
        1 => Just(Mutation::Bury),
        1 => Just(Mutation::Remove),
    ];
    prop_oneof![
        9 => proptest::collection::vec((0..KEYS, change), 1..6).prop_map(Group::Changes),
        1 => proptest::collection::vec(any::<u8>(), 0..50).prop_map(Group::Layout),
    ]
}

pub(crate) fn groups() -> impl Strategy<Value = Vec<Group>> {
    proptest::collection::vec(group(), 1..12)
}

/// All that can be seen of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    records: BTreeMap<String, (u64, Option<Vec<u8>>)>,
    counters: Counters,
    layout: Option<Vec<u8>>,
}

impl State {
    /// The state that a store shows.
    pub(crate) fn of(store: &Store) -> Self {
        let mut records = BTreeMap::new();
        store
            .scan(ScanStart::Hash(0), |entry| {
                let record = entry.decode()?.to_owned();
                records.insert(entry.key.to_owned(), (record.version.sequence, record.value));
                Ok(Visit::Next)
            })
            .unwrap();
        for (key, (sequence, value)) in &records {
            let stored = store.get(&StorageKey::new(key)).unwrap().unwrap();
            assert_eq!((stored.version.sequence, &stored.value), (*sequence, value), "{key}");
        }
        Self { records, counters: store.counters(), layout: store.layout().unwrap() }
    }

    /// Commits a group, here and in the store.
    pub(crate) fn commit(&mut self, store: &Store, group: &Group) {
        let changes = match group {
            Group::Layout(layout) => {
                store.put_layout(layout).unwrap();
                self.layout = Some(layout.clone());
                return;
            }
            Group::Changes(changes) => changes,
        };
        let mut batch = Batch::default();
        for (number, change) in changes {
            let key = format!("key-{number}");
            self.counters.sequence += 1;
            let sequence = self.counters.sequence;
            let version = Version { epoch: 1, sequence };
            let value = match change {
                Mutation::Put(value) => Some(value.clone()),
                Mutation::Bury => None,
                Mutation::Remove => {
                    batch.remove(StorageKey::new(&key), Before::Unknown);
                    self.records.remove(&key);
                    continue;
                }
            };
            batch.put(StorageKey::new(&key), version, value.as_deref(), Before::Unknown);
            self.records.insert(key, (sequence, value));
        }
        // Others may be committed with the records, and these here are as telling as true ones.
        self.counters.keys = self.records.len() as u64;
        store.commit(batch, self.counters).unwrap();
    }
}

/// Commits groups to an empty store. Returns what it contains before the first and after each.
pub(crate) fn commit_all(store: &Store, groups: &[Group]) -> Vec<State> {
    let mut states = vec![State::default()];
    for group in groups {
        let mut state = states.last().cloned().unwrap();
        state.commit(store, group);
        states.push(state);
    }
    states
}
