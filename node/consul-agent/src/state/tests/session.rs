use super::super::session::SESSIONS_MAX;
use super::*;

/// A state with the sessions 1 and 2, whose time to live is 10 s and whose lock delay is 5 s.
fn two_sessions(behavior: Behavior) -> (State, Instant) {
    let (mut state, now) = fresh();
    for n in [1, 2] {
        state.create_session(session_id(n), session(10, 5, behavior), now).unwrap();
    }
    (state, now)
}

fn acquire(state: &mut State, n: u32, now: Instant) -> bool {
    state.put(put("lock", "x", Condition::Acquire(session_id(n))), now).unwrap()
}

fn release(state: &mut State, n: u32, now: Instant) -> bool {
    state.put(put("lock", "y", Condition::Release(session_id(n))), now).unwrap()
}

fn holder(state: &State) -> Option<String> {
    state.kv.get("lock").1.and_then(|entry| entry.session.clone())
}

#[test]
fn one_session_at_a_time_holds_a_key() {
    let (mut state, now) = two_sessions(Behavior::Release);
    assert!(!release(&mut state, 1, now), "nobody holds it");
    assert!(acquire(&mut state, 1, now));
    assert!(!acquire(&mut state, 2, now));
    assert!(!release(&mut state, 2, now));
    assert!(acquire(&mut state, 1, now), "again, by the same");
    assert_eq!(state.kv.get("lock").1.unwrap().lock_index, 1);
    state.put(put("lock", "plain", Condition::Always), now).unwrap();
    assert_eq!(holder(&state), Some(session_id(1)), "a plain write leaves the lock");
    assert!(release(&mut state, 1, now));
    assert!(acquire(&mut state, 2, now), "a release begins no lock delay");
    assert_eq!(state.kv.get("lock").1.unwrap().lock_index, 2);
}

#[test]
fn a_session_that_is_not_renewed_ends_after_twice_its_time_to_live() {
    let (mut state, start) = two_sessions(Behavior::Release);
    acquire(&mut state, 1, start);
    let later = start + Duration::from_secs(15);
    assert!(state.renew_session(&session_id(2), later).unwrap().is_some());
    assert_eq!(state.next_deadline(), Some(start + Duration::from_secs(20)));

    state.expire(start + Duration::from_secs(20) - Duration::from_millis(1));
    assert_eq!(holder(&state), Some(session_id(1)));
    let end = start + Duration::from_secs(20);
    let before = state.kv.get("lock").0;
    state.expire(end);
    assert_eq!(holder(&state), None);
    assert!(state.kv.get("lock").0 > before, "the release is news");
    assert!(state.renew_session(&session_id(1), end).unwrap().is_none());
    assert!(state.renew_session(&session_id(2), end).unwrap().is_some());

    assert!(!acquire(&mut state, 2, end + Duration::from_millis(4_999)), "the lock delay runs");
    assert!(acquire(&mut state, 2, end + Duration::from_secs(5)));
}

#[test]
fn a_session_may_take_its_keys_along() {
    let (mut state, now) = two_sessions(Behavior::Delete);
    state.put(put("other", "1", Condition::Always), now).unwrap();
    acquire(&mut state, 1, now);
    let before = state.kv.get("lock").0;
    state.destroy_session(&session_id(1), now).unwrap();
    assert_eq!(state.kv.get("lock").1, None);
    assert!(state.kv.get("lock").0 > before, "the deletion is news");
    assert!(state.kv.get("other").1.is_some());
    assert!(!acquire(&mut state, 2, now), "the lock delay runs for a deleted key too");
}

#[test]
fn a_session_without_lock_delay_or_time_to_live_has_none() {
    let (mut state, now) = fresh();
    let endless = NewSession { ttl: None, ..session(10, 0, Behavior::Release) };
    state.create_session(session_id(1), endless, now).unwrap();
    state.create_session(session_id(2), session(10, 0, Behavior::Release), now).unwrap();
    acquire(&mut state, 2, now);
    state.destroy_session(&session_id(2), now).unwrap();
    assert_eq!(state.next_deadline(), None);
    assert!(acquire(&mut state, 1, now));
}

#[test]
fn what_is_no_session_is_refused_as_consul_does() {
    let (mut state, now) = fresh();
    let mut acquire = |id: &str| {
        state.put(put("lock", "", Condition::Acquire(id.to_owned())), now).unwrap_err().to_string()
    };
    assert_eq!(acquire(""), "missing session");
    assert!(acquire("short").contains("UUID must be 36 characters"));
    assert_eq!(acquire(&session_id(9)), format!("invalid session \"{}\"", session_id(9)));
    assert!(state.destroy_session(&session_id(9), now).is_ok());
    assert!(state.destroy_session("short", now).is_err());
    assert!(state.renew_session("short", now).is_err());
}

#[test]
fn the_number_of_sessions_is_limited() {
    let (mut state, now) = fresh();
    let mut create = |n: usize| {
        let n = u32::try_from(n).unwrap();
        state.create_session(session_id(n), session(10, 0, Behavior::Release), now)
    };
    for n in 0..SESSIONS_MAX {
        create(n).unwrap();
    }
    let refused = create(SESSIONS_MAX).unwrap_err();
    assert_eq!(refused, Refusal::Full { what: "sessions", limit: SESSIONS_MAX });
    state.destroy_session(&session_id(0), now).unwrap();
    state.create_session(session_id(0), session(10, 0, Behavior::Release), now).unwrap();
}
