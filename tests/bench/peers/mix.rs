//! Reads and updates in a core workload's proportion, for stores that have no driver of their own.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::zipfian::Zipfian;
use kv_bench::fleet::{VALUE_BYTES, key};

/// One of YCSB's core workloads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Its letter, as `kvclient bench` knows it.
    pub(crate) name: &'static str,
    /// Which share of the operations reads.
    pub(crate) reads: f64,
}

/// The workloads that only read and update.
pub(crate) const MIXES: [Mix; 3] =
    [Mix { name: "a", reads: 0.5 }, Mix { name: "b", reads: 0.95 }, Mix { name: "c", reads: 1.0 }];

/// A connection to a store.
pub(crate) trait Peer: Send + 'static {
    /// Reads the value of a key that is there.
    fn read(&mut self, key: &str) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Stores a value.
    fn update(
        &mut self,
        key: &str,
        value: &[u8],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Stores the keys, with as many operations under way as there are connections.
pub(crate) async fn store<P: Peer>(peers: Vec<P>, keys: usize) -> anyhow::Result<()> {
    let step = peers.len();
    let tasks = peers.into_iter().enumerate().map(|(first, mut peer)| {
        tokio::spawn(async move {
            for number in (first..keys).step_by(step) {
                peer.update(&key(number), &[b'v'; VALUE_BYTES]).await?;
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.context("a worker panicked")??;
    }
    Ok(())
}

/// Drives all connections for some time, each with one operation after the other, and gives the
/// operations per second.
pub(crate) async fn drive<P: Peer>(
    peers: Vec<P>,
    mix: Mix,
    keys: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let zipfian = Zipfian::new(keys)?;
    let began = Instant::now();
    let tasks = peers.into_iter().zip(0..).map(|(mut peer, seed)| {
        tokio::spawn(async move {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut operations = 0_u64;
            while began.elapsed() < time {
                let key = key(zipfian.draw(&mut random));
                if random.random::<f64>() < mix.reads {
                    peer.read(&key).await?;
                } else {
                    peer.update(&key, &[b'w'; VALUE_BYTES]).await?;
                }
                operations += 1;
            }
            anyhow::Ok(operations)
        })
    });
    let mut operations = 0;
    for task in tasks.collect::<Vec<_>>() {
        operations += task.await.context("a worker panicked")??;
    }
    Ok(operations as f64 / began.elapsed().as_secs_f64())
}
