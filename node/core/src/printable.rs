//! Text of others, made safe to print.
//!
//! An id, a zone, an address or an answer's body may come from any process that can write to Consul, to
//! a node or to a file. Printed as it came, a line feed in it forges a line of a log, and an escape
//! sequence moves a terminal's cursor. Where text leaves a program for people, it passes through here.

use std::fmt::{self, Write};

/// Whether a character has no effect but to be seen: it does not end a line, steer a terminal, turn the
/// direction of the text around it, or hide.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let steers = c.is_control();
    let ends_a_line = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let hides = matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    !(steers || ends_a_line || turns || hides)
}

/// Passes text on to a writer, with everything that is not [plain](is_plain) escaped as Rust writes it:
/// `\n`, `\u{1b}`. Backslashes stay as they are, so text that was escaped before is not escaped again.
#[derive(Debug)]
pub struct Printing<W>(pub W);

impl<W: Write> Write for Printing<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c| !is_plain(c)) {
            let (plain, other) = rest.split_at(at);
            self.0.write_str(plain)?;
            let mut chars = other.chars();
            for c in chars.by_ref().take(1) {
                write!(self.0, "{}", c.escape_default())?;
            }
            rest = chars.as_str();
        }
        self.0.write_str(rest)
    }
}

/// What `text` displays, in one line that is safe to print.
#[must_use]
pub fn printable(text: impl fmt::Display) -> String {
    let mut printing = Printing(String::new());
    // A string takes everything, and what displays itself with an error is shown as far as it came.
    let _ = write!(printing, "{text}");
    printing.0
}

/// `text`, whose lines and ends of lines stay, with the rest safe to print.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_hides_or_ends_a_line_is_escaped_and_the_rest_is_not() {
        for plain in ["", "a b", "na\u{ef}ve", "\u{4f60}\u{597d}", "a\\n", "\u{1f600}"] {
            assert_eq!(printable(plain), plain);
        }
        for (text, expected) in [
            ("a\nINFO b", "a\\nINFO b"),
            ("\r", "\\r"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("a\u{202e}b\u{2028}", "a\\u{202e}b\\u{2028}"),
            ("\n\n", "\\n\\n"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }

    #[test]
    fn lines_stay_lines() {
        for plain in ["", "a", "a\n", "\n\nb\n c"] {
            assert_eq!(printable_lines(plain), plain);
        }
        assert_eq!(printable_lines("a\r\n\u{1b}[2Jb"), "a\\r\n\\u{1b}[2Jb");
    }
}
