//! The client of the store: it knows by a placement strategy which node owns a key, and asks that
//! node directly.
//!
//! [`Client`] is what programs use. The command line `kvclient` is made of it and of nothing else.
//!
//! | file | what |
//! |---|---|
//! | `client` | put, get, delete, batches, and the rest of what programs use |
//! | `executor` | how an operation is carried out, and tried again while that is safe |
//! | `config`, `error`, `limits` | what a client is told, what can go wrong, and every limit |
//! | `cluster`, `catalog`, `bootstrap` | the layout: found in Consul and verified, where the nodes are, or created |
//! | `placement`, `tables` | strategies asked from asynchronous code, and tables computed by them |
//! | `routing` | whom to ask for a key |
//! | `dispatch`, `queue`, `batcher`, `batch` | operations of many tasks as batches for nodes |
//! | `outbox`, `in_flight` | the batches that are on their way to one node |
//! | `deadline`, `retry_policy`, `hand_off` | what is done before an operation is tried again |
//! | `scan`, `status` | everything in the store, and how it is |
//! | `explain`, `history` | why a key is where it is, and the layouts of the past |
//! | [`admin`] | what programs build on that run a cluster, such as the rebalancer |
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use kv_consul::ConsulConfig;
//! use kvclient::{Client, ClientConfig};
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
mod batch;
mod batcher;
#[doc(hidden)]
mod bootstrap;
mod catalog;
mod client;
mod cluster;
mod config;
mod deadline;
mod dispatch;
mod error;
mod executor;
mod explain;
mod hand_off;
mod history;
mod in_flight;
pub mod limits;
mod outbox;
mod placement;
mod queue;
mod retry_policy;
mod routing;
#[cfg(test)]
mod sample;
mod scan;
mod status;
mod tables;

pub use bootstrap::Creation;
pub use client::{Client, Location};
pub use config::{ClientConfig, NewCluster};
pub use error::ClientError;
pub use explain::{Cause, Choice, Explanation, explain};
pub use kv_core::operation::{Condition, Operation};
pub use kv_core::operation::{Done, Record};
pub use kv_core::version::Version;
pub use kv_transport::{Endpoint, InvalidAddress};
pub use status::{ClusterStatus, LeftBehind, NodeReport, inspect};

/// The examples of the client's page are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Page;
