//! Small layouts, and what nodes say, for tests.

use kv_protocol::digest::Digest;
use kv_protocol::layout::{LAYOUT_FORMAT, Layout, Member, Origin, Placement, StrategyPin, Table};
use kv_protocol::partition::PartitionCount;
use kv_protocol::reply::NodeStatus;
use uuid::Uuid;

/// The identity of every cluster here.
pub(crate) const CLUSTER: Uuid = Uuid::from_u128(7);

/// The placement of partitions on `nodes` nodes: `owners` by partition. Node number n has the id
/// `node-n` and the uuid n.
pub(crate) fn placement(owners: &[u32], nodes: u128) -> (Placement, Table) {
    let member = |number: u128| Member {
        id: format!("node-{number}").parse().unwrap(),
        uuid: Uuid::from_u128(number),
        weight: 1,
        zone: String::new(),
    };
    let members: Vec<Member> = (0..nodes).map(member).collect();
    let table = Table::new(owners, count(owners), 1, members.len()).unwrap();
    let strategy =
        StrategyPin { name: "sample".into(), sha256: Digest::of(b"sample"), config: String::new() };
    (Placement { strategy, members, table: table.digest(), origin: Origin::Strategy }, table)
}

/// A layout at rest, of epoch 1.
pub(crate) fn layout(owners: &[u32], nodes: u128) -> (Layout, Table) {
    let (placement, table) = placement(owners, nodes);
    let layout = Layout {
        format: LAYOUT_FORMAT,
        cluster: CLUSTER,
        epoch: 1,
        partitions: count(owners),
        replicas: 1,
        placement,
        rebalance: None,
    };
    (layout, table)
}

fn count(owners: &[u32]) -> PartitionCount {
    PartitionCount::new(u32::try_from(owners.len()).unwrap()).unwrap()
}

/// What a node of the cluster `default` says that is new and has no layout.
pub(crate) fn status(id: &str, uuid: Uuid) -> NodeStatus {
    NodeStatus {
        node: id.parse().unwrap(),
        uuid,
        incarnation: None,
        cluster_name: "default".parse().unwrap(),
        layout: None,
        keys: 0,
        bytes: 0,
        value_bytes_max: 1,
        disk_free_bytes: 1,
        disk_room_bytes: 1,
        uptime_s: 1,
        version: "0".into(),
        partitions_to_clear: 0,
        kept: None,
        not_followed: None,
    }
}
