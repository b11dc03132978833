//! The pages are true: their sessions are run word for word, and what they name exists.
//!
//! A block that is marked `console` is a session. A line that begins with `$ ` is a command, typed into
//! a shell with the programs on its `PATH`; the lines up to the next one are all that it prints, and a
//! line that is `...` stands for any number of them. A command that runs `kvnode` keeps running, as in a
//! terminal of its own, until its page has been read. What differs from run to run is told apart by the
//! patterns in `sessions`; the ports that the text calls the defaults are free ones here.
//!
//! - `page`: a page as its prose and its blocks; `sessions`: running those of a page;
//! - `names`: what the pages name, such as files, options and commands, and whether it is there.

mod names;
mod page;
mod sessions;

use std::collections::BTreeSet;

use kv_testkit::harness::Backend;
use kv_testkit::needs;

use page::Page;
use sessions::Terminals;

/// The most lines that the front page may have.
const FRONT_PAGE_LINES_MAX: usize = 150;

/// The pages whose sessions are run here.
const WITH_SESSIONS: [&str; 3] = ["README.md", "client/README.md", "node/README.md"];

/// The shell blocks that are not run here, by page and first line, and why.
const NOT_RUN: &[(&str, &str, &str)] = &[
    (
        "README.md",
        "cargo build --release && target/release/kvnode dev",
        "the tests build the programs",
    ),
    ("README.md", "cargo test", "it is what runs this"),
    (
        "client/README.md",
        "kvclient bench",
        "it measures for half a minute; `bench_command` runs it",
    ),
    (".github/CONTRIBUTING.md", "cargo build", "it is how this was built"),
    (".github/CONTRIBUTING.md", "KV_FAULTS_MINUTES", "they take hours"),
    (
        "strategies/README.md",
        "kvclient strategy new my-own --lang c",
        "`strategies::guide` runs it",
    ),
    ("strategies/README.md", "sed -i 's/#define SEED", "`strategies::guide` runs it"),
    (
        "strategies/README.md",
        "kvclient --strategy ./my-own.wasm put",
        "`strategies::guide` runs it",
    ),
    ("strategies/README.md", "kvclient lab", "it takes files of the reader's; `lab` runs such"),
    ("strategies/README.md", "cp -r strategies/hrw strategies/mine", "it changes the workspace"),
    ("strategies/README.md", "KV_VECTORS=write cargo test -p mine", "it changes the workspace"),
];

#[test]
fn the_front_page_is_short() {
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines <= FRONT_PAGE_LINES_MAX, "README.md has {lines} lines");
}

#[test]
fn the_sessions_of_the_front_page_are_what_happens() {
    Terminals::open(None).follow(&Page::read("README.md"));
}

#[test]
fn the_sessions_of_the_clients_page_are_what_happens() {
    Terminals::open(None).follow(&Page::read("client/README.md"));
}

#[test]
fn the_sessions_of_the_nodes_page_are_what_happens() {
    Terminals::open(Some(Backend::Embedded)).follow(&Page::read("node/README.md"));
}

#[needs(consul)]
#[test]
fn the_sessions_of_the_nodes_page_are_what_happens_with_a_real_consul() {
    Terminals::open(Some(Backend::RealConsul)).follow(&Page::read("node/README.md"));
}

#[needs(pyzmq)]
#[test]
fn the_script_of_the_nodes_page_prints_what_it_says() {
    let terminals = Terminals::open(Some(Backend::Embedded));
    terminals.with_python().follow(&Page::read("node/README.md"));
}

#[test]
fn every_session_is_run_and_every_command_that_is_not_is_known_with_its_reason() {
    let mut known: BTreeSet<_> = NOT_RUN.iter().map(|(page, first, _)| (*page, *first)).collect();
    for page in Page::guides() {
        let name = page.name.as_str();
        for block in &page.blocks {
            let first = block.lines.first().map_or("", String::as_str);
            match block.language.as_str() {
                "console" => assert!(WITH_SESSIONS.contains(&name), "{name} is not run"),
                "sh" => {
                    let is_this =
                        |(page, start): &(&str, &str)| *page == name && first.starts_with(start);
                    let entry =
                        NOT_RUN.iter().map(|(page, start, _)| (*page, *start)).find(is_this);
                    let entry = entry.unwrap_or_else(|| {
                        panic!("{name}:{}: {first:?} is neither run nor known", block.line)
                    });
                    known.remove(&entry);
                }
                _ => {}
            }
        }
    }
    assert!(known.is_empty(), "no page says any more: {known:?}");
}

#[test]
fn every_pattern_is_needed() {
    let pages: Vec<_> = WITH_SESSIONS.iter().map(|name| Page::read(name)).collect();
    sessions::assert_every_pattern_occurs(&pages);
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let all = Page::all();
    assert!(all.len() > WITH_SESSIONS.len(), "the pages are found");
    let missing: Vec<_> = all.iter().flat_map(names::missing_files).collect();
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_map_of_the_front_page_has_every_crate() {
    names::assert_map_is_whole(&Page::read("README.md"));
}

#[test]
fn every_option_and_command_that_a_page_names_is_there() {
    let programs = names::Programs::ask();
    let unknown: Vec<_> =
        Page::guides().iter().flat_map(|page| programs.unknown_in(page)).collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
