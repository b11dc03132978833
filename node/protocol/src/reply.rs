//! What a node answers. How it stands in a message, `reply_wire` says.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::name::Name;
use crate::refusal::Refusal;
use crate::request::RequestId;
use crate::version::Version;

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The request's id.
    pub id: Option<RequestId>,
    /// What is answered.
    pub content: Content,
}

/// What is answered.
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
    /// To any request: it was not carried out, and why.
    Refused(Refusal),
}

/// What became of one operation.
pub type Outcome = Result<Done, Refusal>;

/// What an operation did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The value is stored, durably.
    Stored {
        /// The version that the record has now.
        version: Version,
    },
    /// The record is gone, durably.
    Deleted {
        /// Whether there was one.
        existed: bool,
    },
    /// The record, or none where there is none.
    Read(Option<Record>),
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The value's bytes.
    pub value: Vec<u8>,
    /// The record's version. A reply carries it where the request's style asks for it.
    pub version: Option<Version>,
}

/// A part of what a node owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and their records.
    pub items: Vec<(String, Record)>,
    /// Where the next page starts (the `after` of its request); none where this was the last.
    pub next: Option<String>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The node's id.
    pub node: Name,
    /// The identity of its data directory.
    pub uuid: Uuid,
    /// The name of the cluster that it joins.
    pub cluster_name: Name,
    /// The layout that it has installed, none where it belongs to none yet.
    pub layout: Option<InstalledLayout>,
    /// How many records it stores.
    pub keys: u64,
    /// The bytes of the keys and values that it stores.
    pub bytes: u64,
    /// The longest value that it accepts, in bytes.
    pub value_bytes_max: u64,
    /// The bytes that its disk has left for it.
    pub disk_free_bytes: u64,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// The version of the program.
    pub version: String,
}

/// The layout that a node has installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledLayout {
    /// The cluster's identity.
    pub cluster: Uuid,
    /// The layout's epoch.
    pub epoch: u64,
    /// How many partitions the node owns; 0 where it is not a member.
    pub partitions_owned: u32,
}
