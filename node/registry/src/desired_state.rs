//! What a client writes to Consul to have a node started or stopped.
//!
//! Every node follows all desired states. One that wants a node to run is taken up by a node (or by
//! `kvnode dev`) on the wanted host, which starts the process; one that wants it stopped is obeyed by the
//! node itself, once it owns and stores nothing any more.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use kv_core::limits::{DESIRED_STATE_BYTES_MAX, HOST_BYTES_MAX, NAME_BYTES_MAX, WEIGHT_MAX};
use kv_core::name::parse_zone;
use kv_core::printable::is_plain;

/// The desired state of one node. The node's id is in the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "snake_case", deny_unknown_fields)]
pub enum DesiredState {
    /// The node is to be started, and to stay.
    Running {
        /// The host that it is to run on, as nodes register it; `None` for any host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The node's weight.
        weight: u32,
        /// The node's zone.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        zone: String,
        /// The process that has taken it on to start the node; `None` until one does.
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

/// Why a node cannot obey what stands at the key of a desired state.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDesiredState {
    /// It is longer than any desired state.
    #[error("it has {0} bytes, and signals have at most {DESIRED_STATE_BYTES_MAX}")]
    TooLong(usize),
    /// It is not the JSON of a desired state.
    #[error("it is not the JSON of a signal: {0}")]
    Json(#[from] serde_json::Error),
    /// No node has this weight.
    #[error("its weight is {0}, expected 1 to {WEIGHT_MAX}")]
    Weight(u32),
    /// No zone has this name.
    #[error("its zone is not the name of one: {0}")]
    Zone(String),
    /// No host has this name.
    #[error(
        "its host is not the name of one: expected 1 to {HOST_BYTES_MAX} bytes that can be printed"
    )]
    Host,
    /// No launcher has this name.
    #[error("its launcher has no name of 1 to {NAME_BYTES_MAX} bytes that can be printed")]
    Launcher,
}

impl DesiredState {
    /// Reads a desired state. Any process that can write to Consul may have written it, so what it says is
    /// checked here and nowhere else.
    ///
    /// # Errors
    /// [`InvalidDesiredState`] where no node could obey it.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidDesiredState> {
        // Serde's code for an enum with a tag builds all values first, in many times the memory.
        if json.len() > DESIRED_STATE_BYTES_MAX {
            return Err(InvalidDesiredState::TooLong(json.len()));
        }
        let desired_state: Self = serde_json::from_slice(json)?;
        if let Self::Running { host, weight, zone, launcher } = &desired_state {
            if !(1..=WEIGHT_MAX).contains(weight) {
                return Err(InvalidDesiredState::Weight(*weight));
            }
            parse_zone(zone).map_err(InvalidDesiredState::Zone)?;
            if host.as_ref().is_some_and(|host| !is_word(host, HOST_BYTES_MAX)) {
                return Err(InvalidDesiredState::Host);
            }
            if launcher.as_ref().is_some_and(|it| !is_word(&it.name, NAME_BYTES_MAX)) {
                return Err(InvalidDesiredState::Launcher);
            }
        }
        Ok(desired_state)
    }

    /// The desired state's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a desired state holds only what JSON can say")
    }
}

/// Whether a text has some bytes, but not too many, and can be printed.
fn is_word(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_round_trip() {
        let launcher = Launcher { name: "node-0".into(), attempt: Uuid::nil(), failure: None };
        for desired_state in [
            DesiredState::Running { host: None, weight: 1, zone: String::new(), launcher: None },
            DesiredState::Running {
                host: Some("10.0.0.1".into()),
                weight: 3,
                zone: "rack".into(),
                launcher: Some(launcher),
            },
            DesiredState::Stopped { uuid: Uuid::nil() },
        ] {
            assert_eq!(DesiredState::parse(&desired_state.to_json()).unwrap(), desired_state);
        }
        assert!(DesiredState::parse(br#"{"wanted":"running","weight":1,"x":1}"#).is_err());
        assert!(DesiredState::parse(br#"{"wanted":"gone"}"#).is_err());
    }

    #[test]
    fn what_no_node_could_obey_is_no_desired_state() {
        let desired_state = |weight: u32, zone: &str, host: &str, launcher: &str| {
            let launcher = Launcher { name: launcher.into(), attempt: Uuid::nil(), failure: None };
            let desired_state = DesiredState::Running {
                host: Some(host.into()),
                weight,
                zone: zone.into(),
                launcher: Some(launcher),
            };
            DesiredState::parse(&desired_state.to_json())
        };
        let (longest_zone, longest_host) = ("z".repeat(64), "h".repeat(253));
        assert!(desired_state(1, "", "h", "l").is_ok());
        assert!(desired_state(256, &longest_zone, &longest_host, &longest_zone).is_ok());
        for weight in [0, 257, u32::MAX] {
            let error = desired_state(weight, "", "h", "l").unwrap_err();
            assert!(matches!(error, InvalidDesiredState::Weight(_)), "{error}");
        }
        for zone in ["\u{7}", "a\nb", &format!("{longest_zone}z")] {
            let error = desired_state(1, zone, "h", "l").unwrap_err();
            assert!(matches!(error, InvalidDesiredState::Zone(_)), "{error}");
        }
        for host in ["", "a\nb", &format!("{longest_host}h")] {
            let error = desired_state(1, "", host, "l").unwrap_err();
            assert!(matches!(error, InvalidDesiredState::Host), "{error}");
        }
        for launcher in ["", "\u{1b}[2J", &format!("{longest_zone}z")] {
            let error = desired_state(1, "", "h", launcher).unwrap_err();
            assert!(matches!(error, InvalidDesiredState::Launcher), "{error}");
        }
        let blanks = " ".repeat(DESIRED_STATE_BYTES_MAX);
        let long = format!("{blanks}{{}}");
        assert!(matches!(
            DesiredState::parse(long.as_bytes()),
            Err(InvalidDesiredState::TooLong(_))
        ));
    }
}
