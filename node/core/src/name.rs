//! Names of nodes, clusters and zones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, ZONE_BYTES_MAX};
use crate::printable::is_plain;

/// A node's id or a cluster's name: 1 to 64 of `a-z`, `0-9` and `-`, starting with a letter or digit.
///
/// It is part of Consul keys and service ids, of file names and of messages, so it is kept plain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Text that is not a name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is not a valid name: expected 1 to {NAME_BYTES_MAX} of a-z, 0-9 and '-', starting with a letter or digit"
)]
pub struct InvalidName(String);

/// Checks the name of a zone: any text of at most [`ZONE_BYTES_MAX`] bytes that can be printed.
///
/// # Errors
/// What a zone must look like, for a person.
pub fn parse_zone(text: &str) -> Result<String, String> {
    let plain = text.chars().all(is_plain);
    if text.len() <= ZONE_BYTES_MAX && plain {
        Ok(text.to_owned())
    } else {
        Err(format!("expected at most {ZONE_BYTES_MAX} bytes that can be printed"))
    }
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = (1..=NAME_BYTES_MAX).contains(&text.len())
            && !text.starts_with('-')
            && text.bytes().all(plain);
        if valid { Ok(Self(text)) } else { Err(InvalidName(text.chars().take(80).collect())) }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_bounded() {
        for text in ["node-0", "a", "0", &"n".repeat(NAME_BYTES_MAX)] {
            assert_eq!(text.parse::<Name>().unwrap().as_str(), text);
        }
        for text in ["", "-a", "Node", "a/b", "..", "n\u{f6}de", &"n".repeat(NAME_BYTES_MAX + 1)] {
            assert!(text.parse::<Name>().is_err(), "{text}");
        }
    }
}
