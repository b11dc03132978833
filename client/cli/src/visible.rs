//! Text from elsewhere made safe to show. Pure.
//!
//! Keys, values, and what nodes, Consul and strategies say may hold anything, also what a terminal takes
//! for a command: to change its title, to move the cursor over earlier words, to type. So text for people
//! shows such characters as Rust writes them, `\u{1b}`, and JSON on a terminal as JSON does,
//! `\u001b`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Whether a terminal or a reader could take `c` for something else than a character: control characters,
/// and those that change the direction or the line of what stands beside them.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Makes lines of text safe to show: their ends and tabs stay as they are.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| acts(c) && !matches!(c, '\n' | '\t'))
}

/// Makes text that is to stand in one line safe to show.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, acts)
}

/// Makes bytes that are meant to be text safe to show. Those that are no UTF-8 are shown as `\xff`.
pub(crate) fn bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return lines(text);
    }
    let mut shown = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        shown.push_str(&lines(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to memory does not fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown.into()
}

fn escaped(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown.into()
}

/// Writes `object` as JSON in which every character that [`acts`] is escaped, as JSON has it for those
/// below U+0020 anyway: the same object to every reader.
///
/// # Errors
/// It cannot be written as JSON.
pub(crate) fn json(out: &mut Vec<u8>, object: &impl Serialize) -> serde_json::Result<()> {
    object.serialize(&mut Serializer::with_formatter(out, Escaping))
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        mut fragment: &str,
    ) -> io::Result<()> {
        // Most text has none of the bytes that such a character has.
        if !fragment.bytes().any(|byte| matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2)) {
            return writer.write_all(fragment.as_bytes());
        }
        while let Some((at, c)) = fragment.char_indices().find(|(_, c)| acts(*c)) {
            let (before, rest) = fragment.split_at(at);
            // All that act are below U+10000, so that one escape says each.
            write!(writer, "{before}\\u{:04x}", u32::from(c))?;
            fragment = &rest[c.len_utf8()..];
        }
        writer.write_all(fragment.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;title\u{7}\u{9b}2J\u{202e}\r\u{7f}\u{85}z";

    #[test]
    fn ordinary_text_stays_as_it_is() {
        for text in
            ["", "plain", "na\u{ef}ve \u{1f600} \u{4f60}\u{597d}", "two\n\tlines", "back\\slash"]
        {
            assert!(matches!(lines(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(bytes(text.as_bytes()), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(line("two\n\tlines"), "two\\n\\tlines");
    }

    #[test]
    fn what_acts_is_shown_and_not_done() {
        let shown = "a\\u{1b}]0;title\\u{7}\\u{9b}2J\\u{202e}\\r\\u{7f}\\u{85}z";
        assert_eq!(lines(HOSTILE), shown);
        assert_eq!(bytes(b"a\xff\x1b\xc2"), "a\\xff\\u{1b}\\xc2");
    }

    #[test]
    fn json_says_the_same_without_anything_that_acts() {
        let mut out = Vec::new();
        json(&mut out, &HOSTILE).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(acts) && text.contains("\\u009b"), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), HOSTILE);
    }

    proptest! {
        #[test]
        fn nothing_that_acts_is_left(text in any::<String>(), any_bytes in any::<Vec<u8>>()) {
            prop_assert!(!line(&text).contains(acts));
            prop_assert!(!lines(&text).replace(['\n', '\t'], "").contains(acts));
            prop_assert!(!bytes(&any_bytes).replace(['\n', '\t'], "").contains(acts));
            let mut out = Vec::new();
            json(&mut out, &text).unwrap();
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            prop_assert!(!String::from_utf8(out).unwrap().contains(acts));
        }
    }
}
