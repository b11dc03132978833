//! How a request stands in a message.
//!
//! It is a JSON object in the header frame. A value stands in it as text (`"value"`) or, as any
//! bytes, in the body frame with its length in the header (`"value_bytes"`); the values of a batch
//! follow one another in the body. Members that are not known, or that do not belong to the
//! operation, are refused rather than passed over: a condition with a slip of the pen in its name
//! must never turn a conditional write into an unconditional one. A batch may instead have its
//! operations in the body frame, as an `operation_stream`, with their number in the header.

mod operation;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

pub(crate) use self::operation::check_key;
use self::operation::{BodyReader, OperationHeader, decode_batch};
use crate::operation_stream;
use crate::request::{Command, Count, Digest, Fetch, Request, RequestId, Scan, Style, Values};
use kv_core::bounded::{List, brief};
use kv_core::guard::Context;
use kv_core::incarnation::Incarnation;
use kv_core::layout::Side;
use kv_core::limits::{
    BATCH_OPERATIONS_MAX, HOLDS_PARTITIONS_MAX, KEY_BYTES_MAX, PARTITIONS_MAX,
    REQUEST_ID_BYTES_MAX, STREAM_RECORDS_MAX,
};
use kv_core::partition::Partition;
use kv_core::refusal::{Refusal, bad_request, too_large};
use kv_core::version::Version;

/// A request that could not be read, with its id where that could.
#[derive(Debug)]
pub struct DecodeError {
    /// The request's id, to be echoed.
    pub id: Option<RequestId>,
    /// What is wrong with the request.
    pub refusal: Refusal,
}

/// Text that borrows from the message where JSON has no escapes in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The header as it stands on the wire: one object with the members of all operations.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Header<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    op: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<RequestId>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    cluster: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    node: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    incarnation: Option<Incarnation>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Values>,
    #[serde(skip_serializing_if = "Option::is_none")]
    versions: Option<bool>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    value: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_bytes: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    if_absent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "not_null")]
    if_version: Option<Version>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    ops: Option<List<Object<OperationHeader<'a>>, BATCH_OPERATIONS_MAX>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<Partition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Partition>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    after: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    until: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<List<Partition, { PARTITIONS_MAX as usize }>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    prefix: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
}

/// Reads a member whose `null` must not pass for its absence: a condition that a program computed to
/// be nothing is a mistake, not a wish.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// What is a JSON object and nothing else. Serde would take a list of the members' values too.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

const OPERATIONS_KNOWN: &str = "PUT, GET_ONE, GET_ALL, DELETE, BATCH, SCAN, STATUS, FETCH, COPY, DIGEST, COUNT, STORED or HOLDS";

impl<'a> Request<'a> {
    /// Reads a request from its frames. Values longer than `value_bytes_max` are refused.
    ///
    /// # Errors
    /// What is wrong with the request, ready to be sent back.
    pub fn decode(
        header: &'a [u8],
        body: Option<&'a [u8]>,
        value_bytes_max: usize,
    ) -> Result<Self, DecodeError> {
        let parsed: Result<Object<Header<'a>>, _> = serde_json::from_slice(header);
        let Object(parsed) = parsed.map_err(|error| DecodeError {
            id: salvage_id(header),
            refusal: bad_request(format!(
                "the header frame is not a request: {}; expected a JSON object such as {{\"op\":\"GET_ONE\",\"key\":\"key\"}}",
                brief(&error)
            )),
        })?;
        let id = parsed.id.as_ref().filter(|id| !id.is_too_long()).cloned();
        Self::from_header(parsed, body, value_bytes_max)
            .map_err(|refusal| DecodeError { id, refusal })
    }

    fn from_header(
        mut header: Header<'a>,
        body: Option<&'a [u8]>,
        value_bytes_max: usize,
    ) -> Result<Self, Refusal> {
        if let Some(id @ RequestId::Text(text)) = &header.id
            && id.is_too_long()
        {
            return Err(too_large("the length of \"id\"", text.len(), REQUEST_ID_BYTES_MAX));
        }
        let id = header.id.take();
        let context = Context {
            cluster: header.cluster.take(),
            node: header.node.take(),
            incarnation: header.incarnation.take(),
            epoch: header.epoch.take(),
        };
        let style = Style {
            values: header.values.take().unwrap_or_default(),
            versions: header.versions.take().unwrap_or_default(),
            streams: header.operations.is_some(),
        };
        let mut body = BodyReader { rest: body.unwrap_or_default(), value_bytes_max };
        let command = header.take_command(&mut body)?;
        if !body.rest.is_empty() {
            return Err(bad_request(format!(
                "the body frame has {} bytes more than the header's \"value_bytes\" account for",
                body.rest.len()
            )));
        }
        Ok(Self { id, context, style, command })
    }

