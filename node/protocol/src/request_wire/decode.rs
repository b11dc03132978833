//! Reading a request.

use std::borrow::Cow;

use kv_core::bounded::{List, brief};
use kv_core::guard::Context;
use kv_core::limits::{
    HOLDS_PARTITIONS_MAX, KEY_BYTES_MAX, PARTITIONS_MAX, REQUEST_ID_BYTES_MAX, STREAM_RECORDS_MAX,
};
use kv_core::partition::Partition;
use kv_core::refusal::{Refusal, bad_request, too_large};
use serde::Deserialize;

use super::header::Header;
use super::json::{Object, Text};
use super::operation::{BodyReader, OPERATIONS_KNOWN, OperationHeader, decode_batch};
use crate::key::check_key;
use crate::operation_stream;
use crate::request::{Command, Count, Digest, Fetch, Request, RequestId, Scan, Style};

/// A request that could not be read, with its id where that could.
#[derive(Debug)]
pub struct DecodeError {
    /// The request's id, to be echoed.
    pub id: Option<RequestId>,
    /// Why it is refused.
    pub refusal: Refusal,
}

impl<'a> Request<'a> {
    /// Reads a request from its frames. Values longer than `value_bytes_max` are refused.
    ///
    /// # Errors
    /// The refusal, ready to be sent back.
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
