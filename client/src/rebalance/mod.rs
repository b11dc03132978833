//! Rebalancing: nodes come and go, or another strategy is adopted, and the data moves to where it
//! then belongs, while everybody reads and writes on.
//!
//! A rebalance is a sequence of layouts (see [`kv_core::layout`]). Whoever runs
//! [`Rebalancer::run`] is a mover: it takes the rebalance from wherever it is to its goal. It may die
//! anywhere; the cluster serves on, and any other mover goes on from there.
//!
//! | file | what |
//! |---|---|
//! | [`change`](Change), `launch` | what is wanted, and the nodes that are to join |
//! | [`plan`](Plan) | what would move, before anything does |
//! | [`task`](Task), `mover` | a rebalance that is under way, and the doing of it; what comes next, [`kv_core::mover`] says |
//! | `transfer`, `throttle` | copying, comparing, and not too fast |
//! | `lock`, [`progress`](Progress) | one mover at a time, and how far it is |
//! | `aim` | what a rebalance is for, and whether that has come about |
//! | `leaving`, `signalling` | nodes that are members no more, and what they are told |
//! | `gc` | tables and strategies that nothing refers to any more |
//! | `ask`, `sizes` | questions to nodes |
//! | `rights` | what Consul has to let this client do |
//! | `give_up` | an end where nodes are gone for good |
//! | `restore` | a past layout again, where another one was put in its place |
//! | `live` | a cluster at rest, for those who look for a better strategy for it |
//! | `fsck` | whether every key is where it belongs, once |

mod aim;
mod ask;
mod change;
mod error;
mod fsck;
mod gc;
mod give_up;
mod launch;
mod leaving;
mod live;
mod lock;
mod mover;
mod plan;
mod progress;
mod restore;
mod rights;
mod signalling;
mod sizes;
mod task;
mod throttle;
mod transfer;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kv_consul::CheckStatus;
use kv_core::layout::{Layout, Origin, Placement as LayoutPlacement, StrategyPin, Table};
use kv_core::name::Name;
use kv_core::partition::Partition;
use kv_protocol::reply::NodeStatus;
use uuid::Uuid;

pub use change::{Addition, Change};
pub use error::RebalanceError;
pub use fsck::{Finding, FsckReport};
pub use launch::Wanted;
pub use live::LiveCluster;
pub use mover::End;
pub use plan::{Load, NodePlan, Plan};
pub use progress::Progress;
pub use signalling::Launched;
pub use task::Task;

use self::ask::{Asker, Trouble};
use self::launch::Launch;
use self::mover::{Seen, look};
use crate::catalog;
use crate::cluster::Registry;
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::hand_off;
use crate::limits::{LAYOUT_LOOK_INTERVAL, RESTORE_WAIT};
use crate::outbox::Connections;
use crate::placement::{TableRequest, admitted, table_verified};
use kv_core::window::{Size, moving};
use kv_placement::{Strategy, StrategySource};

/// Plans and runs the rebalances of one cluster.
pub struct Rebalancer {
    registry: Registry,
    connections: Connections,
    name: String,
}

/// A plan with what is needed to begin it.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    seen: Seen,
    strategy: Strategy,
    to: LayoutPlacement,
    table: Table,
    lost: Vec<Uuid>,
    sizes: BTreeMap<Partition, Size>,
}

/// Who serves by a layout.
enum Serving {
    /// All its members.
    All,
    /// All that answer; these do not.
    AllThatAnswer(Vec<String>),
    /// Not all.
    Not,
}

impl Rebalancer {
    /// Connects to the cluster that `config` names, which must have a layout.
    ///
    /// # Errors
    /// This machine gives no thread or no sockets, or `config`'s strategy cannot be loaded.
    pub async fn connect(config: &ClientConfig) -> Result<Self, RebalanceError> {
        let connections =
            Connections::open().map_err(|error| ClientError::Local(error.to_string()))?;
        let registry = config.within(Registry::new(config)).await?.asking(&connections);
        Ok(Self { registry, connections, name: own_name() })
    }

