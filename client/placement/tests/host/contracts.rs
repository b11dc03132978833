//! Files that are no strategy at all, or one of another contract.

use std::fs;
use std::path::Path;

use kv_core::limits::COMPONENT_BYTES_MAX;
use kv_placement::{StrategyError, StrategyFault, StrategySource};
use kv_testkit::guests;

use crate::{PARTITIONS, ask, good, host, nodes, refused, refused_bytes};

fn load_file(path: &Path) -> StrategyError {
    let source: StrategySource = path.to_str().unwrap().parse().unwrap();
    let Err(error) = host().load(&source) else { panic!("{} was accepted", path.display()) };
    assert_eq!(error.strategy(), path.to_str().unwrap());
    error
}

#[test]
fn files_that_are_not_components_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(at(name), bytes).unwrap();
        at(name)
    };
    assert_fault!(load_file(&at("missing.wasm")), StrategyFault::NotFound { .. });
    assert_fault!(load_file(home.path()), StrategyFault::NotAFile { what: "a directory" });
    assert_fault!(load_file(Path::new("/dev/null")), StrategyFault::NotAFile { .. });
    assert_fault!(load_file(&write("empty.wasm", b"")), StrategyFault::Empty);
    assert_fault!(load_file(&write("elf.wasm", b"\x7fELF\x02\x01")), StrategyFault::NotWasm);
    assert_fault!(load_file(&write("text.wasm", b"(module)")), StrategyFault::Text);
    let module = guests::core_module("trap", guests::NEWEST);
    assert_fault!(load_file(&write("module.wasm", &module)), StrategyFault::CoreModule);
    let below_a_file = at("empty.wasm").join("x");
    assert_fault!(load_file(&below_a_file), StrategyFault::Unreadable(_));
}

#[test]
fn a_file_is_read_only_as_far_as_a_component_may_be_long() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("large.wasm");
    let file = fs::File::create(&path).unwrap();
    // A sparse file: reading all of it would take the test's patience and the machine's memory.
    file.set_len(1 << 40).unwrap();
    assert_fault!(load_file(&path), StrategyFault::TooLarge { bytes } if *bytes == 1 << 40);
    let mut largest = guests::component("trap");
    largest.resize(COMPONENT_BYTES_MAX, 0);
    fs::write(&path, &largest).unwrap();
    assert_fault!(load_file(&path), StrategyFault::Compile { .. });
}

#[test]
fn a_truncated_component_is_refused() {
    let host = host();
    let whole = guests::component("first-node");
    let expected = ask(&host.load_bytes("whole", &whole).unwrap(), 1).unwrap();
    for length in 0..whole.len() {
        match host.load_bytes("truncated", &whole[..length]) {
            // Names for debuggers are at its end, and without them it is the same component.
            Ok(strategy) => assert_eq!(ask(&strategy, 1).unwrap(), expected, "{length} bytes"),
            Err(error) => assert!(
                matches!(
                    error.fault(),
                    StrategyFault::Empty
                        | StrategyFault::NotWasm
                        | StrategyFault::Compile { .. }
                        | StrategyFault::WrongWorld { .. }
                ),
                "{length} bytes: {error:?}"
            ),
        }
    }
    let half = refused_bytes("half", &whole[..whole.len() / 2]);
    assert_fault!(half, StrategyFault::Compile { .. });
}

#[test]
fn a_component_with_a_flipped_bit_never_stops_the_host() {
    let host = host();
    let whole = guests::component("first-node");
    // One bit in every byte, so that every byte's meaning is damaged once.
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        // Some damage is to names and constants and leaves a component that works.
        if let Ok(strategy) = host.load_bytes("damaged", &damaged) {
            let _ = ask(&strategy, 1);
        }
    }
    assert!(ask(good(), 1).is_ok());
}

#[test]
fn other_contracts_are_refused_with_both_names() {
    let error = refused("wrong-world");
    assert_fault!(&error, StrategyFault::WrongWorld { .. });
    assert!(error.to_string().contains("kv:placement/strategy@0.1.0"), "{error}");
    assert!(error.to_string().contains("run"), "{error}");

    let error = refused("wrong-version");
    assert_fault!(&error, StrategyFault::WrongVersion { .. });
    for version in ["0.1.0", "0.2.0", "9.0.0"] {
        assert!(error.to_string().contains(&format!("kv:placement/strategy@{version}")), "{error}");
    }

    assert_fault!(refused("wrong-types"), StrategyFault::WrongInterface { .. });
}

/// A strategy that breaks a rule is told the same, whichever version of the contract it was built for.
#[test]
fn every_guest_fares_alike_under_every_contract() {
    let outcome = |name: &str, contract: &str| {
        let bytes = guests::component_for(name, contract);
        let asked = host()
            .load_bytes(name, &bytes)
            .and_then(|strategy| strategy.assign_verified(&nodes(), PARTITIONS, 1, ""));
        asked.map_err(|error| error.code())
    };
    for name in guests::names() {
        // In 0.1.0 there is no such text to read; one guest is of both versions; and how far
        // the slow one comes is a matter of time.
        if !["long-settings", "two-contracts", "slow"].contains(&&*name) {
            assert_eq!(outcome(&name, "0.1.0"), outcome(&name, "0.2.0"), "{name}");
        }
    }
    assert!(outcome("in-turn", "0.1.0").is_ok(), "a good one would be told nothing");
}

#[test]
fn a_component_of_two_contracts_is_asked_by_the_newest() {
    let bytes = guests::component("two-contracts");
    let strategy = host().load_bytes("two-contracts", &bytes).unwrap();
    assert_eq!(strategy.contract(), "0.2.0");
    assert_eq!(strategy.assign_verified(&nodes(), 4, 1, "").unwrap().len(), 4);
}

#[test]
fn every_import_is_named() {
    let error = refused("imports");
    assert_fault!(&error, StrategyFault::Imports { .. });
    assert!(error.to_string().contains("test:clock/time@1.0.0"), "{error}");
}
