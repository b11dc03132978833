//! `kvclient put`: stores a value, or many.

use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;

use kv_core::limits::VALUE_BYTES_MAX_CEILING;
use kvclient::{Condition, Version};
use serde::Serialize;

use super::{Session, blocking, import, open_write, stdin};
use crate::cli::Put;
use crate::failure::Failure;
use crate::{interrupt, output};

#[derive(Serialize)]
struct Stored<'a> {
    key: &'a str,
    version: Version,
}

pub(super) async fn run(session: &Session, put: Put) -> Result<(), Failure> {
    let Some(key) = put.key else {
        if std::io::stdin().is_terminal() {
            output::note(
                "reading records from the terminal, one {\"op\":\"PUT\",\"key\":\"...\",\"value\":\"...\"} a line; \
                 Ctrl-D ends",
            );
        }
        return import::store(session, None).await;
    };
    let value = match put.value {
        Some(value) if value == "-" => blocking(read_stdin).await?,
        Some(value) => value.into_vec(),
        None => given(&key, blocking(read_stdin).await?)?,
    };
    let condition = match (put.if_absent, put.if_version) {
        (true, _) => Condition::Absent,
        (false, Some(version)) => Condition::Version(version),
        (false, None) => Condition::None,
    };
    let client = session.connect().await?;
    let write = client.put_if(key.as_str(), value, condition);
    let version = interrupt::changing(open_write(&key), write).await?;
    if session.is_json() {
        output::json(&Stored { key: &key, version })?;
    }
    Ok(())
}

/// Refuses an empty value that the user did not ask for, as it comes from a script without an input, and from
/// a program in a pipe that failed.
fn given(key: &str, value: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if value.is_empty() {
        return Err(Failure::Usage(format!(
            "no value is given, and standard input is empty, so nothing was stored under {key:?}: give the \
             value as an argument, or \"\" for an empty one (or - where an empty input may be the value)"
        )));
    }
    Ok(value)
}

/// Reads no more than can be stored, and one byte, so that a value which is too large is refused as such.
fn read_stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let limit = VALUE_BYTES_MAX_CEILING as u64 + 1;
    let stdin = stdin()?.lock();
    if stdin.is_terminal() {
        output::note(
            "reading the value from the terminal; Ctrl-D at the beginning of a line ends it",
        );
    }
    let read = stdin.take(limit).read_to_end(&mut value);
    read.map_err(|error| Failure::local("standard input cannot be read", error))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_has_to_be_asked_for() {
        assert_eq!(given("k", b"v".to_vec()).unwrap(), b"v");
        let refused = given("k", Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("\"\"") && refused.contains("\"k\""), "{refused}");
    }
}
