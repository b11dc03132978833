//! How a reply stands in a message.
//!
//! Like a request, it is a JSON object in the header frame, and values that do not stand in it as
//! text follow one another in the body frame, with their lengths in the header. The outcomes of a batch
//! whose operations came as an `operation_stream` are one too.

use std::mem::take;

use kv_core::bounded::{List, brief};
use kv_core::limits::{
    BATCH_OPERATIONS_MAX, DIGEST_RECORDS_MAX, HOLDS_PARTITIONS_MAX, KEY_BYTES_MAX, PAGE_ITEMS_MAX,
    PARTITIONS_MAX,
};
use kv_core::operation::{Done, Outcome, Record};
use kv_core::partition::Partition;
use kv_core::refusal::Refusal;
use kv_core::version::Version;
use serde::{Deserialize, Serialize};

use crate::operation_stream;
use crate::reply::{
    Content, Counted, Keys, MoveDigest, NodeStatus, Page, PartitionDigest, PartitionSize, Records,
    Reply,
};
use crate::request::{RequestId, Style, Values};

/// A reply that a client could not read.
#[derive(Debug, thiserror::Error)]
#[error("the node's reply is not understood: {0}")]
pub struct InvalidReply(String);

const PARTITIONS: usize = PARTITIONS_MAX as usize;

/// The header as it stands on the wire.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Header {
    // The members of an `Item`. They are named here because serde's `flatten` first builds a value of
    // every member that the header does not name.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    existed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<List<Item, BATCH_OPERATIONS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<List<Item, PAGE_ITEMS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<List<String, PAGE_ITEMS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digests: Option<List<PartitionDigest, PARTITIONS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<List<String, DIGEST_RECORDS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sizes: Option<List<PartitionSize, PARTITIONS>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_partition: Option<Partition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<List<String, DIGEST_RECORDS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<List<Partition, HOLDS_PARTITIONS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<NodeStatus>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RequestId>,
}

/// One outcome or record as it stands on the wire.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Item {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    existed: Option<bool>,
    /// `null` says that there is no record, which is not the same as the member's absence.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Refusal>,
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Reply {
    /// Writes the reply in the style that the request asked for, as its header frame and, where
    /// values go there, its body frame.
    #[must_use]
    pub fn encode(self, style: Style) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut writer = Writer { style, body: None };
        let mut header = Header { id: self.id, ..Header::default() };
        match self.content {
            Content::One { key, done } => {
                header.set_one(Item { key: Some(key), ..writer.done(done) });
            }
            Content::Batch(outcomes) if style.streams => {
                // There are as many as there were operations, which are few.
                header.outcomes = Some(u32::try_from(outcomes.len()).unwrap_or(u32::MAX));
                writer.body = Some(operation_stream::write_outcomes(&outcomes, style.versions));
            }
            Content::Batch(outcomes) => {
                let results: Vec<Item> =
                    outcomes.into_iter().map(|it| writer.outcome(it)).collect();
                header.results = Some(results.into());
            }
            Content::Page(page) => {
                let item = |(key, record)| Item { key: Some(key), ..writer.record(record) };
                let collection: Vec<Item> = page.items.into_iter().map(item).collect();
                header.collection = Some(collection.into());
                header.deleted = Some(page.deleted).filter(|it| !it.is_empty()).map(Into::into);
                header.next = page.next;
            }
            Content::Records(Records { records, stream, next }) => {
                header.records = Some(records);
                header.next = next;
                writer.body = Some(stream);
            }
            Content::Copied { copied } => header.copied = Some(copied),
            Content::Digest(MoveDigest { partitions, written, next }) => {
                header.digests = Some(partitions.into());
                header.written = Some(written).filter(|it| !it.is_empty()).map(Into::into);
                header.next = next;
            }
            Content::Count(Counted { partitions, next }) => {
                header.sizes = Some(partitions.into());
                header.next_partition = next;
            }
            Content::Keys(Keys { keys, next }) => {
                header.keys = Some(keys.into());
                header.next = next;
            }
            Content::Held(partitions) => header.held = Some(partitions.into()),
            Content::Status(status) => header.status = Some(status),
            Content::Refused(refusal) => header.error = Some(refusal),
        }
        let header = serde_json::to_vec(&header).expect("a reply holds only what JSON can say");
        (header, writer.body)
    }

    /// Reads a reply from its frames. A reply to GET_ALL, which no client of ours asks for, is read up
    /// to the length of a page.
    ///
    /// # Errors
    /// [`InvalidReply`] where the frames are no reply of this protocol.
    pub fn decode(header: &[u8], body: Option<&[u8]>) -> Result<Self, InvalidReply> {
        let header: Header =
            serde_json::from_slice(header).map_err(|error| InvalidReply(brief(&error)))?;
        let mut reader = Reader { rest: body.unwrap_or_default() };
        let id = header.id.clone();
        let content = reader.content(header)?;
        if !reader.rest.is_empty() {
            return Err(InvalidReply(format!("{} bytes too many in its body", reader.rest.len())));
        }
        Ok(Self { id, content })
    }
}

