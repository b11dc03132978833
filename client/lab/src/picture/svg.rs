//! SVG, as much of it as the pictures need: a text that is appended to.

use std::fmt::Write as _;

use super::palette::{Colour, INK, PAPER};

/// The families of letters that are asked for. The first is the one that PNGs are drawn with; who looks
/// at an SVG sees it or one that the machine has.
pub(super) const FONT_FAMILY: &str = "Ubuntu, 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif";

/// The mean width of a letter, as a part of the size of the text.
const LETTER_WIDTH: f64 = 0.5;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    pub(super) fn right(self) -> f64 {
        self.x + self.width
    }

    pub(super) fn bottom(self) -> f64 {
        self.y + self.height
    }

    /// What remains where so much is taken from each side.
    pub(super) fn inside(self, left: f64, top: f64, right: f64, bottom: f64) -> Self {
        Self {
            x: self.x + left,
            y: self.y + top,
            width: (self.width - left - right).max(0.0),
            height: (self.height - top - bottom).max(0.0),
        }
    }
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    size: f64,
    anchor: Anchor,
    colour: Colour,
    is_strong: bool,
    turned: f64,
}

impl Style {
    pub(super) fn new(size: f64) -> Self {
        Self { size, anchor: Anchor::Start, colour: INK, is_strong: false, turned: 0.0 }
    }

    pub(super) fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub(super) fn colour(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    pub(super) fn strong(self) -> Self {
        Self { is_strong: true, ..self }
    }

    /// Turned clockwise about its place, by degrees.
    pub(super) fn turned(self, turned: f64) -> Self {
        Self { turned, ..self }
    }
}

/// A picture that is being drawn.
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        let mut svg = Self { body: String::new(), width, height };
        svg.rect(Area { x: 0.0, y: 0.0, width, height }, PAPER);
        svg
    }

    pub(super) fn rect(&mut self, area: Area, fill: Colour) {
        let Area { x, y, width, height } = area;
        self.write(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="{fill}"/>"#
        ));
    }

    pub(super) fn frame(&mut self, area: Area, stroke: Colour, stroke_width: f64) {
        let Area { x, y, width, height } = area;
        self.write(format_args!(
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" fill="none" stroke="{stroke}" stroke-width="{stroke_width}"/>"#
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Colour, width: f64) {
        self.write(format_args!(
            r#"<line x1="{:.2}" y1="{:.2}" x2="{:.2}" y2="{:.2}" stroke="{stroke}" stroke-width="{width}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub(super) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), stroke: Colour, width: f64) {
        self.write(format_args!(
            r#"<line x1="{:.2}" y1="{:.2}" x2="{:.2}" y2="{:.2}" stroke="{stroke}" stroke-width="{width}" stroke-dasharray="7 4"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    pub(super) fn circle(&mut self, centre: (f64, f64), radius: f64, fill: Colour) {
        self.write(format_args!(
            r#"<circle cx="{:.2}" cy="{:.2}" r="{radius:.2}" fill="{fill}"/>"#,
            centre.0, centre.1
        ));
    }

    /// A filled path, whose data is SVG's own.
    pub(super) fn fill_path(&mut self, data: &str, fill: Colour) {
        self.write(format_args!(r#"<path d="{data}" fill="{fill}"/>"#));
    }

    /// A line along a path, whose data is SVG's own.
    pub(super) fn stroke_path(&mut self, data: &str, stroke: Colour, width: f64) {
        self.write(format_args!(
            r#"<path d="{data}" fill="none" stroke="{stroke}" stroke-width="{width}"/>"#
        ));
    }

    pub(super) fn text(&mut self, at: (f64, f64), style: Style, words: &str) {
        let Style { size, anchor, colour, is_strong, turned } = style;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // The letters that are drawn with come in one weight.
        let strong = match is_strong {
            true => format!(r#" stroke="{colour}" stroke-width="{:.2}""#, size * 0.035),
            false => String::new(),
        };
        let turn = match turned {
            0.0 => String::new(),
            _ => format!(r#" transform="rotate({turned:.1} {:.2} {:.2})""#, at.0, at.1),
        };
        let words = escaped(words);
        self.write(format_args!(
            r#"<text x="{:.2}" y="{:.2}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{strong}{turn}>{words}</text>"#,
            at.0, at.1
        ));
    }

    pub(super) fn finish(self) -> String {
        let Self { body, width, height } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{FONT_FAMILY}\">\n{body}</svg>\n"
        )
    }

    pub(super) fn size(&self) -> (f64, f64) {
        (self.width, self.height)
    }

    fn write(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }
}

/// About how wide a text of this size is.
pub(super) fn text_width(words: &str, size: f64) -> f64 {
    words.chars().count() as f64 * size * LETTER_WIDTH
}

/// The text, cut where it would be wider than `width`.
pub(super) fn fitted(words: &str, size: f64, width: f64) -> String {
    let most = (width / (size * LETTER_WIDTH)) as usize;
    if words.chars().count() <= most {
        return words.to_owned();
    }
    let kept: String = words.chars().take(most.saturating_sub(2)).collect();
    format!("{kept}..")
}

/// The text in lines of at most `width`, broken at spaces.
pub(super) fn wrapped(words: &str, size: f64, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(line, size) + text_width(word, size) + size < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(fitted(word, size, width)),
        }
    }
    lines
}

/// Text may hold what a stranger wrote, such as a file's name.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            // XML has no place for these at all.
            '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
            control if control.is_control() => text.push('\u{fffd}'),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_stays_text() {
        assert_eq!(escaped("a<b>&\"\n\u{0}"), "a&lt;b&gt;&amp;\"\u{fffd}\u{fffd}");
    }

    #[test]
    fn texts_are_cut_and_wrapped_to_fit() {
        assert_eq!(fitted("abc", 10.0, 100.0), "abc");
        assert_eq!(fitted("abcdefghij", 10.0, 33.0), "abcd..");
        let lines = wrapped("one two three four five", 10.0, 60.0);
        assert!(lines.len() > 1 && lines.iter().all(|line| text_width(line, 10.0) <= 60.0));
        assert_eq!(lines.join(" "), "one two three four five");
    }
}
