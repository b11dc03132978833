//! The lab: strategies side by side, without a cluster.
//!
//! A [`Scenario`] says which nodes there are, which come and which go. Every [`Candidate`] is asked
//! for its tables of it, which [`kv_placement::measure`] judges; what a table costs is timed with nothing
//! else going on. A candidate that fails is a [`Trial`] with its [`Problem`], and the others go on.
//!
//! | file | what it does |
//! |---|---|
//! | `scenario` | the nodes and changes of an experiment, checked |
//! | `candidate` | the strategies of an experiment |
//! | `keys` | the keys of a file, counted by partition |
//! | `native` | the strategies that are linked into this program too |
//! | `trial` | what a strategy answered, measured |
//! | `timing` | the time that an answer takes |
//! | `experiment` | all candidates: what runs alone, and what in parallel |
//! | `report` | the result as a document of JSON |
//! | [`picture`] | the result as SVG and PNG |
//!
//! ```
//! use kv_core::partition::PartitionCount;
//! use kv_lab::{Candidate, Experiment, Scenario, nodes};
//! use kv_placement::Cache;
//!
//! let mut all = nodes(0..11);
//! let joining = all.split_off(10);
//! let leaving = vec!["node-9".to_owned()];
//! let scenario = Scenario::new(all, joining, leaving, PartitionCount::new(1024)?, 1)?;
//! let experiment = Experiment::new(scenario);
//! for trial in experiment.run(&[Candidate::built_in("hrw")?], &Cache::disabled())? {
//!     let figures = trial.outcome.expect("the built-in strategies answer");
//!     assert!(figures.partitions.max < 1.5);
//!     assert_eq!(figures.join.expect("a node joins").needless, 0);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod candidate;
mod experiment;
mod keys;
mod native;
pub mod picture;
pub mod report;
mod scenario;
mod timing;
mod trial;

pub use candidate::Candidate;
pub use experiment::Experiment;
pub use keys::{Keys, KeysError};
pub use scenario::{Scenario, ScenarioError, nodes};
pub use trial::{Cost, Described, Figures, Problem, Trial};

/// The most strategies that are compared at once.
pub const CANDIDATES_MAX: usize = 32;
