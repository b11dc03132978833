//! Standard input, where there is one.

use std::io::{self, Stdin};

use kv_system::streams;

use crate::failure::Failure;

/// Standard input.
///
/// # Errors
/// The process was started without one, which is not the same as an empty one.
pub(crate) fn stdin() -> Result<Stdin, Failure> {
    match streams::can_read_stdin() {
        true => Ok(io::stdin()),
        false => {
            Err(Failure::Usage("standard input cannot be read: it is not open for that".into()))
        }
    }
}
