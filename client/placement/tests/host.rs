//! The host against strategies that misbehave: each is refused by name, and the host goes on.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kv_core::limits::{
    COMPONENT_BYTES_MAX, MEMBERS_MAX, NAME_BYTES_MAX, PARTITIONS_MAX, REPLICAS_MAX, WEIGHT_MAX,
    ZONE_BYTES_MAX,
};
use kv_placement::{
    Cache, Strategy, StrategyError, StrategyFault, StrategyHost, StrategyNode, StrategySource,
    TimeLimits, limits,
};
use kv_testkit::{bombs, guests};

/// How long a bad strategy may take to be refused: for ever it must not, and how fast this machine is, no
/// test decides.
const PATIENCE: Duration = Duration::from_secs(120);

const PARTITIONS: u32 = 64;

fn nodes() -> Vec<StrategyNode> {
    ["node-2", "node-0", "node-1"]
        .map(|id| StrategyNode { id: id.to_owned(), weight: 1, zone: String::new() })
        .to_vec()
}

/// The one host of all tests, as a program has one.
fn host() -> &'static StrategyHost {
    static HOST: LazyLock<StrategyHost> =
        LazyLock::new(|| StrategyHost::new(Cache::disabled()).unwrap());
    &HOST
}

fn good() -> &'static Strategy {
    static GOOD: LazyLock<Strategy> =
        LazyLock::new(|| host().load(&StrategySource::default()).unwrap());
    &GOOD
}

/// As many nodes as there may be, with as much said of each as there may be.
fn most_nodes(weight: u32) -> Vec<StrategyNode> {
    (0..MEMBERS_MAX)
        .map(|n| StrategyNode {
            id: format!("{n:0>NAME_BYTES_MAX$}"),
            weight,
            zone: "z".repeat(ZONE_BYTES_MAX),
        })
        .collect()
}

fn ask(strategy: &Strategy, replicas: u32) -> Result<Vec<u32>, StrategyError> {
    strategy.assign(&nodes(), PARTITIONS, replicas, "")
}

/// Loads a guest and asks it, and expects to be told what is wrong with it within [`PATIENCE`].
/// Afterwards the same host must answer as if nothing had been.
fn refused(guest: &str) -> StrategyError {
    refused_bytes(guest, &guests::component(guest))
}

fn refused_bytes(label: &str, bytes: &[u8]) -> StrategyError {
    refusal(label, bytes, |strategy| ask(strategy, 1))
}

fn refusal<T>(
    label: &str,
    bytes: &[u8],
    question: impl Fn(&Strategy) -> Result<T, StrategyError>,
) -> StrategyError {
    let before = ask(good(), 1).unwrap();

    let start = Instant::now();
    let result = host().load_bytes(label, bytes).and_then(|strategy| question(&strategy));
    let waited = start.elapsed();
    let Err(error) = result else { panic!("{label} was accepted") };
    assert!(waited < PATIENCE, "{label} was refused after {waited:?}: {error}");
    assert!(error.to_string().starts_with(&format!("strategy {label}: ")), "{error}");
    assert!(error.code().starts_with("strategy-"), "{}", error.code());

    assert_eq!(ask(good(), 1).unwrap(), before, "after {label}");
    error
}

macro_rules! assert_fault {
    ($error:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = $error;
        assert!(matches!(error.fault(), $pattern $(if $guard)?), "{error:?}");
    };
}

// What is not a strategy at all.

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

/// Whoever breaks a rule is told the same, whichever version of the contract it was built for.
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
        // In 0.1.0 there is no such text, so nobody reads it; one guest is of both versions; and how far
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

// What crashes, never ends, or takes too much.

#[test]
fn crashes_are_refused() {
    assert_fault!(refused("trap-at-start"), StrategyFault::Trap { .. });
    assert_fault!(refused("trap-after"), StrategyFault::Trap { .. });
    let error = refused("trap");
    assert_fault!(&error, StrategyFault::Trap { .. });
    assert!(error.to_string().contains("unreachable"), "{error}");
}

#[test]
fn what_never_ends_runs_out_of_fuel() {
    for guest in ["loop", "loop-in-describe", "loop-in-alloc", "bulk-fill"] {
        assert_fault!(refused(guest), StrategyFault::OutOfFuel { .. });
    }
    assert_fault!(refused("recursion"), StrategyFault::OutOfStack { .. });
}

