//! `kvclient put`: stores a value.

use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use kv_protocol::limits::VALUE_BYTES_MAX_CEILING;
use kvclient::{Condition, Version};
use serde::Serialize;

use super::Session;
use crate::cli::Put;
use crate::exit::Failure;
use crate::output;

#[derive(Serialize)]
struct Stored<'a> {
    key: &'a str,
    version: Version,
}

pub(super) async fn run(session: &Session, put: Put) -> Result<(), Failure> {
    let value = match put.value {
        Some(value) if value != "-" => value.into_vec(),
        _ => read_stdin()?,
    };
    let condition = match (put.if_absent, put.if_version) {
        (true, _) => Condition::Absent,
        (false, Some(version)) => Condition::Version(version),
        (false, None) => Condition::None,
    };
    let client = session.connect().await?;
    let version = client.put_if(put.key.as_str(), value, condition).await?;
    if session.is_json() {
        output::json(&Stored { key: &put.key, version })?;
    }
    Ok(())
}

/// Reads no more than can be stored, and one byte, so that what is too large is refused as such.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let limit = VALUE_BYTES_MAX_CEILING as u64 + 1;
    let stdin = std::io::stdin().lock();
    let read = stdin.take(limit).read_to_end(&mut value);
    read.map_err(|error| Failure::local("standard input cannot be read", error))?;
    Ok(value)
}
