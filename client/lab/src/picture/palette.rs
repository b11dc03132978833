//! Colours that people who do not tell red from green can tell apart.

use std::fmt;

/// A colour: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Colour(u8, u8, u8);

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(red, green, blue) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

pub(super) const PAPER: Colour = Colour(0xff, 0xff, 0xff);
pub(super) const INK: Colour = Colour(0x1c, 0x1c, 0x1c);
pub(super) const GREY: Colour = Colour(0x60, 0x60, 0x60);
pub(super) const RULE: Colour = Colour(0xc8, 0xc8, 0xc8);
pub(super) const FAINT: Colour = Colour(0xf0, 0xf0, 0xf0);
/// As it should be, or asked for.
pub(super) const GOOD: Colour = Colour(0x00, 0x72, 0xb2);
/// Too much, or needless.
pub(super) const BAD: Colour = Colour(0xd5, 0x5e, 0x00);
/// Too little.
pub(super) const LITTLE: Colour = Colour(0x7c, 0xc4, 0xee);

/// Colours of nodes, where each has its own: those of Okabe and Ito ("Color universal design", 2008),
/// without black, and then some of Paul Tol's "muted" ones.
pub(super) const NODES: [Colour; 12] = [
    Colour(0x00, 0x72, 0xb2),
    Colour(0xe6, 0x9f, 0x00),
    Colour(0x00, 0x9e, 0x73),
    Colour(0xcc, 0x79, 0xa7),
    Colour(0x56, 0xb4, 0xe9),
    Colour(0xd5, 0x5e, 0x00),
    Colour(0xf0, 0xe4, 0x42),
    Colour(0x33, 0x22, 0x88),
    Colour(0x88, 0x22, 0x55),
    Colour(0x99, 0x99, 0x33),
    Colour(0xaa, 0xaa, 0xaa),
    Colour(0x7f, 0x4f, 0x24),
];

/// Stops of the scale "viridis" (van der Walt and Smith, 2015), whose lightness only grows.
const VIRIDIS: [Colour; 6] = [
    Colour(0x44, 0x01, 0x54),
    Colour(0x41, 0x44, 0x87),
    Colour(0x2a, 0x78, 0x8e),
    Colour(0x22, 0xa8, 0x84),
    Colour(0x7a, 0xd1, 0x51),
    Colour(0xfd, 0xe7, 0x25),
];

/// The colour at `part` of the way from one to another.
pub(super) fn mixed(from: Colour, to: Colour, part: f64) -> Colour {
    let part = part.clamp(0.0, 1.0);
    let mix = |from: u8, to: u8| {
        (f64::from(from) + (f64::from(to) - f64::from(from)) * part).round() as u8
    };
    Colour(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// The colour at `part` of the scale from dark to light.
pub(super) fn scale(part: f64) -> Colour {
    let at = part.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let stop = (at as usize).min(VIRIDIS.len() - 2);
    mixed(VIRIDIS[stop], VIRIDIS[stop + 1], at - stop as f64)
}

/// The colour of a node's load over its due.
pub(super) fn heat(ratio: f64) -> Colour {
    match ratio {
        above if above > 1.0 + super::TOLERANCE => BAD,
        below if below < 1.0 - super::TOLERANCE => LITTLE,
        _ => GOOD,
    }
}

/// The colour of letters that are read well on this one.
pub(super) fn ink_on(colour: Colour) -> Colour {
    let Colour(red, green, blue) = colour;
    // The luminance that people perceive (ITU-R BT.601).
    let luminance = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    if luminance > 140_000 { INK } else { PAPER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_mixed_and_written_as_svg_has_them() {
        assert_eq!(mixed(PAPER, Colour(0, 0, 0), 0.5).to_string(), "#808080");
        assert_eq!((scale(0.0), scale(1.0)), (VIRIDIS[0], VIRIDIS[5]));
        assert_eq!((heat(1.11), heat(1.1), heat(0.89)), (BAD, GOOD, LITTLE));
        assert_eq!((ink_on(PAPER), ink_on(GOOD)), (INK, PAPER));
    }
}
