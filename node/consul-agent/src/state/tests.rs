//! The rules of the state, with a clock that the tests turn.

mod catalog;
mod kv;
mod session;

use std::time::{Duration, Instant};

use super::*;

/// A fresh state and the time at which its story begins.
fn fresh() -> (State, Instant) {
    (State::new(0, Vec::new()), Instant::now())
}

fn put(key: &str, value: &str, condition: Condition) -> Put {
    Put { key: key.to_owned(), value: value.as_bytes().into(), flags: 0, condition }
}

fn session(ttl_seconds: u64, lock_delay_seconds: u64, behavior: Behavior) -> NewSession {
    NewSession {
        name: String::new(),
        ttl_text: format!("{ttl_seconds}s"),
        ttl: Some(Duration::from_secs(ttl_seconds)),
        lock_delay: Duration::from_secs(lock_delay_seconds),
        behavior,
    }
}

/// A well-formed session id that ends in `n`.
fn session_id(n: u32) -> String {
    format!("00000000-0000-0000-0000-{n:012}")
}

fn registration(id: &str, name: &str) -> Registration {
    Registration {
        service: ServiceDefinition {
            id: id.to_owned(),
            name: name.to_owned(),
            tags: Vec::new(),
            address: "127.0.0.1".to_owned(),
            port: 2000,
            meta: Default::default(),
        },
        checks: vec![CheckDefinition {
            id: format!("service:{id}"),
            name: String::new(),
            notes: String::new(),
            ttl: Duration::from_secs(10),
            initial_status: Status::Critical,
        }],
    }
}

fn status(state: &State, id: &str) -> Status {
    state.catalog.checks_of(id).next().expect("the check exists").status
}

#[test]
fn an_index_begins_at_one_and_grows_only_with_changes() {
    let (mut state, now) = fresh();
    assert_eq!(state.index, 1);
    state.put(put("a", "1", Condition::Always), now).unwrap();
    assert_eq!(state.index, 2);
    state.put(put("a", "1", Condition::Always), now).unwrap();
    state.deregister("nobody");
    state.delete(&DeleteTarget::Prefix("b".to_owned()));
    state.expire(now);
    assert_eq!(state.index, 2);
}

#[test]
fn only_what_the_disk_keeps_must_be_written() {
    let (mut state, now) = fresh();
    let before = state.clone();
    state.register(registration("node-0", "kv"), now).unwrap();
    state.create_session(session_id(1), session(10, 0, Behavior::Release), now).unwrap();
    assert!(!state.must_persist(&before));
    state.put(put("a", "1", Condition::Always), now).unwrap();
    assert!(state.must_persist(&before));
    assert_eq!(state.reserved_index(), state.index + INDEX_RESERVE);

    let before = state.clone();
    state.delete(&DeleteTarget::Key { key: "a".to_owned(), modified_at: None });
    assert!(state.must_persist(&before));
}

#[test]
fn a_used_up_reserve_of_indexes_must_be_renewed_on_disk() {
    let (mut state, now) = fresh();
    let toggle = |state: &mut State| {
        let before = state.clone();
        let next = match status(state, "node-0") {
            Status::Passing => Status::Critical,
            _ => Status::Passing,
        };
        state.report("service:node-0", next, "", now).unwrap();
        state.must_persist(&before)
    };
    state.register(registration("node-0", "kv"), now).unwrap();
    let reserved = state.reserved_index();
    while state.index < reserved {
        assert!(!toggle(&mut state), "index {} is within the reserve", state.index);
    }
    assert!(toggle(&mut state));
    assert_eq!(state.reserved_index(), reserved + 1 + INDEX_RESERVE);
}

#[test]
fn a_restart_continues_beyond_every_index_that_was_given_out() {
    let (mut state, now) = fresh();
    state.put(put("a", "1", Condition::Always), now).unwrap();
    state.register(registration("node-0", "kv"), now).unwrap();
    let given_out = state.index;
    let kept = state.kv.get("a").1.unwrap();
    let restored = Restored { entry: (*kept).clone(), held: None };
    let after = State::new(state.reserved_index(), vec![restored]);
    assert_eq!(after.kv.get("a").1, Some(kept), "the entry is the same");
    for index in [
        after.kv.get("missing").0,
        after.kv.list("a").0,
        after.catalog.service_index("kv"),
        after.catalog.services_index(),
        after.catalog.checks_index(),
        after.sessions.index(),
    ] {
        assert!(index > given_out, "{index} against {given_out}");
    }
}

#[test]
fn locks_end_with_a_restart_as_their_sessions_wished() {
    let (mut state, now) = fresh();
    state.put(put("free", "1", Condition::Always), now).unwrap();
    let entry = |key: &str| {
        let mut entry = (*state.kv.get("free").1.unwrap()).clone();
        entry.key = key.to_owned();
        entry.session = None;
        entry
    };
    let after = State::new(
        100,
        vec![
            Restored { entry: entry("kept"), held: None },
            Restored { entry: entry("released"), held: Some(Behavior::Release) },
            Restored { entry: entry("deleted"), held: Some(Behavior::Delete) },
        ],
    );
    assert_eq!(after.kv.get("kept").0, 2);
    assert_eq!(after.kv.get("released").0, 101);
    assert_eq!(after.kv.get("deleted").1, None);
}
