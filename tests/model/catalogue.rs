//! All layouts that a run has come to, and what nodes make of them: the real documents and the real
//! installed layouts, each once, so that a state of the model names them by a number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use kv_core::digest::Digest;
use kv_core::guard::Installed;
use kv_core::layout::{
    Assignment, Assignments, LAYOUT_FORMAT, Layout, Member, Move, Origin, Placement, Standing,
    StrategyPin, Table,
};
use kv_core::partition::{Partition, PartitionCount};
use uuid::Uuid;

/// Names a layout.
pub(crate) type LayoutId = u16;
/// Names what a node has installed.
pub(crate) type InstalledId = u16;

const STRATEGY: &[u8] = b"strategy";

/// A layout with what it says of each partition.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) layout: Layout,
    pub(crate) assignments: Assignments,
}

/// A step from one layout to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// To the placement of this number.
    Begin(u8),
    Prepare(u32),
    Open,
    Settle(Option<u32>),
    Retract,
    TurnBack,
    /// No step of the protocol: takes an open window back.
    RetractOpen,
    /// No step of the protocol: a process that can write to Consul publishes a layout that is at rest in the
    /// placement of this number. Or an operator, who puts that right.
    Forge(u8),
    /// No step of the protocol: a process that can write to Consul begins a rebalance to the placement of
    /// this number, in which all members are given out as lost, with a window of everything.
    ForgeLost(u8),
}

/// The layouts of one run.
pub(crate) struct Catalogue {
    placements: Vec<Placement>,
    tables: Vec<Table>,
    known: Mutex<Everything>,
}

#[derive(Default)]
struct Everything {
    layouts: Vec<Arc<Known>>,
    steps: HashMap<(LayoutId, Step), Option<LayoutId>>,
    installed: Vec<(u8, LayoutId, Arc<Installed>)>,
    installs: HashMap<(u8, Option<InstalledId>, LayoutId), Option<InstalledId>>,
}

/// The data directory of the node of this number.
pub(crate) fn uuid(node: usize) -> Uuid {
    Uuid::from_u128(node as u128 + 1)
}

impl Known {
    /// The number of the node that has this index in the layout.
    pub(crate) fn node(&self, index: u16) -> usize {
        let uuid = self.assignments.nodes()[usize::from(index)].uuid;
        (0..).find(|it| self::uuid(*it) == uuid).expect("only numbered nodes are members")
    }

    /// Who serves the partition.
    pub(crate) fn assignment(&self, partition: Partition) -> Assignment {
        self.assignments.get(partition).expect("keys are in partitions")
    }

    /// The same, by the numbers of the nodes.
    pub(crate) fn numbered(&self, partition: Partition) -> Assignment {
        let number = |index| self.node(index) as u16;
        let moved =
            |it: Move| Move { source: it.source.map(number), destination: number(it.destination) };
        match self.assignment(partition) {
            Assignment::Owned(owner) => Assignment::Owned(number(owner)),
            Assignment::Frozen(it) => Assignment::Frozen(moved(it)),
            Assignment::Moving(it) => Assignment::Moving(moved(it)),
        }
    }

    /// The numbers of the nodes that take part in the window.
    pub(crate) fn participants(&self) -> impl Iterator<Item = usize> + '_ {
        self.assignments.participants().into_iter().map(|index| self.node(index))
    }
}

impl Catalogue {
    /// With placements that give each partition to the node of that number. The first is where the
    /// data is at the beginning, under the layout 0 of epoch 1.
    pub(crate) fn new(owners: &[Vec<usize>]) -> Self {
        let (placements, tables) = owners.iter().map(|owners| placement(owners)).unzip();
        let this = Self { placements, tables, known: Mutex::default() };
        let layout = Layout {
            format: LAYOUT_FORMAT,
            cluster: Uuid::from_u128(99),
            epoch: 1,
            partitions: partitions(&owners[0]),
            replicas: 1,
            min_in_sync: 1,
            placement: this.placements[0].clone(),
            rebalance: None,
            standing: Standing::default(),
        };
        this.intern(layout);
        this
    }

    /// The layout of this number.
    pub(crate) fn layout(&self, id: LayoutId) -> Arc<Known> {
        Arc::clone(&self.lock().layouts[usize::from(id)])
    }

    /// The layout after a step; `None` if that step cannot be taken.
    pub(crate) fn step(&self, id: LayoutId, step: Step) -> Option<LayoutId> {
        if let Some(next) = self.lock().steps.get(&(id, step)) {
            return *next;
        }
        let layout = &self.layout(id).layout;
        let next = match step {
            Step::Begin(number) => {
                let to = &self.placements[usize::from(number)];
                let is_elsewhere = layout.placement != *to;
                layout.begin(to.clone(), Vec::new()).ok().filter(|_| is_elsewhere)
            }
            Step::Prepare(until) => layout.prepare(until).ok(),
            Step::Open => layout.open().ok(),
            Step::Settle(next) => layout.settle(next).ok(),
            Step::Retract => layout.retract().ok(),
            Step::TurnBack => layout.turn_back().ok(),
            Step::RetractOpen => retract_open(layout),
            Step::Forge(number) => Some(Layout {
                epoch: layout.epoch + 1,
                placement: self.placements[usize::from(number)].clone(),
                rebalance: None,
                ..layout.clone()
            }),
            Step::ForgeLost(number) => forge_lost(layout, &self.placements[usize::from(number)]),
        };
        let next = next.map(|layout| self.intern(layout));
        self.lock().steps.insert((id, step), next);
        next
    }

    /// What was installed by this number.
    pub(crate) fn installed(&self, id: InstalledId) -> Arc<Installed> {
        Arc::clone(&self.lock().installed[usize::from(id)].2)
    }

