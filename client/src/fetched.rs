//! The tables that were fetched last, in a client without strategies.

use std::collections::VecDeque;
use std::sync::Mutex;

use kv_core::digest::Digest;
use kv_system::lock::lock;

use crate::limits::TABLES_KEPT_MAX;

/// The bytes of the tables that were fetched last, so that the many epochs of a rebalance, which have the
/// same two, fetch them once.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// The one that was used last stands last.
    known: Mutex<VecDeque<(Digest, Vec<u8>)>>,
}

impl Tables {
    pub(crate) fn find(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut known = lock(&self.known);
        let index = known.iter().position(|(it, _)| it == digest)?;
        let found = known.remove(index)?;
        let bytes = found.1.clone();
        known.push_back(found);
        Some(bytes)
    }

    pub(crate) fn keep(&self, digest: Digest, bytes: Vec<u8>) {
        let mut known = lock(&self.known);
        known.retain(|(it, _)| *it != digest);
        while known.len() >= TABLES_KEPT_MAX {
            known.pop_front();
        }
        known.push_back((digest, bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let tables = Tables::default();
        let digest = |number: u8| Digest::of(&[number]);
        tables.keep(digest(0), vec![0]);
        for number in 1..20 {
            tables.keep(digest(number), vec![number]);
            tables.keep(digest(number), vec![number]);
            assert_eq!(tables.find(&digest(0)), Some(vec![0]), "{number}");
        }
        assert_eq!(lock(&tables.known).len(), TABLES_KEPT_MAX);
        assert_eq!((tables.find(&digest(1)), tables.find(&digest(19))), (None, Some(vec![19])));
    }
}
