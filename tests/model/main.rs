//! The protocol of moving data, explored state by state.
//!
//! Small clusters are put through everything that can happen to them, in every order, by the model
//! checker stateright. `cargo test --workspace --test model -- --nocapture` says how many states each
//! run has. With everything at once a cluster is too large to be explored to its end:
//! `KV_MODEL_STATES=20000000 cargo test --release --workspace --test model everything -- --nocapture`
//! goes as far as one likes.
//!
//! # The real code
//!
//! All that decides is the code that nodes and clients run: the steps of a layout and what it assigns
//! (`kv_core::layout`), how nodes follow it (`Installed::new`, with its rule of what can follow what
//! and since when a partition is assigned as it is), what they are and may do under it
//! (`kv_core::ownership`), what becomes of a record (`kv_core::record`), what a client asks whom
//! (`kv_core::attempt`) and what a mover does next (`kv_core::mover`). The model is what
//! stands around them:
//!
//! | file | what |
//! |---|---|
//! | `state` | a state: the layout in Consul, nodes, movers, clients, requests under way |
//! | `scenario`, `scenarios` | what there is at the beginning, who wants what, how much goes wrong |
//! | `cluster` | what can happen in a state, and what must hold |
//! | `nodes`, `serving`, `clients`, `movers` | how it happens |
//! | `catalogue` | layouts, and what nodes have installed, by numbers |
//! | `truth` | what each key truly is, and what must hold of it |
//! | `rules`, `mutants` | the rules of the protocol, each of which is left out once |
//! | `copies` | a model of its own: copies of a node's data directory, and who of them may answer |
//! | `replication` | another one: copies of a partition on several nodes (`kv_core::copies`) |
//! | `explore` | the checker, and the search for states from which there is no way to the end |
//!
//! # What can happen
//!
//! Nodes install a layout late, or skip it; they die between any two steps of that (layout durable,
//! requests judged by it, place wiped, epoch shown) and come back; they clear and purge whenever they
//! come to it. Clients read under layouts of any age, write whenever they like, and wait no more for an
//! answer while their request goes on to arrive at any time or never. Two movers do all that there is to
//! do; any COPY of theirs takes any time or gets lost. Clients open frozen windows. A rebalance is aborted,
//! or a window taken back, at any moment. Layouts are published that no step led to. Consul loses what it had
//! and gets an older layout. A data directory is put back.
//!
//! # What must hold
//!
//! A write takes effect at one moment, when it is durable. Every read returns what its key was at some
//! moment from its begin to its end; DELETE and conditions are judged by what the key is (so histories
//! are linearizable); no write takes effect twice; what counts by the newest layout is the last write; at
//! most one node takes writes of a key; a request is carried out under the assignment for which it was sent.
//! The last write of each key lies on some disk, also where layouts are made up. And from every state there
//! is a way to where all operations are done, no data moves, and nothing is left where it should not be,
//! without the first mover doing anything any more.
//!
//! # Left out
//!
//! - A request and its answer are one moment: a later answer would only allow reads more.
//! - Time between a mover's look and its compare-and-set: had the layout changed, the set would fail.
//!   So, too, what it has found out is looked at anew when it sets; it cannot have become untrue. A page
//!   is one key, so that pages can come in any order.
//! - A write under an old layout is one that is long under way. Only reads are begun under old layouts.
//! - A group of writes is one moment, since nothing of it is seen before it is durable.
//! - Scans, plain clients without an epoch, nodes that are given up, damaged records, full disks.
//! - A layout that a node fetched but has not begun to install when a newer one comes.
//!
//! Two rules are assumptions, which nothing enforces: when Consul has lost a layout, the nodes give it back
//! before a mover or a client takes a step, and some node has that layout. The model shows what happens
//! otherwise (`NodesRestoreBeforeSteps`, `NodesHaveWhatConsulLoses`). That a node is one process, and has
//! what it acknowledged, is not assumed where its data directory can be copied: `copies` explores that.
//!
//! # The mutants
//!
//! | without the rule that | breaks |
//! |---|---|
//! | a window is opened only after all participants show its epoch | one writer |
//! | a source takes no writes once it is frozen | the last write |
//! | a source answers no reads of older layouts | reads |
//! | a DELETE at a destination leaves a tombstone | the last write |
//! | only owners purge tombstones | the last write |
//! | a COPY never replaces a record | the last write |
//! | only a destination takes a COPY | the last write |
//! | while a partition moves the epoch must be the very one | the last write |
//! | owners refuse what is older than the partition's assignment | assignment |
//! | a COPY leaves the source as it is | reads |
//! | a node that has dropped a partition refuses | reads |
//! | a window is settled only after it was verified | the last write |
//! | a source drops only after it has installed the settled layout | the last write |
//! | a node removes only what the holder says, asked, that it has | the stored records |
//! | a node keeps what it never handed over, whatever others say | the stored records |
//! | a destination wipes the place that records will be copied to | the last write |
//! | ... before it shows the epoch | the last write |
//! | a layout is durable before requests are judged by it | the last write |
//! | a write is durable before it is acknowledged | the last write |
//! | a read looks at the guard again before it is answered | reads |
//! | a destination without a record sends readers to the source | reads |
//! | ... and has the record promoted before it judges by it | conditions |
//! | a copy keeps its version | conditions |
//! | versions are given once | conditions |
//! | an open window is not taken back | the last write |
//! | a layout is only changed by compare-and-set | the last write |
//! | what a mover found out holds for one epoch | the last write |
//! | a write of unknown outcome is not sent again | no write twice |
//! | a node takes no layout that it cannot follow | reads |
//! | nodes restore before a mover or a client takes a step (assumed) | one writer |
//! | some node has what Consul loses (assumed) | reads |
//! | any mover goes on with a rebalance | a way to the end |

