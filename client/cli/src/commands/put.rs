//! `kvclient put`: stores a value, or many.

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;

use clap::Args;
use kv_core::limits::VALUE_BYTES_MAX_CEILING;
use kv_core::version::Version;
use kvclient::Condition;
use serde::Serialize;

use super::import;
use crate::blocking::blocking;
use crate::failure::Failure;
use crate::input::stdin;
use crate::session::Session;
use crate::{interrupt, output};

/// Store a value, or many from standard input
#[derive(Debug, Args)]
#[command(after_help = "\
Without a KEY, the payloads of PUT requests are read from standard input, one a line, and stored as `import`
does it: {\"op\":\"PUT\",\"key\":\"...\",\"value\":\"...\"}, with or without \"op\". With a KEY and no VALUE, standard
input is the value; where that is empty, nothing is stored, unless it is asked for by - or \"\".

Examples:
  kvclient put greeting hello
  kvclient put photo < photo.jpg
  kvclient put nothing \"\"                     (an empty value)
  kvclient put < words.ndjson
  kvclient put lock me --if-absent
  kvclient put counter 2 --if-version 1-42   (versions: kvclient get counter --output json)
  kvclient put note -- --starts-with-a-dash")]
pub(crate) struct Put {
    /// The key: 1 to 1024 bytes of text. Without one, records are read from standard input: one
    /// {"op":"PUT","key":"...","value":"..."} a line, the op optional
    key: Option<String>,
    /// The value; standard input where it is - or missing
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Only if there is no value yet
    #[arg(long, conflicts_with = "if_version", requires = "key")]
    if_absent: bool,
    /// Only if the record has this version
    #[arg(long, value_name = "VERSION", requires = "key")]
    if_version: Option<Version>,
}

#[derive(Serialize)]
struct Stored<'a> {
    key: &'a str,
    version: Version,
}

impl Put {
    /// Whether many records are stored, from standard input.
    pub(crate) fn is_import(&self) -> bool {
        self.key.is_none()
    }

    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Some(key) = self.key else {
            if std::io::stdin().is_terminal() {
                output::note(
                    "reading records from the terminal, one {\"op\":\"PUT\",\"key\":\"...\",\"value\":\"...\"} a line; \
                     Ctrl-D ends",
                );
            }
            return import::store(session, None).await;
        };
        let value = match self.value {
            Some(value) if value == "-" => blocking(read_stdin).await?,
            Some(value) => value.into_vec(),
            None => given(&key, blocking(read_stdin).await?)?,
        };
        let condition = match (self.if_absent, self.if_version) {
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
}

/// Whether the write of `key` took effect is open.
pub(super) fn open_write(key: &str) -> String {
    format!(
        "whether the write of {key:?} took effect is unknown. Read the key to find out, or write it again"
    )
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
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        put: Put,
    }

    #[test]
    fn values_may_be_numbers_below_zero_and_anything_after_two_dashes() {
        for (line, expected) in [
            ("put k v", Some("v")),
            ("put k -", Some("-")),
            ("put k", None),
            ("put", None),
            ("put k -5", Some("-5")),
            ("put k -- --if-absent", Some("--if-absent")),
        ] {
            let Line { put } = Line::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(put.value, expected.map(OsString::from), "{line}");
            assert!(!put.if_absent);
        }
    }

    #[test]
    fn an_empty_value_has_to_be_asked_for() {
        assert_eq!(given("k", b"v".to_vec()).unwrap(), b"v");
        let refused = given("k", Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("\"\"") && refused.contains("\"k\""), "{refused}");
    }
}
