//! How much work a command is.

use kv_core::limits::BATCH_OPERATIONS_MAX;
use kv_core::operation::Operation;
use kv_protocol::request::Command;

/// A group takes in no more work once it has this many operations. A flush syncs several files however
/// little it writes, so a group has room for a full batch or page from each of a few clients: no client
/// waits longer for one flush of four pages than for the last of four flushes.
const GROUP_OPERATIONS_MAX: usize = 4 * BATCH_OPERATIONS_MAX;
/// A group takes in no more work once its values have this many bytes.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// Copied records lie side by side, so that so many of them cost as much as one scattered write.
const COPIES_PER_OPERATION: usize = 4;

/// How much work a command is.
#[derive(Clone, Copy, Default)]
pub struct Size {
    /// Its operations.
    pub operations: usize,
    /// The bytes of its keys and values.
    pub bytes: usize,
}

impl Size {
    /// The size of `command`.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Self {
        let mut size = Self::default();
        size.add(command);
        size
    }

    /// Adds what another command is.
    pub fn add(&mut self, command: &Command<'_>) {
        let operations = match command {
            Command::One(operation) => std::slice::from_ref(operation),
            Command::Batch(operations) => operations,
            Command::Copy { records, stream } => {
                self.operations += (*records as usize).div_ceil(COPIES_PER_OPERATION).max(1);
                self.bytes += stream.len();
                return;
            }
            _ => &[],
        };
        self.operations += operations.len().max(1);
        for operation in operations {
            let value_bytes = match operation {
                Operation::Put { value, .. } => value.len(),
                _ => 0,
            };
            self.bytes += operation.key().len() + value_bytes;
        }
    }

    pub(super) fn is_full(self) -> bool {
        self.operations >= GROUP_OPERATIONS_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}
