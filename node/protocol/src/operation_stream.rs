//! How the operations of a batch, and their outcomes, travel between programs that know this crate: as
//! one stream of bytes in the body frame, since a header that names each costs more than carrying it out.
//!
//! A stream that only reads waits for no write, not even for one that the same program sent before it
//! and that is not answered yet.
//!
//! Each operation is, with all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 1 PUT, 2 GET_ONE, 3 DELETE; plus 16 where there must be no record, plus 32 where the record must have a version |
//! | 2 | length of the key |
//! | 4 | length of the value; 0 for a GET_ONE and a DELETE |
//! | 16 | epoch and sequence number of that version, where there must be one |
//! | | the key, then the value |
//!
//! Each outcome is:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | kind: 1 stored, 2 deleted, 3 deleted where nothing was, 4 no record, 5 a record, 6 a record without its version, 7 refused |
//! | 16 | epoch and sequence number of the version, of 1 and 5 |
//! | 4 | length of what follows, of 5, 6 and 7 |
//! | | the value, or the refusal as JSON |

use std::borrow::Cow;

use kv_core::limits::BATCH_OPERATIONS_MAX;
use kv_core::operation::{Condition, Done, Operation, Outcome, Record};
use kv_core::refusal::{Refusal, bad_request, too_large};
use kv_core::version::Version;

use crate::key::check_key;

const PUT: u8 = 1;
const GET: u8 = 2;
const DELETE: u8 = 3;
const IF_ABSENT: u8 = 16;
const IF_VERSION: u8 = 32;

const STORED: u8 = 1;
const DELETED: u8 = 2;
const NOT_FOUND: u8 = 3;
const NO_RECORD: u8 = 4;
const RECORD: u8 = 5;
const RECORD_WITHOUT_VERSION: u8 = 6;
const REFUSED: u8 = 7;

const OPERATION_HEAD_BYTES: usize = 7;
const VERSION_BYTES: usize = 16;
const OUTCOME_HEAD_BYTES: usize = 1 + VERSION_BYTES + 4;

/// Writes operations. Their keys must be within the store's limits, as callers have checked.
pub(crate) fn write_operations(operations: &[Operation<'_>]) -> Vec<u8> {
    let bytes = |it: &Operation<'_>| {
        let value = if let Operation::Put { value, .. } = it { value.len() } else { 0 };
        OPERATION_HEAD_BYTES + VERSION_BYTES + it.key().len() + value
    };
    let mut stream = Vec::with_capacity(operations.iter().map(bytes).sum());
    for operation in operations {
        let (kind, condition, value) = match operation {
            Operation::Put { value, condition, .. } => (PUT, *condition, &**value),
            Operation::Get { .. } => (GET, Condition::None, &[][..]),
            Operation::Delete { condition, .. } => (DELETE, *condition, &[][..]),
        };
        let (flag, version) = match condition {
            Condition::None => (0, None),
            Condition::Absent => (IF_ABSENT, None),
            Condition::Version(version) => (IF_VERSION, Some(version)),
        };
        stream.push(kind | flag);
        let key = operation.key();
        // Longer keys and values than can be said here are refused for their length.
        let key_bytes = u16::try_from(key.len()).unwrap_or(u16::MAX);
        let value_bytes = u32::try_from(value.len()).unwrap_or(u32::MAX);
        stream.extend_from_slice(&key_bytes.to_le_bytes());
        stream.extend_from_slice(&value_bytes.to_le_bytes());
        if let Some(version) = version {
            push_version(&mut stream, version);
        }
        stream.extend_from_slice(key.as_bytes());
        stream.extend_from_slice(value);
    }
    stream
}

/// Reads a stream of so many operations, with values of at most so many bytes.
///
/// # Errors
/// What breaks the format, and in which operation.
pub(crate) fn read_operations(
    stream: &[u8],
    count: u32,
    value_bytes_max: usize,
) -> Result<Vec<Operation<'_>>, Refusal> {
    let count = count as usize;
    if count == 0 {
        return Err(bad_request("\"operations\" is 0: expected at least one operation"));
    }
    if count > BATCH_OPERATIONS_MAX {
        return Err(too_large("the number of operations", count, BATCH_OPERATIONS_MAX));
    }
    let mut operations = Vec::with_capacity(count);
    let mut rest = Reader { rest: stream };
    for index in 0..count {
        let operation = read_operation(&mut rest, value_bytes_max).map_err(|refusal| Refusal {
            message: format!("operation {index}: {}", refusal.message),
            ..refusal
        });
        operations.push(operation?);
    }
    match rest.rest.len() {
        0 => Ok(operations),
        more => Err(bad_request(format!(
            "the body frame has {more} bytes more than its {count} operations"
        ))),
    }
}

