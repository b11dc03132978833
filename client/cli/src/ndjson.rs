//! The line format of import and export. Pure.
//!
//! Every line is one JSON object: `{"key":"...","value":"..."}`, or, where the value is not text,
//! `{"key":"...","value_base64":"..."}`. A line that is read may also have the `"op":"PUT"` of a request.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::visible;

/// What a line looks like, for a person.
pub(crate) const EXPECTED: &str = r#"{"key":"...","value":"..."}"#;

/// A record as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    op: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
}

/// Appends the line of a record, with its newline. Where it is `shown` on a terminal, nothing in it acts.
pub(crate) fn write_line(out: &mut Vec<u8>, key: &str, value: &[u8], shown: bool) {
    let (op, key) = (None, Some(Cow::Borrowed(key)));
    let line = match std::str::from_utf8(value) {
        Ok(text) => Line { op, key, value: Some(text.into()), value_base64: None },
        Err(_) => Line { op, key, value: None, value_base64: Some(STANDARD.encode(value).into()) },
    };
    let written =
        if shown { visible::json(out, &line) } else { serde_json::to_writer(&mut *out, &line) };
    written.expect("text can be written to memory as JSON");
    out.push(b'\n');
}

/// Reads a record from its line.
///
/// # Errors
/// Why the line is no record, for people.
pub(crate) fn parse_line(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let line: Line<'_> = serde_json::from_slice(line)
        .map_err(|error| format!("expected {EXPECTED} with text in both: {error}"))?;
    if let Some(op) = line.op.filter(|op| *op != "PUT") {
        return Err(format!("its \"op\" is {op:?}, and only lines that are to be PUT are stored"));
    }
    let Some(key) = line.key else { return Err("\"key\" is missing".into()) };
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
    Ok((key.into_owned(), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(key: &str, value: &[u8]) -> String {
        let mut out = Vec::new();
        write_line(&mut out, key, value, false);
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
    fn payloads_of_requests_are_lines_too() {
        let stored = ("k".to_owned(), b"v".to_vec());
        for text in [
            r#"{"op":"PUT","key":"k","value":"v"}"#,
            r#"{"value":"v","key":"k","op":"PUT"}"#,
            r#"{"op":"PUT","key":"k","value_base64":"dg=="}"#,
        ] {
            assert_eq!(parse_line(text.as_bytes()).unwrap(), stored, "{text}");
        }
        for (text, word) in [
            (r#"{"op":"GET_ONE","key":"k"}"#, "GET_ONE"),
            (r#"{"op":"GET_ALL"}"#, "GET_ALL"),
            (r#"{"op":"DELETE","key":"k"}"#, "DELETE"),
            (r#"{"op":"put","key":"k","value":"v"}"#, "put"),
            (r#"{"op":"PUT","value":"v"}"#, "key"),
        ] {
            let problem = parse_line(text.as_bytes()).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
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
