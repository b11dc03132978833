//! Which run of a node this is.
//!
//! A data directory can be copied, and a copy is as good as the original in everything that it says of
//! itself. So every start of a node makes a new incarnation: one number above all that came before,
//! with a nonce that is drawn anew. The directory keeps its incarnations, Consul keeps the newest one
//! with the claim on the node's id. A directory that does not know the newest one is an older copy.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One run of a node: `<number>-<nonce>` as text, the nonce as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation {
    /// It grows with every start.
    pub number: u64,
    /// It tells two incarnations of one number apart, which two copies of a directory can come to
    /// where Consul has forgotten everything.
    pub nonce: u64,
}

/// Text that is not an incarnation.
#[derive(Debug, thiserror::Error)]
#[error(
    "not an incarnation: expected a number and 16 hexadecimal digits as in \"7-00f1e2d3c4b5a697\", got {0:?}"
)]
pub struct InvalidIncarnation(String);

/// How many hexadecimal digits a nonce has.
const NONCE_DIGITS: usize = 16;

impl Incarnation {
    /// An incarnation of this number that no other run draws: its nonce is random.
    #[must_use]
    pub fn draw(number: u64) -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // Each half has bits that say which kind of uuid it is, at different places.
        Self { number, nonce: high ^ low.rotate_left(32) }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.nonce)
    }
}

impl FromStr for Incarnation {
    type Err = InvalidIncarnation;

    fn from_str(text: &str) -> Result<Self, InvalidIncarnation> {
        let parse = || {
            let (number, nonce) = text.split_once('-')?;
            let plain = number.bytes().all(|b| b.is_ascii_digit())
                && nonce.len() == NONCE_DIGITS
                && nonce.bytes().all(|b| b.is_ascii_hexdigit());
            let nonce = u64::from_str_radix(nonce, 16).ok().filter(|_| plain)?;
            Some(Self { number: number.parse().ok()?, nonce })
        };
        parse().ok_or_else(|| InvalidIncarnation(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Incarnation {
    type Error = InvalidIncarnation;

    fn try_from(text: String) -> Result<Self, InvalidIncarnation> {
        text.parse()
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_orders_by_number() {
        let incarnation = Incarnation { number: 7, nonce: 0x0f };
        assert_eq!(incarnation.to_string(), "7-000000000000000f");
        assert_eq!(incarnation.to_string().parse::<Incarnation>().unwrap(), incarnation);
        assert!(incarnation < Incarnation { number: 10, nonce: 0 });
        for text in [
            "",
            "7",
            "7-",
            "-000000000000000f",
            "7-0f",
            "+7-000000000000000f",
            "7-+00000000000000f",
            "7-000000000000000g",
            "18446744073709551616-000000000000000f",
        ] {
            assert!(text.parse::<Incarnation>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_incarnation_is_drawn_twice() {
        assert_ne!(Incarnation::draw(1), Incarnation::draw(1));
    }
}
