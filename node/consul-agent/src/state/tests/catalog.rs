use super::super::catalog::{OUTPUT_BYTES_MAX, SERVICES_MAX};
use super::*;

const CHECK: &str = "service:node-0";

fn output(state: &State) -> String {
    state.catalog.checks_of("node-0").next().expect("the check exists").output.clone()
}

#[test]
fn a_check_is_critical_until_it_passes_and_again_when_it_is_not_heard_of() {
    let (mut state, start) = fresh();
    let at = |seconds| start + Duration::from_secs(seconds);
    state.register(registration("node-0", "kv"), start).unwrap();
    assert_eq!(status(&state, "node-0"), Status::Critical);
    state.report(CHECK, Status::Passing, "fine", at(5)).unwrap();
    assert_eq!(state.next_deadline(), Some(at(15)));
    state.expire(at(14));
    assert_eq!(status(&state, "node-0"), Status::Passing);

    let before = state.catalog.service_index("kv");
    state.expire(at(15));
    assert_eq!(status(&state, "node-0"), Status::Critical);
    assert_eq!(output(&state), "TTL expired (last output before timeout follows): fine");
    assert!(state.catalog.service_index("kv") > before, "that is news");
    assert_eq!(state.next_deadline(), None, "it expires once");

    state.report(CHECK, Status::Warning, "", at(16)).unwrap();
    assert_eq!(status(&state, "node-0"), Status::Warning);
    assert_eq!(state.next_deadline(), Some(at(26)));
}

#[test]
fn a_heartbeat_that_says_the_same_wakes_nobody() {
    let (mut state, now) = fresh();
    state.register(registration("node-0", "kv"), now).unwrap();
    state.report(CHECK, Status::Passing, "1", now).unwrap();
    let before = (state.index, state.catalog.service_index("kv"), state.catalog.checks_index());
    state.report(CHECK, Status::Passing, "2", now).unwrap();
    let after = (state.index, state.catalog.service_index("kv"), state.catalog.checks_index());
    assert_eq!(before, after);
    assert_eq!(output(&state), "2");
}

#[test]
fn a_report_on_an_unknown_check_is_refused_in_consuls_words() {
    let (mut state, now) = fresh();
    let refusal = state.report("service:x", Status::Passing, "", now).unwrap_err();
    assert_eq!(refusal.to_string(), "CheckID \"service:x\" does not have associated TTL");
}

#[test]
fn a_service_can_be_registered_anew_moved_and_removed() {
    let (mut state, now) = fresh();
    state.register(registration("node-0", "kv"), now).unwrap();
    state.report(CHECK, Status::Passing, "", now).unwrap();
    let mut moved = registration("node-0", "kv");
    moved.service.port = 3000;
    state.register(moved.clone(), now).unwrap();
    assert_eq!(status(&state, "node-0"), Status::Passing, "the status stays");
    let index = state.index;
    state.register(moved, now).unwrap();
    assert_eq!(state.index, index, "nothing new");

    state.register(registration("node-0", "renamed"), now).unwrap();
    assert_eq!(state.catalog.instances("kv").count(), 0);
    assert_eq!(state.catalog.instances("renamed").count(), 1);
    state.deregister("node-0");
    assert_eq!(state.catalog.services().count(), 0);
    assert_eq!(state.catalog.checks().count(), 0);
    assert_eq!(state.next_deadline(), None);
}

#[test]
fn the_index_of_a_service_passes_with_its_own_changes_only_and_never_goes_back() {
    let (mut state, now) = fresh();
    let missing = state.catalog.service_index("kv");
    state.register(registration("node-0", "kv"), now).unwrap();
    let registered = state.catalog.service_index("kv");
    assert!(registered > missing);
    state.register(registration("web-0", "web"), now).unwrap();
    state.report("service:web-0", Status::Passing, "", now).unwrap();
    assert_eq!(state.catalog.service_index("kv"), registered);
    state.deregister("web-0");
    assert_eq!(state.catalog.service_index("kv"), registered);
    state.deregister("node-0");
    let gone = state.catalog.service_index("kv");
    assert!(gone > registered);
    state.register(registration("node-0", "kv"), now).unwrap();
    assert!(state.catalog.service_index("kv") > gone);
}

#[test]
fn a_long_report_is_cut_between_characters() {
    let (mut state, now) = fresh();
    state.register(registration("node-0", "kv"), now).unwrap();
    let report = |state: &mut State, text: &str| {
        state.report(CHECK, Status::Passing, text, now).unwrap();
        output(state).len()
    };
    let full = "x".repeat(OUTPUT_BYTES_MAX);
    assert_eq!(report(&mut state, &full), OUTPUT_BYTES_MAX);
    assert_eq!(report(&mut state, &format!("{full}x")), OUTPUT_BYTES_MAX);
    assert_eq!(report(&mut state, &format!("{}\u{20ac}", &full[1..])), OUTPUT_BYTES_MAX - 1);
}

#[test]
fn the_number_of_services_is_limited() {
    let (mut state, now) = fresh();
    for n in 0..SERVICES_MAX {
        state.register(registration(&format!("n{n}"), "kv"), now).unwrap();
    }
    let refused = state.register(registration("more", "kv"), now).unwrap_err();
    assert_eq!(refused, Refusal::Full { what: "services", limit: SERVICES_MAX });
    state.register(registration("n0", "kv"), now).unwrap();
}
