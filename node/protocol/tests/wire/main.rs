//! The messages, byte for byte, and their round trips.
//!
//! | file | what |
//! |---|---|
//! | `headers` | requests and replies that stand in JSON, and their limits |
//! | `streams` | batches that travel as streams, and their limits |
//! | `round_trips` | every message comes back as it went, and no bytes make a reader panic |
//! | `recorded` | what an older version has said is understood, and said alike |
//! | `generated` | messages of all kinds for that |
#![allow(clippy::unwrap_used, reason = "what a test does not expect is to fail it")]

mod generated;
mod headers;
mod recorded;
mod round_trips;
mod streams;
