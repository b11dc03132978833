//! Failures, their codes and their texts.

use std::time::Duration;

use kv_consul::ConsulError;
use kv_core::refusal::{ErrorCode, Refusal, too_large};
use kv_placement::StrategySource;
use kvclient::ClientError;

use super::exit_code::{NOT_FOUND, REFUSED, UNAVAILABLE, UNDONE, UNFINISHED};
use super::*;

/// The exit code after Ctrl-C.
const INTERRUPTED: i32 = 130;

fn refused(code: ErrorCode) -> Failure {
    let refusal = Refusal::new(code, "no");
    ClientError::Refused { node: "node-0".into(), refusal }.into()
}

#[test]
fn every_kind_of_failure_has_its_code() {
    let strategy = |name: &str| ClientError::Strategy(name.parse::<StrategySource>().unwrap_err());
    let consul =
        |status| ConsulError::Status { request: String::new(), status, excerpt: String::new() };
    let unknown = ClientError::OutcomeUnknown { key: "k".into(), problem: "lost".into() };
    let late = ClientError::Unavailable { timeout: Duration::ZERO, problem: String::new() };
    let no_nodes = ClientError::NoNodes { cluster: String::new(), consul: String::new() };
    let mismatch = ClientError::StrategyMismatch {
        pinned: String::new(),
        pinned_digest: String::new(),
        given: String::new(),
        given_digest: String::new(),
    };
    let denied = |excerpt: &str| ConsulError::PermissionDenied {
        request: "PUT /v1/session/create".into(),
        excerpt: excerpt.into(),
    };
    let stopped = |what: &str| (what.to_owned(), 7);
    let (what, epoch) = stopped("remove node-1");
    let paused = Failure::Paused { what, epoch };
    let (what, epoch) = stopped("remove node-1");
    let undone = Failure::Undone { what, epoch };
    let (what, epoch) = stopped("remove node-1");
    let ended = Failure::Ended { what, epoch };
    let leaderless = ConsulError::Status {
        request: "GET /v1/kv/a".into(),
        status: 500,
        excerpt: "No cluster leader".into(),
    };
    let hidden = ClientError::NodesHidden { consul: String::new() };
    let config = ConsulError::InvalidConfig { setting: String::new(), problem: String::new() };
    for (failure, exit_code, code) in [
        (Failure::NotFound { key: "k".into() }, NOT_FOUND, "not_found"),
        (Failure::Usage(String::new()), USAGE, "usage"),
        (config.into(), USAGE, "consul"),
        (strategy("no-such-one").into(), USAGE, "strategy_unknown"),
        (ClientError::InvalidKey(too_large("the key", 9, 8)).into(), USAGE, "too_large"),
        (consul(500).into(), UNAVAILABLE, "consul"),
        (leaderless.into(), UNAVAILABLE, "consul_no_leader"),
        (denied("Permission denied").into(), REFUSED, "consul_denied"),
        (denied("ACL not found").into(), REFUSED, "consul_token_unknown"),
        (hidden.into(), REFUSED, "consul_nodes_hidden"),
        (paused, UNFINISHED, "paused"),
        (undone, UNDONE, "undone"),
        (ended, UNDONE, "ended"),
        (no_nodes.into(), UNAVAILABLE, "no_nodes"),
        (late.into(), UNAVAILABLE, "unavailable"),
        (unknown.into(), UNAVAILABLE, "outcome_unknown"),
        (mismatch.into(), REFUSED, "strategy_mismatch"),
        (ClientError::ValueTooLarge(too_large("it", 9, 8)).into(), REFUSED, "too_large"),
        (refused(ErrorCode::Conflict), REFUSED, "conflict"),
        (refused(ErrorCode::Corrupt), REFUSED, "corrupt"),
        (refused(ErrorCode::DiskFull), REFUSED, "disk_full"),
        (Failure::Miscounted { partitions: 1 }, REFUSED, "miscounted"),
        (Failure::Kept { nodes: "node-1".into() }, REFUSED, "kept"),
        (refused(ErrorCode::WrongCluster), REFUSED, "wrong_cluster"),
        (Failure::Scarce(io::ErrorKind::WouldBlock.into()), UNAVAILABLE, "local"),
        (Failure::Interrupted, INTERRUPTED, "interrupted"),
        (Failure::OutputClosed, DONE, "output_closed"),
    ] {
        let shown = failure.to_string();
        assert_eq!((failure.exit_code(), &*failure.code()), (exit_code, code), "{shown}");
    }
}

#[test]
fn an_import_ends_as_its_cause_does() {
    let cause = Box::new(refused(ErrorCode::DiskFull));
    let failure = Failure::Import { place: "line 7: ".into(), cause, stored: 6, unknown: 0 };
    assert_eq!((failure.exit_code(), &*failure.code()), (REFUSED, "disk_full"));
    let text = failure.to_string();
    assert!(text.contains("line 7") && text.contains("stored: 6"), "{text}");
    let cause = Box::new(Failure::Interrupted);
    let failure = Failure::Import { place: String::new(), cause, stored: 6, unknown: 3 };
    let text = failure.to_string();
    assert!(text.contains("3 more were under way") && text.contains("run it again"), "{text}");
}

#[test]
fn a_closed_pipe_is_told_from_other_failures() {
    let broken = io::Error::from(io::ErrorKind::BrokenPipe);
    assert!(matches!(Failure::local("writing", broken), Failure::OutputClosed));
    let full = io::Error::from(io::ErrorKind::StorageFull);
    assert_eq!(Failure::local("writing", full).exit_code(), USAGE);
}
