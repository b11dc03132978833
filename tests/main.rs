//! End-to-end suites: they start the real binaries and talk to them as their users do.
//!
//! One module per promise:
//!
//! | module | promise |
//! |---|---|
//! | `roundtrip` | a record comes back as it went, from the node that the strategy chose |
//! | `durability` | an acknowledged write survives `kill -9` at any time |
//! | `crash` | a node that is killed at any instant has all that it acknowledged when it is back |
//! | `reads` | a read that waits for the disk holds up no other, and memory keeps to its budget |
//! | `wire` | a plain ZeroMQ client in any language gets exactly the documented replies |
//! | `sockets` | every kind of ZeroMQ socket gets its own replies, all of them, in their order |
//! | `membership` | nodes register, leave, and come back as themselves |
//! | `incarnations` | of all copies of a node's data one is served, the one that ran last |
//! | `desired_states` | nodes are started and stopped by desired states in Consul, each by exactly one |
//! | `rebalance` | nodes come and go and strategies change while every key stays where it can be found |
//! | `strategies` | strategies are judged before they are adopted, and what they chose is explained |
//! | `access` | what Consul does not let a token do is said, and changes nothing |
//! | `consul_outages` | a Consul that is absent, failing or empty costs no data and confuses no node and no client |
//! | `bad_input` | whatever comes in, the answer is a clear error, and everything else goes on |
//! | `bench_command` | `kvclient bench` measures what it says |
//! | `lab` | `kvclient lab` compares strategies by figures that are true, and draws them |
//! | `cli` | the command line teaches, and keeps data, words and exit codes apart |
//! | `streams` | whatever files, pipes, terminals and signals do, a command ends as it is documented |
//! | `dev` | `kvnode dev` is a whole cluster with one command |
//! | `documents` | what the pages show is what happens, and what they name is there |
//! | `library` | a program that has the library in its manifest reads and writes a cluster |
//! | `words` | what a node says never ends it, and a closed terminal stops it cleanly |
//! | `upgrades` | what an older version has stored is served, changed and moved by this one |
//! | `faults` | whatever fails at the same time, every key stays linearizable and comes back |
//!
//! The crate `kv-testkit` starts and ends the processes. A case that depends on Consul is one function,
//! which `on_both_backends!` makes two tests of: with the embedded agent, and with a real Consul, which
//! the second one needs. A case that needs what this machine does not have is ignored, and says what.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what a test prints is for people, and ends nothing"
)]

mod access;
mod bad_input;
mod bench_command;
mod cli;
mod consul_outages;
mod crash;
mod desired_states;
mod dev;
mod documents;
mod durability;
mod faults;
mod incarnations;
mod lab;
mod library;
mod library_client;
mod membership;
mod reads;
mod rebalance;
mod roundtrip;
mod sockets;
mod strategies;
mod streams;
mod upgrades;
mod wire;
mod words;
