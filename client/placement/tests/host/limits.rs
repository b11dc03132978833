//! Strategies that crash, never end, or take too much.

use std::time::{Duration, Instant};

use kv_core::limits::{COMPONENT_BYTES_MAX, PARTITIONS_MAX, WEIGHT_MAX};
use kv_placement::{Cache, StrategyFault, StrategyHost, StrategySource, TimeLimits, limits};
use kv_testkit::{bombs, guests};

use crate::{PATIENCE, ask, host, most_nodes, refused, refused_bytes};

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
