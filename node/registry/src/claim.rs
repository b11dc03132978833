//! The claim on a node's id, as it stands in Consul.

use kv_core::incarnation::Incarnation;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A claim on a node's id, and the mark of the newest copy of the data directory that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The data directory that the id belongs to.
    pub uuid: Uuid,
    /// The newest run of the node; `None` before its first one, or where an older program ran last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The number of a write that the newest copy of the directory has for certain. The node raises
    /// it now and then while it runs, and to the very last write where it stops cleanly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// How often the node has confirmed the claim after it stood still. That it changes has the
    /// compare-and-set of another copy fail which had found the node silent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub confirmed: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Claim {
    /// The claim of a data directory of which no run is known.
    #[must_use]
    pub fn of(uuid: Uuid) -> Self {
        Self { uuid, incarnation: None, sequence: None, confirmed: 0 }
    }

    /// The claim as it stands in Consul.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a claim holds only what JSON can say")
    }

    /// Reads a claim; `None` where the bytes are none.
    #[must_use]
    pub fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_older_programs_are_understood_and_written_alike() {
        let uuid = Uuid::from_u128(7);
        let bare = Claim::of(uuid);
        assert_eq!(bare.to_json(), format!(r#"{{"uuid":"{uuid}"}}"#).into_bytes());
        assert_eq!(Claim::parse(&bare.to_json()), Some(bare));
        let incarnation = Some(Incarnation::draw(3));
        let full = Claim { incarnation, sequence: Some(9), confirmed: 1, ..bare };
        assert_eq!(Claim::parse(&full.to_json()), Some(full));
        assert_eq!(Claim::parse(b"{}"), None);
    }
}
