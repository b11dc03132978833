//! `/v1/agent/...` and `/v1/status/...`: this agent, and the services that register with it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::reply::ApiError;
use super::request::{self, Params};
use super::{Api, BODY_BYTES_MAX, catalog, duration};
use crate::state::{CheckDefinition, Registration, Service, ServiceDefinition, Status};

/// The version of Consul whose API this is.
const VERSION: &str = "1.8.7";

/// The limits that Consul sets to a service's metadata.
const META_PAIRS_MAX: usize = 64;
const META_KEY_BYTES_MAX: usize = 128;
const META_VALUE_BYTES_MAX: usize = 512;

type Body = Result<Bytes, BytesRejection>;

pub(super) async fn leader(State(api): State<Api>) -> Json<Value> {
    Json(json!(api.address.to_string()))
}

pub(super) async fn peers(State(api): State<Api>) -> Json<Value> {
    Json(json!([api.address.to_string()]))
}

pub(super) async fn identity(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "Config": {
            "Datacenter": catalog::DATACENTER,
            "NodeName": catalog::NODE_NAME,
            "NodeID": api.core.node_id(),
            "Revision": "kvnode-dev",
            "Server": true,
            "Version": VERSION,
        },
        "Member": {
            "Name": catalog::NODE_NAME,
            "Addr": api.address.ip().to_string(),
            "Port": api.address.port(),
            "Tags": {"dc": catalog::DATACENTER, "id": api.core.node_id(), "role": "consul"},
            "Status": 1,
        },
        "Meta": {},
    }))
}

pub(super) async fn services(State(api): State<Api>) -> Json<Value> {
    let state = api.core.state();
    Json(state.catalog.services().map(|s| (s.definition.id.clone(), agent_service(s))).collect())
}

pub(super) async fn service(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let state = api.core.state();
    match state.catalog.service(&id) {
        Some(service) => Ok(Json(agent_service(service))),
        None => Err(ApiError::NotFound(format!("unknown service ID: {id}"))),
    }
}

pub(super) async fn checks(State(api): State<Api>) -> Json<Value> {
    let state = api.core.state();
    let checks = state.catalog.checks();
    Json(
        checks
            .map(|check| (check.definition.id.clone(), catalog::check_json(&state.catalog, check)))
            .collect(),
    )
}

fn agent_service(service: &Service) -> Value {
    let ServiceDefinition { id, name, tags, address, port, meta } = &service.definition;
    json!({
        "ID": id,
        "Service": name,
        "Tags": tags,
        "Meta": meta,
        "Port": port,
        "Address": address,
        "TaggedAddresses": catalog::tagged_addresses(address, *port),
        "Weights": {"Passing": 1, "Warning": 1},
        "EnableTagOverride": false,
    })
}

/// A registration as it is written. Members that this agent would have to ignore are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
struct RegisterBody {
    name: Option<String>,
    id: Option<String>,
    tags: Option<Vec<String>>,
    address: Option<String>,
    port: Option<u16>,
    meta: Option<BTreeMap<String, String>>,
    /// Accepted for the sake of clients that always send it; there is no other agent to override.
    #[serde(rename = "enabletagoverride")]
    _enable_tag_override: Option<bool>,
    check: Option<CheckBody>,
    checks: Option<Vec<CheckBody>>,
}

/// A check as it is written. Only TTL checks exist here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
struct CheckBody {
    ttl: Option<String>,
    checkid: Option<String>,
    name: Option<String>,
    notes: Option<String>,
    status: Option<String>,
}

pub(super) async fn register(State(api): State<Api>, body: Body) -> Result<(), ApiError> {
    let body = request::body(body, BODY_BYTES_MAX)?;
    let registration = registration(request::json(&body, &["check", "checks"])?)?;
    api.core.change(move |state, now| state.register(registration, now)).await?;
    Ok(())
}

fn registration(body: RegisterBody) -> Result<Registration, ApiError> {
    let name = body.name.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::Bad("Missing service name".to_owned()))?;
    let id = body.id.filter(|id| !id.is_empty()).unwrap_or_else(|| name.clone());
    let meta = body.meta.unwrap_or_default();
    validate_meta(&meta)?;
    let checks: Vec<CheckBody> =
        body.check.into_iter().chain(body.checks.into_iter().flatten()).collect();
    let several = checks.len() > 1;
    let checks = checks
        .into_iter()
        .zip(1..)
        .map(|(check, n)| {
            let number = if several { format!(":{n}") } else { String::new() };
            check_definition(&name, format!("service:{id}{number}"), check)
        })
        .collect::<Result<_, _>>()?;
    let service = ServiceDefinition {
        id,
        name,
        tags: body.tags.unwrap_or_default(),
        address: body.address.unwrap_or_default(),
        port: body.port.unwrap_or_default(),
        meta,
    };
    Ok(Registration { service, checks })
}

