//! Layouts for tests: made by hand, and taken through the steps of a rebalance.

pub(crate) mod guards;
pub(crate) mod harness;
pub(crate) mod scene;
mod sums;

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use kv_core::digest::Digest;
use kv_core::guard::{InstallError, Installed};
use kv_core::layout::{
    LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::partition::PartitionCount;
use uuid::Uuid;

pub(crate) const STRATEGY: &[u8] = b"not run by nodes";
pub(crate) const OTHER_STRATEGY: &[u8] = b"not run either";
pub(crate) const PARTITIONS: u32 = 16;
pub(crate) const CLUSTER: Uuid = Uuid::from_u128(99);

/// The data directory of the node with this number.
pub(crate) const fn uuid(node: u32) -> Uuid {
    Uuid::from_u128(node as u128 + 1)
}

/// A layout with its tables, as it goes through its steps.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) layout: Layout,
    pub(crate) tables: Vec<Vec<u8>>,
    pub(crate) strategies: Vec<Vec<u8>>,
}

/// A placement on so many nodes, in which `owner` says who owns a partition.
fn placement(nodes: u32, strategy: &[u8], owner: impl Fn(u32) -> u32) -> (Placement, Vec<u8>) {
    let partitions = PartitionCount::new(PARTITIONS).unwrap();
    let owners: Vec<u32> = (0..PARTITIONS).map(owner).collect();
    let table = Table::new(&owners, partitions, 1, nodes as usize).unwrap();
    let member = |node: u32| Member {
        id: format!("node-{node}").parse().unwrap(),
        uuid: uuid(node),
        weight: 1,
        zone: String::new(),
    };
    let strategy =
        StrategyPin { name: "test".into(), sha256: Digest::of(strategy), config: String::new() };
    let members = (0..nodes).map(member).collect();
    (
        Placement {
            strategy,
            members,
            table: table.digest(),
            origin: Origin::Strategy,
            replicas: 1,
        },
        table.to_bytes(),
    )
}

impl Cluster {
    /// A cluster at rest in this epoch.
    pub(crate) fn new(epoch: u64, nodes: u32, owner: impl Fn(u32) -> u32) -> Self {
        let (placement, table) = placement(nodes, STRATEGY, owner);
        let layout = Layout {
            format: LAYOUT_FORMAT,
            cluster: CLUSTER,
            epoch,
            partitions: PartitionCount::new(PARTITIONS).unwrap(),
            replicas: 1,
            min_in_sync: 1,
            placement,
            rebalance: None,
            standing: Standing::default(),
        };
        Self { layout, tables: vec![table], strategies: vec![STRATEGY.to_vec()] }
    }

    /// The same with a rebalance begun; the nodes in `lost` are given up.
    pub(crate) fn begin(&self, nodes: u32, owner: impl Fn(u32) -> u32, lost: &[u32]) -> Self {
        let (to, table) = placement(nodes, OTHER_STRATEGY, owner);
        let lost = lost.iter().map(|node| uuid(*node)).collect();
        Self {
            layout: self.layout.begin(to, lost).unwrap(),
            tables: vec![self.tables[0].clone(), table],
            strategies: vec![STRATEGY.to_vec(), OTHER_STRATEGY.to_vec()],
        }
    }

    /// The same after a step of the layout.
    pub(crate) fn step(&self, step: impl Fn(&Layout) -> Layout) -> Self {
        let layout = step(&self.layout);
        let (mut tables, mut strategies) = (self.tables.clone(), self.strategies.clone());
        if layout.rebalance.is_none() && tables.len() == 2 {
            let kept = usize::from(layout.placement != self.layout.placement);
            tables = vec![tables[kept].clone()];
            strategies = vec![strategies[kept].clone()];
        }
        Self { layout, tables, strategies }
    }

    pub(crate) fn prepare(&self, until: u32) -> Self {
        self.step(|layout| layout.prepare(until).unwrap())
    }

    pub(crate) fn open(&self) -> Self {
        self.step(|layout| layout.open().unwrap())
    }

    pub(crate) fn settle(&self, next: Option<u32>) -> Self {
        self.step(|layout| layout.settle(next).unwrap())
    }

    /// The layout as a node sees it that has `previous` installed.
    pub(crate) fn try_install(
        &self,
        node: u32,
        previous: Option<&Installed>,
    ) -> Result<Installed, InstallError> {
        let Self { layout, tables, strategies } = self.clone();
        Installed::new(layout, &tables, strategies, uuid(node), previous)
    }

    pub(crate) fn install(&self, node: u32, previous: Option<&Installed>) -> Installed {
        self.try_install(node, previous).unwrap()
    }
}

/// Flips a byte in the middle of the fullest of the engine's page files.
pub(crate) fn damage(store: &Path) {
    let files = fs::read_dir(store.join("slabs")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}
