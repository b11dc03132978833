//! Arbitrary bytes, damaged components and arbitrary answers: the host refuses them or uses them, and goes
//! on in either case.
//!
//! `KV_FUZZ_SECONDS=600 cargo test -p kv-placement --test fuzz -- --nocapture` goes on for that long.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]
#![allow(clippy::print_stdout, reason = "what a test prints is for people, and ends nothing")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kv_placement::{Cache, StrategyHost, StrategyNode, StrategySource};
use kv_testkit::guests;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

/// The cases of a run that is not told how long to go on.
const CASES: u32 = 150;

/// What damage is done to.
static VICTIMS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    let built_in = StrategySource::built_in_names().map(|name| {
        let strategy = host.load(&name.parse().unwrap()).unwrap();
        strategy.bytes().to_vec()
    });
    built_in.chain(["in-turn", "counter", "imports"].map(guests::component)).collect()
});

/// Damage to a component.
#[derive(Clone, Debug)]
enum Damage {
    /// Other bytes at some places, given as parts of the whole.
    Overwrite(Vec<(f64, u8)>),
    /// It ends early.
    Cut(f64),
    /// A piece of it stands twice.
    Repeat(f64, usize),
    /// A piece of it is missing.
    Omit(f64, usize),
    /// A piece of another one stands in it.
    Splice(f64, f64, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let part = 0.0..1.0_f64;
    prop_oneof![
        3 => vec((part.clone(), any::<u8>()), 1..8).prop_map(Damage::Overwrite),
        1 => part.clone().prop_map(Damage::Cut),
        1 => (part.clone(), 1..64_usize).prop_map(|(at, length)| Damage::Repeat(at, length)),
        1 => (part.clone(), 1..64_usize).prop_map(|(at, length)| Damage::Omit(at, length)),
        1 => (part.clone(), part, 1..256_usize)
            .prop_map(|(at, from, length)| Damage::Splice(at, from, length)),
    ]
}

impl Damage {
    fn done_to(&self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let place = |part: f64, of: &[u8]| (part * of.len() as f64) as usize;
        let piece =
            |of: &[u8], from: usize, length: usize| of[from..of.len().min(from + length)].to_vec();
        let mut damaged = bytes.to_vec();
        match *self {
            Self::Overwrite(ref places) => {
                places.iter().for_each(|&(part, byte)| damaged[place(part, bytes)] = byte);
            }
            Self::Cut(part) => damaged.truncate(place(part, bytes)),
            Self::Repeat(part, length) => {
                let at = place(part, bytes);
                damaged.splice(at..at, piece(bytes, at, length));
            }
            Self::Omit(part, length) => {
                let at = place(part, bytes);
                damaged.drain(at..bytes.len().min(at + length));
            }
            Self::Splice(part, from, length) => {
                let at = place(part, bytes);
                let piece = piece(other, place(from, other), length);
                let end = bytes.len().min(at + piece.len());
                damaged.splice(at..end, piece);
            }
        }
        damaged
    }
}

/// Runs `test` on cases of `strategy`, as many as there are to be, or for as long as the environment says.
fn fuzz<S: Strategy>(strategy: &S, test: impl Fn(S::Value)) {
    let seconds = std::env::var("KV_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    loop {
        let mut runner = TestRunner::new(config.clone());
        let result = runner.run(strategy, |value| {
            test(value);
            Ok(())
        });
        match result {
            Ok(()) => {}
            Err(TestError::Fail(why, value)) => panic!("{why}: {value:?}"),
            Err(error) => panic!("{error}"),
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            return;
        }
    }
}

fn nodes() -> Vec<StrategyNode> {
    (0..3)
        .map(|n| StrategyNode { id: format!("node-{n}"), weight: 1 + n, zone: String::new() })
        .collect()
}

#[test]
fn damaged_components_never_stop_the_host() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    let good = host.load(&StrategySource::default()).unwrap();
    let expected = good.assign(&nodes(), 64, 1, "").unwrap();
    let ends = RefCell::new(BTreeMap::<&str, u32>::new());
    let victims = 0..VICTIMS.len();
    fuzz(&(victims.clone(), victims, vec(damage(), 1..3)), |(victim, other, damages)| {
        let damaged = damages.iter().fold(VICTIMS[victim].clone(), |bytes, damage| {
            if bytes.is_empty() { bytes } else { damage.done_to(&bytes, &VICTIMS[other]) }
        });
        let asked = host
            .load_bytes("damaged", &damaged)
            .and_then(|strategy| strategy.assign_verified(&nodes(), 64, 2, ""));
        let end = match asked {
            Ok(owners) => {
                assert!(owners.chunks(2).all(|pair| pair[0] != pair[1] && pair[1] < 3));
                "answered"
            }
            Err(error) => error.code(),
        };
        *ends.borrow_mut().entry(end).or_default() += 1;
    });
    assert_eq!(good.assign(&nodes(), 64, 1, "").unwrap(), expected);
    let ends = ends.into_inner();
    println!("{ends:#?}");
    // One case of forty is no error of the compiler's, so that a short run may happen to have none.
    let cases: u32 = ends.values().sum();
    let is_short = cases <= CASES;
    assert!(is_short || ends.len() >= 2, "the damage is too uniform to show anything: {ends:?}");
}

#[test]
fn arbitrary_bytes_are_refused() {
    let host = StrategyHost::new(Cache::disabled()).unwrap();
    let header = prop_oneof![
        Just(&b""[..]),
        Just(&b"\0asm\x0d\0\x01\0"[..]),
        Just(&b"\0asm\x01\0\0\0"[..]),
    ];
    fuzz(&(header, vec(any::<u8>(), 0..512)), |(header, rest)| {
        let bytes = [header, &rest].concat();
        // The empty component is a valid one, and no strategy.
        host.load_bytes("arbitrary", &bytes).unwrap_err();
    });
}
