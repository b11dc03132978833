//! The templates in `strategies/templates/`: a strategy can be written in each of their languages, with the
//! two commands of its README, and in each it gives the same tables as the built-in `hrw`.
//!
//! The builds fetch compilers from package registries, which takes minutes, so they run only where they are
//! asked for: `KV_BUILD_TEMPLATES=1 cargo test -p kvclient-cli --test languages`. CI does.
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kv_placement::{Cache, Strategy, StrategyHost, StrategyNode, StrategySource};
use kv_testkit::needs;
use proptest::prelude::{Just, prop, prop_assert, prop_oneof};
use proptest::strategy::Strategy as _;
use proptest::test_runner::{Config, TestRunner};

/// What a project of this language is called here: something that its toolchain uses itself.
fn name_in(language: &str) -> &'static str {
    match language {
        "rust" => "libm",
        "assemblyscript" => "assemblyscript",
        "zig" => "std",
        _ => "main",
    }
}

#[test]
fn every_template_has_the_contract_and_two_commands() {
    let contract = fs::read(folder().join("../../wit/placement.wit")).unwrap();
    let mut languages: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    languages.sort();
    assert_eq!(languages, ["assemblyscript", "c", "rust", "zig"], "each has a test below");
    for language in languages {
        let template = folder().join(&language);
        let copy = fs::read(template.join("wit/placement.wit")).unwrap();
        assert!(copy == contract, "{language}: its wit/placement.wit is not the contract");
        let scratch = tempfile::tempdir().unwrap();
        let project = make(&language, scratch.path());
        assert_eq!(commands(&project).len(), 2, "{language}");
    }
}

#[needs(templates)]
#[test]
fn c_gives_the_tables_of_hrw() {
    gives_the_tables_of_hrw("c");
}

#[needs(templates)]
#[test]
fn zig_gives_the_tables_of_hrw() {
    gives_the_tables_of_hrw("zig");
}

#[needs(templates)]
#[test]
fn assemblyscript_gives_the_tables_of_hrw() {
    gives_the_tables_of_hrw("assemblyscript");
}

#[needs(templates)]
#[test]
fn rust_gives_the_tables_of_hrw() {
    gives_the_tables_of_hrw("rust");
}

/// Makes a project of the template, builds it as its README says, and asks it what `hrw` is asked.
fn gives_the_tables_of_hrw(language: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let project = make(language, scratch.path());
    let [install, build] = commands(&project).try_into().expect("two commands");
    // Rust's first command would change the toolchain that runs this test. Where that does not compile
    // for WebAssembly, the second command takes Debian's.
    if language != "rust" {
        run(&install, &project);
    }
    run(&build, &project);

    let host = StrategyHost::new(Cache::disabled()).unwrap();
    let name = name_in(language);
    let path = project.join(format!("{name}.wasm"));
    let source: StrategySource = path.to_str().unwrap().parse().unwrap();
    let built = host.load(&source).unwrap_or_else(|error| panic!("{error}"));
    let hrw = host.load(&StrategySource::default()).unwrap();
    assert_eq!(built.info().name, name);
    assert_eq!(built.info().version, "0.1.0");
    assert_eq!(built.info().summary, hrw.info().summary);
    assert_eq!(built.info().settings, hrw.info().settings);
    answers_alike(&built, &hrw);
    refuses_alike(&built, &hrw);
    every_length_of_id_is_hashed_alike(&built, &hrw);
}

/// Random nodes, weights, partitions and replicas.
fn answers_alike(built: &Strategy, hrw: &Strategy) {
    let id = "[a-z0-9-]{1,64}";
    let weight = prop_oneof![Just(1_u32), 1..=4_u32, 1..=256_u32];
    let nodes = prop::collection::btree_map(id, (weight, "z?[0-9]?"), 1..40);
    let nodes = nodes.prop_map(|nodes| {
        let node = |(id, (weight, zone))| StrategyNode { id, weight, zone };
        nodes.into_iter().map(node).collect::<Vec<_>>()
    });
    let question = (nodes.prop_shuffle(), 0..=11_u32, 1..=8_u32);
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&question, |(nodes, exponent, replicas)| {
            let replicas = replicas.min(nodes.len() as u32);
            let ask = |strategy: &Strategy| {
                strategy.assign_verified(&nodes, 1 << exponent, replicas, "").unwrap()
            };
            prop_assert!(ask(built) == ask(hrw), "other tables than those of hrw");
            Ok(())
        })
        .unwrap();
    let many: Vec<StrategyNode> = (0..100).map(|n| node(format!("node-{n}"), 1 + n % 3)).collect();
    let ask = |strategy: &Strategy| strategy.assign(&many, 65_536, 8, "").unwrap();
    assert!(ask(built) == ask(hrw), "100 nodes, 65,536 partitions, 8 replicas");
}

/// XXH3 has a rule for each class of lengths, and another mistake is possible in each.
fn every_length_of_id_is_hashed_alike(built: &Strategy, hrw: &Strategy) {
    let nodes: Vec<StrategyNode> =
        (1..=64).map(|length| node("xyz7".repeat(16)[..length].to_owned(), 1)).collect();
    for pair in nodes.windows(2) {
        let ask = |strategy: &Strategy| strategy.assign(pair, 64, 1, "").unwrap();
        assert_eq!(ask(built), ask(hrw), "{} and {}", pair[0].id, pair[1].id);
    }
}

fn refuses_alike(built: &Strategy, hrw: &Strategy) {
    let two = [node("a".to_owned(), 1), node("b".to_owned(), 1)];
    for (replicas, config) in [(3, ""), (1, "points=3"), (8, "")] {
        let code =
            |strategy: &Strategy| strategy.assign(&two, 16, replicas, config).unwrap_err().code();
        assert_eq!(code(built), code(hrw), "{replicas} replicas, settings {config:?}");
    }
}

fn node(id: String, weight: u32) -> StrategyNode {
    StrategyNode { id, weight, zone: String::new() }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../strategies/templates")
}

/// The commands of the README's first block, which is how the project is built.
fn commands(project: &Path) -> Vec<String> {
    let text = fs::read_to_string(project.join("README.md")).unwrap();
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a block of commands").lines().map(str::to_owned).collect()
}

/// Has `kvclient` make the project, and gives its folder.
fn make(language: &str, place: &Path) -> PathBuf {
    let made = Command::new(env!("CARGO_BIN_EXE_kvclient"))
        .args(["strategy", "new", name_in(language), "--lang", language])
        .current_dir(place)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = String::from_utf8(made.stdout).unwrap();
    let project = place.join(name_in(language));
    for command in commands(&project) {
        assert!(said.contains(&command), "{language}: {command:?} is not in {said}");
    }
    project
}

/// Runs a command in the project's folder, as a person would type it there.
fn run(command: &str, project: &Path) {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(project);
    // What the cargo that runs this test would have another cargo inherit.
    for variable in ["CARGO_TARGET_DIR", "LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "RUSTC", "CARGO"] {
        shell.env_remove(variable);
    }
    let status = shell.status().unwrap();
    assert!(status.success(), "{command}: {status}; its messages are above");
}