fn validate_meta(meta: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if meta.len() > META_PAIRS_MAX {
        let problem = format!("at most {META_PAIRS_MAX} pairs are allowed, not {}", meta.len());
        return Err(ApiError::Bad(format!("Invalid Service Meta: {problem}")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    for (key, value) in meta {
        let problem = if key.is_empty() || !key.chars().all(plain) {
            "a key must be of letters, digits, '-' and '_'".to_owned()
        } else if key.len() > META_KEY_BYTES_MAX {
            format!("a key may have {META_KEY_BYTES_MAX} characters, not {}", key.len())
        } else if value.len() > META_VALUE_BYTES_MAX {
            format!("a value may have {META_VALUE_BYTES_MAX} bytes, not {}", value.len())
        } else {
            continue;
        };
        return Err(ApiError::Bad(format!("Invalid Service Meta: {problem}")));
    }
    Ok(())
}

fn check_definition(
    service_name: &str,
    default_id: String,
    check: CheckBody,
) -> Result<CheckDefinition, ApiError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let ttl = parse_ttl(check.ttl.as_deref().unwrap_or_default())?;
    let initial_status = match given(check.status) {
        Some(text) => parse_status(&text).ok_or_else(|| {
            ApiError::Bad("Status for checks must 'passing', 'warning', 'critical'".to_owned())
        })?,
        None => Status::Critical,
    };
    Ok(CheckDefinition {
        id: given(check.checkid).unwrap_or(default_id),
        name: given(check.name).unwrap_or_else(|| format!("Service '{service_name}' check")),
        notes: check.notes.unwrap_or_default(),
        ttl,
        initial_status,
    })
}

fn parse_ttl(text: &str) -> Result<Duration, ApiError> {
    if text.is_empty() {
        return Err(ApiError::Bad(
            "Invalid check: the embedded agent has TTL checks only, so TTL must be given"
                .to_owned(),
        ));
    }
    let ttl = duration::parse(text).ok_or_else(|| {
        ApiError::Bad(format!("Request decode failed: time: invalid duration {text:?}"))
    })?;
    if ttl.is_zero() {
        return Err(ApiError::Bad("Invalid check: TTL must be more than 0".to_owned()));
    }
    Ok(ttl)
}

fn parse_status(text: &str) -> Option<Status> {
    match text {
        "passing" => Some(Status::Passing),
        "warning" => Some(Status::Warning),
        "critical" => Some(Status::Critical),
        _ => None,
    }
}

pub(super) async fn deregister(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<(), ApiError> {
    let deregistered = api.core.change(move |state, _| {
        state.deregister(&id);
        Ok(())
    });
    Ok(deregistered.await?)
}

type ReportRequest = (State<Api>, Path<String>, Query<Vec<(String, String)>>);

pub(super) async fn pass(request: ReportRequest) -> Result<(), ApiError> {
    report(request, Status::Passing).await
}

pub(super) async fn warn(request: ReportRequest) -> Result<(), ApiError> {
    report(request, Status::Warning).await
}

pub(super) async fn fail(request: ReportRequest) -> Result<(), ApiError> {
    report(request, Status::Critical).await
}

async fn report(
    (State(api), Path(id), Query(params)): ReportRequest,
    status: Status,
) -> Result<(), ApiError> {
    let note = Params(params).get("note").unwrap_or_default().to_owned();
    Ok(api.core.change(move |state, now| state.report(&id, status, &note, now)).await?)
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
struct UpdateBody {
    status: String,
    output: Option<String>,
}

pub(super) async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Body,
) -> Result<(), ApiError> {
    let body = request::body(body, BODY_BYTES_MAX)?;
    let UpdateBody { status, output } = request::json(&body, &[])?;
    let status = parse_status(&status)
        .ok_or_else(|| ApiError::Bad(format!("Invalid check status: '{status}'")))?;
    let output = output.unwrap_or_default();
    Ok(api.core.change(move |state, now| state.report(&id, status, &output, now)).await?)
}