/// Turns an answer into wire items, collecting the values of the body.
struct Writer {
    style: Style,
    body: Option<Vec<u8>>,
}

impl Writer {
    fn outcome(&mut self, outcome: Outcome) -> Item {
        match outcome {
            Ok(done) => self.done(done),
            Err(refusal) => Item { error: Some(refusal), ..Item::default() },
        }
    }

    fn done(&mut self, done: Done) -> Item {
        match done {
            Done::Stored { version } => {
                Item { ok: Some(true), version: Some(version), ..Item::default() }
            }
            Done::Deleted { existed } => {
                Item { ok: Some(true), existed: Some(existed), ..Item::default() }
            }
            Done::Read(None) => Item { value: Some(None), ..Item::default() },
            Done::Read(Some(record)) => self.record(record),
        }
    }

    fn record(&mut self, record: Record) -> Item {
        let version = record.version.filter(|_| self.style.versions);
        let bytes = match self.style.values {
            Values::Body => record.value,
            Values::Inline => match String::from_utf8(record.value) {
                Ok(text) => return Item { value: Some(Some(text)), version, ..Item::default() },
                Err(not_text) => not_text.into_bytes(),
            },
        };
        self.body.get_or_insert_default().extend_from_slice(&bytes);
        // Values are far shorter than 4 GiB: a node stores none above its limit.
        let value_bytes = Some(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Item { value_bytes, version, ..Item::default() }
    }
}

impl Header {
    fn set_one(&mut self, one: Item) {
        let Item { key, ok, existed, value, value_bytes, version, error } = one;
        *self = Self { key, ok, existed, value, value_bytes, version, error, ..take(self) };
    }

