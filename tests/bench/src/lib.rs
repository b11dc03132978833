//! What the benchmark programs of whole clusters share. Each program is a folder beside this one, and what its
//! figures mean is in `README.md` there.
//!
//! | modules | what |
//! |---|---|
//! | [`program`], [`settings`] | a program from its command line to its exit code |
//! | [`programs`], [`server`], [`process`] | building `kvnode` and `kvclient`; processes that serve, and what they take |
//! | [`fleet`], [`load`] | a cluster of this project, and its load generator |
//! | [`standalone`], [`redis`] | one Redis, and a cluster of them |
//! | [`journal`], [`figures`], [`comparison`] | measurements as progress and JSON, as tables, beside their goals |

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "what it prints is for people, and ends nothing"
)]
#![allow(
    clippy::missing_errors_doc,
    reason = "each error means that a measurement cannot be made, and its text says why"
)]

pub mod comparison;
pub mod figures;
pub mod fleet;
pub mod journal;
pub mod load;
pub mod process;
pub mod program;
pub mod programs;
pub mod redis;
pub mod server;
pub mod settings;
pub mod standalone;