#[test]
fn a_small_stack_is_enough_for_the_deepest_recursion() {
    let caller = std::thread::Builder::new().stack_size(limits::CALLER_STACK_BYTES);
    let error = caller.spawn(|| refused("recursion")).unwrap().join().unwrap();
    assert_fault!(error, StrategyFault::OutOfStack { .. });
}

#[test]
fn the_clock_stops_what_fuel_does_not() {
    let times = TimeLimits { call: Duration::from_millis(100), ..TimeLimits::default() };
    let host = StrategyHost::with_time_limits(Cache::disabled(), times).unwrap();
    let strategy = host.load_bytes("loop", &guests::component("loop")).unwrap();
    let good = host.load(&StrategySource::default()).unwrap();
    // The largest question has fuel for many seconds.
    let nodes = most_nodes(WEIGHT_MAX);
    let start = Instant::now();
    // A strategy that has time left is not disturbed by another's end.
    let (error, beside) = std::thread::scope(|scope| {
        let looping = scope.spawn(|| strategy.assign(&nodes, PARTITIONS_MAX, 1, "").unwrap_err());
        let beside = std::iter::repeat_with(|| ask(&good, 1))
            .take_while(|_| !looping.is_finished())
            .all(|answer| answer.is_ok());
        (looping.join().unwrap(), beside)
    });
    assert_fault!(error, StrategyFault::OutOfTime { .. });
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(beside);
}

#[test]
fn memory_is_limited() {
    assert_fault!(
        refused("memory-bomb"),
        StrategyFault::OutOfMemory { wanted, max: limits::MEMORY_BYTES_MAX }
            if *wanted > limits::MEMORY_BYTES_MAX
    );
    assert_fault!(
        refused("memory-at-start"),
        StrategyFault::OutOfMemory { wanted: 0x400_0000, .. }
    );
    assert_fault!(
        refused("table-bomb"),
        StrategyFault::OutOfTable { wanted, max: limits::TABLE_ELEMENTS_MAX }
            if *wanted > limits::TABLE_ELEMENTS_MAX
    );
}

#[test]
fn the_parts_of_a_component_are_limited() {
    // A section of core instances, each of the component's first module with no arguments.
    let with_more = |count: usize| {
        let instances = [leb(count), [0, 0, 0].repeat(count)].concat();
        [guests::component("first-node"), section(2, &instances)].concat()
    };
    let most = host().load_bytes("most", &with_more(limits::INSTANCES_MAX - 1)).unwrap();
    assert!(ask(&most, 1).is_ok());
    let error = refused_bytes("more", &with_more(limits::INSTANCES_MAX));
    assert_fault!(error, StrategyFault::Instantiate { .. });
}