    fn into_one(self) -> Item {
        let Self { key, ok, existed, value, value_bytes, version, error, .. } = self;
        Item { key, ok, existed, value, value_bytes, version, error }
    }
}

/// The elements of the list `name`, which are no more than a node sends.
fn all<T, const MAX: usize>(name: &str, list: List<T, MAX>) -> Result<Vec<T>, InvalidReply> {
    list.all().map_err(|count| {
        InvalidReply(format!("{name:?} has {count} elements, expected at most {MAX}"))
    })
}

fn all_or_none<T, const MAX: usize>(
    name: &str,
    list: Option<List<T, MAX>>,
) -> Result<Vec<T>, InvalidReply> {
    list.map_or_else(|| Ok(Vec::new()), |list| all(name, list))
}

/// The keys of the list `name`.
fn keys<const MAX: usize>(
    name: &str,
    list: Option<List<String, MAX>>,
) -> Result<Vec<String>, InvalidReply> {
    all_or_none(name, list)?.into_iter().map(key).collect()
}

/// A key, which is no longer than any that a node stores.
fn key(key: String) -> Result<String, InvalidReply> {
    match key.len() {
        0..=KEY_BYTES_MAX => Ok(key),
        bytes => {
            Err(InvalidReply(format!("a key has {bytes} bytes, the limit is {KEY_BYTES_MAX}")))
        }
    }
}

/// Turns wire items into what was answered, handing out the body's values.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn content(&mut self, mut header: Header) -> Result<Content, InvalidReply> {
        header.next = header.next.map(key).transpose()?;
        Ok(if let Some(count) = header.outcomes {
            let stream = take(&mut self.rest);
            let outcomes = operation_stream::read_outcomes(stream, count);
            Content::Batch(outcomes.map_err(InvalidReply)?)
        } else if let Some(results) = header.results {
            let outcomes = all("results", results)?.into_iter().map(|item| self.outcome(item));
            Content::Batch(outcomes.collect::<Result<_, _>>()?)
        } else if let Some(collection) = header.collection {
            let items = all("collection", collection)?;
            let items = items.into_iter().map(|item| self.keyed_record(item));
            Content::Page(Page {
                items: items.collect::<Result<_, _>>()?,
                deleted: keys("deleted", header.deleted)?,
                next: header.next,
            })
        } else if let Some(records) = header.records {
            let stream = take(&mut self.rest).to_vec();
            Content::Records(Records { records, stream, next: header.next })
        } else if let Some(copied) = header.copied {
            Content::Copied { copied }
        } else if let Some(partitions) = header.digests {
            Content::Digest(MoveDigest {
                partitions: all("digests", partitions)?,
                written: keys("written", header.written)?,
                next: header.next,
            })
        } else if let Some(partitions) = header.sizes {
            let partitions = all("sizes", partitions)?;
            Content::Count(Counted { partitions, next: header.next_partition })
        } else if header.keys.is_some() {
            Content::Keys(Keys { keys: keys("keys", header.keys)?, next: header.next })
        } else if let Some(partitions) = header.held {
            Content::Held(all("held", partitions)?)
        } else if let Some(status) = header.status {
            Content::Status(status)
        } else if let Some(refusal) = header.error {
            Content::Refused(refusal)
        } else {
            let answered = header.key.take();
            let answered = answered.ok_or_else(|| InvalidReply("\"key\" is missing".into()))?;
            Content::One { key: key(answered)?, done: self.done(header.into_one())? }
        })
    }

    fn outcome(&mut self, mut item: Item) -> Result<Outcome, InvalidReply> {
        match item.error.take() {
            Some(refusal) => Ok(Err(refusal)),
            None => self.done(item).map(Ok),
        }
    }

    fn done(&mut self, item: Item) -> Result<Done, InvalidReply> {
        match item {
            Item { existed: Some(existed), .. } => Ok(Done::Deleted { existed }),
            Item { ok: Some(true), version: Some(version), .. } => Ok(Done::Stored { version }),
            Item { value: Some(None), .. } => Ok(Done::Read(None)),
            item => self.record(item).map(|record| Done::Read(Some(record))),
        }
    }

    fn keyed_record(&mut self, mut item: Item) -> Result<(String, Record), InvalidReply> {
        let named = item.key.take().ok_or_else(|| InvalidReply("an item has no key".into()))?;
        Ok((key(named)?, self.record(item)?))
    }

    fn record(&mut self, item: Item) -> Result<Record, InvalidReply> {
        let value = match (item.value, item.value_bytes) {
            (Some(Some(text)), None) => text.into_bytes(),
            (None, Some(length)) => {
                let (value, rest) = self
                    .rest
                    .split_at_checked(length as usize)
                    .ok_or_else(|| InvalidReply("its body is too short".into()))?;
                self.rest = rest;
                value.to_vec()
            }
            _ => return Err(InvalidReply("an item has no value".into())),
        };
        Ok(Record { value, version: item.version })
    }
}
