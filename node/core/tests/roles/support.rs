//! A cluster of four nodes with three copies of each partition.

use kv_core::digest::Digest;
use kv_core::installed::{InstallError, Installed};
use kv_core::layout::{
    Assignments, LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use kv_core::partition::PartitionCount;
use uuid::Uuid;

pub(crate) const PARTITIONS: u32 = 8;
pub(crate) const NODES: u16 = 4;
const STRATEGY: &[u8] = b"test";

/// The rows of all partitions.
pub(crate) type Rows = [[u32; 3]; PARTITIONS as usize];

pub(crate) const ROWS: Rows =
    [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [3, 1, 0], [1, 3, 2], [2, 3, 0], [3, 0, 2]];

pub(crate) fn uuid(node: u16) -> Uuid {
    Uuid::from_u128(u128::from(node))
}

fn count() -> PartitionCount {
    PartitionCount::new(PARTITIONS).unwrap()
}

/// A layout at rest of four nodes and three copies, and its table.
pub(crate) fn cluster(epoch: u64, rows: &Rows) -> (Layout, Table) {
    let table = Table::new(rows.as_flattened(), count(), 3, usize::from(NODES)).unwrap();
    let member = |number: u16| Member {
        id: format!("node-{number}").parse().unwrap(),
        uuid: uuid(number),
        weight: 1,
        zone: String::new(),
    };
    let strategy =
        StrategyPin { name: "test".into(), sha256: Digest::of(STRATEGY), config: String::new() };
    let placement = Placement {
        strategy,
        members: (0..NODES).map(member).collect(),
        table: table.digest(),
        origin: Origin::Strategy,
        replicas: 3,
    };
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: Uuid::from_u128(99),
        epoch,
        partitions: count(),
        replicas: 3,
        min_in_sync: 2,
        placement,
        rebalance: None,
        standing: Standing::default(),
    };
    (layout, table)
}

/// Rows of nobody but others than `node`.
pub(crate) fn without(node: u16) -> Rows {
    let others: Vec<u32> = (0..u32::from(NODES)).filter(|it| *it != u32::from(node)).collect();
    [others.try_into().unwrap(); PARTITIONS as usize]
}

pub(crate) fn try_install(
    (layout, table): &(Layout, Table),
    node: u16,
    previous: Option<&Installed>,
) -> Result<Installed, InstallError> {
    let strategies = vec![STRATEGY.to_vec()];
    Installed::new(layout.clone(), &[table.to_bytes()], strategies, uuid(node), previous)
}

pub(crate) fn install(
    cluster: &(Layout, Table),
    node: u16,
    previous: Option<&Installed>,
) -> Installed {
    try_install(cluster, node, previous).unwrap()
}

pub(crate) fn rows((layout, table): &(Layout, Table)) -> Assignments {
    Assignments::new(layout, std::slice::from_ref(table)).unwrap()
}