    /// Writes the request as its header frame and, where it has values, its body frame.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let mut body = None;
        let mut header = Header {
            id: self.id.clone(),
            cluster: self.context.cluster,
            node: self.context.node,
            incarnation: self.context.incarnation,
            epoch: self.context.epoch,
            values: (self.style.values != Values::Inline).then_some(self.style.values),
            versions: self.style.versions.then_some(true),
            ..Header::default()
        };
        match &self.command {
            Command::One(operation) => {
                let one = OperationHeader::encode(operation, &mut body);
                header.op = one.op;
                header.key = one.key;
                header.value_bytes = one.value_bytes;
                header.if_absent = one.if_absent;
                header.if_version = one.if_version;
            }
            Command::Batch(operations) if self.style.streams => {
                header.op = text("BATCH");
                // A longer list than can be counted is refused for its length.
                header.operations = Some(u32::try_from(operations.len()).unwrap_or(u32::MAX));
                body = Some(operation_stream::write_operations(operations));
            }
            Command::Batch(operations) => {
                header.op = text("BATCH");
                let encode = |operation| Object(OperationHeader::encode(operation, &mut body));
                header.ops = Some(operations.iter().map(encode).collect::<Vec<_>>().into());
            }
            Command::GetAll => header.op = text("GET_ALL"),
            Command::Status => header.op = text("STATUS"),
            Command::Scan(scan) => {
                header.op = text("SCAN");
                header.partition = scan.partition;
                header.from = scan.from;
                header.after = scan.after.as_deref().and_then(text);
                header.prefix = Some(&*scan.prefix).filter(|it| !it.is_empty()).and_then(text);
                header.limit = scan.limit;
            }
            Command::Fetch(fetch) => {
                header.op = text("FETCH");
                header.to = Some(fetch.to);
                header.after = fetch.after.as_deref().and_then(text);
            }
            Command::Copy { records, stream } => {
                header.op = text("COPY");
                header.records = Some(*records);
                body = Some(stream.to_vec());
            }
            Command::Digest(digest) => {
                header.op = text("DIGEST");
                header.peer = Some(digest.peer);
                header.side = Some(digest.side);
                header.after = digest.after.as_deref().and_then(text);
                header.until = digest.until.as_deref().and_then(text);
            }
            Command::Count(count) => {
                header.op = text("COUNT");
                header.partitions = Some(count.partitions.clone().into());
            }
            Command::Stored { after } => {
                header.op = text("STORED");
                header.after = after.as_deref().and_then(text);
            }
            Command::Holds { partitions } => {
                header.op = text("HOLDS");
                header.partitions = Some(partitions.clone().into());
            }
        }
        let header = serde_json::to_vec(&header).expect("a request holds only what JSON can say");
        (header, body)
    }
}

fn text(text: &str) -> Option<Text<'_>> {
    Some(Text(Cow::Borrowed(text)))
}

/// Finds the id in a header that is JSON but no request, so that the sender can tell which of its
/// requests was refused.
fn salvage_id(header: &[u8]) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Salvage {
        id: RequestId,
    }
    let Salvage { id } = serde_json::from_slice(header).ok()?;
    (!id.is_too_long()).then_some(id)
}

