//! The values of writes: each says which write it is, and can be checked byte by byte.

use super::history::WriteId;

/// Some values are this long, so that they are more than one piece on their way.
const LONG_BYTES: usize = 20_000;

/// The value of a write.
pub(super) fn value_of(write: WriteId) -> Vec<u8> {
    let mut value = format!("w{write}:").into_bytes();
    let length = if write.is_multiple_of(64) { LONG_BYTES } else { 24 };
    value.resize(value.len() + length, b'.');
    value
}

/// The write that a value is of; `None` if no client of these tests writes such a value.
pub(super) fn write_of(value: &[u8]) -> Option<WriteId> {
    let digits = value.strip_prefix(b"w")?.split(|byte| *byte == b':').next()?;
    let write = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (value_of(write) == value).then_some(write)
}

#[test]
fn values_say_whose_they_are() {
    for write in [0, 1, 64, u64::MAX] {
        assert_eq!(write_of(&value_of(write)), Some(write));
    }
    let mut damaged = value_of(64);
    damaged[1000] = b'x';
    for wrong in [&damaged[..], b"", b"w1", b"w1:", b"x1:........................"] {
        assert_eq!(write_of(wrong), None);
    }
}
