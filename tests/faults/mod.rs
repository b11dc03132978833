//! Whatever fails, and at the same time: every key stays linearizable, and the cluster comes back.
//!
//! Clients work on a few keys and write down every operation with its call and its response, while a
//! nemesis kills, stops and cuts off nodes, Consul and the movers. Work goes on in rounds of
//! a few seconds, each with keys of its own. When a round's faults have ended, the cluster must serve
//! again, every key is read, everything is exported, and the key's whole history is judged by two
//! checkers.
//!
//! A run in all tests is short. This is a long one, which ends with its figures:
//!
//! ```text
//! KV_FAULTS_MINUTES=30 cargo test --workspace --test e2e faults -- --nocapture
//! ```
//!
//! `KV_FAULTS_SEED` repeats the nemesis's choices (what the machine makes of them is up to its
//! schedule), and `KV_FAULTS_KINDS=kill,traffic` limits them.
//!
//! | module | what |
//! |---|---|
//! | `run`, `settings`, `totals` | rounds, what the environment says of them, and their figures |
//! | `workload`, `value`, `scanning` | the clients |
//! | `nemesis`, `fleet`, `launched`, `mover` | what fails, and how |
//! | `aftermath`, `ledger` | how the cluster is after a round, and what must be in it |
//! | `history`, `events`, `model` | operations, as steps of a correct key |
//! | `check`, `forward`, `backtracking` | the two checkers |
//! | `seeded`, `simulated` | the checkers' own tests |

use kv_testkit::harness::{Backend, on_both_backends};

mod aftermath;
mod backtracking;
mod check;
mod events;
mod fleet;
mod forward;
mod history;
mod launched;
mod ledger;
mod model;
mod mover;
mod nemesis;
mod run;
mod scanning;
mod seeded;
mod settings;
mod simulated;
mod totals;
mod value;
mod workload;

on_both_backends!(every_history_under_faults_is_linearizable);

fn every_history_under_faults_is_linearizable(backend: Backend) {
    run::Run::start(backend, settings::Settings::from_environment()).go();
}
