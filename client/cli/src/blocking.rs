//! Work that would hold others up, on a thread of its own.

use kvclient::ClientError;

use crate::failure::Failure;

/// Does what computes without a pause, which is not allowed where others wait for their turn.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(ClientError::Local(format!("its work: {error}")).into()))
}
