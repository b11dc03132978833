//! Which keys a node can store.

use kv_core::limits::KEY_BYTES_MAX;
use kv_core::refusal::{Refusal, bad_request, too_large};

/// Checks that `key` is one that a node can store; `what` names it in the error.
pub(crate) fn check_key(what: &str, key: &str) -> Result<(), Refusal> {
    if key.is_empty() {
        return Err(bad_request(format!("{what} is empty: expected 1 to {KEY_BYTES_MAX} bytes")));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(too_large(&format!("the length of {what}"), key.len(), KEY_BYTES_MAX));
    }
    Ok(())
}