    /// The cluster's layout now.
    ///
    /// # Errors
    /// Consul cannot be asked, or there is none.
    pub async fn layout(&self) -> Result<Layout, RebalanceError> {
        Ok(look(&self.registry).await?.view.layout)
    }

    /// Chooses nodes that are to join. Nothing is started yet.
    ///
    /// # Errors
    /// There are no such nodes.
    pub async fn choose(&self, wanted: &Wanted) -> Result<Vec<Addition>, RebalanceError> {
        let layout = self.layout_at_rest().await?;
        launch::choose(&self.registry, &self.connections, &layout, wanted).await
    }

    /// Has those of the `nodes` started that do not run, on `wanted`'s host or anywhere, and waits until
    /// all of them do. Where `wanted` has no id, another one is taken where others take one at the same
    /// time. `told` is given a word on what happens. Those that are signalled are noted in `launched`:
    /// where they are not wanted after all, [take them back](Self::take_back).
    ///
    /// # Errors
    /// One of them does not start, or runs with another weight or zone.
    pub async fn launch(
        &self,
        nodes: &mut [Addition],
        wanted: &Wanted,
        launched: &Launched,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<(), RebalanceError> {
        let layout = self.layout_at_rest().await?;
        let (host, renames) = (wanted.host.as_deref(), wanted.id.is_none());
        let how = Launch { host, renames, launched, told };
        launch::launch(&self.registry, &layout, nodes, &how).await
    }

    /// Makes sure that Consul lets this client do all that is planned, to its end.
    ///
    /// # Errors
    /// It does not, or cannot be asked.
    pub async fn check_rights(&self, prepared: &Prepared) -> Result<(), RebalanceError> {
        let Prepared { seen, to, lost, .. } = prepared;
        rights::check(&self.registry, &seen.view.layout.begin(to.clone(), lost.clone())?).await?;
        self.check_may_move().await
    }

    /// Has nodes that were launched, and are not to join after all, stop again, and nobody start them
    /// later. Those that are members of the layout stay. `told` is given a word on each.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn take_back(
        &self,
        launched: &Launched,
        told: &(dyn Fn(&str) + Sync),
    ) -> Result<(), RebalanceError> {
        signalling::take_back(&self.registry, launched, told).await
    }

    async fn layout_at_rest(&self) -> Result<Layout, RebalanceError> {
        let layout = self.layout().await?;
        match layout.rebalance {
            None => Ok(layout),
            Some(_) => Err(RebalanceError::UnderWay { epoch: layout.epoch }),
        }
    }

    /// Plans `change`. Nothing is changed.
    ///
    /// # Errors
    /// The change makes no sense, a node that is needed is down, or the strategy fails its checks.
    pub async fn plan(&self, change: Change) -> Result<Prepared, RebalanceError> {
        while_out_of_step(|| self.plan_once(change.clone())).await
    }

