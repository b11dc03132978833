//! How far a line is read that may be a record's. Pure.
//!
//! A line is looked at while it is read, so that one which cannot be a record is not read to its end, and
//! takes no memory: one that begins with something else, or has texts longer than those of any record. JSON's
//! escapes can make a text six times as long, which is why a line's length alone says little.

use kv_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING};

use crate::ndjson::EXPECTED;

/// What some programs put before UTF-8. It says nothing, so it is passed over at the beginning of a line.
pub(crate) const BOM: &[u8] = "\u{feff}".as_bytes();

/// The longest texts of a line, together, in bytes without JSON's escapes: the largest value as base64, the
/// longest key, and the members' names with `PUT`.
const TEXTS_BYTES_MAX: usize = VALUE_BYTES_MAX_CEILING.div_ceil(3) * 4 + KEY_BYTES_MAX + 64;

/// The most bytes of a line that are not in its texts: punctuation, blanks and numbers.
const OTHER_BYTES_MAX: usize = 64 << 10;

/// How much of a line that is something else is shown, in bytes.
const SHOWN_BYTES: usize = 40;

/// What has been seen of one line.
#[derive(Default)]
pub(crate) struct LineBounds {
    place: Place,
    /// The bytes of its texts, without escapes.
    texts: usize,
    /// The bytes outside texts.
    other: usize,
}

#[derive(Clone, Copy, Default)]
enum Place {
    /// Before its first character.
    #[default]
    Beginning,
    /// Outside its texts.
    Outside,
    Text,
    /// Behind a backslash in a text.
    Escape,
    /// Before so many digits of an escape.
    Digits(u8),
}

impl LineBounds {
    /// Looks at the next bytes of the line.
    ///
    /// # Errors
    /// Why the line cannot be a record's, for a person.
    pub(crate) fn look_at(&mut self, bytes: &[u8]) -> Result<(), String> {
        for (at, byte) in bytes.iter().enumerate() {
            self.step(*byte).map_err(|trouble| match trouble {
                LineError::TooLong => format!(
                    "it is longer than any record: a value has at most {VALUE_BYTES_MAX_CEILING} bytes"
                ),
                LineError::NoObject => no_object(&bytes[at..]),
                LineError::Utf16 => UTF_16.into(),
            })?;
        }
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), LineError> {
        self.place = match (self.place, byte) {
            (Place::Beginning, b'{') | (Place::Text, b'"') => Place::Outside,
            (Place::Beginning, 0) | (Place::Outside, 0) => return Err(LineError::Utf16),
            (Place::Beginning, byte) if byte.is_ascii_whitespace() || BOM.contains(&byte) => {
                Place::Beginning
            }
            (Place::Beginning, _) => return Err(LineError::NoObject),
            (Place::Outside, b'"') => Place::Text,
            (Place::Outside, _) => Place::Outside,
            (Place::Text, b'\\') => Place::Escape,
            (Place::Escape, b'u') => Place::Digits(4),
            (Place::Digits(left), _) if left > 1 => Place::Digits(left - 1),
            (Place::Text | Place::Escape | Place::Digits(_), _) => {
                self.texts += 1;
                Place::Text
            }
        };
        if matches!(self.place, Place::Beginning | Place::Outside) {
            self.other += 1;
        }
        let fits = self.texts <= TEXTS_BYTES_MAX && self.other <= OTHER_BYTES_MAX;
        if fits { Ok(()) } else { Err(LineError::TooLong) }
    }
}

enum LineError {
    TooLong,
    NoObject,
    Utf16,
}

const UTF_16: &str = "it is UTF-16, as some programs write it, and expected is UTF-8: convert it first, such as \
                      with `iconv -f UTF-16 -t UTF-8`";

/// Says why a line that begins with `bytes` is no record.
fn no_object(bytes: &[u8]) -> String {
    if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return UTF_16.into();
    }
    if let [0x1f, 0x8b, ..] = bytes {
        return "it is compressed: try `gunzip -c FILE | kvclient import`".into();
    }
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
    format!(
        "expected {EXPECTED}, and it begins with {:?}",
        String::from_utf8_lossy(shown).trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(bytes: &[u8]) -> String {
        LineBounds::default().look_at(bytes).expect_err("it is no line")
    }

    #[test]
    fn what_is_no_object_is_named() {
        assert!(problem(b"oops").contains("begins with \"oops\""));
        assert!(problem(b"[1]").contains(EXPECTED));
        assert!(problem(b"\x1f\x8b\x08").contains("gunzip"));
        let utf16: Vec<u8> = "{\"key\"".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [b"\xff\xfe", &utf16[..]].concat();
        let swapped: Vec<u8> = "{\"key\"".encode_utf16().flat_map(u16::to_be_bytes).collect();
        let swapped_marked = [b"\xfe\xff", &swapped[..]].concat();
        for text in [&utf16, &marked, &swapped, &swapped_marked] {
            assert!(problem(text).contains("UTF-16"), "{text:?}");
        }
    }

    #[test]
    fn texts_are_bounded_without_their_escapes() {
        let line = |filling: &[u8]| [b"{\"k\":\"", filling, b"\"}"].concat();
        let fits = line(&vec![b'v'; TEXTS_BYTES_MAX - 1]);
        assert!(LineBounds::default().look_at(&fits).is_ok());
        assert!(problem(&line(&vec![b'v'; TEXTS_BYTES_MAX])).contains("longer than"));
        // A quotation mark that is escaped ends no text.
        for (escaped, length) in
            [(r"\u0001", 1), (r"\n", 1), (r#"\""#, 1), (r"\\", 1), (r"\u00e9v", 2)]
        {
            let mut bounds = LineBounds::default();
            bounds.look_at(&line(escaped.repeat(100).as_bytes())[..]).expect("it fits");
            assert_eq!((bounds.texts, bounds.other), (1 + 100 * length, 5), "{escaped}");
        }
    }

    #[test]
    fn texts_are_bounded_together() {
        let text = "v".repeat(VALUE_BYTES_MAX_CEILING / 4);
        let line = |texts: usize| format!("{{{}", format!("\"{text}\",").repeat(texts));
        assert!(LineBounds::default().look_at(line(5).as_bytes()).is_ok());
        assert!(problem(line(6).as_bytes()).contains("longer than"));
    }

    #[test]
    fn the_largest_record_fits() {
        let (key, value) = ("k".repeat(KEY_BYTES_MAX), vec![0xff; VALUE_BYTES_MAX_CEILING]);
        let mut line = Vec::new();
        crate::ndjson::write_line(&mut line, &key, &value, false);
        let payload = [b"{\"op\":\"PUT\",", &line[1..]].concat();
        assert!(LineBounds::default().look_at(&payload).is_ok());
    }

    #[test]
    fn what_stands_beside_the_texts_is_bounded() {
        assert!(LineBounds::default().look_at(&[b' '; OTHER_BYTES_MAX]).is_ok());
        assert!(problem(&[b' '; OTHER_BYTES_MAX + 1]).contains("longer than"));
        assert!(problem(&[b"{", &[b'['; OTHER_BYTES_MAX][..]].concat()).contains("longer than"));
    }
}
