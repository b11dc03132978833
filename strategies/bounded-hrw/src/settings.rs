//! The strategy's settings, read from its configuration text.

use std::str::FromStr;

use kv_strategy::Error;

/// The bound where the configuration names none, in thousandths of the fair share.
pub const BOUND_DEFAULT: u32 = 1050;

/// The tightest bound, in thousandths. Below it nearly every node is full, and one that joins or
/// leaves makes nearly all of them exchange partitions.
pub const BOUND_MIN: u32 = 1010;

/// The loosest bound, in thousandths. Above it hardly any node is ever full, and plain rendezvous
/// hashing does the same.
pub const BOUND_MAX: u32 = 2000;

/// What the configuration text may say.
pub const HELP: &str =
    "bound=N: the most that a node owns, over its fair share by weight, 1.01 to 2 (default 1.05)";

/// The strategy's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The most that a node may own, in thousandths of its fair share: an integer, since capacities
    /// are exact.
    pub bound_thousandths: u32,
}

impl FromStr for Settings {
    type Err = Error;

    /// Reads an empty text as the defaults, otherwise `bound=N` with at most three decimals.
    fn from_str(config: &str) -> Result<Self, Error> {
        if config.is_empty() {
            return Ok(Self { bound_thousandths: BOUND_DEFAULT });
        }
        match config.strip_prefix("bound=").and_then(thousandths) {
            Some(bound_thousandths @ BOUND_MIN..=BOUND_MAX) => Ok(Self { bound_thousandths }),
            _ => Err(Error::InvalidConfig(format!(
                "expected bound=N with N from 1.01 to 2 and at most three decimals, such as \
                 bound=1.05, got {config:?}"
            ))),
        }
    }
}

/// A decimal number in thousandths; `None` if it is not one with at most three decimals.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    // Filled up with zeros, the decimals are thousandths.
    let fraction: u32 = format!("{decimals:0<3}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_has_the_limits() {
        let decimal = |thousandths: u32| f64::from(thousandths) / 1e3;
        let [min, max, default] = [BOUND_MIN, BOUND_MAX, BOUND_DEFAULT].map(decimal);
        assert!(HELP.contains(&format!("{min} to {max} (default {default})")));
    }

    #[test]
    fn a_bound_is_read_within_its_limits() {
        let bound =
            |config: &str| config.parse::<Settings>().map(|settings| settings.bound_thousandths);
        assert_eq!(bound(""), Ok(BOUND_DEFAULT));
        assert_eq!(bound("bound=1.05"), Ok(1050));
        assert_eq!(bound("bound=1.01"), Ok(BOUND_MIN));
        assert_eq!(bound("bound=1.125"), Ok(1125));
        assert_eq!(bound("bound=2"), Ok(BOUND_MAX));
        assert_eq!(bound("bound=2.000"), Ok(BOUND_MAX));
    }

    #[test]
    fn anything_else_is_refused_and_quoted() {
        let wrong = [
            "bound=1",
            "bound=1.009",
            "bound=2.001",
            "bound=0.5",
            "bound=-1.05",
            "bound=+1.05",
            "bound=1.0500",
            "bound=1.",
            "bound=.5",
            "bound=1,05",
            "bound=1.05%",
            "bound=1.05 ",
            "bound=NaN",
            "bound=inf",
            "bound=99999999999",
            "bound=4294968",
            "bound=",
            "Bound=1.05",
            "points=5",
            " ",
        ];
        for config in wrong {
            match config.parse::<Settings>() {
                Err(Error::InvalidConfig(why)) => assert!(why.contains(config), "{why}"),
                other => panic!("{config:?} was read as {other:?}"),
            }
        }
    }
}
