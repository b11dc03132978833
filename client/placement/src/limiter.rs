//! What an instance may take, beside fuel and time.

use wasmtime::ResourceLimiter;

use super::limits::{INSTANCES_MAX, MEMORY_BYTES_MAX, TABLE_ELEMENTS_MAX};

/// Why the host itself stopped a guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("its time is over")]
    Time,
    #[error("it wanted {wanted} bytes of memory")]
    Memory { wanted: usize },
    #[error("it wanted a table of {wanted} elements")]
    Table { wanted: usize },
}

/// Counts the memory of all of an instance's parts together.
#[derive(Default)]
pub(super) struct Limiter {
    /// How much memory there is, in bytes; it never shrinks.
    pub(super) memory_bytes: usize,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if wanted > MEMORY_BYTES_MAX {
            return Err(Stop::Memory { wanted }.into());
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // A guest that was told could answer differently on a machine that is short of memory.
        Err(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            return Err(Stop::Table { wanted: desired }.into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        INSTANCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut limiter = Limiter::default();
        assert!(limiter.memory_growing(0, MEMORY_BYTES_MAX / 2, None).unwrap());
        assert!(limiter.memory_growing(0, MEMORY_BYTES_MAX / 2, None).unwrap());
        assert!(limiter.memory_growing(0, 1, None).is_err());
    }

    #[test]
    fn tables_are_limited() {
        let mut limiter = Limiter::default();
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX, None).unwrap());
        assert!(!limiter.table_growing(0, 2, Some(1)).unwrap());
        assert!(limiter.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).is_err());
    }
}
