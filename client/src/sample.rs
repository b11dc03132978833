//! What nodes say, for tests.

use kv_core::layout::LAYOUT_FORMAT;
use kv_protocol::reply::NodeStatus;
use uuid::Uuid;

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
        layout_format: LAYOUT_FORMAT,
        partitions_to_clear: 0,
        kept: None,
        not_followed: None,
    }
}
