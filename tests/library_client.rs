//! The client's library in a test's own process, as programs use it.

use std::future::Future;

use kv_consul::ConsulConfig;
use kv_testkit::harness::Cluster;
use kvclient::{Client, ClientConfig, ClientError};
use tokio::runtime::Runtime;

/// Connects to `cluster`.
///
/// # Panics
/// Where that fails.
pub(crate) async fn connect(cluster: &Cluster) -> Client {
    let consul = ConsulConfig::resolve(Some(&cluster.consul())).expect("the address is one");
    let mut config = ClientConfig::new(consul);
    config.cluster = cluster.name().parse().expect("the cluster's name is one");
    Client::connect(config).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A client with a runtime of its own, for tests that are not asynchronous.
pub(crate) struct Library {
    /// The client, whose futures [`wait_for`](Self::wait_for) runs.
    pub(crate) client: Client,
    runtime: Runtime,
}

impl Library {
    /// Connects to `cluster`.
    ///
    /// # Panics
    /// Where that fails.
    #[track_caller]
    pub(crate) fn connect(cluster: &Cluster) -> Self {
        let runtime = Runtime::new().expect("a runtime can be made");
        let client = runtime.block_on(connect(cluster));
        Self { client, runtime }
    }

    /// Waits for what the client does.
    pub(crate) fn wait_for<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Stores a value.
    ///
    /// # Errors
    /// The client's.
    pub(crate) fn put(&self, key: &str, value: &str) -> Result<(), ClientError> {
        self.wait_for(self.client.put(key, value)).map(drop)
    }

    /// Reads a value.
    ///
    /// # Errors
    /// The client's.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let record = self.wait_for(self.client.get(key))?;
        Ok(record.map(|record| record.value))
    }
}
