//! The header of a request: one JSON object with the members of all operations.

use kv_core::bounded::List;
use kv_core::incarnation::Incarnation;
use kv_core::layout::Side;
use kv_core::limits::{BATCH_OPERATIONS_MAX, PARTITIONS_MAX};
use kv_core::partition::Partition;
use kv_core::version::Version;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::json::{Object, Text, not_null};
use super::operation::OperationHeader;
use crate::request::{RequestId, Values};

/// The header as it stands on the wire: one object with the members of all operations.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Header<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) op: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) cluster: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) node: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) incarnation: Option<Incarnation>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) values: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) versions: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) if_absent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    pub(super) if_version: Option<Version>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) ops: Option<List<Object<OperationHeader<'a>>, BATCH_OPERATIONS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partition: Option<Partition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Partition>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) side: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) records: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) partitions: Option<List<Partition, { PARTITIONS_MAX as usize }>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<u32>,
}

impl Header<'_> {
    /// The names of the members that are there and do not belong to single operations.
    pub(super) fn members(&self) -> [Option<&'static str>; 13] {
        [
            self.ops.as_ref().map(|_| "ops"),
            self.operations.map(|_| "operations"),
            self.partition.map(|_| "partition"),
            self.from.map(|_| "from"),
            self.after.as_ref().map(|_| "after"),
            self.until.as_ref().map(|_| "until"),
            self.prefix.as_ref().map(|_| "prefix"),
            self.limit.map(|_| "limit"),
            self.to.map(|_| "to"),
            self.peer.map(|_| "peer"),
            self.side.map(|_| "side"),
            self.records.map(|_| "records"),
            self.partitions.as_ref().map(|_| "partitions"),
        ]
    }
}
