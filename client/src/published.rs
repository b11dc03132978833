//! Tables as they lie in Consul, for a program that does not compute them. A table is published under its digest
//! before a layout names it.

use kv_core::layout::{Layout, Placement, Table};
use kv_registry::parts::Part;

use crate::discovery::Discovery;
use crate::error::ClientError;

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
