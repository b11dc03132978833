//! What a client asks of a node. How it stands in a message, `request_wire` says.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use kv_core::guard::Context;
use kv_core::layout::Side;
use kv_core::limits::REQUEST_ID_BYTES_MAX;
use kv_core::operation::Operation;
use kv_core::partition::Partition;

/// A request: a command, and the circumstances under which the client sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Echoed in the reply.
    pub id: Option<RequestId>,
    /// What the client believes about cluster, node and layout.
    pub context: Context,
    /// How the reply shall be written.
    pub style: Style,
    /// The command that the node is to carry out.
    pub command: Command<'a>,
}

impl Request<'_> {
    /// The same request, independent of the message that it came in.
    #[must_use]
    pub fn into_owned(self) -> Request<'static> {
        let Self { id, context, style, command } = self;
        Request { id, context, style, command: command.into_owned() }
    }
}

/// A correlation id: a number or a short text that the reply repeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    /// A number.
    Number(u64),
    /// A text of at most [`REQUEST_ID_BYTES_MAX`] bytes.
    Text(String),
}

impl RequestId {
    /// Whether it is a text above its limit.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, Self::Text(text) if text.len() > REQUEST_ID_BYTES_MAX)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    // By hand: the derived code for an enum without tags builds any value first, however large.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = RequestId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0 or a short text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<RequestId, E> {
                Ok(RequestId::Number(number))
            }

            fn visit_str<E>(self, text: &str) -> Result<RequestId, E> {
                Ok(RequestId::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(NumberOrText)
    }
}

/// How a reply is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Where values go.
    pub values: Values,
    /// Whether records that are read come with their versions.
    pub versions: bool,
    /// Whether the operations and the outcomes of a batch travel as streams in the body frames, with
    /// all values there.
    pub streams: bool,
}

/// Where a reply's values go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// Into the header as text, and into the body where a value is not UTF-8.
    #[default]
    Inline,
    /// All into the body.
    Body,
}

/// A command to a node, by its `op` on the wire.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// One operation: `PUT`, `GET_ONE` or `DELETE`.
    One(Operation<'a>),
    /// `BATCH`: operations that are carried out in their order, each with its own outcome.
    Batch(Vec<Operation<'a>>),
    /// `GET_ALL`: everything that the node owns.
    GetAll,
    /// `SCAN`: one page of what the node owns.
    Scan(Scan<'a>),
    /// `STATUS`: what the node says of itself.
    Status,
    /// `FETCH`: one page of what moves from this node to another.
    Fetch(Fetch<'a>),
    /// `COPY`: records that move to this node, as a [`record_stream`](crate::record_stream). A
    /// record that is there, even a tombstone, stays as it is.
    Copy {
        /// How many records the stream has.
        records: u32,
        /// The stream.
        stream: Cow<'a, [u8]>,
    },
    /// `DIGEST`: what was copied from one node to another, in numbers that both must agree on.
    Digest(Digest<'a>),
    /// `COUNT`: how much is in partitions that the node owns.
    Count(Count),
    /// `STORED`: one page of all keys that lie on the node's disk, whether it owns them or not.
    Stored {
        /// The `next` of the page before.
        after: Option<Cow<'a, str>>,
    },
    /// `HOLDS`: which of these partitions the node holds as a whole, by the layout that it has
    /// installed: as their owner, or as the node that they are being moved from. A node asks another
    /// before it removes its own records of them. Cluster, node and epoch have to be stated, and the
    /// asked node must have installed that epoch or a later one.
    Holds {
        /// The partitions, in ascending order.
        partitions: Vec<Partition>,
    },
}

/// One page of what moves from the asked node to `to`, in the order of the keys' hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch<'a> {
    /// The data directory that it moves to.
    pub to: Uuid,
    /// The `next` of the page before.
    pub after: Option<Cow<'a, str>>,
}

/// The digest of one stretch of what moves between the asked node and `peer`.
///
/// The source is asked with `after` alone and says by `next` how far its answer goes; the destination
/// is then asked for the same stretch. Where much was written at the destination, its answer ends
/// earlier and says by `next` where: it is then asked for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest<'a> {
    /// The data directory at the other end of the move.
    pub peer: Uuid,
    /// At which end the asked node is. Two nodes can be moving partitions to each other.
    pub side: Side,
    /// The stretch begins after this key; `None` begins it with the first one.
    pub after: Option<Cow<'a, str>>,
    /// The stretch ends with this key; `None` ends it with the last one. Only a destination may be
    /// asked for it.
    pub until: Option<Cow<'a, str>>,
}

/// A question for the sizes of partitions that the asked node owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The partitions, in ascending order.
    pub partitions: Vec<Partition>,
}

/// One page of a scan, in the order of the keys' hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan<'a> {
    /// The partition to read; `None` for all that the node owns, except those that are moving.
    pub partition: Option<Partition>,
    /// Where there is no `partition`, the first one that is read.
    pub from: Option<Partition>,
    /// The `next` of the page before.
    pub after: Option<Cow<'a, str>>,
    /// Only keys that start with this.
    pub prefix: Cow<'a, str>,
    /// The most items in the page; `None` for the node's own limit.
    pub limit: Option<u32>,
}

impl Command<'_> {
    /// The same command, owning what it speaks of.
    #[must_use]
    pub fn into_owned(self) -> Command<'static> {
        match self {
            Self::One(operation) => Command::One(operation.into_owned()),
            Self::Batch(operations) => {
                Command::Batch(operations.into_iter().map(Operation::into_owned).collect())
            }
            Self::GetAll => Command::GetAll,
            Self::Scan(scan) => Command::Scan(Scan {
                partition: scan.partition,
                from: scan.from,
                after: scan.after.map(owned),
                prefix: owned(scan.prefix),
                limit: scan.limit,
            }),
            Self::Status => Command::Status,
            Self::Fetch(Fetch { to, after }) => {
                Command::Fetch(Fetch { to, after: after.map(owned) })
            }
            Self::Copy { records, stream } => {
                Command::Copy { records, stream: Cow::Owned(stream.into_owned()) }
            }
            Self::Digest(Digest { peer, side, after, until }) => Command::Digest(Digest {
                peer,
                side,
                after: after.map(owned),
                until: until.map(owned),
            }),
            Self::Count(count) => Command::Count(count),
            Self::Stored { after } => Command::Stored { after: after.map(owned) },
            Self::Holds { partitions } => Command::Holds { partitions },
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
