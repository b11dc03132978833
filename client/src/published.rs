//! Tables as they lie in Consul, for a program that computes none. A table is published under its digest
//! before a layout names it.

use std::collections::VecDeque;
use std::sync::Mutex;

use kv_core::digest::Digest;
use kv_core::layout::{Layout, Placement, Table};
use kv_registry::parts::Part;
use kv_system::lock::lock;

use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::limits::TABLES_KEPT_MAX;

/// The bytes of the tables that were fetched last, so that the many epochs of a rebalance, which have the
/// same two, fetch them once.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// The one that was used last stands last.
    known: Mutex<VecDeque<(Digest, Vec<u8>)>>,
}

impl Tables {
    fn find(&self, digest: &Digest) -> Option<Vec<u8>> {
        let mut known = lock(&self.known);
        let index = known.iter().position(|(it, _)| it == digest)?;
        let found = known.remove(index)?;
        let bytes = found.1.clone();
        known.push_back(found);
        Some(bytes)
    }

    fn keep(&self, digest: Digest, bytes: Vec<u8>) {
        let mut known = lock(&self.known);
        known.retain(|(it, _)| *it != digest);
        while known.len() >= TABLES_KEPT_MAX {
            known.pop_front();
        }
        known.push_back((digest, bytes));
    }
}

impl Discovery {
    /// The tables of `layout`'s placements, fetched by their digests. Those that are known already are not
    /// fetched again.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ClientError::TableUnavailable`].
    pub async fn tables(&self, layout: &Layout) -> Result<Vec<Table>, ClientError> {
        let mut tables = Vec::new();
        for placement in layout.placements() {
            let bytes = match self.tables.find(&placement.table) {
                Some(known) => known,
                None => {
                    let fetched = self.fetch_table(layout, placement).await?;
                    self.tables.keep(placement.table, fetched.clone());
                    fetched
                }
            };
            tables.push(Table::parse(&bytes, layout, placement)?);
        }
        Ok(tables)
    }

    async fn fetch_table(
        &self,
        layout: &Layout,
        placement: &Placement,
    ) -> Result<Vec<u8>, ClientError> {
        let (epoch, digest) = (layout.epoch, placement.table);
        let problem = match self.registry.table(&digest).await? {
            Part::Whole(bytes) => return Ok(bytes),
            Part::Damaged(_) => "is damaged",
            Part::Missing { .. } => "is missing",
        };
        Err(ClientError::TableUnavailable { epoch, digest, problem })
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
