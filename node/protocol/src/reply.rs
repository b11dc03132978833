//! What a node answers. How it stands in a message, `reply_wire` says.

use kv_core::bounded;
use kv_core::incarnation::Incarnation;
use kv_core::installed::InstalledLayout;
use kv_core::layout::LAYOUT_FORMAT_BEFORE;
use kv_core::limits::KEPT_RANGES_MAX;
use kv_core::name::Name;
use kv_core::operation::{Done, Outcome, Record};
use kv_core::partition::Partition;
use kv_core::refusal::Refusal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::request::RequestId;

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The request's id.
    pub id: Option<RequestId>,
    /// The answer, or the refusal.
    pub content: Content,
}

/// The content of a reply, which depends on the request's command.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// To `PUT`, `GET_ONE` and `DELETE`: the key and what was done.
    One {
        /// The key.
        key: String,
        /// What was done.
        done: Done,
    },
    /// To `BATCH`: the outcome of each operation, in the request's order.
    Batch(Vec<Outcome>),
    /// To `GET_ALL` and `SCAN`: records, in the order of their keys' hashes.
    Page(Page),
    /// To `STATUS`.
    Status(Box<NodeStatus>),
    /// To `FETCH`.
    Records(Records),
    /// To `COPY`: how many of the records are new here; the others were there already.
    Copied {
        /// The new ones.
        copied: u32,
    },
    /// To `DIGEST`.
    Digest(MoveDigest),
    /// To `COUNT`.
    Count(Counted),
    /// To `STORED`.
    Keys(Keys),
    /// To `HOLDS`: those of the partitions that the node holds, in ascending order.
    Held(Vec<Partition>),
    /// To any request: it was not carried out, and why.
    Refused(Refusal),
}

/// A page of what moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// How many records the stream has.
    pub records: u32,
    /// The records, as a [`record_stream`](crate::record_stream).
    pub stream: Vec<u8>,
    /// Where the next page starts (the `after` of its request), `None` where this was the last.
    pub next: Option<String>,
}

/// The digest of a stretch of what moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoveDigest {
    /// Per partition, in ascending order: what the source has, or what the destination has copied.
    /// Partitions without records are left out.
    pub partitions: Vec<PartitionDigest>,
    /// At the destination: the keys that were written there since the window was opened. The copied
    /// record of such a key, if there was one, is not counted any more.
    pub written: Vec<String>,
    /// The last key that was looked at; `None` where this was the last stretch.
    pub next: Option<String>,
}

/// The digest of a partition's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Partition, u64, u64)", into = "(Partition, u64, u64)")]
pub struct PartitionDigest {
    /// The partition.
    pub partition: Partition,
    /// How many records it has.
    pub records: u64,
    /// The sum of their [`fingerprint`](crate::record_stream::fingerprint)s, modulo 2^64.
    pub fingerprints: u64,
}

/// How much is in some partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// The partitions that were counted and are not empty, in ascending order.
    pub partitions: Vec<PartitionSize>,
    /// The first partition of the request that was not counted, where there is one: ask for it and
    /// those after it anew.
    pub next: Option<Partition>,
}

/// How much is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Partition, u64, u64)", into = "(Partition, u64, u64)")]
pub struct PartitionSize {
    /// The partition.
    pub partition: Partition,
    /// How many keys it has.
    pub keys: u64,
    /// The bytes of its keys and values.
    pub bytes: u64,
}

/// Some of the keys that lie on a node's disk, in the order of their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// The keys. Tombstones are left out.
    pub keys: Vec<String>,
    /// Where the next page starts (the `after` of its request), `None` where this was the last.
    pub next: Option<String>,
}

/// A part of what a node owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and their records.
    pub items: Vec<(String, Record)>,
    /// In a partition that is moving to the node: the keys that were deleted there, so that what the
    /// other node has of them does not count any more.
    pub deleted: Vec<String>,
    /// Where the next page starts (the `after` of its request), `None` where this was the last.
    pub next: Option<String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's id.
    pub node: Name,
    /// The identity of its data directory.
    pub uuid: Uuid,
    /// Which run of the node this is; `None` from an older program, which does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// The name of the cluster that it joins.
    pub cluster_name: Name,
    /// The layout that it has installed, `None` before its first one.
    pub layout: Option<InstalledLayout>,
    /// How many records it stores.
    pub keys: u64,
    /// The bytes of the keys and values that it stores.
    pub bytes: u64,
    /// The longest value that it accepts, in bytes.
    pub value_bytes_max: u64,
    /// The bytes that its disk has left for it.
    pub disk_free_bytes: u64,
    /// How many of these it takes before it refuses to store more.
    pub disk_room_bytes: u64,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// The version of the program.
    #[serde(deserialize_with = "bounded::text")]
    pub version: String,
    /// The newest format of layout documents that it reads; a program that does not say it reads
    /// [`LAYOUT_FORMAT_BEFORE`].
    #[serde(default = "layout_format_before", skip_serializing_if = "is_layout_format_before")]
    pub layout_format: u32,
    /// How many partitions' data, which the node does not own any more, it has yet to remove.
    pub partitions_to_clear: u32,
    /// The records that it keeps although it does not own them; `None` where it owns all that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// Why it has not installed the layout that Consul has, for a person; `None` where it has, or
    /// knows of no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_followed: Option<String>,
}

fn layout_format_before() -> u32 {
    LAYOUT_FORMAT_BEFORE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_layout_format_before(format: &u32) -> bool {
    *format == LAYOUT_FORMAT_BEFORE
}

/// Records of partitions that a node does not own by its layout, and that it keeps without serving
/// them, since no other node is known to have them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How many partitions it had when a layout gave them to others to whom it never handed them
    /// over. They are kept until a layout gives them back, or an operator decides.
    pub not_handed_over: u32,
    /// Of how many partitions that it handed over it waits for their owners to confirm that they
    /// hold them. Then it removes what it has of them.
    pub unconfirmed: u32,
    /// The partitions, from first to last, in ascending order; at most
    /// [`KEPT_RANGES_MAX`] ranges; a reader passes over more.
    #[serde(deserialize_with = "bounded::first::<_, _, KEPT_RANGES_MAX>")]
    pub ranges: Vec<(Partition, Partition)>,
    /// Why they are kept, for a person. A reader cuts it off at
    /// [`REPLY_TEXT_BYTES_MAX`](kv_core::limits::REPLY_TEXT_BYTES_MAX).
    #[serde(deserialize_with = "bounded::text")]
    pub reason: String,
}

macro_rules! as_triple {
    ($($name:ident { $($member:ident),+ })+) => {
        $(
            impl From<(Partition, u64, u64)> for $name {
                fn from(($($member),+): (Partition, u64, u64)) -> Self {
                    Self { $($member),+ }
                }
            }

            impl From<$name> for (Partition, u64, u64) {
                fn from(it: $name) -> Self {
                    ($(it.$member),+)
                }
            }
        )+
    };
}

// There may be thousands in one message, so they are written as lists of three numbers.
as_triple! {
    PartitionDigest { partition, records, fingerprints }
    PartitionSize { partition, keys, bytes }
}
