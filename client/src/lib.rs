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
//! | `cluster`, `catalog`, `genesis` | the layout: found in Consul and verified, where the nodes are, or created |
//! | [`strategy`], `placement`, `tables` | the WebAssembly host, and tables computed by it |
//! | [`measure`], [`lab`] | what a table is worth; strategies side by side |
//! | [`admission`] | what is found out about a strategy before it is adopted |
//! | [`course`], `routing` | whom to ask for a key, and what follows from the answer, without I/O |
//! | `dispatch`, `lane`, `packing`, `batch` | operations of many tasks as batches for nodes |
//! | `retry`, `waiting`, `opening` | what is done before an operation is tried again |
//! | `connection`, `endpoint` | ZeroMQ |
//! | `scan`, `status` | everything in the store, and how it is |
//! | `replacement` | files that are written whole |
//! | `explain`, `history` | why a key is where it is, and the layouts of the past |
//! | [`rebalance`] | moving data as nodes come and go, or by another strategy |
//!
//! ```no_run
//! use futures::TryStreamExt;
//! use kv_protocol::consul::ConsulConfig;
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

pub mod admission;
mod batch;
mod catalog;
mod client;
mod cluster;
mod config;
mod connection;
pub mod course;
mod dispatch;
mod endpoint;
mod error;
mod executor;
mod explain;
#[doc(hidden)]
pub mod failpoint;
mod genesis;
mod history;
pub mod lab;
mod lane;
pub mod limits;
pub mod measure;
mod opening;
mod packing;
mod placement;
pub mod rebalance;
#[doc(hidden)]
pub mod replacement;
#[doc(hidden)]
mod retry;
mod routing;
#[cfg(test)]
mod sample;
mod scan;
mod status;
pub mod strategy;
mod tables;
mod waiting;

pub use client::{Client, Location};
pub use config::{ClientConfig, NewCluster};
pub use endpoint::{Endpoint, InvalidAddress};
pub use error::ClientError;
pub use explain::{Cause, Choice, Explanation, explain};
pub use genesis::Creation;
pub use kv_protocol::reply::{Done, Record};
pub use kv_protocol::request::{Condition, Operation};
pub use kv_protocol::version::Version;
pub use status::{ClusterStatus, LeftBehind, NodeReport, inspect};
