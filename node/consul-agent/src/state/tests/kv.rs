use super::super::kv::TOMBSTONES_MAX;
use super::*;

fn value(state: &State, key: &str) -> Option<String> {
    let entry = state.kv.get(key).1?;
    Some(String::from_utf8(entry.value.to_vec()).unwrap())
}

fn delete(state: &mut State, key: &str, modified_at: Option<u64>) -> bool {
    state.delete(&DeleteTarget::Key { key: key.to_owned(), modified_at })
}

#[test]
fn a_compare_and_set_holds_only_at_the_index_of_the_last_change() {
    let (mut state, now) = fresh();
    let cas = |state: &mut State, value, index| {
        state.put(put("a", value, Condition::ModifiedAt(index)), now).unwrap()
    };
    assert!(!cas(&mut state, "x", 7), "there is no key yet");
    assert!(cas(&mut state, "1", 0));
    assert!(!cas(&mut state, "2", 0), "there is a key");
    let index = state.kv.get("a").0;
    assert!(!cas(&mut state, "2", index + 1));
    assert!(cas(&mut state, "2", index));
    assert!(!cas(&mut state, "3", index));
    assert_eq!(value(&state, "a").as_deref(), Some("2"));
    assert_eq!(state.kv.get("a").1.unwrap().create_index, index);
}

#[test]
fn a_deletion_with_an_index_follows_the_same_rule_and_a_missing_key_is_gone() {
    let (mut state, now) = fresh();
    state.put(put("a", "1", Condition::Always), now).unwrap();
    let index = state.kv.get("a").0;
    assert!(!delete(&mut state, "a", Some(0)));
    assert!(!delete(&mut state, "a", Some(index + 1)));
    assert!(delete(&mut state, "a", Some(index)));
    assert!(delete(&mut state, "a", Some(index)));
    assert!(delete(&mut state, "a", None));
    assert_eq!(value(&state, "a"), None);
}

#[test]
fn a_prefix_is_listed_in_order_and_deleted_as_a_whole() {
    let (mut state, now) = fresh();
    for key in ["p/b", "p", "p/a", "q", "o"] {
        state.put(put(key, "1", Condition::Always), now).unwrap();
    }
    let keys = |state: &State, prefix: &str| -> Vec<String> {
        state.kv.list(prefix).1.iter().map(|entry| entry.key.clone()).collect()
    };
    assert_eq!(keys(&state, "p"), ["p", "p/a", "p/b"]);
    assert_eq!(keys(&state, "p/"), ["p/a", "p/b"]);
    assert_eq!(keys(&state, ""), ["o", "p", "p/a", "p/b", "q"]);
    assert!(state.delete(&DeleteTarget::Prefix("p/".to_owned())));
    assert_eq!(keys(&state, ""), ["o", "p", "q"]);
}

#[test]
fn the_index_of_a_key_or_prefix_passes_with_its_own_changes_only() {
    let (mut state, now) = fresh();
    state.put(put("p/a", "1", Condition::Always), now).unwrap();
    state.put(put("p/b", "1", Condition::Always), now).unwrap();
    let (key, prefix) = (state.kv.get("p/a").0, state.kv.list("p/").0);
    state.put(put("other", "1", Condition::Always), now).unwrap();
    assert_eq!((state.kv.get("p/a").0, state.kv.list("p/").0), (key, prefix));

    delete(&mut state, "p/b", None);
    let after = state.kv.list("p/").0;
    assert!(after > prefix, "a deletion is news");
    delete(&mut state, "p/a", None);
    assert!(state.kv.list("p/").0 > after, "also that of the last key");
    assert!(state.kv.get("p/a").0 > key);
}

#[test]
fn forgotten_deletions_never_make_an_index_go_backwards() {
    let (mut state, now) = fresh();
    state.put(put("p/stays", "1", Condition::Always), now).unwrap();
    let mut last = state.kv.list("p/").0;
    for n in 0..2 * TOMBSTONES_MAX {
        let key = format!("p/{n}");
        state.put(put(&key, "1", Condition::Always), now).unwrap();
        delete(&mut state, &key, None);
        let index = state.kv.list("p/").0;
        assert!(index > last, "deletion {n} went from {last} to {index}");
        last = index;
    }
}

#[test]
fn the_total_size_is_limited_and_freed_by_deletions() {
    let (mut state, now) = fresh();
    let big = "x".repeat(KV_BYTES_MAX / 2);
    let key = "kk";
    // Two values of half the limit do not fit with their keys; one byte less each, they do.
    let half = &big[key.len()..];
    state.put(put("k1", half, Condition::Always), now).unwrap();
    let refused = state.put(put("k2", &big, Condition::Always), now).unwrap_err();
    assert!(matches!(refused, Refusal::Full { limit: KV_BYTES_MAX, .. }), "{refused:?}");
    state.put(put("k2", half, Condition::Always), now).unwrap();
    assert!(state.put(put("k3", "", Condition::Always), now).is_err());
    // A value that replaces another counts for itself only.
    state.put(put("k2", "small", Condition::Always), now).unwrap();
    state.put(put("k3", "", Condition::Always), now).unwrap();
    delete(&mut state, "k1", None);
    state.put(put("k4", half, Condition::Always), now).unwrap();
}
