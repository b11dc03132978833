//! The strategy's settings, read from its configuration text.

use std::str::FromStr;

use kv_strategy::Error;

/// The points of a node of weight 1 where the configuration names none. The shares of equal nodes
/// then differ by about 1 / sqrt(512), or 4 percent.
pub const POINTS_DEFAULT: u32 = 512;

/// The most points of a node of weight 1. Above it the balance no longer improves: a cluster has at
/// most 65,536 partitions.
pub const POINTS_MAX: u32 = 65_536;

/// What the configuration text may say.
pub const HELP: &str =
    "points=N: the points of a node of weight 1 on the ring, 1 to 65536 (default 512)";

/// The strategy's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The points of a node of weight 1.
    pub points: u32,
}

impl FromStr for Settings {
    type Err = Error;

    /// Reads an empty text as the defaults, otherwise `points=N`.
    fn from_str(config: &str) -> Result<Self, Error> {
        if config.is_empty() {
            return Ok(Self { points: POINTS_DEFAULT });
        }
        let number = config.strip_prefix("points=").and_then(|text| text.parse().ok());
        match number {
            Some(points @ 1..=POINTS_MAX) => Ok(Self { points }),
            _ => Err(Error::InvalidConfig(format!(
                "expected points=N with N from 1 to {POINTS_MAX}, such as \
                 points={POINTS_DEFAULT}, got {config:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_the_limits() {
        assert!(HELP.contains(&format!("1 to {POINTS_MAX} (default {POINTS_DEFAULT})")));
    }

    #[test]
    fn points_are_read_within_their_limits() {
        let points = |config: &str| config.parse::<Settings>().map(|settings| settings.points);
        assert_eq!(points(""), Ok(POINTS_DEFAULT));
        assert_eq!(points("points=1"), Ok(1));
        assert_eq!(points("points=65536"), Ok(POINTS_MAX));
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        let wrong =
            ["points=0", "points=65537", "points=", "points=-1", "points=5;", "point=5", " "];
        for config in wrong {
            match config.parse::<Settings>() {
                Err(Error::InvalidConfig(why)) => assert!(why.contains(config), "{why}"),
                other => panic!("{config:?} was read as {other:?}"),
            }
        }
    }
}
