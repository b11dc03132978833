//! `/v1/kv/...`: keys and values.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Api;
use super::reply::{ApiError, indexed, indexed_json};
use super::request::{self, Params};
use crate::state::{Condition, DeleteTarget, Entry, KEY_BYTES_MAX, Put};

/// The largest value, as in Consul unless its operator raised the limit.
pub(super) const VALUE_BYTES_MAX: usize = 512 * 1024;

type Asked = Query<Vec<(String, String)>>;

/// The key in the path; the path `/v1/kv/` has none.
type Key = Option<Path<String>>;

/// A key that one entry can have.
fn named(key: Key) -> Result<String, ApiError> {
    let key = prefix(key)?;
    if key.is_empty() {
        return Err(ApiError::Bad("Missing key name".to_owned()));
    }
    Ok(key)
}

/// A key, or what keys begin with.
fn prefix(key: Key) -> Result<String, ApiError> {
    let key = key.map(|Path(key)| key).unwrap_or_default();
    if key.len() > KEY_BYTES_MAX {
        let size = key.len();
        return Err(ApiError::Bad(format!("the key has {size} bytes, more than {KEY_BYTES_MAX}")));
    }
    Ok(key)
}

pub(super) async fn read(
    State(api): State<Api>,
    key: Key,
    Query(params): Asked,
) -> Result<Response, ApiError> {
    let params = Params(params);
    let wait = params.wait()?;
    if params.has("keys") || params.has("recurse") {
        let prefix = prefix(key)?;
        let (index, entries) = api.core.read(wait, |state| state.kv.list(&prefix)).await;
        return Ok(if entries.is_empty() {
            indexed(index, StatusCode::NOT_FOUND)
        } else if params.has("keys") {
            let separator = params.get("separator").unwrap_or_default();
            indexed_json(index, &keys(&entries, &prefix, separator))
        } else {
            let entries: Vec<Value> = entries.iter().map(|entry| entry_json(entry)).collect();
            indexed_json(index, &entries)
        });
    }
    let key = named(key)?;
    let (index, entry) = api.core.read(wait, |state| state.kv.get(&key)).await;
    Ok(match entry {
        None => indexed(index, StatusCode::NOT_FOUND),
        Some(entry) if params.has("raw") => {
            // A browser must not take a stored value for a page of this address.
            let headers = [
                (header::CONTENT_TYPE, "text/plain"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_SECURITY_POLICY, "sandbox"),
            ];
            indexed(index, (headers, entry.value.to_vec()))
        }
        Some(entry) => indexed_json(index, &[entry_json(&entry)]),
    })
}

/// The keys, each only up to the first separator after the prefix.
fn keys(entries: &[Arc<Entry>], prefix: &str, separator: &str) -> BTreeSet<String> {
    let shortened = |key: &str| {
        let rest = &key[prefix.len()..];
        match rest.find(separator) {
            Some(at) if !separator.is_empty() => {
                key[..prefix.len() + at + separator.len()].to_owned()
            }
            _ => key.to_owned(),
        }
    };
    entries.iter().map(|entry| shortened(&entry.key)).collect()
}

fn entry_json(entry: &Entry) -> Value {
    let value = (!entry.value.is_empty()).then(|| STANDARD.encode(&entry.value));
    let mut document = json!({
        "LockIndex": entry.lock_index,
        "Key": entry.key,
        "Flags": entry.flags,
        "Value": value,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    });
    if let Some(session) = &entry.session {
        document["Session"] = json!(session);
    }
    document
}

pub(super) async fn write(
    State(api): State<Api>,
    key: Key,
    Query(params): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<bool>, ApiError> {
    let params = Params(params);
    let put = Put {
        key: named(key)?,
        flags: params.number("flags")?.unwrap_or_default(),
        condition: condition(&params)?,
        value: request::body(body, VALUE_BYTES_MAX)?.to_vec().into(),
    };
    Ok(Json(api.core.change(move |state, now| state.put(put, now)).await?))
}

fn condition(params: &Params) -> Result<Condition, ApiError> {
    exclusive(params, &["cas", "acquire", "release"])?;
    let session = |name| params.get(name).map(ToOwned::to_owned);
    Ok(if let Some(index) = params.number("cas")? {
        Condition::ModifiedAt(index)
    } else if let Some(session) = session("acquire") {
        Condition::Acquire(session)
    } else if let Some(session) = session("release") {
        Condition::Release(session)
    } else {
        Condition::Always
    })
}

pub(super) async fn delete(
    State(api): State<Api>,
    key: Key,
    Query(params): Asked,
) -> Result<Json<bool>, ApiError> {
    let params = Params(params);
    exclusive(&params, &["cas", "recurse"])?;
    let target = if params.has("recurse") {
        DeleteTarget::Prefix(prefix(key)?)
    } else {
        DeleteTarget::Key { key: named(key)?, modified_at: params.number("cas")? }
    };
    Ok(Json(api.core.change(move |state, _| Ok(state.delete(&target))).await?))
}

/// Refuses parameters that contradict each other.
fn exclusive(params: &Params, names: &[&str]) -> Result<(), ApiError> {
    let given: Vec<&str> = names.iter().copied().filter(|name| params.has(name)).collect();
    if given.len() > 1 {
        return Err(ApiError::Bad(format!("Conflicting flags: {}", given.join("&"))));
    }
    Ok(())
}