#![allow(clippy::print_stdout, reason = "what a test prints is for people, and ends nothing")]

mod catalogue;
mod clients;
mod cluster;
mod copies;
mod explore;
mod movers;
mod mutants;
mod nodes;
mod replication;
mod rules;
mod scenario;
mod scenarios;
mod serving;
mod state;
mod truth;

use cluster::{ALL, CURRENT, Event, JUDGES, Model, READS, STORED};
use explore::{dead_ends, explore};
use scenario::Scenario;

/// Explores a scenario with all rules kept.
fn holds(scenario: Scenario) {
    these_hold(scenario, &ALL, usize::MAX);
}

fn these_hold(scenario: Scenario, properties: &[&'static str], states_max: usize) {
    let explored = explore(Model::new(scenario, None), properties, states_max);
    if let Some((property, events)) = explored.violation {
        panic!("it does not hold that {property}: {events:?}");
    }
}

#[test]
fn one_key_moves_while_it_is_read_and_written() {
    holds(scenarios::one_key());
}

#[test]
fn one_key_moves_and_is_moved_back() {
    holds(scenarios::abort());
}

#[test]
fn two_keys_move_between_three_nodes() {
    holds(scenarios::two_windows());
}

#[test]
fn nodes_are_killed() {
    holds(scenarios::crashes());
}

#[test]
fn writes_depend_on_what_was_there() {
    holds(scenarios::conditions());
}

#[test]
fn a_key_goes_there_and_back_and_there_again() {
    holds(scenarios::there_again());
}

#[test]
fn consul_loses_everything() {
    holds(scenarios::lost_while_read());
}

/// Records that were written there are lost, but no client is told anything wrong.
#[test]
fn a_data_directory_is_put_back() {
    these_hold(scenarios::put_back(), &[READS, JUDGES, CURRENT], usize::MAX);
}

/// A process that can write to Consul publishes layouts that leave no node anything; no record is lost by
/// that alone.
#[test]
fn layouts_are_made_up() {
    these_hold(scenarios::forged(), &[STORED], usize::MAX);
}

#[test]
fn a_data_directory_is_put_back_before_others_have_removed_what_they_had() {
    these_hold(scenarios::put_back_in_time(), &[STORED], usize::MAX);
}

/// How far, `KV_MODEL_STATES` says: how often a state is come to before it is enough.
#[test]
fn everything_at_once() {
    let wanted = std::env::var("KV_MODEL_STATES").ok().and_then(|it| it.parse().ok());
    these_hold(scenarios::everything(), &ALL, wanted.unwrap_or(100_000));
}

/// The first mover may be dead at any moment, so nothing may depend on it.
fn is_not_by_the_first_mover(event: &Event) -> bool {
    !matches!(event, Event::Turn(0, _) | Event::Fetch(0, _) | Event::Deliver(0) | Event::Lose(0))
}

#[test]
fn whichever_process_dies_another_brings_it_to_an_end() {
    let model = Model { movers_are_alike: false, ..Model::new(scenarios::ending(), None) };
    let (states, dead) = dead_ends(&model, is_not_by_the_first_mover);
    assert_eq!(dead, 0, "of {states} states");
}