impl<'a> Header<'a> {
    fn take_command(mut self, body: &mut BodyReader<'a>) -> Result<Command<'a>, Refusal> {
        let Some(Text(op)) = self.op.take() else {
            return Err(bad_request(format!("\"op\" is missing: expected {OPERATIONS_KNOWN}")));
        };
        let one = OperationHeader {
            op: None,
            key: self.key.take(),
            value: self.value.take(),
            value_bytes: self.value_bytes.take(),
            if_absent: self.if_absent.take(),
            if_version: self.if_version.take(),
        };
        let allowed: &[&str] = match op.as_ref() {
            "BATCH" => &["ops", "operations"],
            "SCAN" => &["partition", "from", "after", "prefix", "limit"],
            "FETCH" => &["to", "after"],
            "COPY" => &["records"],
            "DIGEST" => &["peer", "side", "after", "until"],
            "COUNT" | "HOLDS" => &["partitions"],
            "STORED" => &["after"],
            "GET_ALL" | "STATUS" => &[],
            // Which members of their own these may have, they say themselves.
            _ => &["key", "value", "value_bytes", "if_absent", "if_version"],
        };
        let members = one.members().into_iter().chain(self.members()).flatten();
        if let Some(name) = members.into_iter().find(|name| !allowed.contains(name)) {
            return Err(bad_request(format!("\"{name}\" is not a member of {}", brief(&op))));
        }
        let missing = |name: &str| bad_request(format!("\"{name}\" is missing in {}", brief(&op)));
        Ok(match op.as_ref() {
            "BATCH" => Command::Batch(match self.operations {
                Some(count) if self.ops.is_none() => {
                    let stream = std::mem::take(&mut body.rest);
                    operation_stream::read_operations(stream, count, body.value_bytes_max)?
                }
                Some(_) => {
                    return Err(bad_request("\"ops\" and \"operations\" exclude each other"));
                }
                None => decode_batch(self.ops, body)?,
            }),
            "SCAN" => Command::Scan(self.take_scan()?),
            "GET_ALL" => Command::GetAll,
            "STATUS" => Command::Status,
            "FETCH" => {
                let to = self.to.ok_or_else(|| missing("to"))?;
                Command::Fetch(Fetch { to, after: take_cursor("\"after\"", self.after)? })
            }
            "COPY" => {
                let records = self.records.ok_or_else(|| missing("records"))?;
                if records as usize > STREAM_RECORDS_MAX {
                    let records = records as usize;
                    return Err(too_large("the number of records", records, STREAM_RECORDS_MAX));
                }
                Command::Copy { records, stream: Cow::Borrowed(std::mem::take(&mut body.rest)) }
            }
            "DIGEST" => {
                let peer = self.peer.ok_or_else(|| missing("peer"))?;
                let side = self.side.ok_or_else(|| missing("side"))?;
                let after = take_cursor("\"after\"", self.after)?;
                let until = take_cursor("\"until\"", self.until)?;
                Command::Digest(Digest { peer, side, after, until })
            }
            "COUNT" => {
                let partitions = ascending(self.partitions, "COUNT", PARTITIONS_MAX as usize)?;
                Command::Count(Count { partitions })
            }
            "HOLDS" => {
                let partitions = ascending(self.partitions, "HOLDS", HOLDS_PARTITIONS_MAX)?;
                Command::Holds { partitions }
            }
            "STORED" => Command::Stored { after: take_cursor("\"after\"", self.after)? },
            _ => Command::One(one.decode(&op, body)?),
        })
    }

    /// The names of the members that are there and do not belong to single operations.
    fn members(&self) -> [Option<&'static str>; 13] {
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

    fn take_scan(self) -> Result<Scan<'a>, Refusal> {
        let after = take_cursor("\"after\"", self.after)?;
        if self.partition.is_some() && self.from.is_some() {
            return Err(bad_request("\"partition\" and \"from\" exclude each other"));
        }
        let prefix = self.prefix.map(|Text(prefix)| prefix).unwrap_or_default();
        if prefix.len() > KEY_BYTES_MAX {
            return Err(too_large("the prefix's length", prefix.len(), KEY_BYTES_MAX));
        }
        if self.limit == Some(0) {
            return Err(bad_request("\"limit\" is 0: expected at least 1"));
        }
        Ok(Scan { partition: self.partition, from: self.from, after, prefix, limit: self.limit })
    }
}

/// The partitions that `op` is about: at most `max`, in ascending order.
fn ascending(
    partitions: Option<List<Partition, { PARTITIONS_MAX as usize }>>,
    op: &str,
    max: usize,
) -> Result<Vec<Partition>, Refusal> {
    let partitions =
        partitions.ok_or_else(|| bad_request(format!("\"partitions\" is missing in {op}")))?;
    let too_many = |count| too_large("the number of partitions", count, max);
    let partitions = partitions.all().map_err(too_many)?;
    if partitions.len() > max {
        return Err(too_many(partitions.len()));
    }
    if partitions.is_sorted_by(|a, b| a < b) {
        Ok(partitions)
    } else {
        Err(bad_request("\"partitions\" is not in ascending order"))
    }
}

/// Reads a key up to or from which something is asked for; `what` names it in the error.
fn take_cursor<'a>(what: &str, key: Option<Text<'a>>) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(Text(key)) = key else { return Ok(None) };
    check_key(what, &key)?;
    Ok(Some(key))
}
