//! What a client writes to Consul to have a node started or stopped.
//!
//! Every node is pushed all signals. One to start a node is taken up by a node (or by `kvnode dev`) on
//! the wanted host, which starts the process; one to stop a node is obeyed by the node itself, once it
//! owns and stores nothing any more.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::SIGNAL_BYTES_MAX;

/// A signal about one node. The node's id is in the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "snake_case", deny_unknown_fields)]
pub enum Signal {
    /// The node is to be started, and to stay.
    Running {
        /// The host that it is to run on, as nodes register it; any where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The node's weight.
        weight: u32,
        /// The node's zone.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        zone: String,
        /// Who has taken it on to start the process; none as long as nobody has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launcher: Option<Launcher>,
    },
    /// The node is to stop as soon as it owns and stores nothing.
    Stopped {
        /// The node's data directory. Another one under the same id is not meant.
        uuid: Uuid,
    },
}

/// Who starts a node's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launcher {
    /// The launcher, for people: a node's id, or `dev`.
    pub name: String,
    /// A number that is drawn for each try, so that one try is told from the next.
    pub attempt: Uuid,
    /// Why the launch failed, where it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Signal {
    /// Reads a signal.
    ///
    /// # Errors
    /// Where it is not the JSON of one, or longer than [`SIGNAL_BYTES_MAX`].
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        // What reads an enum with a tag builds everything first, in many times the memory.
        if json.len() > SIGNAL_BYTES_MAX {
            let length = json.len();
            let error = format!("it has {length} bytes, the limit is {SIGNAL_BYTES_MAX}");
            return Err(serde::de::Error::custom(error));
        }
        serde_json::from_slice(json)
    }

    /// The signal's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a signal holds only what JSON can say")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_round_trip() {
        let launcher = Launcher { name: "node-0".into(), attempt: Uuid::nil(), failure: None };
        for signal in [
            Signal::Running { host: None, weight: 1, zone: String::new(), launcher: None },
            Signal::Running {
                host: Some("10.0.0.1".into()),
                weight: 3,
                zone: "rack".into(),
                launcher: Some(launcher),
            },
            Signal::Stopped { uuid: Uuid::nil() },
        ] {
            assert_eq!(Signal::parse(&signal.to_json()).unwrap(), signal);
        }
        assert!(Signal::parse(br#"{"wanted":"running","weight":1,"x":1}"#).is_err());
        assert!(Signal::parse(br#"{"wanted":"gone"}"#).is_err());
    }
}
