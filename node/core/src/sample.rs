//! Small layouts for tests.

use uuid::Uuid;

use crate::digest::Digest;
use crate::layout::{
    LAYOUT_FORMAT, Layout, Member, Origin, Placement, Standing, StrategyPin, Table,
};
use crate::partition::PartitionCount;

/// The identity of every cluster here.
pub const CLUSTER: Uuid = Uuid::from_u128(7);

/// The placement of partitions on `nodes` nodes: `owners` by partition. Node number n has the id
/// `node-n` and the uuid n.
///
/// # Panics
/// A cluster cannot have as many partitions as there are `owners`, or an owner is not below `nodes`.
#[must_use]
pub fn placement(owners: &[u32], nodes: u128) -> (Placement, Table) {
    let member = |number: u128| Member {
        id: format!("node-{number}").parse().expect("it is a valid id"),
        uuid: Uuid::from_u128(number),
        weight: 1,
        zone: String::new(),
    };
    let members: Vec<Member> = (0..nodes).map(member).collect();
    let table =
        Table::new(owners, count(owners), 1, members.len()).expect("the owners are of these nodes");
    let strategy =
        StrategyPin { name: "sample".into(), sha256: Digest::of(b"sample"), config: String::new() };
    let (digest, origin) = (table.digest(), Origin::Strategy);
    (Placement { strategy, members, table: digest, origin, replicas: 1 }, table)
}

/// A layout at rest, of epoch 1.
///
/// # Panics
/// As [`placement`].
#[must_use]
pub fn layout(owners: &[u32], nodes: u128) -> (Layout, Table) {
    let (placement, table) = placement(owners, nodes);
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: CLUSTER,
        epoch: 1,
        partitions: count(owners),
        replicas: 1,
        min_in_sync: 1,
        placement,
        rebalance: None,
        standing: Standing::default(),
    };
    (layout, table)
}

fn count(owners: &[u32]) -> PartitionCount {
    let count = u32::try_from(owners.len()).ok();
    count.and_then(|it| PartitionCount::new(it).ok()).expect("it is a valid number of partitions")
}
