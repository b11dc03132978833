//! Taking a cluster over whose layout has a document of the format before.

use kv_core::layout::{LAYOUT_FORMAT, Layout};

use crate::ask::{Asker, in_plan};
use crate::error::RebalanceError;
use crate::rebalancer::Rebalancer;
use crate::seen::{look, set};

impl Rebalancer {
    /// Publishes the layout in the present format, as the next one; nothing else changes. Returns it.
    ///
    /// # Errors
    /// It has that format, or is being rebalanced, or a node of it does not answer, or does not read that format.
    pub async fn upgrade_layout(&self) -> Result<Layout, RebalanceError> {
        loop {
            let seen = look(&self.discovery).await?;
            let layout = &seen.view.layout;
            if layout.format == LAYOUT_FORMAT {
                return Err(RebalanceError::NothingToDo(format!(
                    "the layout of epoch {} has format {LAYOUT_FORMAT} already",
                    layout.epoch
                )));
            }
            let next = layout.upgrade()?;
            let asker = Asker { connections: &self.connections, view: &seen.view };
            for (index, member) in (0..).zip(seen.view.assignments.nodes()) {
                let status = asker.status_not_ahead(index).await?.map_err(in_plan)?;
                if status.layout_format < LAYOUT_FORMAT {
                    return Err(RebalanceError::Refused(format!(
                        "node {} runs version {}, which does not read layouts of format {LAYOUT_FORMAT}: start it with \
                         this version first. Nothing was changed",
                        member.id, status.version
                    )));
                }
            }
            if set(&self.discovery, &seen, &next).await? {
                return Ok(next);
            }
        }
    }
}
