//! What a layout pins: the strategies, from Consul or as the user gives them, and the tables that they
//! compute.

use kv_core::layout::{Layout, Origin, Placement, StrategyPin, Table};
use kv_placement::{Strategy, StrategySource};
use kv_registry::parts::Part;

use crate::discovery::Discovery;
use crate::error::ClientError;
use crate::placement::{self, TableRequest};
use crate::tables::Computed;

impl Discovery {
    /// The tables of `layout`'s placements, computed by the strategies that it pins. Those that are
    /// known already are not computed again.
    ///
    /// # Errors
    /// Consul cannot be asked, a strategy is missing or fails, or it does not give the table that the layout
    /// names.
    pub async fn tables(&self, layout: &Layout) -> Result<Vec<Table>, ClientError> {
        self.check_given(layout)?;
        let mut tables = Vec::new();
        for placement in layout.placements() {
            let pin = &placement.strategy;
            let question = TableRequest::of(layout, placement);
            let Computed { table, digest } = match self.tables.find(pin.sha256, &question) {
                _ if placement.origin == Origin::Interrupted => {
                    Computed::from(self.fetch_table(layout, placement).await?)
                }
                Some(known) => known,
                None => {
                    let strategy = self.pinned_strategy(pin).await?;
                    let table = placement::table(&strategy, question.clone()).await?;
                    let computed = Computed::from(table);
                    self.tables.keep(pin.sha256, question, computed.clone());
                    computed
                }
            };
            if digest != placement.table {
                return Err(ClientError::TableMismatch {
                    strategy: pin.name.clone(),
                    epoch: layout.epoch,
                    computed: digest,
                    named: placement.table,
                });
            }
            tables.push(table);
        }
        Ok(tables)
    }

    /// A table that no strategy computes.
    async fn fetch_table(
        &self,
        layout: &Layout,
        placement: &Placement,
    ) -> Result<Table, ClientError> {
        let bytes = match self.registry.table(&placement.table).await? {
            Part::Whole(bytes) | Part::Damaged(bytes) => bytes,
            // The error that says so names the digest.
            Part::Missing { .. } => Vec::new(),
        };
        Ok(Table::parse(&bytes, layout, placement)?)
    }

    /// Checks that the strategy that the user insists on, if there is one, is one of the layout's.
    fn check_given(&self, layout: &Layout) -> Result<(), ClientError> {
        let Some(given) = &self.given else { return Ok(()) };
        if layout.placements().any(|placement| placement.strategy.sha256 == given.digest()) {
            return Ok(());
        }
        let pin = &layout.placement.strategy;
        Err(ClientError::StrategyMismatch {
            pinned: pin.name.clone(),
            pinned_digest: pin.sha256.short(),
            given: given.info().name.clone(),
            given_digest: given.digest().short(),
        })
    }

    /// The strategy that `pin` names: the given one where it is that, otherwise the one in Consul.
    ///
    /// # Errors
    /// Consul cannot be asked, or [`ClientError::StrategyUnavailable`].
    pub async fn pinned_strategy(&self, pin: &StrategyPin) -> Result<Strategy, ClientError> {
        if let Some(given) = self.given.as_ref().filter(|it| it.digest() == pin.sha256) {
            return Ok(given.clone());
        }
        let unavailable = |problem| {
            let (name, digest) = (pin.name.clone(), pin.sha256);
            ClientError::StrategyUnavailable { name, digest, problem }
        };
        let bytes = match self.registry.strategy(&pin.sha256).await? {
            Part::Whole(bytes) => bytes,
            Part::Damaged(_) => return Err(unavailable("is damaged")),
            Part::Missing { .. } => return Err(unavailable("is missing")),
        };
        self.placement.load_bytes(format!("{} (from Consul)", pin.name), bytes).await
    }

    /// The strategy that a cluster without one adopts: the given one, or else the built-in default.
    pub(crate) async fn strategy_to_adopt(&self) -> Result<Strategy, ClientError> {
        match &self.given {
            Some(strategy) => Ok(strategy.clone()),
            None => self.placement.load(&StrategySource::default()).await,
        }
    }
}
