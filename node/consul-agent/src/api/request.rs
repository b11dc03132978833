//! Requests: the parameters in a URL, and JSON bodies with keys in any case.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::duration;
use super::reply::ApiError;
use crate::core::Wait;

/// How long a blocking query waits unless it says otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(300);

/// The longest wait of a blocking query.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// The parameters after the question mark.
pub(super) struct Params(pub(super) Vec<(String, String)>);

impl Params {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A parameter that is a number if it is there.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::Failed(format!("{name}: {text:?} is not a whole number")))
        };
        self.get(name).map(parse).transpose()
    }

    /// Whether and how long to wait for news, for a read of any kind.
    pub(super) fn wait(&self) -> Result<Option<Wait>, ApiError> {
        let bad = |text: &str| ApiError::Bad(text.to_owned());
        if self.has("stale") && self.has("consistent") {
            return Err(bad("Cannot specify ?stale with ?consistent, conflicting semantics."));
        }
        let given = |name| self.get(name).filter(|text| !text.is_empty());
        let patience = match given("wait") {
            Some(text) => duration::parse(text).ok_or_else(|| bad("Invalid wait time"))?,
            None => WAIT_DEFAULT,
        };
        // Consul takes a wait of 0 like a request without a wait.
        let patience = if patience.is_zero() { WAIT_DEFAULT } else { patience.min(WAIT_MAX) };
        let index = match given("index") {
            Some(text) => text.parse().map_err(|_| bad("Invalid index"))?,
            None => 0,
        };
        Ok((index > 0).then_some(Wait { index, patience }))
    }
}

/// A body of at most `limit` bytes, which the router enforces.
pub(super) fn body(
    received: Result<Bytes, BytesRejection>,
    limit: usize,
) -> Result<Bytes, ApiError> {
    received.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::TooLarge(format!("Request body too large, max size: {limit} bytes."))
        } else {
            ApiError::Bad(rejection.body_text())
        }
    })
}

/// The JSON document in a body.
///
/// Consul does not mind the case of a member's name, and its clients in other languages write some
/// in lower case. So the names of the document and of the objects in `nested` are lowered before
/// they are read. Names inside other objects, such as metadata, stay as they are.
pub(super) fn json<T: DeserializeOwned>(body: &[u8], nested: &[&str]) -> Result<T, ApiError> {
    let failed =
        |error: serde_json::Error| ApiError::Bad(format!("Request decode failed: {error}"));
    let mut document = lower_names(serde_json::from_slice(body).map_err(failed)?);
    for name in nested {
        if let Some(value) = document.get_mut(*name) {
            *value = match value.take() {
                Value::Array(items) => items.into_iter().map(lower_names).collect(),
                other => lower_names(other),
            };
        }
    }
    serde_json::from_value(document).map_err(failed)
}

fn lower_names(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(query: &[(&str, &str)]) -> Result<Option<Wait>, ApiError> {
        Params(query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()).wait()
    }

    fn patience(text: &str) -> Duration {
        wait(&[("index", "1"), ("wait", text)]).unwrap().unwrap().patience
    }

    #[test]
    fn a_wait_has_a_default_and_a_limit() {
        assert_eq!(patience("2s"), Duration::from_secs(2));
        assert_eq!(patience(""), WAIT_DEFAULT);
        assert_eq!(patience("0s"), WAIT_DEFAULT);
        assert_eq!(patience("10m"), WAIT_MAX);
        assert_eq!(patience("11m"), WAIT_MAX);
        assert!(wait(&[("wait", "2s")]).unwrap().is_none());
        assert!(wait(&[("index", "0"), ("wait", "2s")]).unwrap().is_none());
    }

    #[test]
    fn names_are_lowered_where_consul_does_not_mind_and_nowhere_else() {
        let body = br#"{"NAME":1,"Check":{"TTL":2},"Checks":[{"Ttl":3},4],"Meta":{"Key":5}}"#;
        let document: Value = json(body, &["check", "checks", "absent"]).unwrap();
        let expected = serde_json::json!({
            "name": 1, "check": {"ttl": 2}, "checks": [{"ttl": 3}, 4], "meta": {"Key": 5}
        });
        assert_eq!(document, expected);
    }
}
