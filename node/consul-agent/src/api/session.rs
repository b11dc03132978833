//! `/v1/session/...`: sessions, which hold locks.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::{ApiError, indexed_json};
use super::request::{self, Params};
use super::{Api, BODY_BYTES_MAX, catalog, duration};
use crate::state::{Behavior, NewSession, Session, State as AgentState};

const TTL_MIN: Duration = Duration::from_secs(10);
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// How long a lock cannot be had after its holder's session ended, unless the session says so.
const LOCK_DELAY_DEFAULT: Duration = Duration::from_secs(15);

/// A lock delay that is written as a number below this counts seconds, else nanoseconds.
const LOCK_DELAY_SECONDS_BELOW: u64 = 1_000;

/// The check of the machine, on which every session depends.
const NODE_CHECK_ID: &str = "serfHealth";

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase", default)]
struct CreateBody {
    name: Option<String>,
    node: Option<String>,
    ttl: Option<String>,
    lockdelay: Option<Value>,
    behavior: Option<String>,
    checks: Option<Vec<String>>,
    nodechecks: Option<Vec<String>>,
}

pub(super) async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let body = request::body(body, BODY_BYTES_MAX)?;
    let body = if body.is_empty() { CreateBody::default() } else { request::json(&body, &[])? };
    let session = new_session(body)?;
    let id = uuid::Uuid::new_v4().to_string();
    let created = id.clone();
    api.core.change(move |state, now| state.create_session(id, session, now)).await?;
    Ok(Json(json!({"ID": created})))
}

fn new_session(body: CreateBody) -> Result<NewSession, ApiError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if given(body.node).is_some_and(|node| node != catalog::NODE_NAME) {
        return Err(ApiError::Failed("Missing node registration".to_owned()));
    }
    let checks = body.checks.into_iter().chain(body.nodechecks).flatten();
    for check in checks {
        // A session that depends on more than the machine is nothing that the store uses.
        if check != NODE_CHECK_ID {
            return Err(ApiError::Failed(format!("Missing check '{check}' registration")));
        }
    }
    let behavior = match given(body.behavior).as_deref() {
        None | Some("release") => Behavior::Release,
        Some("delete") => Behavior::Delete,
        Some(other) => {
            return Err(ApiError::Failed(format!("Invalid Behavior setting '{other}'")));
        }
    };
    let ttl_text = body.ttl.unwrap_or_default();
    Ok(NewSession {
        name: body.name.unwrap_or_default(),
        ttl: parse_ttl(&ttl_text)?,
        ttl_text,
        lock_delay: parse_lock_delay(body.lockdelay.as_ref())?,
        behavior,
    })
}

fn parse_ttl(text: &str) -> Result<Option<Duration>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let ttl = duration::parse(text).ok_or_else(|| {
        ApiError::Failed(format!("Session TTL '{text}' invalid: time: invalid duration {text:?}"))
    })?;
    if ttl.is_zero() {
        return Ok(None);
    }
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(ApiError::Failed(format!(
            "Invalid Session TTL '{}', must be between [10s=24h0m0s]",
            ttl.as_nanos()
        )));
    }
    Ok(Some(ttl))
}

fn parse_lock_delay(value: Option<&Value>) -> Result<Duration, ApiError> {
    let delay = match value {
        None | Some(Value::Null) => Some(LOCK_DELAY_DEFAULT),
        Some(Value::String(text)) => duration::parse(text),
        Some(value) => value.as_u64().map(|number| {
            if number < LOCK_DELAY_SECONDS_BELOW {
                Duration::from_secs(number)
            } else {
                Duration::from_nanos(number)
            }
        }),
    };
    delay.ok_or_else(|| ApiError::Bad("Request decode failed: invalid LockDelay".to_owned()))
}

pub(super) async fn destroy(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<bool>, ApiError> {
    api.core.change(move |state, now| state.destroy_session(&id, now)).await?;
    Ok(Json(true))
}

pub(super) async fn renew(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let wanted = id.clone();
    match api.core.change(move |state, now| state.renew_session(&wanted, now)).await? {
        Some(session) => Ok(Json(json!([session_json(&session)]))),
        None => Err(ApiError::NotFound(format!("Session id '{id}' not found"))),
    }
}

pub(super) async fn info(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(params): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState| {
        let session = state.sessions.get(&id).map(|session| session.map(session_json));
        (state.sessions.index(), session)
    };
    let (index, session) = api.core.read(Params(params).wait()?, view).await;
    Ok(indexed_json(index, &session?.into_iter().collect::<Vec<_>>()))
}

pub(super) async fn list(
    State(api): State<Api>,
    Query(params): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let view = |state: &AgentState| {
        let sessions: Vec<Value> = state.sessions.iter().map(session_json).collect();
        (state.sessions.index(), sessions)
    };
    let (index, sessions) = api.core.read(Params(params).wait()?, view).await;
    Ok(indexed_json(index, &sessions))
}

fn session_json(session: &Session) -> Value {
    // In nanoseconds, as Go prints a duration.
    let lock_delay = u64::try_from(session.lock_delay.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "ID": session.id,
        "Name": session.name,
        "Node": catalog::NODE_NAME,
        "LockDelay": lock_delay,
        "Behavior": session.behavior,
        "TTL": session.ttl_text,
        "NodeChecks": [NODE_CHECK_ID],
        "ServiceChecks": null,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.create_index,
    })
}
