//! Values of options that several commands take, as they are typed.

use std::time::Duration;

use kv_core::partition::PartitionCount;
use kvclient::limits::TIMEOUT_MAX;

/// A time that is typed in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_secs_f64().fmt(f)
    }
}

/// A time above 0 that an operation may take.
///
/// # Errors
/// What is expected, for a person.
pub(crate) fn seconds(text: &str) -> Result<Seconds, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|timeout| !timeout.is_zero() && *timeout <= TIMEOUT_MAX)
        .map(Seconds)
        .ok_or_else(|| format!("expected seconds, above 0 and up to {}", TIMEOUT_MAX.as_secs()))
}

/// A number of partitions that a layout can have.
///
/// # Errors
/// What is expected, for a person.
pub(crate) fn partitions(text: &str) -> Result<u32, String> {
    let count = text.parse::<u32>().map_err(|error| error.to_string())?;
    PartitionCount::new(count).map(PartitionCount::get).map_err(|error| error.to_string())
}
