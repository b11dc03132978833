//! The keys of a file, counted by partition.
//!
//! A file has one key a line, or records a line as `kvclient export` writes them: objects of JSON with
//! a member `key`, whose other members are not looked at. Its first line says which. Files of any
//! length are read line by line, and nothing is kept of them but a counter for each partition.

use std::borrow::Cow;
use std::io::{BufRead, Read};

use kv_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING};
use kv_core::partition::PartitionCount;
use serde::Deserialize;

/// The longest line that is read, in bytes: a record of the largest value, all of it escaped.
const LINE_BYTES_MAX: usize = 6 * (KEY_BYTES_MAX + VALUE_BYTES_MAX_CEILING) + 1024;

/// How many keys each partition has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    by_partition: Vec<u64>,
}

/// A file that has no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// A line is neither a key nor a record.
    #[error("line {line}: {problem}")]
    BadLine {
        /// Counted from 1.
        line: u64,
        /// The line's fault, and what was expected.
        problem: String,
    },
    /// There is nothing in it.
    #[error("it has no keys: expected one a line, or lines of {{\"key\":\"...\"}}")]
    Empty,
}

/// What the lines of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Keys,
    Records,
}

/// A record, of which only the key matters.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

impl Keys {
    /// Counts the keys of a file, with `partitions` partitions. Empty lines are passed over; a key
    /// that stands twice counts twice.
    ///
    /// # Errors
    /// A line is no key and no record, is longer than one can be, or the file has no line.
    pub fn read(mut reader: impl BufRead, partitions: PartitionCount) -> Result<Self, KeysError> {
        let mut by_partition = vec![0; partitions.get() as usize];
        let (mut line, mut number, mut kind) = (Vec::new(), 0, None);
        loop {
            line.clear();
            number += 1;
            let limit = LINE_BYTES_MAX as u64 + 1;
            if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.is_empty() {
                continue;
            }
            let kind = *kind.get_or_insert_with(|| kind_of(text));
            let bad = |problem| KeysError::BadLine { line: number, problem };
            let key = key(text, kind).map_err(bad)?;
            by_partition[partitions.partition_of(&key).0 as usize] += 1;
        }
        match kind {
            Some(_) => Ok(Self { by_partition }),
            None => Err(KeysError::Empty),
        }
    }

    /// How many keys there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.by_partition.iter().sum()
    }

    /// How many keys each partition has.
    #[must_use]
    pub fn by_partition(&self) -> &[u64] {
        &self.by_partition
    }
}

/// What a file is whose first line is `text`. A key may begin with a brace too, so only a record
/// makes records of all lines.
fn kind_of(text: &[u8]) -> LineKind {
    match serde_json::from_slice::<Record<'_>>(text) {
        Ok(_) => LineKind::Records,
        Err(_) => LineKind::Keys,
    }
}

fn key(text: &[u8], kind: LineKind) -> Result<Cow<'_, str>, String> {
    if text.len() > LINE_BYTES_MAX {
        return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
    }
    let key = match kind {
        LineKind::Keys => Cow::Borrowed(
            std::str::from_utf8(text)
                .map_err(|error| format!("expected a key, which is UTF-8 text: {error}"))?,
        ),
        LineKind::Records => {
            serde_json::from_slice::<Record<'_>>(text)
                .map_err(|error| format!("expected {{\"key\":\"...\"}} as in the first: {error}"))?
                .key
        }
    };
    match key.len() {
        1..=KEY_BYTES_MAX => Ok(key),
        bytes => Err(format!("a key of {bytes} bytes: expected 1 to {KEY_BYTES_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> PartitionCount {
        PartitionCount::new(64).unwrap()
    }

    fn read(text: &[u8]) -> Result<Keys, String> {
        Keys::read(text, partitions()).map_err(|error| error.to_string())
    }

    fn counted(keys: &[&str]) -> Keys {
        let mut by_partition = vec![0; 64];
        for key in keys {
            by_partition[partitions().partition_of(key).0 as usize] += 1;
        }
        Keys { by_partition }
    }

    #[test]
    fn keys_and_records_are_told_apart_by_the_first_line() {
        let expected = counted(&["a", "b c", "na\u{ef}ve", "a"]);
        assert_eq!(expected.count(), 4);
        assert_eq!(read("a\nb c\r\n\nna\u{ef}ve\na".as_bytes()).unwrap(), expected);
        let records = "{\"key\":\"a\",\"value\":\"1\"}\n{\"value_base64\":\"/w==\",\"key\":\"b c\"}\n\
                       {\"key\":\"na\\u00efve\"}\n\n{\"key\":\"a\",\"value\":{\"any\":[1]}}\n";
        assert_eq!(read(records.as_bytes()).unwrap(), expected);
        // A key may look like the beginning of a record.
        assert_eq!(read(b"{\"key\"\n{}").unwrap(), counted(&["{\"key\"", "{}"]));
    }

    #[test]
    fn what_is_no_key_is_refused_by_its_line() {
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(read(longest.as_bytes()).unwrap(), counted(&[&longest]));
        for (text, words) in [
            (&b""[..], "no keys"),
            (b"\n\r\n", "no keys"),
            (b"a\n\xff\n", "line 2: expected a key"),
            (b"{\"key\":\"a\"}\n\nb\n", "line 3: expected {\"key\""),
            (b"{\"key\":\"a\"}\n{\"key\":\"\"}", "line 2: a key of 0 bytes"),
            (&[b'k'; KEY_BYTES_MAX + 1], "line 1: a key of 1025 bytes"),
        ] {
            let problem = read(text).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