    async fn plan_once(&self, change: Change) -> Result<Prepared, RebalanceError> {
        let seen = look(&self.registry).await?;
        let layout = &seen.view.layout;
        if layout.rebalance.is_some() {
            return Err(RebalanceError::UnderWay { epoch: layout.epoch });
        }
        let (members, lost) = change::members_after(layout, &change)?;
        if let Change::Add { nodes } = &change {
            let instances = self.registry.instances().await?;
            for node in nodes {
                launch::check_joining(&self.connections, layout, &instances, node).await?;
            }
        }
        let (strategy, config) = self.strategy_after(layout, &change).await?;
        let question = TableRequest {
            members,
            partitions: layout.partitions,
            replicas: layout.replicas,
            config: config.clone(),
        };
        let table = table_verified(&strategy, question.clone()).await?;
        let info = strategy.info();
        let pin = StrategyPin { name: info.name.clone(), sha256: strategy.digest(), config };
        let to = LayoutPlacement {
            strategy: pin,
            members: question.members,
            table: table.digest(),
            origin: Origin::Strategy,
        };
        let is_computed = layout.placement.origin == Origin::Strategy;
        let same = is_computed && to.strategy == layout.placement.strategy;
        if matches!(change, Change::Migrate { .. }) && same {
            let problem = format!("the cluster is placed by {} already", to.strategy.name);
            return Err(RebalanceError::NothingToDo(problem));
        }
        let begun = layout.begin(to.clone(), lost.clone())?;
        // Read back as everybody will read it, so that nothing is begun which nobody can use.
        Layout::parse(&begun.to_json()).map_err(ClientError::from)?;
        change::check_fits(&begun)?;
        let tables: Vec<Table> = seen.tables.iter().cloned().chain([table.clone()]).collect();
        let moving = moving(&begun, &tables);
        let stored = self.check_nodes(&seen, &lost).await?;
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let alive: Vec<_> = moving.iter().copied().filter(|it| !lost.contains(&it.from)).collect();
        let sizes = sizes::count(asker, &alive).await.map_err(in_plan)?;
        let (nodes, minimum) = plan::loads(&plan::Facts {
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
            format: plan::PLAN_FORMAT,
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
        if plan.format != plan::PLAN_FORMAT {
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

    /// Publishes the past layout of `epoch` again, as the next one. Nothing is moved.
    ///
    /// # Errors
    /// It is not kept, or cannot be used, or says what the present one says; or the nodes serve by the
    /// present one, so that it is no forged one.
    pub async fn restore_layout(&self, epoch: u64) -> Result<Layout, RebalanceError> {
        // One that cannot be read, or whose tables are not there, serves nobody.
        if let Ok(seen) = look(&self.registry).await {
            let Layout { epoch: current, rebalance, .. } = &seen.view.layout;
            match self.serving(&seen).await {
                Serving::All => {
                    return Err(RebalanceError::NothingToDo(format!(
                        "all nodes serve by the layout of epoch {current}, and an older one would take from them what \
                         has moved since: nothing was changed. Undo a rebalance with `kvclient rebalance abort`, and a \
                         finished one by its reverse"
                    )));
                }
                // What is moving is at two nodes, and each of them knows it by this layout alone.
                Serving::AllThatAnswer(silent) if rebalance.is_some() => {
                    return Err(RebalanceError::Refused(format!(
                        "a rebalance is under way in epoch {current}, by which all nodes serve that answer; an older \
                         layout would take from them what was written to the keys that move. {} does not answer: start \
                         it, then `kvclient rebalance abort`; where it is gone for good, `kvclient remove-node --dead`",
                        silent.join(", ")
                    )));
                }
                Serving::AllThatAnswer(_) | Serving::Not => {}
            }
        }
        restore::restore(&self.registry, &self.connections, epoch).await
    }

    /// Whether the members have the layout installed, and none of them keeps what another layout gave it.
    async fn serving(&self, seen: &Seen) -> Serving {
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let mut silent = Vec::new();
        for (index, member) in (0..).zip(seen.view.assignments.nodes()) {
            let Ok(status) = asker.status(index).await else {
                silent.push(member.id.to_string());
                continue;
            };
            let has_installed = status.layout.is_some_and(|it| it.epoch == seen.view.layout.epoch);
            let keeps = status.kept.is_some_and(|kept| kept.not_handed_over > 0);
            if !has_installed || keeps || status.not_followed.is_some() {
                return Serving::Not;
            }
        }
        match silent.len() {
            0 => Serving::All,
            all if all == seen.view.assignments.nodes().len() => Serving::Not,
            _ => Serving::AllThatAnswer(silent),
        }
    }

    /// What the mover at work tells of itself; none where there is none.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn progress(&self) -> Result<Option<Progress>, RebalanceError> {
        Ok(lock::progress_of_mover(&self.registry.consul, &self.registry.cluster).await?)
    }

    /// Tells a node that is no member to stop once it stores nothing.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn tell_to_stop(&self, id: &Name, uuid: Uuid) -> Result<(), RebalanceError> {
        signalling::signal_stop(&self.registry, id, uuid).await
    }

    /// Waits until a node that was told to stop has. Returns whether it was so within `within`.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn has_stopped(
        &self,
        id: &Name,
        uuid: Uuid,
        within: Duration,
    ) -> Result<bool, RebalanceError> {
        signalling::await_stop(&self.registry, id, uuid, within).await
    }

    /// The registered nodes with these ids, where all of them are and none is a member.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn spares(&self, ids: &[Name]) -> Result<Option<Vec<(Name, Uuid)>>, RebalanceError> {
        let layout = self.layout().await?;
        launch::spares_with(&self.registry, &layout, ids).await
    }