fn read_operation<'a>(
    reader: &mut Reader<'a>,
    value_bytes_max: usize,
) -> Result<Operation<'a>, Refusal> {
    let cut_short = || bad_request("the body frame is cut short");
    let head = reader.take::<OPERATION_HEAD_BYTES>().ok_or_else(cut_short)?;
    let [kind, key_low, key_high, value_bytes @ ..] = *head;
    let key_bytes = usize::from(u16::from_le_bytes([key_low, key_high]));
    let value_bytes = u32::from_le_bytes(value_bytes) as usize;
    if value_bytes > value_bytes_max {
        return Err(too_large("the value's length", value_bytes, value_bytes_max));
    }
    let condition = match kind & !(IF_ABSENT - 1) {
        0 => Condition::None,
        IF_ABSENT => Condition::Absent,
        IF_VERSION => Condition::Version(reader.version().ok_or_else(cut_short)?),
        _ => return Err(bad_request(format!("it is of the unknown kind {kind}"))),
    };
    let key = reader.bytes(key_bytes).ok_or_else(cut_short)?;
    let key = std::str::from_utf8(key).map_err(|_| bad_request("the key is not UTF-8"))?;
    check_key("the key", key)?;
    let key = Cow::Borrowed(key);
    let value = reader.bytes(value_bytes).ok_or_else(cut_short)?;
    match (kind & (IF_ABSENT - 1), condition, value) {
        (PUT, condition, value) => {
            Ok(Operation::Put { key, value: Cow::Borrowed(value), condition })
        }
        (GET, Condition::None, []) => Ok(Operation::Get { key }),
        (DELETE, Condition::None | Condition::Version(_), []) => {
            Ok(Operation::Delete { key, condition })
        }
        _ => Err(bad_request(format!("it is of the unknown kind {kind}, or has a value"))),
    }
}

/// Writes outcomes; records come with their versions where `versions` are asked for.
pub(crate) fn write_outcomes(outcomes: &[Outcome], versions: bool) -> Vec<u8> {
    let bytes = |it: &Outcome| {
        let value = if let Ok(Done::Read(Some(record))) = it { record.value.len() } else { 0 };
        OUTCOME_HEAD_BYTES + value
    };
    let mut stream = Vec::with_capacity(outcomes.iter().map(bytes).sum());
    for outcome in outcomes {
        match outcome {
            Ok(Done::Stored { version }) => {
                stream.push(STORED);
                push_version(&mut stream, *version);
            }
            Ok(Done::Deleted { existed: true }) => stream.push(DELETED),
            Ok(Done::Deleted { existed: false }) => stream.push(NOT_FOUND),
            Ok(Done::Read(None)) => stream.push(NO_RECORD),
            Ok(Done::Read(Some(Record { value, version }))) => {
                match version.filter(|_| versions) {
                    Some(version) => {
                        stream.push(RECORD);
                        push_version(&mut stream, version);
                    }
                    None => stream.push(RECORD_WITHOUT_VERSION),
                }
                push_bytes(&mut stream, value);
            }
            Err(refusal) => {
                stream.push(REFUSED);
                let json = serde_json::to_vec(refusal);
                push_bytes(&mut stream, &json.expect("a refusal holds only what JSON can say"));
            }
        }
    }
    stream
}

/// Reads a stream of so many outcomes.
///
/// # Errors
/// What breaks the format.
pub(crate) fn read_outcomes(stream: &[u8], count: u32) -> Result<Vec<Outcome>, String> {
    let count = count as usize;
    if count > BATCH_OPERATIONS_MAX {
        return Err(format!("it has {count} outcomes, expected at most {BATCH_OPERATIONS_MAX}"));
    }
    let mut outcomes = Vec::with_capacity(count);
    let mut reader = Reader { rest: stream };
    for index in 0..count {
        let outcome = read_outcome(&mut reader);
        outcomes.push(outcome.ok_or_else(|| format!("outcome {index} is damaged or cut short"))?);
    }
    match reader.rest.len() {
        0 => Ok(outcomes),
        more => Err(format!("{more} bytes too many in its body")),
    }
}

fn read_outcome(reader: &mut Reader<'_>) -> Option<Outcome> {
    let [kind] = *reader.take::<1>()?;
    Some(Ok(match kind {
        STORED => Done::Stored { version: reader.version()? },
        DELETED => Done::Deleted { existed: true },
        NOT_FOUND => Done::Deleted { existed: false },
        NO_RECORD => Done::Read(None),
        RECORD => {
            let version = Some(reader.version()?);
            Done::Read(Some(Record { value: reader.counted()?.to_vec(), version }))
        }
        RECORD_WITHOUT_VERSION => {
            Done::Read(Some(Record { value: reader.counted()?.to_vec(), version: None }))
        }
        REFUSED => return Some(Err(serde_json::from_slice(reader.counted()?).ok()?)),
        _ => return None,
    }))
}

fn push_version(stream: &mut Vec<u8>, version: Version) {
    stream.extend_from_slice(&version.epoch.to_le_bytes());
    stream.extend_from_slice(&version.sequence.to_le_bytes());
}

/// Values and refusals are far below 4 GiB.
fn push_bytes(stream: &mut Vec<u8>, bytes: &[u8]) {
    stream.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    stream.extend_from_slice(bytes);
}

/// Hands out a stream's bytes in order; `None` where too few are left.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(taken)
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = u32::from_le_bytes(*self.take()?);
        self.bytes(count as usize)
    }

    fn version(&mut self) -> Option<Version> {
        let (epoch, sequence) = (*self.take()?, *self.take()?);
        Some(Version { epoch: u64::from_le_bytes(epoch), sequence: u64::from_le_bytes(sequence) })
    }
}
