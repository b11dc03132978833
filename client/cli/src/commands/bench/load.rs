//! The first phase: storing the records.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use kvclient::{Client, ClientError};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::Serialize;

use super::plan::Plan;
use super::records::Values;
use crate::progress::ticking;

/// How many records are being stored at the same time.
const IN_FLIGHT: usize = 1024;

/// How long it took to store the records.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Loaded {
    pub(crate) seconds: f64,
    /// Records per second.
    pub(crate) throughput: f64,
}

/// Stores the records that the plan speaks of, each once.
///
/// # Errors
/// One of them could not be stored.
pub(crate) async fn load(client: &Client, plan: &Plan) -> Result<Loaded, ClientError> {
    let mut dice = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let values = Values::new(plan.value_bytes, &mut dice);
    let bar = ticking("loading {human_pos} of {human_len} records, {eta} left", Some(plan.records));
    let began = Instant::now();
    let puts = stream::iter(0..plan.records).map(|record| {
        let put = client.put(plan.keys.key(record), values.draw(&mut dice));
        async {
            put.await?;
            bar.inc(1);
            Ok::<_, ClientError>(())
        }
    });
    let stored = puts.buffer_unordered(IN_FLIGHT).try_collect::<()>().await;
    bar.finish_and_clear();
    stored?;
    let seconds = began.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
    Ok(Loaded { seconds, throughput: plan.records as f64 / seconds })
}