    /// Whether all these ids are of nodes that are no members and do not run, and that signals want to.
    ///
    /// # Errors
    /// Consul cannot be asked.
    pub async fn are_only_signalled(&self, ids: &[Name]) -> Result<bool, RebalanceError> {
        let layout = self.layout().await?;
        for id in ids {
            let is_member = layout.members().iter().any(|it| it.id == *id);
            if is_member || !signalling::is_wanted(&self.registry, id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends a rebalance that nodes hold up which are gone for good: everything stays where it is just
    /// then. Where none is under way, nothing is done.
    ///
    /// # Errors
    /// One of the nodes lives, or another one is needed and does not answer.
    pub async fn give_up(&self, lost: &[Uuid]) -> Result<(), RebalanceError> {
        give_up::give_up(&self.registry, &self.connections, lost).await
    }

    /// Looks whether every key is stored where the layout says, and nowhere else. `told` is given
    /// the number of keys that were looked at, now and then.
    ///
    /// # Errors
    /// A node cannot be asked, or the layout changes meanwhile.
    pub async fn fsck(&self, told: &(dyn Fn(u64) + Sync)) -> Result<FsckReport, RebalanceError> {
        while_out_of_step(async || {
            let seen = look(&self.registry).await?;
            let asker = Asker { connections: &self.connections, view: &seen.view };
            fsck::check(asker, told).await
        })
        .await
    }

    async fn strategy_after(
        &self,
        layout: &Layout,
        change: &Change,
    ) -> Result<(Strategy, String), RebalanceError> {
        let pin = &layout.placement.strategy;
        let Change::Migrate { strategy, config, accepted } = change else {
            return Ok((self.registry.pinned_strategy(pin).await?, pin.config.clone()));
        };
        let source: StrategySource = strategy.parse().map_err(ClientError::from)?;
        let strategy = self.registry.placement.load(&source).await?;
        let same = strategy.digest() == pin.sha256;
        let inherited = if same { pin.config.clone() } else { String::new() };
        let config = config.clone().unwrap_or(inherited);
        admitted(&strategy, &config, accepted).await?;
        Ok((strategy, config))
    }

    /// Makes sure that all members answer, except those that are given up, which must not. Gives what
    /// they store.
    async fn check_nodes(
        &self,
        seen: &Seen,
        lost: &[Uuid],
    ) -> Result<BTreeMap<Uuid, Size>, RebalanceError> {
        let asker = Asker { connections: &self.connections, view: &seen.view };
        let instances = self.registry.instances().await?;
        let is_unheard = |uuid| {
            let mut ours = instances.iter().filter(|it| catalog::uuid_of(it) == Some(uuid));
            ours.any(|it| it.status == CheckStatus::Critical)
        };
        let mut stored = BTreeMap::new();
        let mut answers = Vec::new();
        for (index, member) in (0..).zip(seen.view.assignments.nodes()) {
            // Before anybody is missed: where Consul has gone back, it may name nodes that are gone.
            answers.push((member, asker.status_not_ahead(index).await?));
        }
        for (member, answer) in answers {
            let node = member.id.to_string();
            let is_registered =
                instances.iter().any(|it| catalog::uuid_of(it) == Some(member.uuid));
            if answer.is_err() && !is_registered {
                self.registry.check_sees_all().await?;
            }
            match (answer, lost.contains(&member.uuid)) {
                (Ok(status), false) => {
                    check_follows(&seen.view.layout, &node, &status, is_unheard(member.uuid))?;
                    let size = Size { keys: status.keys, bytes: status.bytes };
                    stored.insert(member.uuid, size);
                }
                (Ok(_), true) => {
                    return Err(RebalanceError::Refused(format!(
                        "node {node} is alive: remove it with `kvclient remove-node {node}`, which loses \
                         nothing"
                    )));
                }
                (Err(_), true) => {}
                (Err(Trouble::Later { problem, .. }), false) => {
                    let advice = format!(
                        "start it, and try again. If it will never come back, give up what only it \
                         stores: `kvclient remove-node --dead {node} --accept-data-loss`"
                    );
                    return Err(RebalanceError::NodeDown { node, problem, advice });
                }
                (Err(trouble), false) => return Err(in_plan(trouble)),
            }
        }
        Ok(stored)
    }
}

/// Makes sure that a node follows the layout, so that data can be moved from it and to it, and has
/// nothing that no move would find. One that Consul has not heard of for a while may have the present
/// layout, and would not learn of the next one.
fn check_follows(
    layout: &Layout,
    node: &str,
    status: &NodeStatus,
    is_unheard: bool,
) -> Result<(), RebalanceError> {
    let problem = match hand_off::has_installed(layout, status.layout.as_ref()) {
        Err(problem) => {
            // It may be why it does not follow.
            let kept = status.kept.as_ref().filter(|kept| kept.not_handed_over > 0);
            let why = kept.map_or_else(String::new, |kept| format!("; {}", kept.reason));
            Some(format!("it {problem}{why}"))
        }
        Ok(()) if is_unheard => Some(
            "its check in Consul is critical: it does not reach its Consul agent, or that is down"
                .into(),
        ),
        Ok(()) => None,
    };
    if let Some(problem) = problem {
        return Err(RebalanceError::NodeBehind {
            node: node.to_owned(),
            problem,
            advice: "nothing was changed, and everything is served. See that it reaches Consul, its log says \
                     what is in the way, or start it anew; then try again"
                .into(),
        });
    }
    check_keeps_nothing(node, status)
}

/// Makes sure that a node has no records which a layout took from it without their being moved.
fn check_keeps_nothing(node: &str, status: &NodeStatus) -> Result<(), RebalanceError> {
    let Some(kept) = status.kept.as_ref().filter(|it| it.not_handed_over > 0) else {
        return Ok(());
    };
    Err(RebalanceError::Refused(format!(
        "nothing was changed, since node {node} keeps what no move would take along; {}",
        kept.reason
    )))
}

/// Tries again for a while where Consul has an older layout than a node, which the nodes put right, or
/// where a node has not installed Consul's yet.
async fn while_out_of_step<T>(
    attempt: impl AsyncFn() -> Result<T, RebalanceError>,
) -> Result<T, RebalanceError> {
    let began = Instant::now();
    loop {
        match attempt().await {
            Err(RebalanceError::ConsulWentBack { .. } | RebalanceError::NodeBehind { .. })
                if began.elapsed() < RESTORE_WAIT =>
            {
                tokio::time::sleep(LAYOUT_LOOK_INTERVAL).await;
            }
            result => return result,
        }
    }
}

/// The error of a question that was asked before anything has begun.
fn in_plan(trouble: Trouble) -> RebalanceError {
    match trouble {
        Trouble::Changed => {
            RebalanceError::Refused("the layout changed meanwhile: try again".into())
        }
        Trouble::Later { node, problem } => RebalanceError::NodeDown {
            node,
            problem,
            advice: "start it, and try again; nothing was changed".into(),
        },
        Trouble::Behind { node, problem } => RebalanceError::NodeBehind {
            node,
            problem,
            advice: "see that it reaches Consul, and try again; nothing was changed".into(),
        },
        Trouble::Never(error) => error.into(),
    }
}

/// How this process is called in what it tells others.
fn own_name() -> String {
    let host = rustix::system::uname();
    format!("{} (process {})", host.nodename().to_string_lossy(), std::process::id())
}
