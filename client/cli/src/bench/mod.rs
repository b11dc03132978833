//! The load generator behind `kvclient bench`: YCSB's core workloads, and plain puts and gets.
//!
//! It drives the public client library as a program would: some number of workers, each with some
//! number of operations under way, all sharing one [`kvclient::Client`].
//!
//! | file | what |
//! |---|---|
//! | `arguments` | what can be asked for on the command line |
//! | `plan` | the command's options, checked |
//! | `workload` | which operations in which shares |
//! | `chooser` | which key comes next: uniform, zipfian or the latest |
//! | `records` | the keys and values, and those that a workload adds |
//! | `tally` | counts and latencies, by kind of operation |
//! | `load`, `measure` | the two phases |
//! | `report` | the result, as JSON and as text |

pub(crate) mod arguments;
mod chooser;
mod load;
mod measure;
mod plan;
mod records;
mod report;
mod tally;
mod workload;

pub(crate) use arguments::Arguments;
pub(crate) use load::load;
pub(crate) use measure::measure;
pub(crate) use plan::Plan;
pub(crate) use report::Report;
