//! The line format of import and export. Pure.
//!
//! Every line is one JSON object: `{"key":"...","value":"..."}`, or, where the value is not text,
//! `{"key":"...","value_base64":"..."}`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kv_protocol::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX_CEILING};
use serde::{Deserialize, Serialize};

/// The longest line that is read, in bytes: JSON's escapes can make a text six times as long, so
/// that every record which a node can store fits.
pub(crate) const LINE_BYTES_MAX: usize = 6 * (KEY_BYTES_MAX + VALUE_BYTES_MAX_CEILING) + 1024;

/// A record as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
}

/// Appends the line of a record, with its newline.
pub(crate) fn write_line(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let key = Cow::Borrowed(key);
    let line = match std::str::from_utf8(value) {
        Ok(text) => Line { key, value: Some(text.into()), value_base64: None },
        Err(_) => Line { key, value: None, value_base64: Some(STANDARD.encode(value).into()) },
    };
    serde_json::to_writer(&mut *out, &line).expect("text can be written to memory as JSON");
    out.push(b'\n');
}

/// Reads a record from its line.
///
/// # Errors
/// What is wrong with the line, for a person.
pub(crate) fn parse_line(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        format!("expected {{\"key\":\"...\",\"value\":\"...\"}} with text in both: {error}")
    })?;
    let value = match (line.value, line.value_base64) {
        (Some(text), None) => text.into_owned().into_bytes(),
        (None, Some(base64)) => STANDARD
            .decode(&*base64)
            .map_err(|error| format!("\"value_base64\" is not base64: {error}"))?,
        (None, None) => return Err("\"value\" or \"value_base64\" is missing".into()),
        (Some(_), Some(_)) => {
            return Err("\"value\" and \"value_base64\" exclude each other".into());
        }
    };
    Ok((line.key.into_owned(), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(key: &str, value: &[u8]) -> String {
        let mut out = Vec::new();
        write_line(&mut out, key, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_compact_and_readable() {
        assert_eq!(line("key", b"value"), "{\"key\":\"key\",\"value\":\"value\"}\n");
        assert_eq!(
            line("\u{e9}\"", "\u{1f600}\n".as_bytes()),
            "{\"key\":\"\u{e9}\\\"\",\"value\":\"\u{1f600}\\n\"}\n"
        );
        assert_eq!(line("k", &[0xff, 0]), "{\"key\":\"k\",\"value_base64\":\"/wA=\"}\n");
    }

    #[test]
    fn other_lines_are_refused() {
        for text in [
            "",
            "{",
            "[]",
            "null",
            "{}",
            r#"{"key":"k"}"#,
            r#"{"value":"v"}"#,
            r#"{"key":1,"value":"v"}"#,
            r#"{"key":"k","value":1}"#,
            r#"{"key":"k","value":"v","value_base64":""}"#,
            r#"{"key":"k","value_base64":"?"}"#,
            r#"{"key":"k","value":"v","valeu":"v"}"#,
            r#"{"key":"k","value":"v"} {}"#,
            r#"{"key":"k","key":"k","value":"v"}"#,
            "{\"key\":\"k\",\"value\":\"\u{fffd}\"",
        ] {
            assert!(parse_line(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse_line(b"{\"key\":\"k\",\"value\":\"\xff\"}").is_err());
        assert!(parse_line(&b"[".repeat(100_000)).is_err());
        assert!(parse_line(b"{\"key\":\"k\",\"value\":null}").is_err());
    }

    #[test]
    fn the_longest_line_of_a_record_is_short_enough() {
        // A control character takes six bytes in JSON; base64 takes less for each byte.
        let escaped = line("\u{1}", &[1; 1000]).len();
        assert!(escaped <= 6 * 1001 + 1024);
        assert!(line("k", &[0xff; 1000]).len() < escaped);
    }

    proptest! {
        #[test]
        fn every_record_comes_back(key in any::<String>(), value in any::<Vec<u8>>()) {
            let line = line(&key, &value);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(parse_line(line.as_bytes()).unwrap(), (key, value));
        }

        #[test]
        fn every_text_comes_back(key in any::<String>(), value in any::<String>()) {
            let line = line(&key, value.as_bytes());
            prop_assert!(line.contains("\"value\":"));
            prop_assert_eq!(parse_line(line.as_bytes()).unwrap(), (key, value.into_bytes()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(line in any::<Vec<u8>>()) {
            let _ = parse_line(&line);
        }
    }
}
