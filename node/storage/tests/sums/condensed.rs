//! Logs of which a start leaves only the newest change of each key.

use std::path::Path;

use kv_core::partition::PartitionCount;
use kv_storage::{Fsync, Store};
use proptest::prelude::*;

use super::files;
use super::model::{Change, Records, assert_all_right, assert_right, change};

/// So few that each is written again and again.
const KEYS: u16 = 12;

fn partitions() -> PartitionCount {
    PartitionCount::new(4).unwrap()
}

fn commits(untold: Option<u32>) -> impl Strategy<Value = Vec<Vec<Change>>> {
    let changes = proptest::collection::vec(change(KEYS, untold), 1..20);
    proptest::collection::vec(changes, 20..40)
}

fn open(directory: &Path) -> Store {
    let store = Store::open(directory, Fsync::Always).unwrap();
    store.keep_sums(partitions()).unwrap();
    store
}

/// Has a store carry the first commits out and give them to the engine, and the others in one segment of the log,
/// which the next start condenses. `check` is asked whenever it has started.
fn carry_out(commits: &[Vec<Change>], check: impl Fn(&Store)) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut records = Records::default();
    let (first, others) = commits.split_at(commits.len() / 4);
    first.iter().for_each(|changes| records.commit(&store, changes));
    store.close().unwrap();
    let store = open(directory.path());
    check(&store);
    others.iter().for_each(|changes| records.commit(&store, changes));
    drop(store);
    let logged: usize = files::read(directory.path()).values().map(Vec::len).sum();
    let store = open(directory.path());
    assert!(store.headroom_bytes(0) < logged as u64, "the log was condensed");
    check(&store);
    assert_eq!(Records::of(&store).records, records.records);
    // What the next start finds in the engine.
    store.close().unwrap();
    check(&open(directory.path()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_left_changes_sums_as_all_that_was_written_does(commits in commits(None)) {
        carry_out(&commits, |store| assert_all_right(store, partitions()));
    }

    #[test]
    fn where_some_changes_do_not_say_what_there_was_what_is_known_is_right(
        commits in commits(Some(100)),
    ) {
        carry_out(&commits, |store| assert_right(store, partitions()));
    }
}