    /// The layout that was installed by this number.
    pub(crate) fn layout_of(&self, id: InstalledId) -> LayoutId {
        self.lock().installed[usize::from(id)].1
    }

    /// What `node`, which has `previous` installed, makes of a layout; `None` if it refuses it.
    pub(crate) fn install(
        &self,
        node: usize,
        previous: Option<InstalledId>,
        layout: LayoutId,
    ) -> Option<InstalledId> {
        let question = (node as u8, previous, layout);
        if let Some(found) = self.lock().installs.get(&question) {
            return *found;
        }
        let before = previous.map(|it| self.installed(it));
        let installed = self.assemble(node, before.as_deref(), layout);
        let id = installed.map(|it| self.intern_installed(node, layout, it));
        self.lock().installs.insert(question, id);
        id
    }

    /// What `node` would make of a layout if it did not look whether that can follow.
    pub(crate) fn install_unchecked(&self, node: usize, layout: LayoutId) -> InstalledId {
        let document = self.layout(layout).layout.clone();
        let tables = self.tables_of(&document).iter().map(Table::to_bytes).collect::<Vec<_>>();
        let since = vec![document.epoch; document.partitions.get() as usize];
        let strategies = vec![STRATEGY.to_vec()];
        let installed = Installed::restored(
            document,
            &tables,
            strategies,
            uuid(node),
            since,
            BTreeMap::new(),
            BTreeSet::new(),
        );
        self.intern_installed(node, layout, installed.expect("its parts fit"))
    }

    /// What was installed by this number, at a node that has been asked for the digest of all that moves
    /// from it.
    pub(crate) fn digested(&self, id: InstalledId) -> InstalledId {
        let (node, layout, installed) = self.lock().installed[usize::from(id)].clone();
        let document = installed.layout.clone();
        let tables = self.tables_of(&document).iter().map(Table::to_bytes).collect::<Vec<_>>();
        let (since, kept) = (installed.all_since().to_vec(), installed.kept().clone());
        let peers = installed.assignments().nodes().iter().map(|it| it.uuid).collect();
        let node = usize::from(node);
        let strategies = vec![STRATEGY.to_vec()];
        let digested =
            Installed::restored(document, &tables, strategies, uuid(node), since, kept, peers);
        self.intern_installed(node, layout, digested.expect("its parts fit"))
    }

    fn intern_installed(&self, node: usize, layout: LayoutId, it: Installed) -> InstalledId {
        let mut known = self.lock();
        let is_same = |known: &(u8, LayoutId, Arc<Installed>)| {
            known.0 == node as u8
                && known.1 == layout
                && known.2.all_since() == it.all_since()
                && known.2.kept() == it.kept()
                && known.2.digested() == it.digested()
        };
        let found = known.installed.iter().position(is_same);
        let index = found.unwrap_or_else(|| {
            known.installed.push((node as u8, layout, Arc::new(it)));
            known.installed.len() - 1
        });
        index as InstalledId
    }

    fn assemble(
        &self,
        node: usize,
        previous: Option<&Installed>,
        layout: LayoutId,
    ) -> Option<Installed> {
        let layout = self.layout(layout).layout.clone();
        let tables: Vec<_> = self.tables_of(&layout).iter().map(Table::to_bytes).collect();
        Installed::new(layout, &tables, vec![STRATEGY.to_vec()], uuid(node), previous).ok()
    }

    fn tables_of(&self, layout: &Layout) -> Vec<Table> {
        let table = |digest: Digest| self.tables.iter().find(|it| it.digest() == digest);
        layout
            .placements()
            .map(|it| table(it.table).expect("no other tables exist").clone())
            .collect()
    }

    fn intern(&self, layout: Layout) -> LayoutId {
        let mut known = self.lock();
        let found = known.layouts.iter().position(|it| it.layout == layout);
        let index = found.unwrap_or_else(|| {
            let tables = self.tables_of(&layout);
            let assignments = Assignments::new(&layout, &tables).expect("its tables fit");
            known.layouts.push(Arc::new(Known { layout, assignments }));
            known.layouts.len() - 1
        });
        index as LayoutId
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Everything> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn partitions(owners: &[usize]) -> PartitionCount {
    PartitionCount::new(owners.len() as u32).expect("a power of two")
}

/// Members are only those nodes that own something.
fn placement(owners: &[usize]) -> (Placement, Table) {
    let mut members: Vec<usize> = owners.to_vec();
    members.sort_unstable();
    members.dedup();
    let index = |owner: &usize| members.iter().position(|it| it == owner).unwrap_or(0) as u32;
    let indexes: Vec<u32> = owners.iter().map(index).collect();
    let table = Table::new(&indexes, partitions(owners), 1, members.len()).expect("it fits");
    let member = |node: &usize| Member {
        id: format!("node-{node}").parse().expect("a name"),
        uuid: uuid(*node),
        weight: 1,
        zone: String::new(),
    };
    let strategy = StrategyPin {
        name: "strategy".into(),
        sha256: Digest::of(STRATEGY),
        config: String::new(),
    };
    let members = members.iter().map(member).collect();
    (
        Placement {
            strategy,
            members,
            table: table.digest(),
            origin: Origin::Strategy,
            replicas: 1,
        },
        table,
    )
}

fn retract_open(layout: &Layout) -> Option<Layout> {
    let mut next = layout.clone();
    next.rebalance.as_mut()?.window.take()?;
    next.epoch += 1;
    Some(next)
}

fn forge_lost(layout: &Layout, to: &Placement) -> Option<Layout> {
    let lost = layout.placement.members.iter().map(|member| member.uuid).collect();
    let begun = layout.begin(to.clone(), lost).ok()?;
    begun.prepare(layout.partitions.get()).ok()
}
