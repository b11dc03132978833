//! Planning a change: what would move, before anything does. Nothing is changed by it.

mod loads;
mod nodes;
mod rights;

use std::collections::BTreeMap;

use kv_core::layout::{Document, Layout, Origin, Placement, StrategyPin, Table};
use kv_core::partition::Partition;
use kv_core::window::{Size, moving};
use kv_placement::{Strategy, StrategySource};
use kvclient::ClientError;
use kvclient::admin::{TableRequest, admitted, table_verified};
use uuid::Uuid;

pub use self::loads::{Load, NodePlan, Plan};
use crate::ask::{Asker, in_plan};
use crate::change::{self, Change};
use crate::error::RebalanceError;
use crate::rebalancer::{Rebalancer, while_out_of_step};
use crate::seen::{Seen, look};
use crate::{sizes, spares};

/// A plan with what is needed to begin it.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    pub(crate) seen: Seen,
    pub(crate) strategy: Strategy,
    pub(crate) to: Placement,
    pub(crate) table: Table,
    pub(crate) lost: Vec<Uuid>,
    pub(crate) sizes: BTreeMap<Partition, Size>,
}

impl Rebalancer {
    /// Plans `change`. Nothing is changed.
    ///
    /// # Errors
    /// The change makes no sense, a node that is needed is down, or the strategy fails its checks.
    pub async fn plan(&self, change: Change) -> Result<Prepared, RebalanceError> {
        while_out_of_step(|| self.plan_once(change.clone())).await
    }

    async fn plan_once(&self, change: Change) -> Result<Prepared, RebalanceError> {
        let seen = look(&self.discovery).await?;
        let layout = &seen.view.layout;
        if layout.rebalance.is_some() {
            return Err(RebalanceError::UnderWay { epoch: layout.epoch });
        }
        let (members, lost) = change::members_after(layout, &change)?;
        if let Change::Add { nodes } = &change {
            let instances = self.discovery.instances().await?;
            for node in nodes {
                spares::check_joining(&self.connections, layout, &instances, node).await?;
            }
        }
        let (strategy, config) = self.strategy_after(layout, &change).await?;
        let question = TableRequest {
            members,
            partitions: layout.partitions,
            replicas: layout.placement.replicas,
            config: config.clone(),
        };
        let table = table_verified(&strategy, question.clone()).await?;
        let info = strategy.info();
        let pin = StrategyPin { name: info.name.clone(), sha256: strategy.digest(), config };
        let to = Placement {
            strategy: pin,
            members: question.members,
            table: table.digest(),
            origin: Origin::Strategy,
            replicas: question.replicas,
        };
        let is_computed = layout.placement.origin == Origin::Strategy;
        let same = is_computed && to.strategy == layout.placement.strategy;
        if matches!(change, Change::Migrate { .. }) && same {
            let problem = format!("the cluster is placed by {} already", to.strategy.name);
            return Err(RebalanceError::NothingToDo(problem));
        }
        let begun = layout.begin(to.clone(), lost.clone())?;
        // Read back as everybody will read it, so that nothing is begun which nobody can use.
        Document::parse(&begun.to_json())
            .and_then(|it| it.layout(&begun.blobs()))
            .map_err(ClientError::from)?;
        let tables: Vec<Table> = seen.tables.iter().cloned().chain([table.clone()]).collect();
        let moving = moving(&begun, &tables);
        let stored = self.check_nodes(&seen, &lost).await?;
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let alive: Vec<_> = moving.iter().copied().filter(|it| !lost.contains(&it.from)).collect();
        let sizes = sizes::count(asker, &alive).await.map_err(in_plan)?;
        let (nodes, minimum) = loads::loads(&loads::Facts {
            before: (&layout.placement.members, &tables[0]),
            after: (&to.members, &table),
            moving: &moving,
            sizes: &sizes,
            stored: &stored,
            lost: &lost,
        });
        let mut total = Size::default();
        sizes.values().for_each(|size| total.add(*size));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let plan = Plan {
            format: loads::PLAN_FORMAT,
            cluster: layout.cluster,
            epoch: layout.epoch,
            change,
            strategy: to.strategy.clone(),
            table: to.table,
            partitions: layout.partitions.get(),
            partitions_moved: count(moving.len()),
            partitions_minimum: minimum,
            keys_moved: total.keys,
            bytes_moved: total.bytes,
            partitions_lost: count(moving.len() - alive.len()),
            nodes,
        };
        Ok(Prepared { plan, seen, strategy, to, table, lost, sizes })
    }

    async fn strategy_after(
        &self,
        layout: &Layout,
        change: &Change,
    ) -> Result<(Strategy, String), RebalanceError> {
        let pin = &layout.placement.strategy;
        let Change::Migrate { strategy, config, accepted } = change else {
            return Ok((self.discovery.pinned_strategy(pin).await?, pin.config.clone()));
        };
        let source: StrategySource = strategy.parse().map_err(ClientError::from)?;
        let strategy = self.discovery.placement.load(&source).await?;
        let same = strategy.digest() == pin.sha256;
        let inherited = if same { pin.config.clone() } else { String::new() };
        let config = config.clone().unwrap_or(inherited);
        admitted(&strategy, &config, accepted).await?;
        Ok((strategy, config))
    }

    /// Plans again what `plan` planned, and makes sure that it comes to the same.
    ///
    /// # Errors
    /// As [`Rebalancer::plan`], and [`RebalanceError::PlanOutdated`].
    pub async fn plan_again(&self, plan: &Plan) -> Result<Prepared, RebalanceError> {
        let outdated = |found: String| RebalanceError::PlanOutdated {
            planned: plan.epoch,
            cluster: plan.cluster,
            found,
        };
        if plan.format != loads::PLAN_FORMAT {
            return Err(outdated(format!("it has format {}", plan.format)));
        }
        let layout = self.layout().await?;
        if layout.cluster != plan.cluster {
            return Err(outdated(format!("this is cluster {}", layout.cluster)));
        }
        if layout.epoch != plan.epoch {
            return Err(outdated(format!("the layout has epoch {} now", layout.epoch)));
        }
        let again = self.plan(plan.change.clone()).await?;
        if again.plan.epoch != plan.epoch || again.plan.table != plan.table {
            return Err(outdated("it would come to another result now".into()));
        }
        Ok(again)
    }

    /// Makes sure that Consul lets this client do all that is planned, to its end.
    ///
    /// # Errors
    /// It does not, or cannot be asked.
    pub async fn check_rights(&self, prepared: &Prepared) -> Result<(), RebalanceError> {
        let Prepared { seen, to, lost, .. } = prepared;
        rights::check(&self.discovery.registry, &seen.view.layout.begin(to.clone(), lost.clone())?)
            .await?;
        self.check_may_move().await
    }
}
