//! The client of the store: it knows by a placement strategy which node owns a key, and asks that
//! node directly.
//!
//! [`Client`] is what programs use. The command line `kvclient` is made of it and of the crates beside it.
//!
//! With the feature `strategies`, which is there by default, a client computes tables by the strategies
//! themselves, creates the layout of a cluster that has none, and explains where keys are. Without it nothing
//! of the WebAssembly engine is compiled: the client goes by the tables that are published in Consul under
//! their digests, and where one is missing that is [`ClientError::TableUnavailable`].
//!
//! | file | what |
//! |---|---|
//! | `client` | put, get, delete, batches, and the rest of what programs use |
//! | `executor` | how an operation is carried out, and tried again while that is safe |
//! | `config`, `error`, `limits` | what a client is told, what can go wrong, and every limit |
//! | `cluster`, `bootstrap`, `creation` | what a client knows of its cluster; the first layout of one |
//! | `discovery`, `catalog`, `ask` | the layout found in Consul, where the nodes are, and how each says it is |
//! | `pinned`, `placement`, `tables` | what a layout pins: strategies asked from asynchronous code, and tables computed by them |
//! | `published`, `fetched` | tables fetched by their digests, in a client without strategies |
//! | `routing` | whom to ask for a key |
//! | `dispatch`, `queue`, `batcher`, `batch` | operations of many tasks as batches for nodes |
//! | `outbox`, `in_flight` | the batches that are on their way to one node |
//! | `deadline`, `retry_policy`, `hand_off` | how a client waits and helps before it tries an operation again |
//! | `scan`, `status` | everything in the store, and how it is |
//! | `explain` | why a key is where it is, and was in the past |
//! | [`admin`] | what programs build on that run a cluster, such as the rebalancer |
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use kvclient::{Client, ClientConfig, ConsulConfig};
//!
//! # async fn example() -> Result<(), kvclient::ClientError> {
//! let client = Client::connect(ClientConfig::new(ConsulConfig::resolve(None)?)).await?;
//! client.put("greeting", "hello").await?;
//! let record = client.get("greeting").await?.expect("it was just stored");
//! assert_eq!(record.value, b"hello");
//!
//! let mut everything = std::pin::pin!(client.get_all("gree"));
//! while let Some((key, record)) = everything.try_next().await? {
//!     println!("{key}: {} bytes", record.value.len());
//! }
//! # Ok(())
//! # }
//! ```

pub mod admin;
mod ask;
mod batch;
mod batcher;
#[doc(hidden)]
#[cfg(feature = "strategies")]
mod bootstrap;
mod catalog;
mod client;
mod cluster;
mod config;
mod creation;
mod deadline;
mod discovery;
mod dispatch;
mod error;
mod executor;
#[cfg(feature = "strategies")]
mod explain;
#[cfg(not(feature = "strategies"))]
mod fetched;
mod hand_off;
mod in_flight;
pub mod limits;
mod outbox;
#[cfg(feature = "strategies")]
mod pinned;
#[cfg(feature = "strategies")]
mod placement;
#[cfg(not(feature = "strategies"))]
mod published;
mod queue;
mod retry_policy;
mod routing;
#[cfg(test)]
mod sample;
mod scan;
mod status;
#[cfg(feature = "strategies")]
mod tables;

pub use client::{Client, Location};
pub use config::ClientConfig;
#[cfg(feature = "strategies")]
pub use config::NewCluster;
pub use creation::Creation;
pub use error::ClientError;
#[cfg(feature = "strategies")]
pub use explain::{Cause, Choice, Explanation, explain};
pub use kv_consul::ConsulConfig;
pub use kv_core::operation::{Condition, Done, Operation, Record};
pub use kv_core::version::Version;
pub use kv_transport::{Endpoint, InvalidAddress};
pub use status::{ClusterStatus, LeftBehind, NodeReport, inspect};

/// The examples of the client's page are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Page;
