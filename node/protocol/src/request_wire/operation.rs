//! How one operation stands in a message, alone or in a batch, and where its value is.

use std::borrow::Cow;

use kv_core::bounded::List;
use kv_core::limits::BATCH_OPERATIONS_MAX;
use kv_core::operation::{Condition, Operation};
use kv_core::refusal::{ErrorCode, Refusal, bad_request, too_large};
use kv_core::version::Version;
use serde::{Deserialize, Serialize};

use super::json::{Object, Text, not_null, text};
use crate::key::check_key;

/// What a request may ask, for the errors.
pub(super) const OPERATIONS_KNOWN: &str = "PUT, GET_ONE, GET_ALL, DELETE, BATCH, SCAN, STATUS, FETCH, COPY, DIGEST, COUNT, STORED or HOLDS";

/// One operation as it stands on the wire.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OperationHeader<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub(super) op: Option<Text<'a>>,
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
}

pub(super) fn decode_batch<'a>(
    ops: Option<List<Object<OperationHeader<'a>>, BATCH_OPERATIONS_MAX>>,
    body: &mut BodyReader<'a>,
) -> Result<Vec<Operation<'a>>, Refusal> {
    let ops = ops.ok_or_else(|| {
        bad_request("\"ops\" is missing: a BATCH is a list of PUT, GET_ONE and DELETE")
    })?;
    let ops = ops
        .all()
        .map_err(|count| too_large("the number of operations", count, BATCH_OPERATIONS_MAX))?;
    if ops.is_empty() {
        return Err(bad_request("\"ops\" is empty: expected at least one operation"));
    }
    ops.into_iter()
        .enumerate()
        .map(|(index, Object(mut header))| {
            let op = header.op.take().map(|Text(op)| op).unwrap_or_default();
            header.decode(&op, body).map_err(|refusal| Refusal {
                message: format!("operation {index}: {}", refusal.message),
                ..refusal
            })
        })
        .collect()
}

impl<'a> OperationHeader<'a> {
    pub(super) fn encode(operation: &'a Operation<'_>, body: &mut Option<Vec<u8>>) -> Self {
        let mut header = Self { key: text(operation.key()), ..Self::default() };
        header.op = match operation {
            Operation::Put { value, condition, .. } => {
                body.get_or_insert_default().extend_from_slice(value);
                // A node's limit on values is far below 4 GiB, and it checks the body's length, so
                // that a longer value is refused.
                header.value_bytes = Some(u32::try_from(value.len()).unwrap_or(u32::MAX));
                header.set_condition(*condition);
                text("PUT")
            }
            Operation::Get { .. } => text("GET_ONE"),
            Operation::Delete { condition, .. } => {
                header.set_condition(*condition);
                text("DELETE")
            }
        };
        header
    }

    fn set_condition(&mut self, condition: Condition) {
        match condition {
            Condition::None => {}
            Condition::Absent => self.if_absent = Some(true),
            Condition::Version(version) => self.if_version = Some(version),
        }
    }

    /// The names of the members that are there.
    pub(super) fn members(&self) -> [Option<&'static str>; 5] {
        [
            self.key.as_ref().map(|_| "key"),
            self.value.as_ref().map(|_| "value"),
            self.value_bytes.map(|_| "value_bytes"),
            self.if_absent.map(|_| "if_absent"),
            self.if_version.map(|_| "if_version"),
        ]
    }

    pub(super) fn decode(
        self,
        op: &str,
        body: &mut BodyReader<'a>,
    ) -> Result<Operation<'a>, Refusal> {
        let allowed: &[&str] = match op {
            "PUT" => &["key", "value", "value_bytes", "if_absent", "if_version"],
            "GET_ONE" => &["key"],
            "DELETE" => &["key", "if_version"],
            _ => {
                let shown: String = op.chars().take(40).collect();
                return Err(Refusal::new(
                    ErrorCode::UnknownOp,
                    format!(
                        "unknown operation {shown:?}: expected {OPERATIONS_KNOWN}; a BATCH holds PUT, GET_ONE and DELETE"
                    ),
                ));
            }
        };
        if let Some(name) = self.members().iter().flatten().find(|name| !allowed.contains(name)) {
            return Err(bad_request(format!("\"{name}\" is not a member of {op}")));
        }
        let condition = match (self.if_absent.unwrap_or(false), self.if_version) {
            (false, None) => Condition::None,
            (true, None) => Condition::Absent,
            (false, Some(version)) => Condition::Version(version),
            (true, Some(_)) => {
                return Err(bad_request("\"if_absent\" and \"if_version\" exclude each other"));
            }
        };
        let Some(Text(key)) = self.key else {
            return Err(bad_request(format!("\"key\" is missing in {op}")));
        };
        check_key("the key", &key)?;
        Ok(match op {
            "PUT" => {
                Operation::Put { key, value: body.take(self.value, self.value_bytes)?, condition }
            }
            "GET_ONE" => Operation::Get { key },
            _ => Operation::Delete { key, condition },
        })
    }
}

/// Hands out the body frame's bytes to the values that the header announces, in order.
pub(super) struct BodyReader<'a> {
    pub(super) rest: &'a [u8],
    pub(super) value_bytes_max: usize,
}

impl<'a> BodyReader<'a> {
    fn take(
        &mut self,
        inline: Option<Text<'a>>,
        value_bytes: Option<u32>,
    ) -> Result<Cow<'a, [u8]>, Refusal> {
        let value = match (inline, value_bytes) {
            (Some(Text(Cow::Borrowed(text))), None) => Cow::Borrowed(text.as_bytes()),
            (Some(Text(Cow::Owned(text))), None) => Cow::Owned(text.into_bytes()),
            (None, Some(length)) => {
                let length = length as usize;
                if length > self.value_bytes_max {
                    return Err(too_large("the value's length", length, self.value_bytes_max));
                }
                let Some((value, rest)) = self.rest.split_at_checked(length) else {
                    return Err(bad_request(format!(
                        "\"value_bytes\" is {length}, but the body frame has only {} bytes left",
                        self.rest.len()
                    )));
                };
                self.rest = rest;
                Cow::Borrowed(value)
            }
            (Some(_), Some(_)) => {
                return Err(bad_request("\"value\" and \"value_bytes\" exclude each other"));
            }
            (None, None) => {
                return Err(bad_request(
                    "the value is missing: expected \"value\" (text), or \"value_bytes\" with the bytes in a body frame",
                ));
            }
        };
        if value.len() > self.value_bytes_max {
            return Err(too_large("the value's length", value.len(), self.value_bytes_max));
        }
        Ok(value)
    }
}
