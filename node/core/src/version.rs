//! The version of a record.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A record's version: it grows with every write of its key, also across owners and deletions.
///
/// The epoch orders what different owners wrote, the sequence number what one owner wrote. A node
/// never uses a sequence number twice, so a conditional write cannot mistake a record that was
/// deleted and written anew for the one that its author saw. Clients compare versions for equality
/// and hand them back; as text a version is `<epoch>-<sequence>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The epoch of the layout under which the owner accepted the write.
    pub epoch: u64,
    /// The owner's running number of the write.
    pub sequence: u64,
}

/// Text that is not a version.
#[derive(Debug, thiserror::Error)]
#[error("not a version: expected two numbers as in \"1-42\", got {0:?}")]
pub struct InvalidVersion(String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok()).flatten()
        };
        text.split_once('-')
            .and_then(|(epoch, sequence)| {
                Some(Self { epoch: number(epoch)?, sequence: number(sequence)? })
            })
            .ok_or_else(|| InvalidVersion(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidVersion;

    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_orders() {
        let version = Version { epoch: 3, sequence: u64::MAX };
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        assert!(version < Version { epoch: 4, sequence: 0 });
        for text in ["", "1", "1-", "-1", "1-2-3", "+1-2", "1-18446744073709551616", "a-b"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
