//! What the threads hand back that work on requests for the serving loop.

use kv_protocol::reply::Content;

use crate::read_pool::FoundRecords;

/// What became of a request that the serving loop has handed on.
pub struct Finished {
    /// The serving loop's number for it.
    pub request_number: u64,
    /// What was found or done.
    pub result: Completed,
}

/// What was found or done.
pub enum Completed {
    /// What the client is told.
    Content(Content),
    /// Some of the records that the request reads, from which the serving loop makes an answer.
    Records(FoundRecords),
}
