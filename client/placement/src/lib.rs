//! Placement strategies: WebAssembly components that say which node owns which partition.
//!
//! A strategy comes from the program itself, from a file or from the cluster, and is taken for
//! hostile wherever it came from. Its bytes are bounded and recognised ([`StrategySource`]), compiled
//! once and kept ([`Cache`]), and run without imports under limits on fuel, memory, stack and time
//! ([`limits`]). Its answers are checked as a stranger's. What goes wrong is a [`StrategyError`], and
//! the process that met a bad strategy goes on with the next one.
//!
//! | file | what it does |
//! |---|---|
//! | `component` | a strategy's life: loaded, asked, verified |
//! | `source` | where the bytes come from, and what kind of bytes they are |
//! | `complexity` | what it is made of, and what work it would be to compile |
//! | `host` | the WebAssembly engine |
//! | `contract` | the versions of the contract, each with its bindings |
//! | `limiter` | what counts an instance's memory and tables |
//! | `call` | what a strategy is asked, and in which orders of the nodes |
//! | `check` | what it may answer |
//! | `cache`, `private_directory` | compiled components on disk |
//! | `watchdog`, `cpu_time` | time limits on what runs and what compiles |
//! | `limits` | every limit |
//! | [`measure`] | what a table is worth |
//! | [`admission`] | the examination of a strategy before a cluster adopts it |
//!
//! These are blocking calls, on the stack of their caller: an asynchronous caller makes them where
//! blocking is allowed.
//!
//! ```
//! use kv_placement::{Cache, StrategyHost, StrategyNode, StrategySource};
//!
//! let host = StrategyHost::new(Cache::disabled())?;
//! let strategy = host.load(&StrategySource::default())?;
//! let nodes = ["node-0", "node-1"]
//!     .map(|id| StrategyNode { id: id.to_owned(), weight: 1, zone: String::new() });
//! let owners = strategy.assign(&nodes, 16, 1, "")?;
//! assert_eq!(owners.len(), 16);
//! # Ok::<(), kv_placement::StrategyError>(())
//! ```

pub mod admission;
mod cache;
mod call;
mod check;
mod complexity;
mod component;
mod contract;
mod cpu_time;
mod error;
mod host;
mod limiter;
pub mod limits;
pub mod measure;
mod private_directory;
mod source;
mod watchdog;

pub use cache::{Cache, CacheOutcome};
pub use call::StrategyNode;
pub use check::StrategyInfo;
pub use complexity::Complexity;
pub use component::{Strategy, StrategyHost};
pub use cpu_time::thread_time;
pub use error::{StrategyError, StrategyFault};
pub use host::Cost;
pub use limits::TimeLimits;
pub use source::StrategySource;