#[test]
fn compiling_is_given_up_in_time() {
    let times = TimeLimits { compile: Duration::from_millis(1), ..TimeLimits::default() };
    let host = StrategyHost::with_time_limits(Cache::disabled(), times).unwrap();
    let start = Instant::now();
    let Err(error) = host.load(&StrategySource::default()) else { panic!("accepted") };
    assert_fault!(error, StrategyFault::CompileTime { .. });
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn what_is_too_much_work_to_compile_is_not_compiled() {
    let mut refused = 0;
    for (kind, bomb) in bombs::BOMBS {
        // As large as a component may be; at most twice as much fits.
        let bytes = |size: usize| wat::parse_str(bomb(size)).unwrap();
        let mut size = 64;
        while bytes(size * 2).len() <= COMPONENT_BYTES_MAX {
            size *= 2;
        }
        let start = Instant::now();
        let error = host().load_bytes(kind, &bytes(size)).unwrap_err();
        assert!(start.elapsed() < PATIENCE, "{kind}: {:?}", start.elapsed());
        match error.fault() {
            StrategyFault::TooComplex { .. } => refused += 1,
            // Then it was no bomb, and is no strategy.
            StrategyFault::WrongWorld { .. } => {}
            _ => panic!("{kind}: {error}"),
        }
    }
    assert!(refused >= bombs::BOMBS.len() - 3, "{refused}");
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A number as WebAssembly writes it: seven bits a byte, the lowest first.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

// What answers, and wrongly.

#[test]
fn values_that_are_none_are_refused() {
    for guest in [
        "huge-list",
        "large-list",
        "misplaced-arguments",
        "bad-text",
        "long-summary",
        "long-settings",
    ] {
        let error = refused(guest);
        assert_fault!(&error, StrategyFault::Malformed { reason } if !reason.is_empty());
    }
}

#[test]
fn wrong_owners_are_refused() {
    assert_fault!(refused("too-few"), StrategyFault::WrongLength { wanted: 64, got: 63 });
    assert_fault!(refused("too-many"), StrategyFault::WrongLength { wanted: 64, got: 65 });
    assert_fault!(
        refused("out-of-range"),
        StrategyFault::OutOfRange { partition: 0, index: 3, nodes: 3 }
    );
    let duplicate = guests::component("duplicate");
    let error = refusal("duplicate", &duplicate, |strategy| ask(strategy, 2));
    assert_fault!(
        error,
        StrategyFault::DuplicateReplica { partition: 0, node } if node == "node-0"
    );
}

#[test]
fn a_strategys_own_errors_are_passed_on_safely() {
    assert_fault!(
        refused("says-too-few-nodes"),
        StrategyFault::TooFewNodes { needed: 7, nodes: 3 }
    );
    assert_fault!(
        refused("says-invalid-config"),
        StrategyFault::InvalidConfig(why) if why == "?[31mred?[0m"
    );
    assert_fault!(
        refused("says-unsupported"),
        StrategyFault::Unsupported(why) if why.len() == limits::GUEST_TEXT_CHARS_MAX + 3
    );
}

#[test]
fn what_is_not_a_pure_function_is_not_published() {
    let verified = |strategy: &Strategy| strategy.assign_verified(&nodes(), PARTITIONS, 1, "");
    let error = refusal("counter", &guests::component("counter"), verified);
    assert_fault!(
        error,
        StrategyFault::Unstable { partition: 0, first, second, .. }
            if first == "node-0" && second == "node-1"
    );
    let error = refusal("first-node", &guests::component("first-node"), verified);
    assert_fault!(
        error,
        StrategyFault::OrderDependent { partition: 0, sorted, permuted, order: "reversed" }
            if sorted == "node-0" && permuted == "node-2"
    );
}

#[test]
fn every_question_meets_a_fresh_instance() {
    let strategy = host().load_bytes("counter", &guests::component("counter")).unwrap();
    assert_eq!(ask(&strategy, 1).unwrap(), ask(&strategy, 1).unwrap());
}

#[test]
fn a_bad_question_is_not_asked() {
    let error = good().assign(&nodes(), 63, 1, "").unwrap_err();
    assert_fault!(error, StrategyFault::InvalidQuestion(_));
}

#[test]
fn the_largest_question_takes_half_of_the_fuel_at_most() {
    // A ring has points for every unit of weight, so it takes as many nodes only if they are light.
    for (name, weight) in [
        ("hrw", WEIGHT_MAX),
        ("consistent-hash", 1),
        ("zone-hrw", WEIGHT_MAX),
        ("bounded-hrw", WEIGHT_MAX),
        ("maglev", WEIGHT_MAX),
    ] {
        let strategy = host().load(&name.parse().unwrap()).unwrap();
        let nodes = most_nodes(weight);
        let used =
            strategy.assign_counted(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "").unwrap().1.fuel;
        let budget = limits::fuel_for(nodes.len(), PARTITIONS_MAX, REPLICAS_MAX);
        assert!(used <= budget / 2, "{name}: {used} of {budget}");
    }
}

#[test]
fn many_replicas_on_few_nodes_are_within_the_fuel() {
    for count in [8, 16, 32, 64_usize] {
        let node = |n: usize| StrategyNode {
            id: format!("node-{n}"),
            weight: 1 << (n % 9),
            zone: format!("zone-{}", n % 8),
        };
        let nodes: Vec<_> = (0..count).map(node).collect();
        let budget = limits::fuel_for(count, PARTITIONS_MAX, REPLICAS_MAX);
        for name in StrategySource::built_in_names() {
            let strategy = host().load(&name.parse().unwrap()).unwrap();
            let asked = strategy.assign_counted(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "");
            let used = match asked {
                // A ring of so many points is refused by its author.
                Err(error) if matches!(error.fault(), StrategyFault::Unsupported(_)) => continue,
                answer => answer.unwrap().1.fuel,
            };
            assert!(used <= budget * 3 / 4, "{name}, {count} nodes: {used} of {budget}");
            // Where they take the most of it, five answers are in time, too.
            if count == 16 {
                strategy.assign_verified(&nodes, PARTITIONS_MAX, REPLICAS_MAX, "").unwrap();
            }
        }
    }
}
