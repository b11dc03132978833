//! Why something was not read from Consul, or not written there. Callers say what to do about it in
//! their own words.

use kv_consul::{ConsulError, VALUE_BYTES_MAX};
use kv_core::layout::LayoutError;

/// Why a layout, or a past one, was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLayoutError {
    /// Consul could not be asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// The value there is no layout that this program reads.
    #[error("{key} in Consul: {source}")]
    Unreadable {
        /// The key.
        key: String,
        /// Why it cannot be read as a layout.
        source: LayoutError,
    },
}

/// Why a layout did not take a step.
#[derive(Debug, thiserror::Error)]
pub enum StepLayoutError {
    /// Consul did not do it. After an outage it is unknown whether it did: read the layout to find out.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// None of the steps that a layout may take leads there. Nothing was written.
    #[error(
        "no step leads from the layout of epoch {from} to the one of epoch {to} that was to follow it: \
         nothing was written; please report this"
    )]
    NoStep {
        /// The epoch of the layout that was read.
        from: u64,
        /// The epoch of the one that was to be published.
        to: u64,
    },
}

/// Why the list of nodes that have left the layout was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLeaversError {
    /// Consul could not be asked.
    #[error(transparent)]
    Consul(#[from] ConsulError),
    /// The value there is no such list, or one of another version.
    #[error(
        "{key} in Consul, the list of nodes that are to be told to stop, is not understood ({problem}): \
         use programs of one version, or delete the key and stop those nodes by hand"
    )]
    NotUnderstood {
        /// The key.
        key: String,
        /// Why it is not understood, for a person.
        problem: String,
    },
}

/// Refuses what no program of this kind writes, before it is parsed.
pub(crate) fn check_length(bytes: &[u8]) -> Result<(), LayoutError> {
    if bytes.len() > VALUE_BYTES_MAX {
        let found = bytes.len();
        let problem = format!("it has {found} bytes, and none has more than {VALUE_BYTES_MAX}");
        return Err(LayoutError::Invalid(problem));
    }
    Ok(())
}
